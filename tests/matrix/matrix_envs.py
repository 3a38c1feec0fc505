"""The envs of the matrix: small observations of each kind, masks that are meant, agents that come and go."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rlkit_core.envs import MultiAgentEnv

ACTIONS = spaces.Discrete(3)
IMAGE, VECTOR = spaces.Box(0, 255, (12, 12, 1), np.uint8), spaces.Box(-1.0, 1.0, (4,), np.float32)
SEEN: dict[str, dict[str, spaces.Space[Any]]] = {
    "mlp": {"vector": VECTOR},
    "lstm": {"vector": VECTOR},
    "cnn": {"image": IMAGE},
    "composed": {"image": IMAGE, "vector": VECTOR},
}


class Eyes:
    """What an agent sees, and which of its actions are legal.

    Args:
        seen: a key of :data:`SEEN`.
        masked: show a mask of legal actions, and mean it.
    """

    def __init__(self, seen: str, masked: bool) -> None:
        self.parts, self.masked = SEEN[seen], masked
        parts = dict(self.parts, action_mask=spaces.Box(0, 1, (3,), np.int8)) if masked else self.parts
        alone = len(parts) == 1
        self.space: spaces.Space[Any] = next(iter(parts.values())) if alone else spaces.Dict(parts)
        self.mask = np.ones(3, np.int8)

    def look(self, rng: np.random.Generator) -> Any:
        """An observation."""
        seen: dict[str, Any] = {}
        for name, space in self.parts.items():
            if space is IMAGE:
                seen[name] = rng.integers(0, 256, IMAGE.shape, np.uint8)
            else:
                seen[name] = rng.uniform(-1.0, 1.0, VECTOR.shape).astype(np.float32)
        if self.masked:
            self.mask = np.ones(3, np.int8)
            self.mask[rng.choice(3, 2, replace=False)] = 0
            seen["action_mask"] = self.mask
        return next(iter(seen.values())) if len(seen) == 1 else seen

    def check(self, action: Any) -> None:
        """Refuse an illegal action."""
        if not self.mask[int(action)]:
            raise ValueError(f"action {action} is illegal: {self.mask}")


class Single(gym.Env[Any, Any]):
    """Random observations; the reward is the action; episodes of 3 to 6 steps that terminate or are cut."""

    action_space = ACTIONS

    def __init__(self, config: dict[str, Any]) -> None:
        self.eyes = Eyes(config["seen"], config["masked"])
        self.observation_space = self.eyes.space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t, self.limit = 0, int(self.np_random.integers(3, 7))
        return self.eyes.look(self.np_random), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.eyes.check(action)
        self.t += 1
        over = self.t == self.limit
        cut = over and self.limit % 2 == 0
        return self.eyes.look(self.np_random), float(action), over and not cut, cut, {}


class Several(MultiAgentEnv):
    """``a`` acts at every step, ``b`` at every other one; ``b`` leaves early now and then, by truncation."""

    possible_agents = ("a", "b")
    action_space = ACTIONS

    def __init__(self, config: dict[str, Any]) -> None:
        self.eyes = {agent: Eyes(config["seen"], config["masked"]) for agent in self.possible_agents}
        self.observation_space = self.eyes["a"].space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        super().reset(seed=seed)
        self.t, self.limit = 0, int(self.np_random.integers(3, 8))
        self.leaves = int(self.np_random.integers(2, 9))
        return {agent: eyes.look(self.np_random) for agent, eyes in self.eyes.items()}, {}

    def step(self, action_dict: Any) -> tuple[Any, Any, Any, Any, Any]:
        for agent, action in action_dict.items():
            self.eyes[agent].check(action)
        self.t += 1
        rewards = {agent: float(action) for agent, action in action_dict.items()}
        if self.t == self.limit:
            return {}, rewards, {"__all__": True}, {}, {}
        observations = {"a": self.eyes["a"].look(self.np_random)}
        truncateds = {}
        if self.t == self.leaves:
            truncateds["b"] = True
        if self.t == self.leaves or (self.t % 2 == 0 and self.t < self.leaves):
            observations["b"] = self.eyes["b"].look(self.np_random)
        return observations, rewards, {}, truncateds, {}
