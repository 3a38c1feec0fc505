"""Every distribution of this workspace keeps its contract."""

from __future__ import annotations

import pytest

from rlkit_core.plugins.discovery import scan
from rlkit_core.testing import check_plugin

INSTALLED = [info.name for info in scan().distributions if info.state == "found"]
ALGORITHMS = ["rlkit-appo", "rlkit-dqn", "rlkit-impala", "rlkit-ppo", "rlkit-sac"]
EVERY = sorted(
    {*ALGORITHMS, "rlkit-capture", "rlkit-core", "rlkit-graph", "rlkit-processes", "rlkit-rnd", "rlkit-scaffold"}
)


def check(name, **options):
    if name not in INSTALLED:
        pytest.skip(f"{name} is not installed")
    report = check_plugin(name, strict=False, **options)
    assert report.errors == (), str(report)
    return report


@pytest.mark.parametrize("name", ["rlkit-graph", "rlkit-processes"])
def test_two_of_them_quickly(name):
    check(name, fast=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", EVERY)
def test_all_of_it(name):
    check(name)


def test_every_plugin_of_the_workspace_is_here():
    of_ours = {name for name in INSTALLED if name.startswith("rlkit-")}
    assert of_ours - set(EVERY) == set()
