"""The ring for columns that end anywhere, as those of agents do.

Agents come and go, so the columns of their rollouts have different lengths, and there are more of them from time to
time. Here the steps of all columns stand one after the other in one long column, without any room for what is no
experience. Within a rollout the next step of an agent is the next place; where its column goes on in a later rollout,
the two places are linked when that one is added. Until then, what it goes on with is kept as a final observation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from attrs import evolve, frozen
from torch import Tensor

from rlkit_core.columns import Columns
from rlkit_core.data.nested import Nested, cat, flatten_time, index_rows, join, leaves, map_leaves
from rlkit_core.data.rollout import Rollout
from rlkit_core.errors import ConfigError
from rlkit_offpolicy.replay.ring import Added, ReplayStorage
from rlkit_offpolicy.replay.rows import Array, as_array, ring_slices

OVER, UNKNOWN = -1, -2
"""Of a column: what comes next begins an episode; nobody knows what it does."""


@frozen(eq=False)
class InLine:
    """The columns of a rollout, one after the other.

    Attributes:
        rollout: ``[sum of lengths, 1]``; every column's last step has terminated or has its final observation.
        columns: ``[C]`` int64, the columns that hold steps.
        first, last: ``[C]`` int64, rows of their first and last steps.
        goes_on: ``[C]`` bool, the episode of the last step is not over.
        state_rows: rows whose states before them are in ``rollout.state_in``.
    """

    rollout: Rollout
    columns: Array
    first: Array
    last: Array
    goes_on: Array
    state_rows: Array

    @classmethod
    def of(cls, rollout: Rollout) -> InLine:
        """Bring a rollout of agents' columns in line.

        Raises:
            ConfigError: it does not say which columns are cut, or its masked rows are not behind the others.
        """
        lengths = rollout.column_lengths.cpu()
        steps, envs = rollout.num_steps, rollout.num_envs
        time = torch.arange(steps)
        real = time.unsqueeze(-1) < lengths
        if rollout.cut is None or (rollout.loss_mask is not None and not torch.equal(rollout.loss_mask.cpu(), real)):
            raise ConfigError(
                "this replay buffer holds rollouts of agents (its first one had Rollout.cut), and got one without it, "
                "or with masked rows before rows of experience; keep rollouts of envs in a buffer of their own"
            )
        columns = lengths.nonzero().squeeze(-1)
        lengths = lengths[columns]
        last = lengths.cumsum(0) - 1
        first = last - lengths + 1
        n, t = real.t().nonzero(as_tuple=True)
        rows = t * envs + n
        held = {
            name: map_leaves(lambda x: x.unsqueeze(1), index_rows(flatten_time(c), rows))
            for name, c in rollout.columns.items()
        }
        over = (held[Columns.TERMINATEDS] | held[Columns.TRUNCATEDS])[last, 0]
        goes_on = ~over | rollout.cut.cpu()[columns]
        lined = evolve(
            rollout,
            columns=held,
            loss_mask=None,
            cut=None,
            bootstrap_obs=map_leaves(lambda x: x[:1], rollout.bootstrap_obs),
            bootstrap_inputs=map_leaves(lambda x: x[:1], rollout.bootstrap_inputs),
            **_finals(rollout, rows, columns[~over], last[~over]),
        )
        held[Columns.TRUNCATEDS][last[~over]] = True
        state_rows = np.empty(0, np.int64)
        if rollout.state_in is not None:
            lined.state_in, state_rows = _states(rollout, columns, first, lengths)
        return cls(lined, columns.numpy(), first.numpy(), last.numpy(), goes_on.numpy(), state_rows)


def _finals(rollout: Rollout, rows: Tensor, columns: Tensor, ends: Tensor) -> dict[str, Any]:
    """Final observations of the steps in line: those of the rollout, and ``bootstrap_obs`` of columns that are full."""
    place = torch.full((rollout.num_steps * rollout.num_envs,), -1)
    place[rows] = torch.arange(len(rows))
    after, finals = rollout.bootstrap_columns, rollout.final_columns
    index = ends if rollout.final_index is None else torch.cat((place[rollout.final_index.cpu()], ends))
    if not len(index):
        return {"final_obs": None, "final_index": None, "final_inputs": {}}
    index, order = index.sort()
    if len(index) and index[0] < 0:
        raise ConfigError("a rollout has a final observation of a masked step; every one belongs to a step that counts")
    made = {}
    for name, column in after.items():
        parts = [index_rows(column, columns)]
        made[name] = index_rows(join([finals[name], *parts], 0) if finals else cat(parts), order)
    return {"final_obs": made.pop(Columns.OBS), "final_index": index, "final_inputs": made}


def _states(rollout: Rollout, columns: Tensor, first: Tensor, lengths: Tensor) -> tuple[Nested, Array]:
    """The states ``[S, 1, ...]`` before every ``seq_len``-th step of the columns, and the rows of these steps."""
    every = rollout.seq_len or rollout.num_steps
    grid = torch.arange(-(-rollout.num_steps // every)).unsqueeze(-1) * every
    kept = (grid < lengths).t()
    c, g = kept.nonzero(as_tuple=True)
    states = map_leaves(lambda x: x[g, columns[c]].unsqueeze(1), rollout.state_in)
    return states, (first[c] + g * every).numpy()


class LinkedStorage(ReplayStorage):
    """A ring of one column that holds all steps of agents; made for the first rollout that it is to hold.

    Where rollouts have another number of columns than before, no column is taken for one that was there.

    Attributes:
        following: ``[size]`` int64, place of the agent's next step.
    """

    flags = (*ReplayStorage.flags, "following")
    changing = frozenset({"goes_on", "successor", "following"})

    def __init__(
        self,
        num_envs: int,
        capacity_per_env: int,
        successive: dict[str, Nested],
        columns: dict[str, Nested],
        state: Nested | None,
    ) -> None:
        super().__init__(1, capacity_per_env, successive, columns, state)
        self.following = self._next_places(slice(0, self.size))
        self._state_rows_in_line = np.empty(0, np.int64)
        # Of each column of the rollouts: number of the step that its episode goes on from, or one of the two below.
        self._open = np.empty(0, np.int64)

    def window(self, places: Array, length: int) -> Array:
        """The places of steps and of those that follow them, as long as episodes go on, ``[B, length]``."""
        window = np.empty((len(places), length), np.int64)
        for k in range(length):
            window[:, k] = places
            places = self.following[places]
        return window

    def add(self, rollout: Rollout) -> Added:
        """Copy the columns of a rollout to the head of the ring, and link those that go on to what they went on from.

        Raises:
            ConfigError: see :meth:`InLine.of`; other shapes or dtypes, or more steps than the capacity. Nothing has
                been written then.
        """
        line, before = InLine.of(rollout), self.total
        if not len(line.columns):
            return Added(self.head, 0, None)
        self._state_rows_in_line = line.state_rows
        added = super().add(line.rollout)
        if rollout.fresh_start or len(self._open) != rollout.num_envs:
            self._open = np.full(rollout.num_envs, OVER if rollout.fresh_start else UNKNOWN, np.int64)
        firsts = (added.at + line.first) % self.size
        opened = self._open[line.columns]
        self.begins[firsts] = opened == OVER
        here = opened >= self.oldest_number
        self._link(opened[here] % self.size, firsts[here])
        self._open[line.columns] = np.where(line.goes_on, before + line.last, OVER)
        return added

    def _link(self, places: Array, firsts: Array) -> None:
        """Let steps lead to those that they went on with, where their observations say that it is so."""
        same = np.ones(len(places), np.bool_)
        for leaf in leaves(self.successive[Columns.OBS]):
            ahead, now = leaf.array[self.successor[places]], leaf.array[firsts]
            same &= (ahead == now).all(axis=tuple(range(1, now.ndim)))
        places, firsts = places[same], firsts[same]
        self.finals.give_back(self.successor[places] - self.size)
        self.successor[places] = self.following[places] = firsts
        self.goes_on[places] = True

    def _state_rows(self, rollout: Rollout) -> Array:
        return self._state_rows_in_line

    def _release(self, at: int, count: int) -> None:
        super()._release(at, count)
        for part in ring_slices(at, count, self.size):
            self.successor[part] = self.following[part] = self._next_places(part)

    def get_state(self, since: int = 0) -> dict[str, Any]:
        """As of :class:`ReplayStorage`, with the steps that episodes go on from."""
        return {**super().get_state(since), "open": torch.from_numpy(self._open.copy())}

    @classmethod
    def from_state(
        cls, state: dict[str, Any], capacity_per_env: int, sealed: Iterable[tuple[int, Any]] = ()
    ) -> LinkedStorage:
        """The ring that :meth:`get_state` described; see :meth:`ReplayStorage.from_state`."""
        self = super().from_state(state, capacity_per_env, sealed)
        self._open = as_array(torch.as_tensor(state["open"])).copy()
        return self
