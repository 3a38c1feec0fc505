"""IMPALA with runners in processes, while envs fail and runners are killed."""

from __future__ import annotations

import pytest
from faulty_training import asynchronous, reach_level, train_under_fire, with_faults

from rlkit_impala import IMPALAConfig


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_steps_add_up():
    train_under_fire(with_faults(asynchronous(IMPALAConfig()), chance=1 / 150), iterations=8, kill_every=4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_level_is_reached():
    reach_level(IMPALAConfig(), level=450.0, within=1_000_000, kill_every=8)
