"""Small envs to train in, for the kit's contracts."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from rlkit_core.envs.multi_agent.copies import CopiesEnv

LENGTH = 12


class KitEnv(gym.Env[Any, Any]):
    """Episodes of 12 steps, in which small actions pay; any action space.

    Args:
        action_space: a Discrete one of 3 unless given.
        masked: observations have an ``action_mask`` that forbids the first of Discrete actions; taking it is an error.
        render_mode: ``"rgb_array"`` or None.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}  # type: ignore[misc]

    def __init__(
        self, action_space: gym.Space[Any] | None = None, masked: bool = False, render_mode: str | None = None
    ) -> None:
        self.render_mode = render_mode
        self.action_space = action_space or gym.spaces.Discrete(3)
        self._masked, self._t = masked, 0
        plain: gym.Space[Any] = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.observation_space = plain
        if masked:
            assert isinstance(self.action_space, gym.spaces.Discrete)
            mask = gym.spaces.Box(0, 1, (int(self.action_space.n),), np.int8)
            self.observation_space = gym.spaces.Dict({"seen": plain, "action_mask": mask})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self._t = 0
        return self._look(), {}

    def step(self, action: object) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step; the action has to be in the space, and legal."""
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        if self._masked:
            assert action != self.action_space.start, "a masked action was taken"  # type: ignore[attr-defined]
        self._t += 1
        flat = np.asarray(gym.spaces.flatten(self.action_space, action), np.float64)
        return self._look(), -float(np.abs(flat).mean()), False, self._t == LENGTH, {}

    def render(self) -> Any:
        """A picture that grows lighter."""
        return None if self.render_mode is None else np.full((16, 16, 3), 20 * self._t, np.uint8)

    def _look(self) -> Any:
        seen = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        if not self._masked:
            return seen
        mask = np.ones(self.observation_space["action_mask"].shape, np.int8)  # type: ignore[index]
        mask[0] = 0
        return {"seen": seen, "action_mask": mask}


class KitAgents(CopiesEnv):
    """The same for agents 0, 1, ..., each with a copy of its own."""

    copied = (KitEnv,)
