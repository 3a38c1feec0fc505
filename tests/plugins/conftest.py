"""Sites on the path, and what they are asked."""

from __future__ import annotations

import sys

import pytest
from sites import Site

from rlkit_core.cli import main
from rlkit_core.plugins import discovery, guard
from rlkit_core.plugins import host as host_module

API = 'rlkit_api = "1.0"\n'


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


@pytest.fixture
def rlkit(site, monkeypatch, capsys):
    """Run the command line in process on what ``site`` holds; returns (exit code, stdout, stderr)."""
    monkeypatch.setattr(host_module, "_default", None)
    monkeypatch.setenv("RLKIT_DEBUG", "0")  # --debug sets it

    def run(*arguments, **env):
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(discovery, "_cached", discovery._read([str(site.path)]))
        monkeypatch.setattr(host_module, "_default", None)
        code = 0
        try:
            main(list(arguments))
        except SystemExit as exc:
            code = exc.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run
