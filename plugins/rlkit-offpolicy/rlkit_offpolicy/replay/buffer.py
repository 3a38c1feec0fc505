"""The uniform replay buffer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlkit_core.columns import Columns
from rlkit_core.data.nested import Nested
from rlkit_core.data.rollout import Rollout
from rlkit_core.errors import ConfigError
from rlkit_core.seeding import SeedTree
from rlkit_offpolicy.replay.linked import LinkedStorage
from rlkit_offpolicy.replay.ring import Added, ReplayStorage
from rlkit_offpolicy.replay.rows import Array
from rlkit_offpolicy.replay.sampling import RowSampler, SequenceSampler
from rlkit_offpolicy.replay.sealed import SealedRows


class ReplayBuffer:
    """Keeps the last steps of rollouts and samples them uniformly, with replacement.

    Columns are arrays that are made for the first rollout; adding copies a rollout into them once, sampling gathers a
    batch from them once. Observations are stored once: the successor of a step is the next row, or, where the episode
    was truncated, its final observation, which is kept apart. Steps of N envs stand side by side, so all rollouts must
    have the same N (``Rollout.concat`` joins those of several runners). A rollout that does not begin with the
    observation that the last one ended with (fresh envs, a restarted runner) cuts the unfinished episodes there, as a
    truncation does.

    Rollouts of agents (those with ``Rollout.cut``) may have columns that end anywhere, and other numbers of them. Their
    masked rows take no room, and an episode that was cut is whole again once the rollout that it goes on in is added.

    Args:
        capacity: env steps to keep, over all envs; rounded up to a multiple of N. Rows that are no experience (the
            reset rows of next-step reset) take room, too.
        n_step: steps whose rewards are summed, or ``(lo, hi)``: drawn for each sampled row from ``lo`` to ``hi``, both
            included.
        gamma: discount per step, in [0, 1].
        seed: what sampling draws from; the same seed and the same calls give the same batches.
        columns: further columns of the rollout to keep and return (``action_logp``, ...).

    Attributes:
        last_indices: ``[B]`` int64, the rows (of sequences the first steps) that the last :meth:`sample` returned:
            ``step * N + n``, counted since the buffer was made; of agents, their place among all steps ever added.
        num_env_steps_added_lifetime: steps of experience ever added.
        num_env_steps_sampled_lifetime: rows ever sampled; of sequences, the steps that are not masked.

    Raises:
        ConfigError: a value is out of its range.
    """

    def __init__(
        self,
        capacity: int,
        *,
        n_step: int | tuple[int, int] = 1,
        gamma: float = 0.99,
        seed: SeedTree | int | None = None,
        columns: Sequence[str] = (),
    ) -> None:
        lo, hi = (n_step, n_step) if isinstance(n_step, int) else n_step
        if capacity < 1:
            raise ConfigError(f"capacity={capacity!r}: expected a positive number of env steps")
        if not 1 <= lo <= hi:
            raise ConfigError(f"n_step={n_step!r}: expected a positive integer, or (lo, hi) with 1 <= lo <= hi")
        if not 0.0 <= gamma <= 1.0:
            raise ConfigError(f"gamma={gamma!r}: expected a discount in [0, 1]")
        self.capacity, self.n_step, self.gamma = capacity, (lo, hi), float(gamma)
        self.columns = tuple(dict.fromkeys((Columns.ACTIONS, *columns)))
        self.num_env_steps_added_lifetime = self.num_env_steps_sampled_lifetime = 0
        self._last: tuple[ReplayStorage, Array, int] | None = None
        tree = seed if isinstance(seed, SeedTree) else SeedTree.from_seed(seed)
        self._rng = np.random.default_rng(tree.seed())
        self._storage: ReplayStorage | None = None
        self._sealed = SealedRows()
        self._rows: dict[int, RowSampler] = {}
        self._sequences: dict[tuple[int, int], SequenceSampler] = {}

    @property
    def last_indices(self) -> Tensor | None:
        """``[B]`` int64, which rows the last :meth:`sample` returned; see the class. None before the first."""
        if self._last is None:
            return None
        storage, places, total = self._last
        return torch.from_numpy(storage.number_of(places, total))

    def __len__(self) -> int:
        """Steps of experience that can be sampled."""
        return 0 if self._storage is None else self._storage.num_valid

    def add(self, rollout: Rollout) -> None:
        """Copy a rollout into the buffer; the oldest steps make room.

        Args:
            rollout: as a runner gives it. The first one decides about columns, shapes, dtypes and N.

        Raises:
            ConfigError: it does not fit the first one, is longer than the buffer, or a truncated step has no final
                observation. The buffer is then as it was.
        """
        storage = self._storage
        if storage is None:
            kind, columns = (ReplayStorage, rollout.num_envs) if rollout.cut is None else (LinkedStorage, 1)
            storage = kind.for_rollout(rollout, -(-self.capacity // columns), self.columns)
        added = storage.add(rollout)
        self._storage = storage
        self.num_env_steps_added_lifetime += added.count if added.valid is None else int(np.count_nonzero(added.valid))
        self._on_add(storage, added)

    def sample(
        self,
        batch_size: int,
        *,
        beta: float = 0.4,
        num_batches: int = 1,
        seq_len: int | None = None,
        burn_in: int = 0,
        initial_state: Nested | None = None,
    ) -> dict[str, Nested]:
        """Draw ``num_batches`` batches of ``batch_size`` rows, one after the other in one batch of ``B`` rows.

        The tensors are the buffer's own: they are valid until the next call that asks for as many rows.

        A row is a step and what came of it within n steps (``n_step`` of the buffer, less where the episode ends or
        the newest step is reached). Returned columns, each ``[B, ...]``:

        - ``obs``, ``actions``, what else the module reads (``prev_actions``, ``prev_rewards``), kept columns;
        - ``rewards``: float32, ``r_t + gamma r_{t+1} + ...`` over the steps used;
        - ``new_obs``: the observation after the last step used, the final one of a truncated episode (of a terminated
          one, any legal observation); ``new_prev_actions``, ... alike;
        - ``terminateds``: bool, the last step used terminated its episode;
        - ``discount``: float32, ``gamma ** n_step``, 0 where terminated: the target of a value is
          ``rewards + discount * value(new_obs)``;
        - ``n_step``: int64, steps used;
        - ``weights``: float32, importance weights; 1 in a uniform buffer.

        **Sequences** (``seq_len``) are for recurrent modules. Each begins at a step whose recurrent state is known: the
        runner kept it there, or an episode begins. It runs ``burn_in + seq_len`` steps, but never beyond its episode or
        the newest step; shorter ones are padded by repeating their last step. Columns are ``[B, burn_in + seq_len,
        ...]``, and there are:

        - ``state_in``: ``[B, ...]``, the state before the first step;
        - ``seq_lens``: ``[B]`` int64;
        - ``loss_mask``: ``[B, L]`` bool, False for padding, and for the first ``burn_in`` steps: their states come from
          a state that older weights made (Kapturowski et al., "Recurrent Experience Replay in Distributed
          Reinforcement Learning", 2019, section 2.3). Episodes that begin with the sequence need no burn-in: their
          first state is exact, so all their steps count.

        The n steps of a row of a sequence stay within the sequence, so one pass over its ``L + 1`` observations
        (:func:`with_successor`) has the value of every ``new_obs``: step ``t``'s stands at ``t + n_step[t]``.

        Args:
            batch_size: rows, or sequences, of a batch.
            beta: exponent of the importance weights; unused in a uniform buffer.
            num_batches: how many batches at once; fewer calls cost less.
            seq_len: trained steps of a sequence; None samples rows.
            burn_in: steps before them that only warm the state up.
            initial_state: the module's ``get_initial_state()``, for sequences that begin with an episode; zeros unless
                given.

        Raises:
            ConfigError: the buffer is empty, no sequence is longer than ``burn_in``, or a number is out of its range.
        """
        storage = self._storage
        if storage is None or not storage.num_valid:
            raise ConfigError(f"this {type(self).__name__} is empty: add() a rollout before sample()")
        if batch_size < 1 or num_batches < 1:
            raise ConfigError(f"batch_size={batch_size}, num_batches={num_batches}: expected positive numbers")
        total = batch_size * num_batches
        if seq_len is None:
            sampler = self._rows.get(total)
            if sampler is None:
                sampler = self._rows[total] = RowSampler(storage, total, self.n_step, self.gamma)
            places = self._draw(storage, batch_size, num_batches)
            batch = sampler(places, self._rng)
            self.num_env_steps_sampled_lifetime += total
            self._finish(storage, batch, places, batch_size, beta)
            return batch
        if seq_len < 1 or burn_in < 0:
            raise ConfigError(f"seq_len={seq_len}, burn_in={burn_in}: expected a positive and no negative number")
        length = burn_in + seq_len
        sequences = self._sequences.get((total, length))
        if sequences is None:
            sequences = SequenceSampler(storage, total, length, self.n_step, self.gamma)
            self._sequences[total, length] = sequences
        starts = sequences.starts(burn_in)
        if not len(starts):
            raise ConfigError(
                f"no sequence in this buffer has more than burn_in={burn_in} steps; add more steps, or choose a "
                "shorter burn_in"
            )
        places = self._draw_from(storage, starts, batch_size, num_batches)
        batch = sequences(places, self._rng, burn_in, initial_state)
        self.num_env_steps_sampled_lifetime += int(batch[Columns.LOSS_MASK].sum())
        self._finish(storage, batch, places, batch_size, beta)
        return batch

    # -- what a prioritised buffer does otherwise -------------------------------------------------------------------

    def _on_add(self, storage: ReplayStorage, added: Added) -> None:
        """Called after each add."""

    def _draw(self, storage: ReplayStorage, batch_size: int, num_batches: int) -> Array:
        """Places of rows, ``[batch_size * num_batches]`` int64."""
        envs, size = storage.num_envs, storage.size
        held = storage.stored * envs
        oldest = storage.oldest_number
        count = batch_size * num_batches
        places: Array = ((self._rng.random(count) * held).astype(np.int64) + oldest) % size
        if storage.num_masked:
            bad = np.flatnonzero(~storage.valid[places])
            while len(bad):
                places[bad] = ((self._rng.random(len(bad)) * held).astype(np.int64) + oldest) % size
                bad = bad[~storage.valid[places[bad]]]
        return places

    def _draw_from(self, storage: ReplayStorage, starts: Array, batch_size: int, num_batches: int) -> Array:
        """Places out of ``starts``."""
        picked: Array = starts[self._rng.integers(0, len(starts), batch_size * num_batches)]
        return picked

    def _finish(
        self, storage: ReplayStorage, batch: dict[str, Nested], places: Array, batch_size: int, beta: float
    ) -> None:
        """Remember for ``last_indices`` (and set weights)."""
        self._last = storage, places, storage.total

    # -- state ----------------------------------------------------------------------------------------------------

    def get_metrics(self) -> dict[str, Any]:
        """Counters, and how full the buffer is."""
        return {
            "num_env_steps_stored": len(self),
            "num_env_steps_added_lifetime": self.num_env_steps_added_lifetime,
            "num_env_steps_sampled_lifetime": self.num_env_steps_sampled_lifetime,
            "capacity": self.capacity,
        }

    def get_state(self) -> dict[str, Any]:
        """All that sampling and adding depend on: rows as tensors (copies), counters, the random generator."""
        return self._state(None if self._storage is None else self._storage.get_state(), [])

    def get_state_to_save(self) -> dict[str, Any]:
        """The same, with rows in segments as far as they are complete: checkpoints share these.

        Valid until the buffer changes.
        """
        if self._storage is None:
            return self._state(None, [])
        segments, rest = self._sealed.seal(self._storage)
        return self._state(self._storage.get_state(rest), segments)

    def _state(self, storage: dict[str, Any] | None, segments: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "storage": storage,
            "segments": segments,
            "rng": self._rng.bit_generator.state,
            "num_env_steps_added_lifetime": self.num_env_steps_added_lifetime,
            "num_env_steps_sampled_lifetime": self.num_env_steps_sampled_lifetime,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`get_state` or :meth:`get_state_to_save` of a buffer with the same settings.

        Raises:
            ConfigError: the state is of a buffer of another capacity.
            CheckpointError: a segment of it is damaged.
        """
        stored, sealed, storage = state["storage"], SealedRows(), None
        if stored is not None:
            capacity_per_env = -(-self.capacity // int(stored["num_envs"]))
            kind = LinkedStorage if "open" in stored else ReplayStorage
            storage = kind.from_state(stored, capacity_per_env, sealed.restore(state["segments"]))
            sealed.come_from(storage)
        self._storage, self._sealed = storage, sealed
        self._rng.bit_generator.state = state["rng"]
        self.num_env_steps_added_lifetime = int(state["num_env_steps_added_lifetime"])
        self.num_env_steps_sampled_lifetime = int(state["num_env_steps_sampled_lifetime"])
        self._last = None
        self._rows.clear()
        self._sequences.clear()
