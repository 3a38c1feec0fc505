"""The own steps of one module's agents, in columns: a slot is a column, and agents come and go in it.

Each column has its own place to write to, so the steps of an agent lie one after the other however seldom it acts. What
follows a rollout is the row behind a column's last complete one: the observation that its agent is to act on, or one
that it has acted on already and whose reward or next observation is still to come. Either is row 0 of the next rollout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from attrs import define

from rlkit_core.columns import Columns
from rlkit_core.data.nested import Nested, leaves, own_copy
from rlkit_core.envs.multi_agent.blocks import Array, Block, ObservationBlock
from rlkit_core.envs.multi_agent.memory import SlotMemory
from rlkit_core.envs.multi_agent.places import Acting, Final
from rlkit_core.envs.multi_agent.protocol import AgentID
from rlkit_core.spaces import nested_map

MISFITS = (ValueError, TypeError, KeyError, IndexError)
"""What is raised where an observation does not fit its space."""


class AgentColumns:
    """Columns ``[R, N, ...]`` of one module.

    Args:
        module_id: the module.
        spaces: observation and action space of its agents.
        memory: what it reads besides observations; None where it reads nothing else.
        state_space: of the env's global state, where the module reads that.
        rows: R.

    Attributes:
        width: N, how many slots there are.
        rows: R.
        obs: observations.
        env_state: the env's global state with each of them, where the module reads that.
        rewards, terminateds, truncateds: of each own step, filled in while it is waited for.
        starts: the row is the first of a life.
        outputs: what the module returned, and what it read of previous steps, by name.
        returned: names of what it returned in the rows of this rollout.
        finals: of lives that ended in this rollout without being terminated.
        seats: by slot; None where nobody is.
        actions: of the agents that are to act, in their order; set by who asked the module.
    """

    def __init__(
        self,
        module_id: str,
        spaces: tuple[gym.Space[Any], gym.Space[Any]],
        memory: SlotMemory | None,
        state_space: gym.Space[Any] | None = None,
        rows: int = 2,
    ) -> None:
        self.module_id, self.spaces, self.memory = module_id, spaces, memory
        self.rows, self.width = rows, 0
        self.obs = ObservationBlock(spaces[0], rows, 0)
        self.env_state = None if state_space is None else ObservationBlock(state_space, rows, 0, "global state")
        self.rewards = Block.of(np.float32, rows, 0)
        self.terminateds, self.truncateds, self.starts = (Block.of(np.bool_, rows, 0) for _ in range(3))
        self.outputs: dict[str, Block] = {}
        self.returned: dict[str, None] = {}
        self.finals: list[Final] = []
        self.seats: list[Seat | None] = []
        self.actions: Iterator[Any] = iter(())
        self._rest: list[int] = []  # by slot: the next place where nobody sits
        self._free: dict[int, list[int]] = {}  # by env, the lowest first
        self._whole: dict[int, list[int]] = {}  # places of row r

    # -- room -----------------------------------------------------------------------------------------------------

    def make_room(self, env_index: int, agents: int) -> None:
        """Have free slots for so many agents of an env."""
        free = self._free.setdefault(env_index, [])
        missing = agents - len(free)
        if missing <= 0:
            return
        for slot in range(self.width, self.width + missing):
            heappush(free, slot)
            self.seats.append(None)
            self._rest.append(0)
        self._resize(self.rows, self.width + missing)

    def make_rows(self, rows: int) -> None:
        """Have at least so many rows."""
        if rows > self.rows:
            self._resize(rows, self.width)

    def _resize(self, rows: int, width: int) -> None:
        before = max(1, self.width)

        def moved(place: int) -> int:
            row, slot = divmod(place, before)
            return row * width + slot

        old = self.width
        self._rest = [moved(at) if slot < old else slot for slot, at in enumerate(self._rest)]
        for seat in self.seats:
            if seat is not None:
                seat.at, seat.since = moved(seat.at), moved(seat.since)
        self.rows, self.width, self._whole = rows, width, {}
        fixed = (self.obs, self.rewards, self.terminateds, self.truncateds, self.starts)
        for block in (*fixed, *self.outputs.values()):
            block.resize(rows, width)
        if self.env_state is not None:
            self.env_state.resize(rows, width)
        if self.memory is not None:
            self.memory.resize(rows, width)

    # -- agents ---------------------------------------------------------------------------------------------------

    def enter(self, env_index: int, agent: AgentID, observation: object, state: object) -> Seat:
        """Give an agent a free slot (there is one, see :meth:`make_room`); it is to act on ``observation``."""
        slot = heappop(self._free[env_index])
        at = self._rest[slot]
        seat = Seat(agent, self, env_index, slot, at, at)
        self.seats[slot] = seat
        self.starts.flat[at] = True
        if self.memory is not None:
            self.memory.start(slot)
        self._see(at, observation, state)
        return seat

    def observe(self, seat: Seat, observation: object, state: object) -> None:
        """Complete the row that an agent has acted in: it is to act on ``observation``."""
        at = seat.at + self.width
        self._see(at, observation, state)
        seat.at, seat.open = at, False

    def _see(self, at: int, observation: object, state: object) -> None:
        self.obs.put(self.obs.flat, at, observation)
        if self.env_state is not None:
            self.env_state.put(self.env_state.flat, at, state)

    def end(self, seat: Seat, *, terminated: bool, truncated: bool, last: object, state: object) -> None:
        """Complete the row that an agent has acted in, its last one, and free its slot.

        Args:
            seat: who ends.
            terminated: there is no future; otherwise it is cut off.
            truncated: it is cut off.
            last: what it saw last; None: what it acted on counts as that.
            state: the env's global state now, where the module reads that.
        """
        at = seat.at
        self.terminateds.flat[at], self.truncateds.flat[at] = terminated, truncated
        if not terminated:
            if last is None:
                last = nested_map(lambda leaf: leaf[at], self.obs.flat)
            row, slot = divmod(at, self.width)
            space = None if self.env_state is None else self.env_state.space
            kept = None if space is None else own_copy(space, state)
            self.finals.append(Final(row, slot, own_copy(self.spaces[0], last), kept))
        seat.at, seat.open = at + self.width, False
        self.leave(seat)

    def break_off(self, seat: Seat, *, back: bool) -> None:
        """Let a life end as its env has failed, cut off at what was seen last. A row that is not complete is forgotten.

        Args:
            seat: whose.
            back: what was seen last is of no use: the row that led to it is forgotten too.
        """
        at = seat.at
        if back and (at < self.width or self.starts.flat[at]):
            self.leave(seat)
            return
        if back:
            seat.at = at = at - self.width
        self.rewards.flat[at] = 0.0
        if at >= self.width and not self.starts.flat[at]:
            row, slot = divmod(at - self.width, self.width)
            self.truncateds.flat[at - self.width] = True
            seen = {name: nested_map(lambda leaf: leaf[at], block.flat) for name, block in self.seen()}
            state = None if self.env_state is None else own_copy(self.env_state.space, seen[Columns.ENV_STATE])
            self.finals.append(Final(row, slot, own_copy(self.spaces[0], seen[Columns.OBS]), state))
        seat.open = False
        self.leave(seat)

    def leave(self, seat: Seat) -> None:
        """Free a slot; a row that is not complete is forgotten."""
        self._rest[seat.slot] = seat.at
        self.seats[seat.slot] = None
        heappush(self._free[seat.env_index], seat.slot)

    def rewarded(self, seats: Sequence[Seat]) -> None:
        """Let the memory know what the rows that were just completed have brought."""
        if self.memory is not None and self.memory.previous:
            slots = np.array([seat.slot for seat in seats])
            places = np.array([seat.at for seat in seats]) - self.width
            self.memory.rewarded(slots, self.rewards.flat[places])

    # -- acting ---------------------------------------------------------------------------------------------------

    def acting(self, seats: Sequence[Seat]) -> Acting:
        """Who acts, and where."""
        places = [seat.at for seat in seats]
        width = self.width
        row = places[0] // width
        if len(places) == width:
            whole = self._whole.get(row)
            if whole is None:
                whole = self._whole[row] = list(range(row * width, row * width + width))
            if places == whole:
                return Acting(row, None)
        return Acting(row, np.array(places))

    def look(self, acting: Acting) -> tuple[dict[str, Nested], bool]:
        """What the env shows to those who act, ``[M, ...]``, and whether it adds up to finite sums."""
        batch: dict[str, Nested] = {}
        fine = True
        for name, block in self.seen():
            batch[name], all_of_it = block.read(acting.row, acting.places)
            fine = fine and all_of_it
        return batch, fine

    def remembered(self, acting: Acting) -> dict[str, Nested]:
        """What the module reads besides, ``[M, ...]``."""
        return {} if self.memory is None else self.memory.inputs(acting.slots(self.width))

    def seen(self) -> Iterator[tuple[str, ObservationBlock]]:
        """What the env shows, by the name of its column."""
        yield Columns.OBS, self.obs
        if self.env_state is not None:
            yield Columns.ENV_STATE, self.env_state

    def acted(self, acting: Acting, batch: dict[str, Nested], out: dict[str, Nested]) -> None:
        """Write what the module returned.

        Args:
            acting: what :meth:`acting` said of them.
            batch: what :meth:`look` and :meth:`remembered` gave.
            out: what the module returned, with actions.
        """
        memory = self.memory
        if memory is not None:
            memory.acted(acting.slots(self.width), acting.rows(self.width), batch, out)
            out = {**{name: batch[name] for name in memory.previous}, **out}
        for name, values in out.items():
            block = self.outputs.get(name)
            if block is None:
                block = self.outputs[name] = Block.like(values, self.rows, self.width)
            self.returned[name] = None
            if acting.places is None:
                block.write_row(acting.row, values)
            else:
                block.write(acting.places, values)

    # -- from rollout to rollout ----------------------------------------------------------------------------------

    def heads(self) -> Array:
        """``[N]`` int64: the place behind the last complete row of each column."""
        pairs = zip(self.seats, self._rest, strict=True)
        return np.array([rest if seat is None else seat.at for seat, rest in pairs], np.int64)

    def begin(self, rows: int) -> None:
        """Begin a new rollout of up to ``rows`` rows, with what followed the last one in row 0."""
        self.make_rows(rows)
        self.finals, self.returned = [], {}
        if self.memory is not None:
            self.memory.refresh()
        if not self.width:
            return
        heads, slots = self.heads(), np.arange(self.width)
        taken = np.array([seat is not None for seat in self.seats])
        # Where nobody is, what was there last stays: it is at least a legal observation.
        source = np.where(taken, heads, np.maximum(heads - self.width, slots))
        for _, block in self.seen():
            block.move(source, slots)
        waiting = np.array([seat.slot for seat in self.seats if seat is not None and seat.open], np.int64)
        for output in self.outputs.values():
            output.move(heads[waiting], waiting)
        so_far = self.rewards.flat[heads[waiting]]
        for plain in (self.rewards, self.terminateds, self.truncateds, self.starts):
            plain.clear()
        self.rewards.flat[waiting] = so_far
        if self.memory is not None:
            self.memory.carry(waiting)
        self._rest = list(range(self.width))
        for seat in self.seats:
            if seat is not None:
                seat.count()
                seat.at = seat.since = seat.slot
        for name in self.outputs if len(waiting) else ():
            self.returned[name] = None

    # -- from run to run ------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Who is there, and what :meth:`begin` would carry into row 0; between two rollouts."""
        heads, slots = self.heads(), np.arange(self.width)
        taken = np.array([seat is not None for seat in self.seats], np.bool_)
        source = np.where(taken, heads, np.maximum(heads - self.width, slots))
        waiting = [seat.slot for seat in self.seats if seat is not None and seat.open]

        def carried(leaf: Array, flat: Array) -> Array:
            row: Array = leaf[0].copy()
            row[waiting] = flat[heads[waiting]]
            return row

        rewards = np.zeros(self.width, np.float32)
        rewards[waiting] = self.rewards.flat[heads[waiting]]
        return {
            "rows": self.rows,
            "seats": [
                None if seat is None else [seat.agent, seat.env_index, seat.open, seat.total, seat.length]
                for seat in self.seats
            ],
            "free": [[env, list(free)] for env, free in self._free.items()],
            "seen": {name: [leaf[source] for leaf in leaves(block.flat)] for name, block in self.seen()},
            "rewards": rewards,
            "outputs": {name: nested_map(carried, block.arrays, block.flat) for name, block in self.outputs.items()},
            "memory": None if self.memory is None else self.memory.get_state(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`get_state`; these are new columns.

        Raises:
            ValueError: it is of other spaces, or of another module.
        """
        width = len(state["seats"])
        self.seats, self._rest = [None] * width, [0] * width
        self._resize(max(self.rows, int(state["rows"])), width)
        self._free = {int(env): [int(slot) for slot in free] for env, free in state["free"]}
        for name, block in self.seen():
            for own, kept in zip(leaves(block.arrays), state["seen"][name], strict=True):
                own[0] = kept
        self.rewards.arrays[0] = state["rewards"]
        for name, values in state["outputs"].items():
            tensors = nested_map(lambda x: torch.from_numpy(np.array(x)), values)
            self.outputs[name] = Block.like(tensors, self.rows, width)
            self.outputs[name].write_row(0, tensors)
        if self.memory is not None:
            self.memory.set_state(state["memory"] or {"now": {}})
        for slot, seat in enumerate(state["seats"]):
            if seat is not None:
                agent, env, open_, total, length = seat
                self.seats[slot] = Seat(agent, self, int(env), slot, slot, slot, bool(open_), float(total), int(length))


@define(eq=False)
class Seat:
    """An agent in a slot, from its first observation to its end.

    Attributes:
        agent: what the env calls it.
        columns: of its module.
        env_index: whose agent it is.
        slot: which column it has.
        at: flat place of its row: the one it is to act in, or, while :attr:`open`, the one it has acted in.
        since: flat place of the first row that :attr:`length` does not count yet.
        open: it has acted and waits: the reward or the next observation is still to come.
        total: its rewards so far.
        length: its own steps, up to :attr:`since`.
    """

    agent: AgentID
    columns: AgentColumns
    env_index: int
    slot: int
    at: int
    since: int
    open: bool = False
    total: float = 0.0
    length: int = 0

    def count(self) -> int:
        """Count the rows that are complete; how many were new."""
        new = (self.at - self.since) // self.columns.width
        self.since = self.at
        self.length += new
        return new
