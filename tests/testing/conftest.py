"""Sites on the path, and the kit let loose on what is in them."""

from __future__ import annotations

import pytest
from site_fixtures import make_site, site

from rlkit_core.plugins.host import use_host
from rlkit_core.rl_module.apis import composition
from rlkit_core.testing import check_plugin

__all__ = ["make_site", "site"]


@pytest.fixture
def checked(site):
    """Write a distribution and check it, in process unless said; returns the report."""

    composition._composed.cache_clear()  # of modules of the same names, as one process has them only here

    def check(name="lab", source="", *, isolated=False, fast=True, **parts):
        site.add(name, source, **parts)
        with use_host(site.host()):
            return check_plugin(name, isolated=isolated, fast=fast, strict=False)

    return check
