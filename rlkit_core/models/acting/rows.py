"""Acting through a whole rollout on numpy rows: a small network, then a draw from the distribution of its outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rlkit_core.columns import Columns
from rlkit_core.distributions.base import Distribution
from rlkit_core.models.acting.plan import SmallPlan

if TYPE_CHECKING:
    from typing import TypeGuard

Array = np.ndarray[Any, Any]


class DistributionRows:
    """A :data:`~rlkit_core.rl_module.forwards.RowPolicy` that draws from a distribution; see :meth:`of`.

    Attributes:
        columns: ``action_dist_inputs`` ``[T, N, D]`` float32, written step by step.
    """

    def __init__(
        self, run: Callable[[Array], Array], dist_cls: type[Distribution], inputs: Array, noise: Array | None
    ) -> None:
        self.columns = {Columns.ACTION_DIST_INPUTS: inputs}
        self._run, self._draw = run, dist_cls.draw_rows
        self._rows = list(inputs)
        self._noise: list[Any] = [None] * len(inputs) if noise is None else list(noise)

    @classmethod
    def of(
        cls,
        plan: SmallPlan,
        dist_cls: type[Distribution] | None,
        *,
        explore: bool,
        num_steps: int,
        num_envs: int,
        generator: torch.Generator,
    ) -> DistributionRows | None:
        """For T steps of N envs, or None where the distribution has no draws on rows.

        Args:
            plan: gives the inputs.
            dist_cls: the distribution's class.
            explore: draw, or take the mode.
            num_steps: T.
            num_envs: N.
            generator: draws all noise at once, as it would be drawn for the module's forward.
        """
        if not _draws_rows(dist_cls):
            return None
        width = plan.output_size
        noise = None
        if explore:
            drawn = dist_cls.noise((num_steps, num_envs), width, generator=generator)
            if drawn is None:
                return None
            noise = drawn.numpy()
        return cls(plan.runner(num_envs), dist_cls, np.empty((num_steps, num_envs, width), np.float32), noise)

    def __call__(self, t: int, obs: Array) -> Array:
        """Raw actions ``[N, ...]`` for row t."""
        inputs = self._run(obs)
        self._rows[t][...] = inputs
        actions: Array = self._draw(inputs, self._noise[t])
        return actions


def _draws_rows(dist_cls: object) -> TypeGuard[type[Distribution]]:
    """Whether a class has ``draw_rows``, and no subclass of the one that has it draws in another way."""
    for cls in dist_cls.__mro__ if isinstance(dist_cls, type) else ():
        if "draw_rows" in cls.__dict__:
            return cls is not Distribution
        if not _DRAWING.isdisjoint(cls.__dict__):
            return False
    return False


_DRAWING = {"from_logits", "draw", "sample", "to_deterministic", "noise", "fill_noise", "noise_dim", "mode_of"}
