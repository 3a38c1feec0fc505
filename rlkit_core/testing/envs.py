"""Test environments under gymnasium ids: importing this module registers them.

An id may name the module, as in ``rlkit train ppo rlkit_core.testing.envs:StatelessCartPole-v1``.
"""

from __future__ import annotations

import gymnasium as gym

from rlkit_core.testing.stateless_cartpole import StatelessCartPole

__all__ = ["StatelessCartPole"]

if "StatelessCartPole-v1" not in gym.registry:
    gym.register("StatelessCartPole-v1", entry_point="rlkit_core.testing.stateless_cartpole:StatelessCartPole")
