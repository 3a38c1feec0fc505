"""PPO learns to read graphs, with the settings that come with the env.

10 is all there is. A random player makes 1.7, one that knows the rooms but not the doors 2.6, and one that sees which
rooms open doors lead to, but not from where, about 5 (``test_open_door.py`` plays all three). So 9.5 takes messages
along edges, of the right kind and in the right direction.
"""

from __future__ import annotations

import pytest
from learning import reaches


@pytest.mark.learn
@pytest.mark.timeout(3600)
def test_reads_which_door_is_open(tmp_path):
    reaches("ppo", "rlkit-graph/OpenDoor-v0", {40_000: 9.5}, folder=tmp_path)
