"""The public names, and that the core names no more than there are."""

from __future__ import annotations

import rlkit_offpolicy
from rlkit_core.plugins.known_packages import MOVED_NAMES


def test_what_left_the_core_is_here():
    moved = {name for name, package in MOVED_NAMES.items() if package == "rlkit-offpolicy"}
    assert moved <= set(rlkit_offpolicy.__all__)
    assert {"ReplayBuffer", "PrioritizedReplayBuffer", "n_step_returns"} <= moved
    assert all(hasattr(rlkit_offpolicy, name) for name in rlkit_offpolicy.__all__)
