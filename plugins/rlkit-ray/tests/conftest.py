"""Drivers as real programs; see the helper."""

from __future__ import annotations

import pytest
from driver_programs import Driver


@pytest.fixture
def driver(tmp_path):
    driver = Driver(tmp_path)
    yield driver
    driver.close()
