"""Fixtures of sites; a conftest that wants them imports them."""

from __future__ import annotations

import sys

import pytest
from sites import Site

from rlkit_core.plugins import discovery, guard
from rlkit_core.plugins import host as host_module


@pytest.fixture
def make_site(tmp_path, monkeypatch):
    before = set(sys.modules)
    monkeypatch.setattr(guard, "_noticed", set())
    monkeypatch.setattr(discovery, "_cached", discovery._cached)  # what is scanned beside a site is forgotten with it
    monkeypatch.setattr(host_module, "_default", host_module._default)

    def make(name="site"):
        site = Site(tmp_path / name)
        monkeypatch.syspath_prepend(str(site.path))
        return site

    yield make
    for name in set(sys.modules) - before:
        held = getattr(sys.modules[name], "__dict__", {})  # asking it for a name may run its code
        places = [held.get("__file__") or "", *held.get("__path__", ())]  # a namespace has no file
        if any(str(place).startswith(str(tmp_path)) for place in places):
            del sys.modules[name]


@pytest.fixture
def site(make_site):
    return make_site()
