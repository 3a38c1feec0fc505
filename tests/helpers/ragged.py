"""Rollouts as a runner gives those of agents: columns that end anywhere, made of such as end together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rlkit_core.data import Rollout
from rlkit_core.data.nested import Nested, map_leaves

GARBAGE = 1
"""What stands where there is no experience: what a module can read, and take for an action."""


def ragged(columns: Sequence[Rollout | None], like: Rollout | None = None) -> Rollout:
    """``[T, N]``, T that of the longest, from rollouts ``[T_n, 1]`` that end where they are full.

    Written step by step, apart from what the package has for the same.

    Args:
        columns: one for each slot; None: nobody acted in it.
        like: any of the rollouts, where all are None.
    """
    first = next((column for column in columns if column is not None), like)
    assert first is not None
    steps = max((column.num_steps for column in columns if column is not None), default=1)
    envs = len(columns)

    def empty(tensor: Tensor, lead: tuple[int, ...], axes: int) -> Tensor:
        value = True if tensor.dtype is torch.bool else GARBAGE
        return torch.full((*lead, *tensor.shape[axes:]), value, dtype=tensor.dtype)

    made: dict[str, Nested] = {
        name: map_leaves(lambda x: empty(x, (steps, envs), 2), column) for name, column in first.columns.items()
    }
    after = {name: map_leaves(lambda x: empty(x, (envs,), 1), x) for name, x in first.bootstrap_columns.items()}
    mask = torch.zeros(steps, envs, dtype=torch.bool)
    cut = torch.zeros(envs, dtype=torch.bool)
    finals: list[tuple[int, dict[str, Nested]]] = []
    more: dict[str, Any] = {}
    if first.state_in is not None:
        assert first.seq_len is not None
        rows = -(-steps // first.seq_len)
        more = {
            "state_in": map_leaves(lambda x: empty(x, (rows, envs), 2), first.state_in),
            "seq_len": first.seq_len,
            "episode_starts": torch.zeros(steps, envs, dtype=torch.bool),
        }
    for n, column in enumerate(columns):
        if column is None:
            continue
        own = column.num_steps
        mask[:own, n] = True
        for name, values in column.columns.items():
            map_leaves(lambda into, x, own=own, n=n: into[:own, n].copy_(x[:, 0]), made[name], values)
        if column.final_index is not None:
            for k, index in enumerate(column.final_index.tolist()):
                finals.append((index * envs + n, _row(column.final_columns, k)))
        if own == steps:
            map_leaves(lambda into, x, n=n: into[n].copy_(x[0]), after, column.bootstrap_columns)
        elif not (column["terminateds"][-1] | column["truncateds"][-1]).item():
            cut[n] = made["truncateds"][own - 1, n] = True
            finals.append(((own - 1) * envs + n, _row(column.bootstrap_columns, 0)))
        if column.state_in is not None:
            map_leaves(lambda into, x, n=n: into[: x.shape[0], n].copy_(x[:, 0]), more["state_in"], column.state_in)
            more["episode_starts"][:own, n] = column.episode_starts[:, 0]
    finals.sort(key=lambda entry: entry[0])
    rows = [row for _, row in finals]
    final = {name: map_leaves(lambda *x: torch.stack(x), *(row[name] for row in rows)) for name in after if rows}
    return Rollout(
        columns=made,
        bootstrap_obs=after.pop("obs"),
        bootstrap_inputs=after,
        final_obs=final.pop("obs") if finals else None,
        final_index=torch.tensor([index for index, _ in finals]) if finals else None,
        final_inputs=final if finals else {},
        loss_mask=None if mask.all() else mask,
        weights_version=first.weights_version,
        fresh_start=first.fresh_start,
        cut=cut,
        **more,
    )


def _row(columns: dict[str, Nested], k: int) -> dict[str, Nested]:
    return {name: map_leaves(lambda x: x[k], column) for name, column in columns.items()}
