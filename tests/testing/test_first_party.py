"""Every distribution of this workspace keeps its contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlkit_core.errors import PluginNotFoundError
from rlkit_core.testing import check_plugin

ROOT = Path(__file__).resolve().parents[2]
EVERY = ["rlkit-core", *sorted(file.parent.name for file in ROOT.glob("plugins/*/pyproject.toml"))]
EVERY.remove("rlkit-tensorflow")  # its own tests do this, where TensorFlow is


def check(name, **options):
    try:
        report = check_plugin(name, strict=False, **options)
    except PluginNotFoundError:
        pytest.skip(f"{name} is not installed")
    assert report.errors == (), str(report)
    return report


@pytest.mark.parametrize("name", EVERY)
def test_what_trains_nothing(name):
    report = check(name, fast=True)
    assert ("none of rlkit's entry points" in str(report)) == (name == "rlkit-offpolicy")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", EVERY)
def test_all_of_it(name):
    check(name)
