"""The ring that a replay buffer keeps rollouts in.

All envs of a rollout step together, so one write head serves them all: time row ``i`` of env ``n`` is at place
``(i % rows) * N + n``, and what follows a place is N further on. One time row more than the capacity is kept: at the
head stands the observation after the last step. An observation is thus stored once, and the successor of a step is
the next time row, but for two cases, whose observations are kept in slots behind the ring: episodes that were truncated
and reset in the same step, and episodes that a reset of the envs cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from rlkit_core.columns import Columns
from rlkit_core.data.nested import Nested, leaves
from rlkit_core.data.rollout import Rollout
from rlkit_core.errors import ConfigError
from rlkit_core.spaces import nested_map
from rlkit_offpolicy.replay.rows import Array, RowStore, SeenArrays, SlotPool, as_array, put_ring, ring_slices, run_of

_GIVEN = (Columns.TERMINATEDS, Columns.TRUNCATEDS, Columns.REWARDS)
FLAGS = ("rewards", "terminateds", "goes_on", "valid", "begins", "successor", "state_slot")
StorageT = TypeVar("StorageT", bound="ReplayStorage")
Writes = list[tuple[RowStore, int, Array]]
"""What is to be written: where, from which place on, which rows."""


@frozen
class Added:
    """Where an :meth:`ReplayStorage.add` wrote.

    Attributes:
        at: first place.
        count: places written; the N after them are the new head.
        valid: ``[count]`` bool, places that hold experience; None: all.
    """

    at: int
    count: int
    valid: Array | None


class ReplayStorage:
    """Rollouts of N envs in a ring of ``capacity_per_env`` steps; made for the first rollout that it is to hold.

    Attributes:
        size: places of the ring, ``(capacity_per_env + 1) * N``.
        total: time rows ever added.
        stored: time rows that can be read.
        successive: columns that have a successor (``obs``, and what else the module reads): name to nested
            :class:`RowStore` of ``size`` rows and slots behind them.
        columns: name to nested :class:`RowStore` of ``size`` rows.
        states: nested :class:`RowStore` of recurrent states in slots of their own; None without.
        rewards, terminateds: ``[size]``.
        goes_on: ``[size]`` bool: the next time row belongs to the same episode and is there.
        valid: ``[size]`` bool, False for reset rows, which are no experience.
        begins: ``[size]`` bool, the row is an episode's first.
        successor: ``[size]`` int64, row of the successive columns that holds what came after a step.
        state_slot: ``[size]`` int64, slot of the state before a step, -1: not kept.
        flags: names of the arrays that a state has of all rows.
        changing: those that may change of any row, not of the newest alone.
    """

    flags: ClassVar[tuple[str, ...]] = FLAGS
    changing: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        num_envs: int,
        capacity_per_env: int,
        successive: dict[str, Nested],
        columns: dict[str, Nested],
        state: Nested | None,
    ) -> None:
        # The columns and the state are examples, with one leading axis, of what is to be held.
        self.num_envs, self.capacity_per_env = num_envs, capacity_per_env
        self.size = (capacity_per_env + 1) * num_envs
        self.total = self.stored = self.num_masked = 0
        self.finals = SlotPool(max(16, num_envs, self.size // 16))
        room = self.size + self.finals.capacity
        self.successive = {name: RowStore.like(name, room, x, 1) for name, x in successive.items()}
        self.columns = {name: RowStore.like(name, self.size, x, 1) for name, x in columns.items()}
        self.state_slots = SlotPool(num_envs)
        self.states: Nested | None = None
        if state is not None:
            self.states = RowStore.like(Columns.STATE_IN, self.state_slots.capacity, state, 1)
        self.rewards = np.zeros(self.size, np.float32)
        self.terminateds = np.zeros(self.size, np.bool_)
        self.goes_on = np.zeros(self.size, np.bool_)
        self.valid = np.ones(self.size, np.bool_)
        self.begins = np.zeros(self.size, np.bool_)
        self.successor = self._next_places(slice(0, self.size))
        self.state_slot = np.full(self.size, -1, np.int64)
        self._seen = SeenArrays()
        # Of the last time row: would its episode go on, and does a new one begin after it?
        self._tail_goes_on = np.zeros(num_envs, np.bool_)
        self._tail_over = np.zeros(num_envs, np.bool_)

    @classmethod
    def for_rollout(cls: type[StorageT], rollout: Rollout, capacity_per_env: int, columns: Sequence[str]) -> StorageT:
        """An empty ring for rollouts like this one, with these columns beside observations and rewards."""
        return cls(
            rollout.num_envs,
            capacity_per_env,
            rollout.bootstrap_columns,
            {name: nested_map(lambda x: x[0], rollout[name]) for name in columns},
            None if rollout.state_in is None else nested_map(lambda x: x[0], rollout.state_in),
        )

    @property
    def head(self) -> int:
        """Place of the next time row to be written; the observation after the last step stands there."""
        return self.total * self.num_envs % self.size

    @property
    def num_valid(self) -> int:
        """Steps of experience that can be read."""
        return self.stored * self.num_envs - self.num_masked

    @property
    def oldest_number(self) -> int:
        """Number of the oldest row that can be read; see :meth:`number_of`."""
        return self.oldest * self.num_envs

    def number_of(self, places: Array, total: int) -> Array:
        """The numbers ``step * N + n`` of places that could be read after ``total`` time rows, since the first."""
        newest = total * self.num_envs - 1
        numbers: Array = newest - (newest - places) % self.size
        return numbers

    def window(self, places: Array, length: int) -> Array:
        """The places of steps and of those that follow them, as long as episodes go on, ``[B, length]``."""
        window: Array = places[:, None] + np.arange(length, dtype=np.int64) * self.num_envs
        window %= self.size
        return window

    # -- adding ---------------------------------------------------------------------------------------------------

    def add(self, rollout: Rollout) -> Added:
        """Copy a rollout to the head of the ring; the oldest time rows make room.

        Raises:
            ConfigError: another number of envs, other shapes or dtypes, more steps than the capacity, or a truncated
                step without its final observation. Nothing has been written then.
        """
        terminateds, truncateds, rewards = (self._seen.of(name, rollout.columns[name]) for name in _GIVEN)
        steps, envs = terminateds.shape
        count, at, size = steps * envs, self.head, self.size
        valid = None if rollout.loss_mask is None else as_array(rollout.loss_mask)
        self._check(rollout, terminateds, truncateds)
        writes: Writes = []
        after = (at + count) % size
        for name, store in self.columns.items():
            _collect(writes, store, at, rollout[name], 2)
        follows, final_columns = rollout.bootstrap_columns, rollout.final_columns
        finals: Writes = []
        states: Writes = []
        for name, store in self.successive.items():
            _collect(writes, store, at, rollout[name], 2)
            _collect(writes, store, after, follows[name], 1)
            if rollout.final_index is not None:
                _collect(finals, store, 0, final_columns[name], 1)
        if self.states is not None:
            _collect(states, self.states, 0, rollout.state_in, 2)

        breaks, begins = self._breaks(rollout.fresh_start, writes)
        if breaks is not None:
            self._cut_off(breaks)
        self._join(breaks, valid)
        self._release(at + envs, count)
        self._put_flags(at, terminateds, truncateds, valid, begins)
        put_ring(self.rewards, at, rewards.reshape(-1), size)
        for leaf, place, rows in writes:
            put_ring(leaf.array, place, rows, size)
        if rollout.final_index is not None:
            slots = self._final_slots((as_array(rollout.final_index) + at) % size)
            for leaf, _, rows in finals:
                leaf.array[slots] = rows
        if self.states is not None:
            slots = self._state_slots((at + self._state_rows(rollout)) % size)
            for leaf, _, rows in states:
                leaf.array[slots] = rows
        self.total += steps
        self.stored = min(self.stored + steps, self.capacity_per_env)
        return Added(at, count, None if valid is None else valid.reshape(-1))

    def _join(self, breaks: Array | None, valid: Array | None) -> None:
        """Let the last time row lead to the one that is about to be written."""
        if self.total:
            continues = self._tail_goes_on if breaks is None else self._tail_goes_on & ~breaks
            if valid is not None:
                continues = continues & valid[0]
            last = (self.head - self.num_envs) % self.size
            self.goes_on[last : last + self.num_envs] = continues

    def _put_flags(
        self, at: int, terminateds: Array, truncateds: Array, valid: Array | None, first_begins: Array
    ) -> None:
        steps, envs = terminateds.shape
        dones = terminateds | truncateds
        goes_on = ~dones
        if valid is None and at + (steps + 1) * envs <= self.size:
            head = at + steps * envs
            self.begins[at : at + envs] = first_begins
            self.begins[at + envs : head] = dones[:-1].reshape(-1)
            self.begins[head : head + envs] = False
            self.goes_on[at : head - envs] = goes_on[:-1].reshape(-1)
            self.goes_on[head - envs : head] = False
            self.terminateds[at:head] = terminateds.reshape(-1)
            self._tail_over, self._tail_goes_on = dones[-1], goes_on[-1]
            return
        begins = np.concatenate((first_begins[None], dones))
        if valid is not None:
            # Behind an episode's end comes the next one, or a masked row with what was seen last, and then the next.
            goes_on &= valid
            goes_on[:-1] &= valid[1:]
            begins[:-1] &= valid
            begins[1:] |= ~valid
        self._tail_over = begins[-1].copy()
        begins[-1] = False
        self._tail_goes_on = goes_on[-1].copy()
        goes_on[-1] = False
        put_ring(self.begins, at, begins.reshape(-1), self.size)
        put_ring(self.goes_on, at, goes_on.reshape(-1), self.size)
        put_ring(self.terminateds, at, terminateds.reshape(-1), self.size)
        if valid is not None:
            put_ring(self.valid, at, valid.reshape(-1), self.size)
            self.num_masked += valid.size - int(np.count_nonzero(valid))

    def _check(self, rollout: Rollout, terminateds: Array, truncateds: Array) -> None:
        steps, envs = terminateds.shape
        if envs != self.num_envs:
            raise ConfigError(
                f"this buffer holds the steps of {self.num_envs} envs, and got a rollout of {envs}; add rollouts of "
                "one number of envs (Rollout.concat joins those of several runners), or make another buffer"
            )
        if steps > self.capacity_per_env:
            raise ConfigError(
                f"a rollout of {steps} steps in each env does not fit a buffer of {self.capacity_per_env}; raise "
                f"capacity to {steps * envs} or more, or sample shorter rollouts"
            )
        if (self.states is None) != (rollout.state_in is None):
            raise ConfigError(
                "a buffer holds rollouts with recurrent states or without; the first one "
                f"{'had none' if self.states is None else 'had them'}, this one differs"
            )
        if rollout.loss_mask is None and np.count_nonzero(truncateds):
            cut = int(np.count_nonzero(truncateds & ~terminateds))
            finals = 0 if rollout.final_index is None else int(rollout.final_index.shape[0])
            if finals != cut:
                raise ConfigError(
                    f"{cut} steps were truncated, but {finals} final observations are there: the successors of the "
                    "others are unknown; give Rollout(final_obs=..., final_index=...), or a loss_mask if the "
                    "row after an episode's end holds the final observation"
                )

    def _breaks(self, fresh_start: bool, writes: Writes) -> tuple[Array | None, Array]:
        """Which envs' rollouts do not continue the last one (None: all do), and which begin an episode, ``[N]`` bool.

        An env that does not continue may be anywhere in an episode, unless its rollout says that envs were reset. Of
        several runners' joined rollouts that may be said of one only; then envs that do seem to go on are
        cut to be safe, but not taken for a beginning.
        """
        if not self.total:
            return None, np.full(self.num_envs, fresh_start)
        at, envs = self.head, self.num_envs
        differs: Array | None = None
        for leaf, place, rows in writes:
            if place != at or leaf.name != Columns.OBS:
                continue
            before, now = leaf.array[at : at + envs], rows[:envs]
            if before.tobytes() != now.tobytes():
                other = (before != now).reshape(envs, -1).any(axis=1)
                differs = other if differs is None else differs | other
        if fresh_start:
            begins = self._tail_over if differs is None else self._tail_over | differs
            return np.ones(envs, np.bool_), begins
        return differs, self._tail_over if differs is None else self._tail_over & ~differs

    def _cut_off(self, breaks: Array) -> None:
        """Keep the observations at the head that end episodes which nobody continues."""
        at = self.head
        last = (at - self.num_envs) % self.size + np.flatnonzero(breaks)
        last = last[(self.successor[last] < self.size) & self.valid[last] & ~self.terminateds[last]]
        if len(last):
            ahead = self.successor[last]
            slots = self._final_slots(last)
            for store in self.successive.values():
                for leaf in leaves(store):
                    leaf.array[slots] = leaf.array[ahead]

    def _final_slots(self, places: Array) -> Array:
        """Let the successors of places be in slots; the rows of these."""
        if self.finals.room_for(len(places)):
            for store in self.successive.values():
                for leaf in leaves(store):
                    leaf.grow(self.size + self.finals.capacity)
        rows = self.finals.take(len(places)) + self.size
        self.successor[places] = rows
        return rows

    def _state_rows(self, rollout: Rollout) -> Array:
        """Rows ``t * N + n`` of a rollout whose states before them are kept: every ``seq_len``-th time row."""
        envs, steps = self.num_envs, rollout.num_steps
        times = np.arange(0, steps, rollout.seq_len or steps, dtype=np.int64)
        rows: Array = (times[:, None] * envs + np.arange(envs)).reshape(-1)
        return rows

    def _state_slots(self, places: Array) -> Array:
        """Slots for the states before steps."""
        if self.state_slots.room_for(len(places)):
            for leaf in leaves(self.states):
                leaf.grow(self.state_slots.capacity)
        slots = self.state_slots.take(len(places))
        self.state_slot[places] = slots
        return slots

    def _release(self, at: int, count: int) -> None:
        """Free what belongs to places that are about to be overwritten."""
        if self.stored * self.num_envs + count + self.num_envs <= self.size:
            return
        for part in ring_slices(at, count, self.size):
            if self.finals.used:
                successors = self.successor[part]
                held = successors >= self.size
                if held.any():
                    self.finals.give_back(successors[held] - self.size)
                    self.successor[part] = self._next_places(part)
            if self.state_slots.used:
                slots = self.state_slot[part]
                self.state_slots.give_back(slots[slots >= 0])
                self.state_slot[part] = -1
            if self.num_masked:
                self.num_masked -= int(np.count_nonzero(~self.valid[part]))
                self.valid[part] = True

    def _next_places(self, part: slice) -> Array:
        places: Array = (np.arange(part.start, part.stop, dtype=np.int64) + self.num_envs) % self.size
        return places

    # -- state ----------------------------------------------------------------------------------------------------

    @property
    def oldest(self) -> int:
        """Number of the first time row that can be read."""
        return self.total - self.stored

    def get_state(self, since: int = 0) -> dict[str, Any]:
        """All that is held from time row ``since`` on, and what any row may still change; copies."""
        first = max(since, self.oldest)
        head = torch.from_numpy(self._places(self.total, self.total + 1))
        return {
            "num_envs": self.num_envs,
            "capacity_per_env": self.capacity_per_env,
            "total": self.total,
            "stored": self.stored,
            "first": first,
            "rows": self.get_rows(first, self.total),
            "changing": self._get_changing(),
            "head": nested_map(lambda leaf: leaf.tensor[head], self.successive),
            "tail": torch.from_numpy(np.stack((self._tail_goes_on, self._tail_over))),
            "finals": self.finals.get_state(),
            "state_slots": self.state_slots.get_state(),
        }

    def get_rows(self, first: int, last: int, *, shared: bool = False) -> dict[str, Any]:
        """Copies of what time rows hold that can be read, but for what may still change.

        Args:
            first, last: numbers of the first of them, and after the last one; all but the newest of all stay so.
            shared: large columns may be views of the ring, for somebody who is done with them before it changes.
        """
        at = self._places(first, last)
        kept = torch.from_numpy(self.state_slot[at][self.state_slot[at] >= 0])
        rows = run_of(at) if shared else torch.from_numpy(at)
        return {
            "successive": nested_map(lambda leaf: leaf.tensor[rows], self.successive),
            "columns": nested_map(lambda leaf: leaf.tensor[rows], self.columns),
            "flags": {name: torch.from_numpy(getattr(self, name)[at]) for name in self._lasting},
            "states": None if self.states is None else nested_map(lambda leaf: leaf.tensor[kept], self.states),
            "finals": self._get_finals(at) if "successor" in self._lasting else None,
        }

    def _get_finals(self, at: Array) -> Nested:
        """Final observations of the steps at these places."""
        held = self.successor[at]
        rows = torch.from_numpy(held[held >= self.size])
        return nested_map(lambda leaf: leaf.tensor[rows], self.successive)

    def _get_changing(self) -> dict[str, Any]:
        """Flags that rows may still change, and final observations where these are of those flags."""
        at = self._places(self.oldest, self.total)
        flags = {name: torch.from_numpy(getattr(self, name)[at]) for name in self.flags if name not in self._lasting}
        return {"flags": flags, "finals": self._get_finals(at) if "successor" in flags else None}

    @property
    def _lasting(self) -> tuple[str, ...]:
        """Flags that nothing changes once there is another time row."""
        return tuple(name for name in self.flags if name not in self.changing)

    def _places(self, first: int, last: int) -> Array:
        places: Array = np.arange(first * self.num_envs, last * self.num_envs, dtype=np.int64) % self.size
        return places

    @classmethod
    def from_state(
        cls: type[StorageT], state: dict[str, Any], capacity_per_env: int, sealed: Iterable[tuple[int, Any]] = ()
    ) -> StorageT:
        """The ring that :meth:`get_state` described, with ``(number of the first time row, rows)`` that it lacks.

        Raises:
            ConfigError: it had another capacity.
        """
        if int(state["capacity_per_env"]) != capacity_per_env:
            raise ConfigError(
                f"the state is of a replay buffer of {state['capacity_per_env']} steps for each of "
                f"{state['num_envs']} envs, and this one has room for {capacity_per_env}; use the same capacity"
            )
        rows = state["rows"]
        self = cls(int(state["num_envs"]), capacity_per_env, rows["successive"], rows["columns"], rows["states"])
        self.total, self.stored = int(state["total"]), int(state["stored"])
        self.finals.set_state(state["finals"])
        self.state_slots.set_state(state["state_slots"])
        for store in self.successive.values():
            for leaf in leaves(store):
                leaf.grow(self.size + self.finals.capacity)
        for leaf in leaves(self.states) if self.states is not None else ():
            leaf.grow(self.state_slots.capacity)
        for first, part in (*sealed, (int(state["first"]), rows)):
            self._put_rows(first, part)
        at = self._places(self.oldest, self.total)
        for name, flags in state["changing"]["flags"].items():
            getattr(self, name)[at] = as_array(torch.as_tensor(flags))
        if state["changing"]["finals"] is not None:
            self._put_finals(at, state["changing"]["finals"], 0)
        head = torch.from_numpy(self._places(self.total, self.total + 1))

        def put_head(leaf: RowStore, rows: Tensor) -> None:
            leaf.tensor[head] = rows

        nested_map(put_head, self.successive, state["head"])
        self._tail_goes_on, self._tail_over = (row.copy() for row in as_array(torch.as_tensor(state["tail"])))
        self.num_masked = int(np.count_nonzero(~self.valid))
        return self

    def _put_rows(self, first: int, rows: dict[str, Any]) -> None:
        """Have what :meth:`get_rows` gave, but for time rows that have been overwritten since."""
        count = len(rows["flags"]["rewards"])
        skip = min(max(0, self.oldest - first) * self.num_envs, count)
        at = self._places(first, first + count // self.num_envs)[skip:]
        places = run_of(at)

        def put(leaf: RowStore, values: Tensor) -> None:
            leaf.tensor[places] = values[skip:]

        nested_map(put, self.successive, rows["successive"])
        nested_map(put, self.columns, rows["columns"])
        for name, flags in rows["flags"].items():
            getattr(self, name)[at] = as_array(torch.as_tensor(flags))[skip:]
        slots = as_array(torch.as_tensor(rows["flags"]["state_slot"]))
        if self.states is not None:
            kept = torch.from_numpy(slots[skip:][slots[skip:] >= 0])
            gone = int(np.count_nonzero(slots[:skip] >= 0))

            def put_state(leaf: RowStore, values: Tensor) -> None:
                leaf.tensor[kept] = values[gone:]

            nested_map(put_state, self.states, rows["states"])
        if rows["finals"] is not None:
            successor = as_array(torch.as_tensor(rows["flags"]["successor"]))
            self._put_finals(at, rows["finals"], int(np.count_nonzero(successor[:skip] >= self.size)))

    def _put_finals(self, at: Array, finals: Nested, gone: int) -> None:
        held = self.successor[at]
        rows = torch.from_numpy(held[held >= self.size])

        def put(leaf: RowStore, values: Tensor) -> None:
            leaf.tensor[rows] = values[gone:]

        nested_map(put, self.successive, finals)


def _collect(writes: Writes, store: Nested, at: int, block: Nested, lead: int) -> None:
    """Check a block ``[..., *shape]`` with ``lead`` leading axes and put it on the list."""
    if isinstance(store, RowStore):
        writes.append((store, at, store.rows_of(block, lead)))
        return
    try:
        nested_map(lambda leaf, x: writes.append((leaf, at, leaf.rows_of(x, lead))), store, block)
    except ConfigError:
        raise
    except ValueError as error:
        what = f"column {next(leaves(store)).name!r}: another structure than in this buffer"
        raise ConfigError(f"{what}: {error}") from None
