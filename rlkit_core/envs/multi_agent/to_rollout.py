"""Columns as a rollout: what lies behind a column's last step is masked, a life that goes on is bootstrapped."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from rlkit_core.columns import Columns
from rlkit_core.data.nested import Nested, flatten_time, index_rows, map_leaves
from rlkit_core.data.rollout import Rollout
from rlkit_core.envs.multi_agent.actor import ModuleActor
from rlkit_core.envs.multi_agent.blocks import Array, Block
from rlkit_core.envs.multi_agent.columns import AgentColumns
from rlkit_core.envs.multi_agent.places import Final
from rlkit_core.envs.runner_base import clipped
from rlkit_core.envs.vector import stack_observations
from rlkit_core.models.base import PREV_ACTIONS, PREV_REWARDS
from rlkit_core.spaces import nested_map


def make_rollout(
    actor: ModuleActor, clip: bool | float | None, *, weights_version: int, fresh_start: bool
) -> Rollout | None:
    """The complete rows of a module's columns, ``[T, N, ...]`` with T that of the longest; None where there is none.

    Where all columns are equally long, the rollout lies in their memory: valid until the next one begins. Otherwise it
    is a copy, with a ``loss_mask``; the rows behind a column's last repeat it, and a life that goes on is marked as
    truncated there, with what followed as its final observation.

    Args:
        actor: whose columns they are.
        clip: how rewards are clipped, see ``clip_rewards`` of a config.
        weights_version: of the weights that acted.
        fresh_start: envs were reset before the first step.
    """
    columns = actor.columns
    if not columns.width:
        return None
    heads = columns.heads()
    lengths = heads // columns.width
    steps = int(lengths.max())
    if not steps:
        return None
    rows = _Rows(columns, heads, lengths, steps)
    finals = sorted([*columns.finals, *rows.cut_finals()], key=lambda final: final[:2])
    rewards, terminateds, truncateds = (
        rows.of(block) for block in (columns.rewards, columns.terminateds, columns.truncateds)
    )
    starts = rows.of(columns.starts)
    starts[0] = False
    if rows.mask is not None:
        rows.settle(rewards, terminateds, truncateds, starts)
    read = {name: rows.of(columns.outputs[name]) for name in columns.returned}
    actor.add_log_probabilities(read)
    seen = {name: (rows.of(block), rows.after(block)) for name, block in columns.seen()}
    spaces = {name: block.space for name, block in columns.seen()}
    last = {name: _stacked(spaces[name], finals, name) for name in seen if finals}
    obs, bootstrap_obs, final_obs = *seen.pop(Columns.OBS), last.pop(Columns.OBS, None)
    if actor.packer is not None:
        parts = [obs, bootstrap_obs, *([] if final_obs is None else [final_obs])]
        obs, bootstrap_obs, *rest = actor.packer.together(parts)
        final_obs = rest[0] if rest else None
    raw = {PREV_ACTIONS: read[Columns.ACTIONS], PREV_REWARDS: rewards}
    rollout = Rollout(
        columns={
            Columns.OBS: obs,
            **{name: shown for name, (shown, _) in seen.items()},
            **read,
            Columns.REWARDS: clipped(rewards, clip),
            Columns.TERMINATEDS: terminateds,
            Columns.TRUNCATEDS: truncateds,
        },
        bootstrap_obs=bootstrap_obs,
        bootstrap_inputs={name: after for name, (_, after) in seen.items()},
        final_obs=final_obs,
        final_inputs=last,
        loss_mask=rows.mask,
        weights_version=weights_version,
        fresh_start=fresh_start,
        cut=rows.cut_columns(),
    )
    if finals:
        rollout.final_index = torch.tensor([final.row * columns.width + final.slot for final in finals])
    memory = columns.memory
    if memory is not None:
        if memory.seq_len is not None:
            rollout.state_in, rollout.seq_len = memory.states(steps), memory.seq_len
            rollout.episode_starts = starts
        for name in memory.previous:
            rollout.bootstrap_inputs[name] = map_leaves(lambda x: x[-1].clone(), raw[name])
            if rollout.final_index is not None:
                rollout.final_inputs[name] = index_rows(flatten_time(raw[name]), rollout.final_index)
    return rollout


class _Rows:
    """Which rows of the columns are in a rollout.

    Args:
        columns: of the module.
        heads: ``[N]``, the place behind each column's last row.
        lengths: ``[N]``, how many rows are complete.
        steps: T.
    """

    def __init__(self, columns: AgentColumns, heads: Array, lengths: Array, steps: int) -> None:
        self._columns, self._lengths, self._steps = columns, lengths, steps
        self._slots = np.arange(columns.width)
        self._taken = np.array([seat is not None for seat in columns.seats])
        self._after = np.where(self._taken, heads, np.maximum(heads - columns.width, self._slots))
        self._places: Array | None = None
        self.mask: Tensor | None = None
        if (lengths != steps).any():
            row = np.arange(steps)[:, None]
            self._places = np.minimum(row, np.maximum(lengths - 1, 0)) * columns.width + self._slots
            self.mask = torch.from_numpy(row < lengths)

    def of(self, block: Block) -> Nested:
        """A block's rows, ``[T, N, ...]``."""
        return block.steps(self._steps) if self._places is None else block.chosen(self._places)

    def after(self, block: Block) -> Nested:
        """What follows each column's last row, ``[N, ...]``."""
        if self._places is None and self._taken.all():
            return block.row(self._steps)
        return block.gather(self._after)

    def _cut(self) -> Array:
        """Slots of the lives that go on and whose columns end before T."""
        last = (self._lengths - 1) * self._columns.width + self._slots
        ended = self._columns.terminateds.flat[last] | self._columns.truncateds.flat[last]
        return np.flatnonzero(self._taken & (self._lengths > 0) & (self._lengths < self._steps) & ~ended)

    def cut_columns(self) -> Tensor:
        """``[N]`` bool, the column's life is cut."""
        cut = np.zeros(self._columns.width, np.bool_)
        if self._places is not None:
            cut[self._cut()] = True
        return torch.from_numpy(cut)

    def cut_finals(self) -> list[Final]:
        """What followed where lives are cut."""
        if self._places is None:
            return []
        columns = self._columns

        def one(block: Block | None, slot: int) -> Any:
            return None if block is None else nested_map(lambda leaf: leaf[self._after[slot]], block.flat)

        return [
            Final(int(self._lengths[n]) - 1, int(n), one(columns.obs, n), one(columns.env_state, n))
            for n in self._cut()
        ]

    def settle(self, rewards: Tensor, terminateds: Tensor, truncateds: Tensor, starts: Tensor) -> None:
        """Make the masked rows of copies those of nobody, and mark where lives are cut."""
        assert self.mask is not None
        for column in (rewards, terminateds, truncateds, starts):
            column.masked_fill_(~self.mask, 0)
        cut = self._cut()
        truncateds[self._lengths[cut] - 1, cut] = True
        behind = np.flatnonzero((self._lengths > 0) & (self._lengths < self._steps))
        starts[self._lengths[behind], behind] = True  # no sequence runs over a column's end


def _stacked(space: gym.Space[Any], finals: list[Final], name: str) -> Any:
    return stack_observations(space, [final.obs if name == Columns.OBS else final.state for final in finals])
