"""Uniform random actions before learning starts, so that the first batches have seen all of the action space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import Space, spaces

from rlkit_core import Columns, TorchRLModule
from rlkit_core.data.nested import Nested, first_leaf
from rlkit_core.errors import ConfigError
from rlkit_core.rl_module.forwards import RowPolicy
from rlkit_core.spaces import map_space

#: Key of ``model_config``: lifetime env steps up to which a :class:`RandomWarmup` module acts at random.
RANDOM_STEPS = "random_steps"


def random_actions(space: Space[Any], lead: Sequence[int], *, normalize: bool = True) -> Nested:
    """Uniform raw actions, as the core's distributions sample and rollouts store them.

    Args:
        space: Discrete, MultiDiscrete, MultiBinary, a bounded Box, or a Dict or Tuple of such.
        lead: leading axes.
        normalize: actions of a Box are in [-1, 1] (``normalize_actions``), not in its units.

    Returns:
        ``[*lead, ...]`` float32 of a Box, int64 of Discrete and MultiDiscrete, int8 of MultiBinary; drawn from torch's
        generator.

    Raises:
        ConfigError: another space, or a Box without bounds.
    """

    def draw(leaf: Space[Any]) -> torch.Tensor:
        if isinstance(leaf, spaces.Discrete):
            return torch.randint(int(leaf.n), tuple(lead))
        if isinstance(leaf, spaces.MultiDiscrete):
            counts = torch.as_tensor(leaf.nvec.reshape(-1).astype(np.float64))
            return (torch.rand(*lead, len(counts), dtype=torch.float64) * counts).long()
        if isinstance(leaf, spaces.MultiBinary):
            return torch.randint(2, (*lead, int(np.prod(leaf.shape))), dtype=torch.int8)
        if isinstance(leaf, spaces.Box) and bool(np.isfinite((leaf.low, leaf.high)).all()):
            low, high = (torch.as_tensor(end.reshape(-1).astype(np.float32)) for end in (leaf.low, leaf.high))
            if normalize:
                low, high = torch.full_like(low, -1.0), torch.full_like(high, 1.0)
            return low + (high - low) * torch.rand(*lead, len(low))
        raise ConfigError(
            f"training(warmup='random'): no uniform actions in {leaf}; expected a bounded Box, Discrete, "
            "MultiDiscrete or MultiBinary, or a Dict or Tuple of such; use warmup='explore', or bound the Box "
            "(gymnasium.wrappers.RescaleAction, ClipAction)"
        )

    return map_space(draw, space)


class RandomWarmup(TorchRLModule):
    """A base of modules that act uniformly at random for the first ``model_config["random_steps"]`` env steps.

    Put it before other bases: ``class ToyModule(RandomWarmup, TargetNetworkAPI)``. ``training(warmup="random")`` sets
    the number; without it the module explores as it always does. Steps are counted over all runners and over the run's
    life, so a resumed run does not begin anew. While it acts at random, whatever else its forward returns is kept:
    ``action_logp`` of such a row is that of its own distribution.
    """

    def acts_at_random(self, t: object) -> bool:
        """Whether it does, after ``t`` lifetime env steps; None: no."""
        return isinstance(t, int) and t < self.model_config.get(RANDOM_STEPS, 0)

    def forward_takes(self, phase: str, name: str) -> bool:
        """As of every module, and exploration takes ``t``."""
        return (phase, name) == ("exploration", "t") or super().forward_takes(phase, name)

    def forward_exploration(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Forward for collecting data; see the class.

        Args:
            batch: as of every module.
            **kwargs: ``t``, lifetime env steps; what ``_forward_exploration`` takes is passed on.

        Raises:
            ConfigError: no uniform actions in the action space; see :func:`random_actions`.
        """
        out = super().forward_exploration(batch, **kwargs)
        if not self.acts_at_random(kwargs.get("t")):
            return out
        assert self.action_space is not None
        lead = first_leaf(batch[Columns.OBS]).shape[: 2 if self.is_stateful() else 1]
        normalize = bool(self.model_config.get("normalize_actions", True))
        return {**out, Columns.ACTIONS: random_actions(self.action_space, lead, normalize=normalize)}

    def row_policy(
        self, *, explore: bool, timesteps: Sequence[int], num_envs: int, generator: torch.Generator
    ) -> RowPolicy | None:
        """As of every module, but None while it acts at random."""
        if explore and self.acts_at_random(timesteps[0]):
            return None
        return super().row_policy(explore=explore, timesteps=timesteps, num_envs=num_envs, generator=generator)
