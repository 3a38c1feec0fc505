"""Rollouts beside and behind each other: joined, cut and filled up along envs or time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from attrs import evolve
from torch import Tensor

from rlkit_core.columns import Columns
from rlkit_core.data.nested import Nested, first_leaf, index_rows, map_leaves
from rlkit_core.data.rollout import Rollout
from rlkit_core.errors import ConfigError


def concat(rollouts: Sequence[Rollout]) -> Rollout:
    """See :meth:`Rollout.concat`."""
    rollouts = list(rollouts)
    _check_alike(rollouts)
    if len(rollouts) == 1:
        return rollouts[0].clone()
    first = rollouts[0]
    offsets = torch.tensor([0, *(r.num_envs for r in rollouts)]).cumsum(0).tolist()
    num_envs = offsets[-1]
    versions = [r.weights_version for r in rollouts]
    mask = None
    if any(r.loss_mask is not None for r in rollouts):
        masks = [
            torch.ones_like(r.columns[Columns.TERMINATEDS]) if r.loss_mask is None else r.loss_mask for r in rollouts
        ]
        mask = torch.cat(masks, 1)
    joined = Rollout(
        columns={name: _join([r.columns[name] for r in rollouts], 1) for name in first.columns},
        bootstrap_obs=_join([r.bootstrap_obs for r in rollouts], 0),
        loss_mask=mask,
        weights_version=None if None in versions else min(v for v in versions if v is not None),
        fresh_start=any(r.fresh_start for r in rollouts),
        state_in=None if first.state_in is None else _join([r.state_in for r in rollouts], 1),
        seq_len=first.seq_len,
        episode_starts=_join([r.episode_starts for r in rollouts], 1) if first.episode_starts is not None else None,
        bootstrap_inputs={
            name: _join([r.bootstrap_inputs[name] for r in rollouts], 0) for name in first.bootstrap_inputs
        },
    )
    cut = [(r, at) for r, at in zip(rollouts, offsets, strict=False) if r.final_index is not None]
    if not cut:
        return joined
    # t * N + n, anew for the joined N and in ascending order, as one runner of all these envs would have it.
    places = []
    for r, at in cut:
        index: Any = r.final_index
        places.append(index.div(r.num_envs, rounding_mode="floor") * num_envs + at + index % r.num_envs)
    index, order = torch.cat(places).sort()
    final_obs = _join([r.final_obs for r, _ in cut], 0, like=joined.bootstrap_obs)
    joined.final_obs, joined.final_index = index_rows(final_obs, order), index
    joined.final_inputs = {
        name: index_rows(_join([r.final_inputs[name] for r, _ in cut], 0), order) for name in cut[0][0].final_inputs
    }
    return joined


def split(rollout: Rollout, parts: int) -> list[Rollout]:
    """See :meth:`Rollout.split`."""
    num_envs = rollout.num_envs
    if not 1 <= parts <= num_envs:
        raise ConfigError(
            f"a rollout of {num_envs} envs cannot be split into {parts} parts; at least one env each is needed: "
            "raise num_envs_per_env_runner or num_env_runners, or use fewer learners"
        )
    size, rest = divmod(num_envs, parts)
    found, start = [], 0
    for part in range(parts):
        stop = start + size + (part < rest)
        found.append(_slice(rollout, start, stop))
        start = stop
    return found


def _slice(rollout: Rollout, start: int, stop: int) -> Rollout:
    """Envs ``start:stop``."""

    def rows(struct: Nested) -> Nested:  # [N, ...]
        return map_leaves(lambda x: x[start:stop], struct)

    def steps(struct: Nested) -> Nested:  # [T, N, ...]
        return None if struct is None else map_leaves(lambda x: x[:, start:stop], struct)

    final_obs = final_index = None
    final_inputs: dict[str, Nested] = {}
    if rollout.final_index is not None:
        env = rollout.final_index % rollout.num_envs
        here = ((env >= start) & (env < stop)).nonzero().squeeze(-1)
        if len(here):
            index = rollout.final_index[here]
            step = index.div(rollout.num_envs, rounding_mode="floor")
            final_index = step * (stop - start) + env[here] - start
            final_obs = index_rows(rollout.final_obs, here)
            final_inputs = {name: index_rows(x, here) for name, x in rollout.final_inputs.items()}
    return evolve(
        rollout,
        columns={name: steps(column) for name, column in rollout.columns.items()},
        bootstrap_obs=rows(rollout.bootstrap_obs),
        final_obs=final_obs,
        final_index=final_index,
        loss_mask=steps(rollout.loss_mask),
        state_in=steps(rollout.state_in),
        episode_starts=steps(rollout.episode_starts),
        bootstrap_inputs={name: rows(x) for name, x in rollout.bootstrap_inputs.items()},
        final_inputs=final_inputs,
    )


def _check_alike(rollouts: list[Rollout]) -> None:
    if not rollouts:
        raise ConfigError("Rollout.concat needs at least one rollout; it got none")
    first = rollouts[0]
    for k, other in enumerate(rollouts):
        for what, own, seen in (
            ("T (steps of each env)", first.num_steps, other.num_steps),
            ("columns", sorted(first.columns), sorted(other.columns)),
            ("seq_len", first.seq_len, other.seq_len),
        ):
            if own != seen:
                raise ConfigError(
                    f"Rollout.concat: rollout {k} has {what} {seen}, rollout 0 has {own}; rollouts that are joined "
                    "must agree (the same rollout_fragment_length and the same module)"
                )


def _join(structs: list[Nested], dim: int, like: Nested = None) -> Nested:
    """Leaves joined along ``dim``; axes behind it are padded to the largest, and to those of ``like``."""

    def join(*leaves: Tensor) -> Tensor:
        return torch.cat(leaves, dim) if _alike(leaves, dim) else _padded(leaves, dim, ())

    def join_like(reference: Tensor, *leaves: Tensor) -> Tensor:
        return _padded(leaves, dim, tuple(reference.shape[1:]))

    return map_leaves(join, *structs) if like is None else map_leaves(join_like, like, *structs)


def _alike(leaves: Sequence[Tensor], dim: int) -> bool:
    return all(leaf.shape[dim + 1 :] == leaves[0].shape[dim + 1 :] for leaf in leaves)


def _padded(leaves: Sequence[Tensor], dim: int, at_least: tuple[int, ...]) -> Tensor:
    """``leaves`` joined along ``dim``, their axes behind it filled up with zeros."""
    sizes = [tuple(leaf.shape[dim + 1 :]) for leaf in leaves] + ([at_least] if at_least else [])
    wanted = [max(lengths) for lengths in zip(*sizes, strict=True)]
    lead = leaves[0].shape[:dim]
    joined = leaves[0].new_zeros((*lead, sum(leaf.shape[dim] for leaf in leaves), *wanted))
    start = 0
    for leaf in leaves:
        stop = start + leaf.shape[dim]
        place = (slice(None),) * dim + (slice(start, stop), *(slice(0, n) for n in leaf.shape[dim + 1 :]))
        joined[place] = leaf
        start = stop
    return joined


def concat_time(rollouts: Sequence[Rollout]) -> Rollout:
    """Join rollouts that follow each other in the same envs, ``[T1, N]``, ``[T2, N]``, ... to ``[T1 + T2 + ..., N]``.

    Of recurrent modules, all but the last must have whole sequences (T a multiple of ``seq_len``).
    """
    if len(rollouts) == 1:
        return rollouts[0]
    first, last = rollouts[0], rollouts[-1]
    starts = torch.tensor([0, *(r.num_steps for r in rollouts)]).cumsum(0).tolist()
    cut = [(r, at) for r, at in zip(rollouts, starts, strict=False) if r.final_index is not None]
    final_index = final_obs = None
    final_inputs: dict[str, Nested] = {}
    columns = {name: _join([r.columns[name] for r in rollouts], 0) for name in first.columns}
    if cut:
        row = map_leaves(lambda x: x[0], columns[Columns.OBS])
        final_index = torch.cat([r.final_index + at * r.num_envs for r, at in cut if r.final_index is not None])
        final_obs = _join([r.final_obs for r, _ in cut], 0, like=row)
        final_inputs = {name: _join([r.final_inputs[name] for r, _ in cut], 0) for name in cut[0][0].final_inputs}
    has_mask = first.loss_mask is not None
    has_state = first.state_in is not None
    return evolve(
        first,
        columns=columns,
        bootstrap_obs=last.bootstrap_obs,
        final_obs=final_obs,
        final_index=final_index,
        loss_mask=_join([r.loss_mask for r in rollouts], 0) if has_mask else None,
        state_in=_join([r.state_in for r in rollouts], 0) if has_state else None,
        episode_starts=_join([r.episode_starts for r in rollouts], 0) if has_state else None,
        bootstrap_inputs=last.bootstrap_inputs,
        final_inputs=final_inputs,
    )


def cut_time(rollout: Rollout, steps: int) -> Rollout:
    """The first ``steps`` steps, as views; the row after them becomes ``bootstrap_obs``."""
    if steps >= rollout.num_steps:
        return rollout

    def first(struct: Nested) -> Nested:
        return None if struct is None else map_leaves(lambda x: x[:steps], struct)

    def row(name: str) -> Nested:
        return map_leaves(lambda x: x[steps], rollout.columns[name])

    changes: dict[str, Any] = {}
    if rollout.final_index is not None:
        kept = (rollout.final_index < steps * rollout.num_envs).nonzero().squeeze(-1)
        some = len(kept) > 0
        changes["final_index"] = rollout.final_index[kept] if some else None
        changes["final_obs"] = index_rows(rollout.final_obs, kept) if some else None
        changes["final_inputs"] = (
            {name: index_rows(x, kept) for name, x in rollout.final_inputs.items()} if some else {}
        )
    if rollout.state_in is not None and rollout.seq_len is not None:
        groups = -(-steps // rollout.seq_len)
        changes["state_in"] = map_leaves(lambda x: x[:groups], rollout.state_in)
    return evolve(
        rollout,
        columns={name: first(column) for name, column in rollout.columns.items()},
        bootstrap_obs=row(Columns.OBS),
        loss_mask=first(rollout.loss_mask),
        episode_starts=first(rollout.episode_starts),
        bootstrap_inputs={name: row(name) for name in rollout.bootstrap_inputs},
        **changes,
    )


def extend_time(rollout: Rollout, steps: int) -> Rollout:
    """The rollout with masked rows behind it, up to ``steps``; the first of them shows ``bootstrap_obs``.

    So a truncated last step finds the value of what came after it where next-step resets have it.
    """
    missing = steps - rollout.num_steps
    if missing <= 0:
        return rollout

    def fill(column: Tensor) -> Tensor:
        return torch.cat((column, column.new_zeros((missing, *column.shape[1:]))))

    def more(struct: Nested) -> Nested:
        return None if struct is None else map_leaves(fill, struct)

    columns = {name: more(column) for name, column in rollout.columns.items()}
    at = rollout.num_steps

    def show(column: Tensor, value: Tensor) -> None:
        column[at] = value

    for name, value in {Columns.OBS: rollout.bootstrap_obs, **rollout.bootstrap_inputs}.items():
        map_leaves(show, columns[name], value)
    state_in = rollout.state_in
    if state_in is not None and rollout.seq_len is not None:
        groups = -(-steps // rollout.seq_len) - first_leaf(state_in).shape[0]
        if groups > 0:
            state_in = map_leaves(lambda x: torch.cat((x, x.new_zeros((groups, *x.shape[1:])))), state_in)
    mask = rollout.loss_mask
    if mask is None:
        mask = torch.ones_like(rollout.columns[Columns.TERMINATEDS])
    return evolve(
        rollout,
        columns=columns,
        loss_mask=fill(mask),
        state_in=state_in,
        episode_starts=more(rollout.episode_starts),
    )
