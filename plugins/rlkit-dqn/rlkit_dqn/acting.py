"""Acting by a small Q network through a whole rollout, on numpy rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from rlkit_core.models import SmallPlan

Array = np.ndarray[Any, Any]
RowPolicy = Callable[[int, Array], Array]


def greedy_rows(plan: SmallPlan) -> RowPolicy:
    """``(step, observations [N, D] float32) -> actions [N] int64``: those of the highest value."""
    plan.find_weights()
    run = plan.run
    return lambda t, obs: run(obs).argmax(-1)


def epsilon_greedy_rows(
    plan: SmallPlan, num_actions: int, epsilons: Sequence[float], num_envs: int, generator: Any
) -> RowPolicy:
    """The same, but with random actions in a share ``epsilons[t]`` of the rows of step t.

    All random numbers are drawn here: one uniform number for each step and env.

    Args:
        plan: the network.
        num_actions: A.
        epsilons: of each step.
        num_envs: N.
        generator: a ``torch.Generator``.
    """
    draws = torch.rand((len(epsilons), num_envs), generator=generator, dtype=torch.float64).numpy()
    shares = np.array(epsilons)[:, None]
    explores = draws < shares
    if not explores.any():
        return greedy_rows(plan)
    # Below epsilon a draw is uniform, too, and so decides which action it is.
    random = (draws * (num_actions / np.maximum(shares, 1e-12))).astype(np.int64)
    np.minimum(random, num_actions - 1, out=random)
    some, every = explores.any(1).tolist(), explores.all(1).tolist()
    plan.find_weights()
    run = plan.run

    def act(t: int, obs: Array) -> Array:
        if every[t]:
            return random[t]
        best = run(obs).argmax(-1)
        return np.where(explores[t], random[t], best) if some[t] else best

    return act
