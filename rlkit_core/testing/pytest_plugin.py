"""Fixtures for the tests of plugins, in every pytest run. Nothing of rlkit is imported until one is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rlkit_core.plugins.host import PluginHost
    from rlkit_core.testing.kit.contract import KitReport


@pytest.fixture
def rlkit_host() -> Iterator[PluginHost]:
    """A host that knows the core alone, and is the default one until the test ends; register in it what you test."""
    from rlkit_core.plugins.discovery import scan
    from rlkit_core.plugins.host import PluginHost, use_host

    only_the_core = {"RLKIT_PLUGINS": ""}
    host = PluginHost(scan(env=only_the_core), only_the_core)
    with use_host(host):
        yield host


@pytest.fixture
def rlkit_check() -> Callable[..., KitReport]:
    """:func:`~rlkit_core.testing.check_plugin`, of an installed distribution by name, or of a module with hooks."""
    from rlkit_core.testing.kit.plugin import check_plugin

    return check_plugin
