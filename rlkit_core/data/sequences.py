"""Rollouts of recurrent modules as sequences: chunks of at most ``max_seq_len`` steps, each inside one episode.

A rollout ``[T, N]`` is cut at every ``max_seq_len``-th row, where the runner has kept the recurrent state, and where an
episode begins, where the state is the initial one. A chunk thus starts from a known state and is never reset on its
way, so any module that takes ``(B, T, ...)`` computes exactly what acting computed, step by step. Chunks are padded at
the end by repeating their last step (which is always a legal observation and action); ``loss_mask`` tells what is real.
"""

from __future__ import annotations

from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from rlkit_core.columns import Columns
from rlkit_core.data.nested import Nested, cat, first_leaf, flatten_time, index_rows, map_leaves
from rlkit_core.data.rollout import Rollout
from rlkit_core.errors import ConfigError


def max_seq_len(module: Any) -> int:
    """The length that a recurrent module is trained with: ``model_config["max_seq_len"]``.

    A module whose networks come from a catalog has the default of ``DefaultModelConfig``.

    Raises:
        ConfigError: the module has neither, or the number is not positive.
    """
    length = module.model_config.get("max_seq_len")
    if length is None and module.component_trace():
        length = module.catalog.model_config_dict["max_seq_len"]
    if length is None:
        raise ConfigError(
            f"{type(module).__name__} is recurrent, and its model_config has no 'max_seq_len': how many steps "
            'it is trained on at once; add model_config={"max_seq_len": 20}'
        )
    if not isinstance(length, int) or length < 1:
        raise ConfigError(f"model_config['max_seq_len']={length!r}: expected a positive integer")
    return length


@frozen(eq=False)
class ChunkLayout:
    """Where the steps of a rollout go when it is cut into B chunks of L steps.

    Attributes:
        rows: ``[B, L]`` int64, rows of the flattened rollout (``t * N + n``); padding repeats the last one.
        follow: ``[B]`` int64, row of the observation after a chunk's last step in the flattened observations, followed
            by ``bootstrap_obs``, followed by ``final_obs``; the last step itself where nobody asks.
        real: ``[B, L]`` bool, False for padding.
        lengths: ``[B]`` int64.
        state_rows: ``[B]`` int64, rows of the flattened stored states, or the one after them: the initial state.
        place: ``[T, N]`` int64, where a step is in a flattened ``[B, L + 1]``; the step after it is one further. Steps
            of chunks that are left out, since an agent's column has ended, are anywhere.
    """

    rows: Tensor
    follow: Tensor
    real: Tensor
    lengths: Tensor
    state_rows: Tensor
    place: Tensor

    @classmethod
    def of(cls, rollout: Rollout) -> ChunkLayout:
        """The layout of a recurrent module's rollout (one with ``state_in``).

        Raises:
            ConfigError: the rollout holds no recurrent state.
        """
        if rollout.state_in is None or rollout.seq_len is None or rollout.episode_starts is None:
            raise ConfigError(
                "the module is recurrent, but this rollout holds no state; let an EnvRunner sample it, or give "
                "Rollout(state_in=..., seq_len=..., episode_starts=...)"
            )
        steps, envs = rollout.num_steps, rollout.num_envs
        starts = rollout.episode_starts
        device = starts.device
        length = min(rollout.seq_len, steps)
        on_grid = (torch.arange(steps, device=device) % rollout.seq_len == 0).unsqueeze(-1)
        starts = starts | on_grid
        if rollout.loss_mask is not None and rollout.final_index is not None:
            # What follows a final observation is another chunk, where a column ends before the rollout does, too.
            after = rollout.final_index + envs
            starts.view(-1)[after[after < steps * envs]] = True
        # Env by env from here on: position n * T + t.
        cut = starts.t().reshape(-1)
        begin = cut.nonzero().squeeze(-1)
        end = torch.cat((begin[1:], begin.new_tensor([steps * envs])))
        chunk = cut.cumsum(0) - 1
        within = torch.arange(steps * envs, device=device) - begin[chunk]
        if rollout.cut is not None and rollout.loss_mask is not None:
            # A column's experience comes first: a chunk that does not begin with some has none.
            held = rollout.loss_mask.t().reshape(-1)[begin]
            chunk = (held.cumsum(0) - 1).clamp(min=0)[chunk]
            begin, end = begin[held], end[held]
        lengths = end - begin
        offset = torch.arange(length, device=device)
        real = offset < lengths.unsqueeze(-1)
        position = torch.minimum(begin.unsqueeze(-1) + offset, end.unsqueeze(-1) - 1)
        rows = (position % steps) * envs + position.div(steps, rounding_mode="floor")

        t, n = begin % steps, begin.div(steps, rounding_mode="floor")
        grid = -(-steps // rollout.seq_len)
        stored = t % rollout.seq_len == 0
        state_rows = torch.where(stored, t.div(rollout.seq_len, rounding_mode="floor") * envs + n, grid * envs)

        last = rows.gather(1, lengths.unsqueeze(-1) - 1).squeeze(-1)
        follow = torch.where(last >= (steps - 1) * envs, last + envs, last)
        if rollout.final_index is not None:
            finals = torch.full((steps * envs,), -1, dtype=torch.int64, device=device)
            count = rollout.final_index.shape[0]
            finals[rollout.final_index] = torch.arange(count, device=device) + (steps + 1) * envs
            follow = torch.where(finals[last] >= 0, finals[last], follow)

        place = (chunk * (length + 1) + within).view(envs, steps).t().contiguous()
        return cls(rows, follow, real, lengths, state_rows, place)

    def gather(self, column: Nested) -> Nested:
        """A column ``[T, N, ...]`` as chunks ``[B, L, ...]``."""
        return _rows_of(flatten_time(column), self.rows)

    def gather_with_next(self, column: Nested, bootstrap: Nested, final: Nested | None) -> Nested:
        """A column ``[T, N, ...]`` as ``[B, L + 1, ...]``: after a chunk's last step comes what followed it.

        ``bootstrap [N, ...]`` is its value after the rollout's last step, ``final [K, ...]`` at final observations.
        """
        source = cat([flatten_time(column), bootstrap, *([] if final is None else [final])])
        step = torch.arange(self.rows.shape[1] + 1, device=self.rows.device)
        padded = torch.cat((self.rows, self.rows[:, -1:]), 1)
        return _rows_of(source, torch.where(step < self.lengths.unsqueeze(-1), padded, self.follow.unsqueeze(-1)))

    def state(self, stored: Nested, initial: Nested) -> Nested:
        """The state before each chunk, ``[B, ...]``: one of ``stored [G, N, ...]``, or ``initial [...]``."""

        def pick(kept: Tensor, first: object) -> Tensor:
            first = torch.as_tensor(first, dtype=kept.dtype, device=kept.device).expand(1, *kept.shape[2:])
            return torch.cat((kept.flatten(0, 1), first)).index_select(0, self.state_rows)

        return map_leaves(pick, stored, initial)


def _rows_of(flat: Nested, rows: Tensor) -> Nested:
    picked = index_rows(flat, rows.reshape(-1))
    return map_leaves(lambda x: x.view(*rows.shape, *x.shape[1:]), picked)


def sequence_batch(module: Any, rollout: Rollout) -> dict[str, Nested]:
    """Columns of a recurrent module's rollout for the loss: ``[B, L, ...]`` with ``loss_mask [B, L]`` (True for real
    steps that are experience), ``seq_lens [B]`` and ``state_in [B, ...]``.
    """
    layout = ChunkLayout.of(rollout)
    batch = {name: layout.gather(column) for name, column in rollout.columns.items()}
    mask = layout.real
    if rollout.loss_mask is not None:
        mask = mask & layout.gather(rollout.loss_mask)
    batch[Columns.LOSS_MASK] = mask
    batch[Columns.SEQ_LENS] = layout.lengths
    batch[Columns.STATE_IN] = layout.state(rollout.state_in, module.get_initial_state())
    return batch


def train_rows(module: Any, rollout: Rollout) -> dict[str, Nested]:
    """A rollout as the module's loss wants it: rows ``[B, ...]``, or sequences (:func:`sequence_batch`)."""
    return rollout.flat() if rollout.state_in is None else sequence_batch(module, rollout)


def is_sequence_batch(batch: dict[str, Nested]) -> bool:
    """Whether a batch's rows are whole sequences."""
    return Columns.SEQ_LENS in batch or Columns.STATE_IN in batch


def sequence_length(batch: dict[str, Nested]) -> int:
    """L of a sequence batch."""
    column = batch.get(Columns.LOSS_MASK)
    if column is None:
        column = first_leaf(batch[Columns.OBS])
    return int(column.shape[1])


def num_env_steps(batch: dict[str, Nested]) -> int:
    """Steps of experience in a batch: its rows, or the real steps of its sequences."""
    mask = batch.get(Columns.LOSS_MASK)
    if mask is not None:
        return int(mask.sum())
    for column in batch.values():
        rows = int(first_leaf(column).shape[0])
        return rows * sequence_length(batch) if is_sequence_batch(batch) else rows
    return 0


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the real steps, 0-dim; values where ``mask`` (bool, of the shape of ``x``) is False do not matter."""
    if mask is None:
        return x.mean()
    return torch.where(mask, x, 0.0).sum() / mask.sum().clamp(min=1)
