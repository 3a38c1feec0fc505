"""A rollout: what one module experienced over T steps in N envs, in time-major arrays.

Each field says which axes its tensors have and how it is joined; moving, cutting and joining are loops over that. So a
field that is added takes part in all of them, and one that says nothing is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch
from attrs import define, evolve, field
from torch import Tensor

from rlkit_core.columns import Columns
from rlkit_core.data.axes import Axes, axes, axes_of, side_by_side
from rlkit_core.data.nested import Nested, first_leaf, flatten_time, index_rows, join, leaves, map_leaves
from rlkit_core.errors import ConfigError


def _oldest(versions: list[int | None]) -> int | None:
    known = [version for version in versions if version is not None]
    return min(known) if len(known) == len(versions) else None


@define(eq=False)
class Rollout:
    """Experience of one module, ``[T, N, ...]``.

    The arrays of a runner in this process are its own buffers: such a rollout is valid until that runner samples again;
    :meth:`clone` keeps it for longer.

    Attributes:
        columns: column name to tensor ``[T, N, ...]``, nested as the space is. Always there: ``obs``, ``actions`` (raw,
            as the distribution gave them), ``rewards`` (float32), ``terminateds`` and ``truncateds`` (bool). What
            the module returned beside its actions (``action_dist_inputs``, ...) is there under its own name.
        bootstrap_obs: ``[N, ...]``, the observation after the last step.
        final_obs: ``[K, ...]``, last observations of the K episodes that were truncated and reset in the same step;
            None where there are none, or where the env resets in the next step.
        final_index: ``[K]`` int64, where they belong: ``t * N + n``.
        loss_mask: ``[T, N]`` bool, False for steps that are no experience (the reset row of next-step reset); None
            when all are.
        weights_version: version of the weights that acted; None where nobody knows.
        fresh_start: envs were reset before the first step: nothing carries over from the rollout before. Of several
            rollouts joined, True if it is for any.
        state_in: of a recurrent module, its state before rows ``0, seq_len, 2 * seq_len, ...``, ``[G, N, ...]``; the
            initial state where an episode begins there.
        seq_len: of a recurrent module, the steps it is trained with at once.
        episode_starts: of a recurrent module, ``[T, N]`` bool, the row is an episode's first (False in row 0, whose
            state is ``state_in[0]`` either way).
        bootstrap_inputs: ``{column: [N, ...]}``, what belongs to ``bootstrap_obs`` where the module reads more
            than observations (``prev_actions``, ``prev_rewards``).
        final_inputs: the same for ``final_obs``, ``[K, ...]``.
        cut: ``[N]`` bool, where columns are agents: the column ends before T and its episode goes on in a later
            rollout; its last row is marked truncated for that, and ``final_obs`` has what it goes on with. None where
            columns are envs.
    """

    columns: dict[str, Nested] = field(metadata=axes(Axes.STEPS))
    bootstrap_obs: Nested = field(metadata=axes(Axes.ENVS))
    final_obs: Nested | None = field(default=None, metadata=axes(Axes.FINALS))
    final_index: Tensor | None = field(default=None, metadata=axes(Axes.FINALS))
    loss_mask: Tensor | None = field(default=None, metadata=axes(Axes.STEPS))
    weights_version: int | None = field(default=0, metadata=axes(Axes.NONE, join=_oldest))
    fresh_start: bool = field(default=False, metadata=axes(Axes.NONE, join=any))
    state_in: Nested | None = field(default=None, metadata=axes(Axes.SEQUENCES))
    seq_len: int | None = field(default=None, metadata=axes(Axes.NONE))
    episode_starts: Tensor | None = field(default=None, metadata=axes(Axes.STEPS))
    bootstrap_inputs: dict[str, Nested] = field(factory=dict, metadata=axes(Axes.ENVS))
    final_inputs: dict[str, Nested] = field(factory=dict, metadata=axes(Axes.FINALS))
    cut: Tensor | None = field(default=None, metadata=axes(Axes.ENVS))

    @property
    def num_steps(self) -> int:
        """T."""
        return int(first_leaf(self.columns).shape[0])

    @property
    def num_envs(self) -> int:
        """N."""
        return int(first_leaf(self.columns).shape[1])

    @property
    def num_env_steps(self) -> int:
        """Steps that are experience: ``T * N``, less masked rows."""
        if self.loss_mask is not None:
            return int(self.loss_mask.sum())
        steps, envs = first_leaf(self.columns).shape[:2]
        return int(steps * envs)

    @property
    def column_lengths(self) -> Tensor:
        """``[N]`` int64: steps of each column that are experience; its first ones, where columns are agents."""
        if self.loss_mask is not None:
            return self.loss_mask.sum(0)
        first = self.columns[Columns.TERMINATEDS]
        return torch.full((first.shape[1],), first.shape[0], dtype=torch.int64, device=first.device)

    @property
    def bootstrap_columns(self) -> dict[str, Nested]:
        """What a module reads after the last step, ``{column: [N, ...]}``: ``obs`` and :attr:`bootstrap_inputs`."""
        return {Columns.OBS: self.bootstrap_obs, **self.bootstrap_inputs}

    @property
    def final_columns(self) -> dict[str, Nested]:
        """The same for final observations, ``{column: [K, ...]}``; empty where there are none."""
        return {} if self.final_index is None else {Columns.OBS: self.final_obs, **self.final_inputs}

    def next_obs(self) -> Nested:
        """``[T, N, ...]``, what was seen after each step: the next row, ``bootstrap_obs`` or, at truncations, the last
        observation of the episode.

        A copy. Where an episode terminated it is the first observation of the next one, as its own last is not kept: a
        value there is zero. Masked rows have something.
        """

        def after(rows: Tensor, last: Tensor) -> Tensor:
            return torch.cat((rows[1:], last.unsqueeze(0)))

        following: Nested = map_leaves(after, self.columns[Columns.OBS], self.bootstrap_obs)
        if self.final_index is not None:
            place = self.final_index
            map_leaves(lambda rows, last: rows.flatten(0, 1).index_copy_(0, place, last), following, self.final_obs)
        return following

    def __getitem__(self, column: str) -> Nested:
        try:
            return self.columns[column]
        except KeyError:
            raise KeyError(f"rollout has no column {column!r}; it has {sorted(self.columns)}") from None

    def __contains__(self, column: object) -> bool:
        return column in self.columns

    def to(self, device: torch.device | str | None) -> Rollout:
        """The same rollout with every tensor on ``device`` (itself where nothing moves)."""
        if all(leaf.device == device for leaf in leaves(self.columns)):
            return self
        waits = device is None or torch.device(device).type == "cpu"  # who reads there does not know of the transfer
        return self.map_axes(dict.fromkeys(Axes, lambda tensor: tensor.to(device, non_blocking=not waits)))

    def clone(self) -> Rollout:
        """The same rollout in memory of its own."""
        return self.map_axes(dict.fromkeys(Axes, torch.clone))

    def get_state(self) -> dict[str, Any]:
        """Its fields by name, without copies: a state tree, for checkpoints."""
        return {attribute.name: getattr(self, attribute.name) for attribute in attrs.fields(type(self))}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Rollout:
        """The rollout of :meth:`get_state`."""
        return cls(**state)

    # -- along N --------------------------------------------------------------------------------------------------

    @staticmethod
    def concat(rollouts: Sequence[Rollout], *, extend: bool = False) -> Rollout:
        """Join rollouts along N, in the given order; always a copy.

        Packed observations that are padded to different sizes are padded with zeros to the largest. The weights'
        version is that of the oldest, None if one's is unknown.

        Args:
            rollouts: one or more, with the same columns.
            extend: bring shorter ones to the T of the longest first (:meth:`extend_time`).

        Raises:
            ConfigError: there is none, or they differ in T (unless ``extend``), in their columns or in ``seq_len``.
        """
        if extend and rollouts:
            longest = max(rollout.num_steps for rollout in rollouts)
            rollouts = [rollout.extend_time(longest) for rollout in rollouts]
        _check_alike(rollouts)
        if len(rollouts) == 1:
            return rollouts[0].clone()
        if any(r.loss_mask is not None for r in rollouts):
            rollouts = [_masked(r) for r in rollouts]
        num_envs, before, places = sum(r.num_envs for r in rollouts), 0, []
        for r in rollouts:
            if r.final_index is not None:
                # t * N + n, anew for the joined N.
                t, n = r.final_index.div(r.num_envs, rounding_mode="floor"), r.final_index % r.num_envs
                places.append(t * num_envs + before + n)
            before += r.num_envs
        joined = _joined(rollouts, {Axes.STEPS: 1, Axes.SEQUENCES: 1, Axes.ENVS: 0}, places)
        for attribute in attrs.fields(type(joined)):
            combine = side_by_side(attribute)
            if combine is not None:
                setattr(joined, attribute.name, combine([getattr(r, attribute.name) for r in rollouts]))
        # In ascending order, as one runner of all these envs would have it.
        return joined if joined.final_index is None else _with_finals(joined, *joined.final_index.sort())

    def split(self, parts: int) -> list[Rollout]:
        """Cut along N into ``parts`` rollouts whose N differ by at most one, the larger ones first; views.

        What belongs to final observations is a copy, since they are no block of rows.

        Raises:
            ConfigError: there are fewer envs than parts.
        """
        num_envs = self.num_envs
        if not 1 <= parts <= num_envs:
            raise ConfigError(
                f"a rollout of {num_envs} envs cannot be split into {parts} parts; at least one env each is needed: "
                "raise num_envs_per_env_runner or num_env_runners, or use fewer learners"
            )
        size, rest = divmod(num_envs, parts)
        ends = [(part + 1) * size + min(part + 1, rest) for part in range(parts)]
        return [self._envs(start, stop) for start, stop in zip([0, *ends], ends, strict=False)]

    def _envs(self, start: int, stop: int) -> Rollout:
        """Envs ``start:stop``."""

        def columns(x: Tensor) -> Tensor:
            return x[:, start:stop]

        piece = self.map_axes({Axes.STEPS: columns, Axes.SEQUENCES: columns, Axes.ENVS: lambda x: x[start:stop]})
        if self.final_index is None:
            return piece
        env = self.final_index % self.num_envs
        here = ((env >= start) & (env < stop)).nonzero().squeeze(-1)
        step = self.final_index[here].div(self.num_envs, rounding_mode="floor")
        return _with_finals(piece, step * (stop - start) + env[here] - start, here)

    # -- along T --------------------------------------------------------------------------------------------------

    @staticmethod
    def concat_time(rollouts: Sequence[Rollout]) -> Rollout:
        """Join rollouts that follow each other in the same envs: ``[T1, N]`` and ``[T2, N]`` to ``[T1 + T2, N]``.

        Of recurrent modules, all but the last must have whole sequences (T a multiple of ``seq_len``).
        """
        if len(rollouts) == 1:
            return rollouts[0]
        before, places = 0, []
        for r in rollouts:
            if r.final_index is not None:
                places.append(r.final_index + before * r.num_envs)
            before += r.num_steps
        return _joined(rollouts, {Axes.STEPS: 0, Axes.SEQUENCES: 0}, places)

    def cut_time(self, steps: int) -> Rollout:
        """The first ``steps`` steps, as views; the row after them becomes ``bootstrap_obs``."""
        if steps >= self.num_steps:
            return self
        first = self.map_axes({Axes.STEPS: lambda x: x[:steps], Axes.SEQUENCES: lambda x: x[: self._sequences(steps)]})
        after = {name: map_leaves(lambda x: x[steps], self.columns[name]) for name in self.bootstrap_columns}
        first.bootstrap_obs, first.bootstrap_inputs = after.pop(Columns.OBS), after
        if self.final_index is None:
            return first
        kept = (self.final_index < steps * self.num_envs).nonzero().squeeze(-1)
        return _with_finals(first, self.final_index[kept], kept)

    def extend_time(self, steps: int) -> Rollout:
        """The rollout with masked rows behind it, up to ``steps``; the first of them shows ``bootstrap_obs``.

        A last step that does not terminate its episode is truncated, if it was not before, and has ``bootstrap_obs`` as
        its final observation: nothing flows back out of the masked rows.
        """
        at = self.num_steps
        if steps <= at:
            return self

        def filled(rows: int) -> Callable[[Tensor], Tensor]:
            return lambda x: torch.cat((x, x.new_zeros((max(0, rows - len(x)), *x.shape[1:]))))

        longer = _masked(self).map_axes({Axes.STEPS: filled(steps), Axes.SEQUENCES: filled(self._sequences(steps))})
        for name, value in self.bootstrap_columns.items():
            map_leaves(lambda column, row: column[at].copy_(row), longer.columns[name], value)
        return _closed_at(longer, at - 1)

    def _sequences(self, steps: int) -> int:
        """G for so many steps."""
        return -(-steps // self.seq_len) if self.seq_len is not None else 0

    # -- over all fields ------------------------------------------------------------------------------------------

    def map_axes(self, functions: Mapping[Axes, Callable[[Tensor], Tensor]]) -> Rollout:
        """The same rollout with each tensor replaced by what the function for its axes makes of it."""
        changes = {}
        for attribute in attrs.fields(type(self)):
            kind, value = axes_of(attribute), getattr(self, attribute.name)
            if kind is not Axes.NONE and kind in functions and value is not None:
                changes[attribute.name] = map_leaves(functions[kind], value)
        return evolve(self, **changes)

    def flat(self) -> dict[str, Nested]:
        """Columns as rows ``[B, ...]``, ``B = num_env_steps``: time and envs merged, masked steps left out."""
        rows = {name: flatten_time(column) for name, column in self.columns.items()}
        if self.loss_mask is None:
            return rows
        keep = self.loss_mask.reshape(-1).nonzero().squeeze(-1)
        return {name: index_rows(column, keep) for name, column in rows.items()}


def _joined(rollouts: Sequence[Rollout], dims: Mapping[Axes, int], places: list[Tensor]) -> Rollout:
    """Rollouts joined along the axis that ``dims`` names for each kind; what has no such axis is the last one's.

    What belongs to final observations is joined too, and ``places`` are where: ``final_index`` of those that have some.
    """
    first = rollouts[0]
    joined = evolve(first, **_no_finals(first))
    for attribute in attrs.fields(type(first)):
        kind, name = axes_of(attribute), attribute.name
        values = [getattr(r, name) for r in rollouts]
        if kind in dims:
            if values[0] is not None:
                setattr(joined, name, join(values, dims[kind]))
        elif kind is Axes.ENVS:
            setattr(joined, name, values[-1])
        elif kind is Axes.FINALS and places:
            parts = [value for value, r in zip(values, rollouts, strict=True) if r.final_index is not None]
            # Padded like the rows that they stand in for.
            like = map_leaves(lambda x: x[0], joined.columns[Columns.OBS]) if name == "final_obs" else None
            setattr(joined, name, torch.cat(places) if name == "final_index" else join(parts, 0, like=like))
    return joined


def _with_finals(rollout: Rollout, index: Tensor, rows: Tensor) -> Rollout:
    """With those ``rows [K]`` of what belongs to final observations, which are now those of steps ``index``."""
    if not len(rows):
        return evolve(rollout, **_no_finals(rollout))
    chosen = rollout.map_axes({Axes.FINALS: lambda x: x.index_select(0, rows)})
    chosen.final_index = index
    return chosen


def _closed_at(rollout: Rollout, last: int) -> Rollout:
    """With final observations in row ``last``, that of ``bootstrap_obs`` where an episode goes on."""
    truncateds, envs = rollout.columns[Columns.TRUNCATEDS], rollout.num_envs
    alive = ~rollout.columns[Columns.TERMINATEDS][last]
    if rollout.loss_mask is not None:
        alive &= rollout.loss_mask[last]
    cut = alive & ~truncateds[last]
    truncateds[last] |= alive
    if rollout.final_index is not None:
        alive[rollout.final_index[rollout.final_index >= last * envs] - last * envs] = False
    columns = alive.nonzero().squeeze(-1)
    closed = evolve(rollout, cut=None if rollout.cut is None else rollout.cut | cut)
    if not len(columns):
        return closed
    added: dict[str, Nested] = {"final_index": columns + last * envs}
    for of_steps, of_envs in (("final_obs", rollout.bootstrap_obs), ("final_inputs", rollout.bootstrap_inputs)):
        added[of_steps] = index_rows(of_envs, columns)
    for attribute in attrs.fields(type(rollout)):
        if axes_of(attribute) is Axes.FINALS:
            before, rows = getattr(rollout, attribute.name), added.get(attribute.name)
            if rows is None and before is not None:  # a subclass's, of which nothing is known here
                rows = map_leaves(lambda x: x.new_zeros((len(columns), *x.shape[1:])), before)
            setattr(closed, attribute.name, rows if rollout.final_index is None else join([before, rows], 0))
    assert closed.final_index is not None
    return _with_finals(closed, *closed.final_index.sort())


def _masked(rollout: Rollout) -> Rollout:
    """With a ``loss_mask``, which is True everywhere unless it is there."""
    if rollout.loss_mask is not None:
        return rollout
    return evolve(rollout, loss_mask=torch.ones_like(rollout.columns[Columns.TERMINATEDS]))


def _no_finals(rollout: Rollout) -> dict[str, Any]:
    """Values of the fields for final observations where there are none."""
    defaults = {a.name: a.default for a in attrs.fields(type(rollout)) if axes_of(a) is Axes.FINALS}
    return {name: default.factory() if hasattr(default, "factory") else default for name, default in defaults.items()}


def _check_alike(rollouts: Sequence[Rollout]) -> None:
    if not rollouts:
        raise ConfigError("Rollout.concat needs at least one rollout; it got none")
    first = rollouts[0]
    for k, other in enumerate(rollouts):
        for what, expected, seen in (
            ("T (steps of each env)", first.num_steps, other.num_steps),
            ("columns", sorted(first.columns), sorted(other.columns)),
            ("seq_len", first.seq_len, other.seq_len),
        ):
            if expected != seen:
                raise ConfigError(
                    f"Rollout.concat: rollout {k} has {what} {seen}, rollout 0 has {expected}; rollouts that are "
                    "joined must agree (the same rollout_fragment_length and the same module)"
                )
