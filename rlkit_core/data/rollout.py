"""A rollout: what one module experienced over T steps in N envs, in time-major arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from attrs import define, evolve, field
from torch import Tensor

from rlkit_core.data.nested import Nested, first_leaf, flatten_time, leaves, map_leaves


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
    """

    columns: dict[str, Nested]
    bootstrap_obs: Nested
    final_obs: Nested | None = None
    final_index: Tensor | None = None
    loss_mask: Tensor | None = None
    weights_version: int | None = 0
    fresh_start: bool = False
    state_in: Nested | None = None
    seq_len: int | None = None
    episode_starts: Tensor | None = None
    bootstrap_inputs: dict[str, Nested] = field(factory=dict)
    final_inputs: dict[str, Nested] = field(factory=dict)

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

    def __getitem__(self, column: str) -> Nested:
        try:
            return self.columns[column]
        except KeyError:
            raise KeyError(f"rollout has no column {column!r}; it has {sorted(self.columns)}") from None

    def __contains__(self, column: object) -> bool:
        return column in self.columns

    def to(self, device: Any) -> Rollout:
        """The same rollout with every tensor on ``device`` (itself where nothing moves)."""
        if all(leaf.device == device for leaf in leaves(self.columns)):
            return self

        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def clone(self) -> Rollout:
        """The same rollout in memory of its own."""
        return self._map(torch.clone)

    def _map(self, function: Any) -> Rollout:
        """The same rollout with every tensor replaced."""

        def maybe(struct: Nested) -> Nested:
            return None if struct is None else map_leaves(function, struct)

        return evolve(
            self,
            columns={name: map_leaves(function, column) for name, column in self.columns.items()},
            bootstrap_obs=map_leaves(function, self.bootstrap_obs),
            final_obs=maybe(self.final_obs),
            final_index=maybe(self.final_index),
            loss_mask=maybe(self.loss_mask),
            state_in=maybe(self.state_in),
            episode_starts=maybe(self.episode_starts),
            bootstrap_inputs={name: map_leaves(function, x) for name, x in self.bootstrap_inputs.items()},
            final_inputs={name: map_leaves(function, x) for name, x in self.final_inputs.items()},
        )

    @staticmethod
    def concat(rollouts: Sequence[Rollout]) -> Rollout:
        """Join rollouts of the same T along N, in the given order; always a copy.

        Packed observations that are padded to different sizes are padded with zeros to the largest. The weights'
        version is that of the oldest, None if one's is unknown.

        Args:
            rollouts: one or more, with the same columns.

        Raises:
            ConfigError: there is none, or they differ in T, in their columns or in ``seq_len``.
        """
        from rlkit_core.data.joining import concat

        return concat(rollouts)

    def split(self, parts: int) -> list[Rollout]:
        """Cut along N into ``parts`` rollouts whose N differ by at most one, the larger ones first; views.

        ``final_obs`` and ``final_index`` are copies, since they are no block of rows.

        Raises:
            ConfigError: there are fewer envs than parts.
        """
        from rlkit_core.data.joining import split

        return split(self, parts)

    def flat(self) -> dict[str, Nested]:
        """Columns as rows ``[B, ...]``, ``B = num_env_steps``: time and envs merged, masked steps left out."""
        rows = {name: flatten_time(column) for name, column in self.columns.items()}
        if self.loss_mask is None:
            return rows
        keep = self.loss_mask.reshape(-1).nonzero().squeeze(-1)
        return {name: map_leaves(lambda x: x.index_select(0, keep), column) for name, column in rows.items()}
