"""Data of one update, divided among learners; each gets a contiguous part, so results can be put together again."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from rlkit_core.data.foreign_episodes import split_episodes
from rlkit_core.data.nested import first_leaf, leaves, slice_rows
from rlkit_core.data.rollout import Rollout
from rlkit_core.errors import ConfigError
from rlkit_core.learner.minibatch import as_tensors, num_rows


@frozen(eq=False)
class Shards:
    """What each learner gets of one update.

    Attributes:
        arguments: for each learner, ``{"batch" | "rollouts" | "episodes": its part}``.
        rows: for each module of a batch or of rollouts, the shape of each learner's part: ``(1, rows)`` of a batch,
            ``(T, N)`` of rollouts.
        num_steps: rows or env steps over all modules.
    """

    arguments: list[dict[str, Any]]
    rows: dict[str, list[tuple[int, int]]]
    num_steps: int

    def join(self, parts: Sequence[Mapping[str, Mapping[str, Tensor]]]) -> dict[str, dict[str, Tensor]]:
        """Put together what learners logged per row, in the order of the rows of the data.

        Rows that a learner has beyond its part (a small part is gone through again where another's is larger) are
        left out. Where rows of a rollout are missing (masked steps, sequences), the parts follow each other.
        """
        joined: dict[str, dict[str, Tensor]] = {}
        for module_id, names in parts[0].items():
            for name in names:
                pieces = [part[module_id][name].cpu() for part in parts]
                joined.setdefault(module_id, {})[name] = _join(pieces, self.rows.get(module_id))
        return joined


def _join(pieces: list[Tensor], shapes: list[tuple[int, int]] | None) -> Tensor:
    if shapes is None or any(len(x) < t * n for x, (t, n) in zip(pieces, shapes, strict=True)):
        return torch.cat(pieces)
    if len({t for t, _ in shapes}) > 1:
        return torch.cat(pieces)
    by_env = [x[: t * n].reshape(t, n, *x.shape[1:]) for x, (t, n) in zip(pieces, shapes, strict=True)]
    return torch.cat(by_env, 1).flatten(0, 1)


def shard(
    size: int,
    *,
    batch: Mapping[str, Mapping[str, Any]] | None = None,
    rollouts: Mapping[str, Rollout | Sequence[Rollout]] | None = None,
    episodes: Mapping[str, Sequence[Any]] | Sequence[Any] | None = None,
) -> Shards:
    """Divide the data of one update.

    A module of which some learner would get nothing is left out for all.

    Args:
        size: number of learners.
        batch: ``{module id: columns}``: by rows (whole sequences of a recurrent module's batch).
        rollouts: ``{module id: Rollout or list of them}``: by envs.
        episodes: ``{module id: episodes}`` or episodes: by number, whole ones; by steps where there are fewer than
            learners.

    Raises:
        ConfigError: not exactly one source, or a rollout has fewer envs than there are learners.
    """
    if sum(source is not None for source in (batch, rollouts, episodes)) != 1:
        raise ConfigError("LearnerGroup.update: give exactly one of batch=, rollouts= and episodes=")
    if batch is not None:
        return _shard_batch(size, batch)
    if rollouts is not None:
        return _shard_rollouts(size, rollouts)
    assert episodes is not None
    return _shard_episodes(size, episodes)


def bounds(count: int, size: int) -> list[tuple[int, int]]:
    """``size`` contiguous ranges of ``count`` things, as equal as can be, the larger ones last.

    >>> bounds(178, 3)
    [(0, 59), (59, 118), (118, 178)]
    """
    return [(k * count // size, (k + 1) * count // size) for k in range(size)]


def _shard_batch(size: int, batch: Mapping[str, Mapping[str, Any]]) -> Shards:
    parts: list[dict[str, Any]] = [{} for _ in range(size)]
    rows, steps = {}, 0
    for module_id, unconverted in batch.items():
        columns = as_tensors(unconverted, "cpu")
        count = num_rows(columns)
        uneven = {name: len(leaf) for name, c in columns.items() for leaf in leaves(c) if len(leaf) != count}
        if uneven:
            raise ConfigError(
                f"batch of module {module_id!r}: columns {uneven} have other numbers of rows than the first, {count}; "
                "all need the same"
            )
        if count < size:
            continue
        steps += count
        cuts = bounds(count, size)
        rows[module_id] = [(1, stop - start) for start, stop in cuts]
        for part, (start, stop) in zip(parts, cuts, strict=True):
            part[module_id] = {name: slice_rows(c, start, stop) for name, c in columns.items()}
    return Shards([{"batch": part} for part in parts], rows, steps)


def _shard_rollouts(size: int, rollouts: Mapping[str, Rollout | Sequence[Rollout]]) -> Shards:
    parts: list[dict[str, Any]] = [{} for _ in range(size)]
    rows, steps = {}, 0
    for module_id, one_or_more in rollouts.items():
        of_module = [one_or_more] if isinstance(one_or_more, Rollout) else list(one_or_more)
        if not of_module or _too_few_agents(size, module_id, of_module):
            continue
        divided = _divided(size, of_module)
        steps += sum(rollout.num_env_steps for rollout in of_module)
        rows[module_id] = [(share[0].num_steps, sum(rollout.num_envs for rollout in share)) for share in divided]
        for part, share in zip(parts, divided, strict=True):
            part[module_id] = share[0] if len(share) == 1 else share
    return Shards([{"rollouts": part} for part in parts], rows, steps)


def _too_few_agents(size: int, module_id: str, rollouts: list[Rollout]) -> bool:
    """Whether columns are agents, of which there may be few in one sample, and too few to divide; said once."""
    columns = sum(rollout.num_envs for rollout in rollouts)
    if columns >= size or any(rollout.cut is None for rollout in rollouts):
        return False
    warnings.warn(
        f"module {module_id!r} had {columns} column(s) of agents for {size} learners, so its experience was left out "
        "of that update; raise num_envs_per_env_runner or num_env_runners, or use fewer learners",
        UserWarning,
        stacklevel=4,
    )
    return True


def _divided(size: int, rollouts: list[Rollout]) -> list[list[Rollout]]:
    """Whole rollouts where that is fair, else parts of all of them joined."""
    if len(rollouts) % size == 0:
        return [rollouts[start:stop] for start, stop in bounds(len(rollouts), size)]
    whole = rollouts[0] if len(rollouts) == 1 else Rollout.concat(rollouts, extend=True)
    return [[part] for part in whole.split(size)]


def _shard_episodes(size: int, episodes: Mapping[str, Sequence[Any]] | Sequence[Any]) -> Shards:
    by_module: dict[str | None, list[Any]]
    if isinstance(episodes, Mapping):
        by_module = {module_id: list(of_module) for module_id, of_module in episodes.items()}
    else:
        by_module = {None: list(episodes)}
    parts: list[Any] = [{} for _ in range(size)]
    steps = 0
    for module_id, of_module in by_module.items():
        steps += sum(_length(episode) for episode in of_module)
        if 0 < len(of_module) < size <= sum(map(_length, of_module)):
            shares: list[list[Any]] = split_episodes(of_module, size)
        elif len(of_module) < size:
            shares = [[] for _ in parts]
        else:
            shares = [of_module[start:stop] for start, stop in bounds(len(of_module), size)]
        for part, share in zip(parts, shares, strict=True):
            part[module_id] = share
    if not isinstance(episodes, Mapping):
        parts = [part[None] for part in parts]
    return Shards([{"episodes": part} for part in parts], {}, steps)


def _length(episode: Any) -> int:
    """Steps of an episode, near enough to count them: rewards, or step dicts."""
    if isinstance(episode, (list, tuple)):
        return len(episode)
    for name in ("rewards", "reward", "actions", "action"):
        value = episode.get(name) if isinstance(episode, Mapping) else getattr(episode, name, None)
        if value is not None:
            return len(first_leaf(value))
    return 0
