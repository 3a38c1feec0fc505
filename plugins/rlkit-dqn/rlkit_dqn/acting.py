"""Acting by a small Q network through a whole rollout, on numpy rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rlkit_core.models import SmallPlan

Array = np.ndarray[Any, Any]
RowPolicy = Callable[[int, Array], Array]
#: Exploration without noisy networks, where ``epsilon`` is not given.
EPSILON: list[list[float]] = [[0, 1.0], [10_000, 0.05]]


def greedy_rows(plan: SmallPlan, num_envs: int) -> RowPolicy:
    """``(step, observations [N, D] float32) -> actions [N] int64``: those of the highest value."""
    run = plan.runner(num_envs)
    return lambda t, obs: run(obs).argmax(-1)


def epsilon_greedy_rows(
    plan: SmallPlan, num_actions: int, epsilons: Sequence[float], num_envs: int, draws: Sequence[Sequence[float]]
) -> RowPolicy:
    """The same, but with random actions in a share ``epsilons[t]`` of the rows of step t.

    Args:
        plan: the network.
        num_actions: A.
        epsilons: of each step.
        num_envs: N.
        draws: a number for each step and env, uniform in [0, 1).
    """
    best = greedy_rows(plan, num_envs)

    def act(t: int, obs: Array) -> Array:
        row, epsilon = draws[t], epsilons[t]
        if min(row) >= epsilon:
            return best(t, obs)
        # Below epsilon a draw is uniform, too, and so decides which action it is.
        index = [min(int(u / epsilon * num_actions), num_actions - 1) for u in row]
        if max(row) >= epsilon:
            greedy = best(t, obs).tolist()
            index = [i if u < epsilon else g for i, u, g in zip(index, row, greedy, strict=True)]
        return np.array(index)

    return act
