"""A driver that rewards what was really seen next, and an env in which that is known: RND without its networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch

from rlkit_core import ModuleAPI, RLModuleSpec, hookimpl
from rlkit_core.plugins.host import default_host

Array = np.ndarray[Any, Any]


class Counting(gym.Env[Array, np.int64]):
    """Observes ``100 * episode + step``; every other episode is truncated after 4 steps, the rest terminate after 3."""

    observation_space = gym.spaces.Box(0.0, 1e6, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self) -> None:
        self.episode = self.t = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return self._obs(), {}

    def step(self, action: object) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Take a step; the action does not matter."""
        self.t += 1
        odd = self.episode % 2 == 1
        return self._obs(), 0.5, odd and self.t >= 3, not odd and self.t >= 4, {}

    def _obs(self) -> Array:
        return np.array([100.0 * self.episode + self.t], np.float32)


class NextObservationAPI:
    """A module that is rewarded by :class:`NextObservationDriver`."""


class NextObservationDriver:
    """Rewards are the observations that came next, -1 where none did; ``seen`` has what it was shown."""

    seen: ClassVar[dict[str, list[dict[str, torch.Tensor]]]] = {"rollout": [], "batch": []}

    def on_rollout(self, *, rollout: Any, config: Any, module_id: str) -> None:
        """Replace the rewards."""
        after, ended = rollout.next_obs().squeeze(-1), rollout["terminateds"]
        rollout.columns["rewards"] = torch.where(ended, -1.0, after)
        keep = torch.ones_like(ended) if rollout.loss_mask is None else rollout.loss_mask
        columns = ("obs", "rewards", "terminateds", "truncateds")
        self.seen["rollout"].append({name: rollout[name][keep].clone() for name in columns})

    def before_update(self, *, batch: dict[str, torch.Tensor]) -> None:
        """Note what learning sees."""
        self.seen["batch"].append({name: batch[name].clone() for name in ("obs", "rewards")})


class Plugin:
    """Registers the two."""

    rlkit_api = "1.0"

    @hookimpl
    def rlkit_module_apis(self) -> list[ModuleAPI]:
        """The API."""
        return [ModuleAPI("next", NextObservationAPI, NextObservationDriver)]


@contextmanager
def rewarded_by_next_observations(config: Any) -> Iterator[tuple[Any, dict[str, list[dict[str, torch.Tensor]]]]]:
    """An algorithm of ``config``, whose module class gets the API, and what the driver has seen."""
    seen = NextObservationDriver.seen
    for shown in seen.values():
        shown.clear()
    with default_host().temporary(Plugin()):
        base = config.get_default_rl_module_spec().module_class
        spec = RLModuleSpec(module_class=type("Rewarded", (base, NextObservationAPI), {}))
        with config.copy().rl_module(rl_module_spec=spec).build_algo() as algo:
            yield algo, seen


def check(shown: dict[str, torch.Tensor]) -> None:
    """Rewards are true next observations, those of both kinds of ends and of no end among them."""
    obs, rewards, ended = shown["obs"].squeeze(-1), shown["rewards"], shown["terminateds"]
    assert torch.equal(rewards[~ended], obs[~ended] + 1)
    assert torch.equal(rewards[ended], torch.full_like(rewards[ended], -1.0))
    for kind in (ended, shown["truncateds"], ~(ended | shown["truncateds"])):
        assert kind.any()
