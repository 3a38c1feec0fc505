"""The framework keeps what the kit asks of every framework."""

from __future__ import annotations

from rlkit_core.testing import check_plugin
from rlkit_core.testing.contracts import FrameworkServiceContract


class TestTF2(FrameworkServiceContract):
    component = "rlkit-tensorflow/tf2"


def test_the_plugin_is_well():
    check_plugin("rlkit-tensorflow", fast=True)
