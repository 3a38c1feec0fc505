"""An environment of any spaces, whose observations and rewards are random."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import gymnasium as gym


class RandomEnv(gym.Env[Any, Any]):
    """Random observations of a given space; takes any action of a given space.

    Args:
        config: ``observation_space`` (Box(-1, 1, (2,))), ``action_space`` (Discrete(2)), ``reward_space`` (Box(0, 1)),
            ``p_terminated`` (0.1), ``max_episode_len`` (None), ``check_action_bounds`` (False: whether an action
            outside the space raises ValueError).
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        config = dict(config or {})
        # Its own copies: envs made with one config would draw from one generator, each depending on the others.
        self.observation_space = deepcopy(config.get("observation_space", gym.spaces.Box(-1.0, 1.0, (2,))))
        self.action_space = config.get("action_space", gym.spaces.Discrete(2))
        self.reward_space = deepcopy(config.get("reward_space", gym.spaces.Box(0.0, 1.0, ())))
        self.p_terminated = float(config.get("p_terminated", 0.1))
        self.max_episode_len = config.get("max_episode_len")
        self.check_action_bounds = bool(config.get("check_action_bounds", False))
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; a seed fixes everything that follows."""
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
            self.reward_space.seed(seed)
        self._steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: object) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take an action; what comes back does not depend on it.

        Raises:
            ValueError: ``check_action_bounds`` is on and the action is not in the space.
        """
        if self.check_action_bounds and not self.action_space.contains(action):
            raise ValueError(f"RandomEnv: action {action!r} is not in {self.action_space}")
        self._steps += 1
        terminated = bool(self.np_random.random() < self.p_terminated)
        truncated = self.max_episode_len is not None and self._steps >= self.max_episode_len and not terminated
        return self.observation_space.sample(), float(self.reward_space.sample()), terminated, truncated, {}
