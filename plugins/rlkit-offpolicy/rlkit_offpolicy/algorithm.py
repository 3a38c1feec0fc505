"""The training loop of off-policy algorithms: rounds of sampling into replay buffers, and the updates they earn."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

from rlkit_core import Algorithm, MultiRLModuleSpec
from rlkit_core.checkpoint import Checkpointable, SavedComponent
from rlkit_core.data.nested import Nested
from rlkit_core.errors import ConfigError
from rlkit_core.learner import Scheduler, max_seq_len
from rlkit_offpolicy.replay.buffer import ReplayBuffer
from rlkit_offpolicy.replay.prioritized import PrioritizedReplayBuffer
from rlkit_offpolicy.replay.sampling import N_STEP, WEIGHTS
from rlkit_offpolicy.saved_buffers import SavedBuffers
from rlkit_offpolicy.warmup import RandomWarmup

#: What a learner logs by row (``log_rows``) for new priorities: ``[B]``, one number for each row or sequence.
TD_ERROR = "td_error"
#: Component of an algorithm, and of its checkpoints, with the replay buffers.
REPLAY_BUFFERS = "replay_buffers"
_LOG = logging.getLogger(__name__)


class OffPolicyAlgorithm(Algorithm):
    """Learns from replay buffers, one for each module; its settings are those of :class:`OffPolicyConfig`.

    One :meth:`training_step` is a round of sampling and the updates that are due by then, all in one call of the
    learners; one by one where ``target_network_update_freq=0`` lets the target networks follow each of them. A variant
    overrides :meth:`make_buffer` (what is kept) or :meth:`sample_batch` (what is learned from). Where a learner logs
    rows named :data:`TD_ERROR`, they become the priorities of a prioritised buffer.

    Attributes:
        replay_buffers: ``{module id: buffer}``, made when a module's first rollout arrives.
    """

    def setup(self) -> None:
        """Make the buffers' place, and see that modules can act as they are to.

        Raises:
            ConfigError: a module is to act at random and cannot.
        """
        self.replay_buffers: dict[str, ReplayBuffer] = {}
        self._updates_owed = 0.0
        self._env_steps_held = 0  # sampled into the buffers since there are these
        self._betas: dict[str, Scheduler] = {}
        self._saved_buffers = SavedBuffers(self)
        self._lacks_buffers = False  # as long as a checkpoint had none, and nothing was sampled
        self._stateless: dict[str, Any] = {}  # modules that were found to have no recurrent state
        for module_id, module in self.env_runner_group.module_as_it_was.items():
            inner = module.unwrapped()
            if self.config.get_config_for_module(module_id).warmup == "random" and not isinstance(inner, RandomWarmup):
                raise ConfigError(
                    f"training(warmup='random'): module {module_id!r} is a {type(inner).__name__}, which acts as it "
                    "always explores; derive it from rlkit_offpolicy.RandomWarmup, or use warmup='explore'"
                )

    # -- what a variant overrides -------------------------------------------------------------------------------------

    def make_buffer(self, module_id: str) -> ReplayBuffer:
        """A new buffer for the rollouts of a module: what its ``replay_buffer_config`` asks for."""
        config = self.config.get_config_for_module(module_id)
        settings = config.replay_buffer_config
        options: dict[str, Any] = {
            "n_step": config.n_step_range,
            "gamma": config.gamma,
            "seed": self.seeds.child("replay_buffer", module_id),
        }
        if settings["type"] == "prioritized":
            return PrioritizedReplayBuffer(settings["capacity"], alpha=settings["alpha"], **options)
        return ReplayBuffer(settings["capacity"], **options)

    def sample_batch(self, buffer: ReplayBuffer, module_id: str, num_updates: int) -> dict[str, Nested]:
        """What ``num_updates`` updates of a module learn from, the batch of one after that of the other.

        Args:
            buffer: the module's.
            module_id: whose batch it is.
            num_updates: how many updates will take their rows of it.

        Returns:
            Columns ``[num_updates * B, ...]`` with B ``total_train_batch_size``: ``obs``, ``new_obs``, ``actions``,
            ``rewards``, ``discount``, ``terminateds``, with ``weights`` where the buffer is prioritised; see
            :meth:`ReplayBuffer.sample`. Of a recurrent module sequences, ``[num_updates * sequences, L, ...]``, with
            ``n_step`` too. Actions are as the module's distribution sampled them. Empty where there is too little yet.
        """
        config = self.config
        burn_in = config.get_config_for_module(module_id).burn_in_len
        if len(buffer) <= burn_in:
            return {}
        weighted = isinstance(buffer, PrioritizedReplayBuffer)
        beta = self._betas[module_id].at(self.num_env_steps_sampled_lifetime) if weighted else 0.0
        sequence = self._sequence_settings(module_id, burn_in)
        if sequence is None:
            batch = buffer.sample(config.total_train_batch_size, beta=beta, num_batches=num_updates)
            del batch[N_STEP]
        else:
            size, options = sequence
            batch = buffer.sample(size, beta=beta, num_batches=num_updates, **options)
        if not weighted:
            del batch[WEIGHTS]  # they are all 1
        return batch

    # -- training -----------------------------------------------------------------------------------------------------

    def training_step(self) -> None:
        """Sample into the replay buffers; once they hold enough, make the updates that this round has earned."""
        if self._lacks_buffers:
            self._lacks_buffers = False
            _LOG.warning(
                "this run goes on without the replay buffer that it had: its checkpoint has none (checkpointing(replay="
                "...)). It fills a new one before it learns, and does not equal the run that was saved"
            )
        with self.timers.time("sample"):
            before = self.num_env_steps_sampled_lifetime
            rollouts = self.env_runner_group.sample()
            sampled = self.num_env_steps_sampled_lifetime - before
        with self.timers.time("replay_buffer_add"):
            self._env_steps_held += sampled
            for module_id, rollout in self.learner_group.see_rollouts(self.trainable(rollouts)).items():
                self._buffer_of(module_id).add(rollout)
        num_updates = self._num_updates(sampled)
        if not num_updates:
            return
        # Target networks that follow every update are moved at the end of each call of the learners.
        one_by_one = self.config.target_network_update_freq == 0
        learned = False
        for count in [1] * num_updates if one_by_one else [num_updates]:
            learned = self._learn(count) or learned
        if learned:
            with self.timers.time("synch_weights"):
                self.sync_weights()

    def _learn(self, num_updates: int) -> bool:
        """Make so many updates in one call of the learners; whether there was something to learn from."""
        with self.timers.time("replay_buffer_sample"):
            batch = self.sample_train_batch(num_updates)
        if not batch:
            return False
        with self.timers.time("learner_update"):
            self.learner_group.update(
                batch=batch,
                timesteps=self.timesteps,
                minibatch_size=max(1, self.config.train_batch_size_per_learner),  # steps, those of sequences too
                reduce_metrics=False,
            )
            self._update_priorities()
        return True

    def sample_train_batch(self, num_updates: int) -> dict[str, dict[str, Nested]]:
        """``{module id: columns}`` for ``num_updates`` updates: :meth:`sample_batch` of every module in training."""
        batches = {}
        for module_id, buffer in self.trainable(self.replay_buffers).items():
            batch = self.sample_batch(buffer, module_id, num_updates)
            if batch:
                batches[module_id] = batch
        return batches

    def _num_updates(self, sampled: int) -> int:
        """How many updates a round of ``sampled`` env steps has earned.

        Without ``training_intensity`` that is one; with it, as many as make ``rows trained / steps sampled`` that
        number in the long run: what is left over counts for the next round. However many agents act in an env step, it
        is one, and an update trains every module on a batch of its own.
        """
        config = self.config
        if self._env_steps_held < max(1, config.num_steps_sampled_before_learning_starts):
            return 0
        if config.training_intensity is None:
            return 1
        self._updates_owed += sampled * config.training_intensity / config.total_train_batch_size
        due = int(self._updates_owed)
        self._updates_owed -= due
        return due

    def _sequence_settings(self, module_id: str, burn_in: int) -> tuple[int, dict[str, Any]] | None:
        """Of a recurrent module, how many sequences an update takes and what they are like; None: it takes rows."""
        outer = self.env_runner_group.module[module_id]
        if outer is self._stateless.get(module_id):
            return None
        module = outer.unwrapped()
        if not module.is_stateful():
            self._stateless[module_id] = outer
            return None
        length = max_seq_len(module)
        options = {
            "seq_len": length - burn_in,
            "burn_in": burn_in,
            "initial_state": module.get_initial_state(),
        }
        return max(1, self.config.total_train_batch_size // length), options

    def _update_priorities(self) -> None:
        prioritized = {m: b for m, b in self.replay_buffers.items() if isinstance(b, PrioritizedReplayBuffer)}
        rows = self.learner_group.take_rows() if prioritized else {}
        for module_id, buffer in prioritized.items():
            if TD_ERROR in rows.get(module_id, {}):
                buffer.update_priorities(rows[module_id][TD_ERROR])

    def _buffer_of(self, module_id: str) -> ReplayBuffer:
        """The replay buffer of a module, made where there is none yet."""
        buffer = self.replay_buffers.get(module_id)
        if buffer is None:
            buffer = self.replay_buffers[module_id] = self.make_buffer(module_id)
            settings = self.config.get_config_for_module(module_id).replay_buffer_config
            self._betas[module_id] = Scheduler(settings.get("beta", 1.0))
        return buffer

    # -- modules that go ----------------------------------------------------------------------------------------------

    def remove_module(self, module_id: str, **kwargs: Any) -> MultiRLModuleSpec:
        """Remove a module everywhere, its replay buffer too; see ``Algorithm.remove_module``."""
        spec = super().remove_module(module_id, **kwargs)
        self._drop_buffers()
        return spec

    def match_modules_to_learner(self) -> None:
        """Give runners and config the modules that the learner has; buffers of others go."""
        super().match_modules_to_learner()
        self._drop_buffers()

    def _drop_buffers(self) -> None:
        there = self.learner_group.module_ids
        for module_id in [mid for mid in self.replay_buffers if mid not in there]:
            del self.replay_buffers[module_id], self._betas[module_id]

    # -- results and checkpoints --------------------------------------------------------------------------------------

    def learner_results(self) -> dict[str, Any]:
        """Metrics of all updates of an iteration; those of the last that had some."""
        results = self.learner_group.reduce_metrics()
        if any(results.values()):
            self.last_learner_results = results
        return self.last_learner_results

    def extra_results(self) -> dict[str, Any]:
        """``replay_buffer``: ``{module id: its counters}``."""
        return {"replay_buffer": {mid: buffer.get_metrics() for mid, buffer in self.replay_buffers.items()}}

    def get_checkpointable_components(self) -> list[tuple[str, Checkpointable]]:
        """``replay_buffers``, first, so that damage to them is seen before anything has changed, and the core's."""
        return [(REPLAY_BUFFERS, self._saved_buffers), *super().get_checkpointable_components()]

    def get_buffers(self, *, to_save: bool) -> dict[str, Any]:
        """The state of the buffers, and what is counted with them; ``to_save``: with segments, see ``ReplayBuffer``."""
        return {
            "updates_owed": self._updates_owed,
            "env_steps_held": self._env_steps_held,
            "buffers": {
                mid: buffer.get_state_to_save() if to_save else buffer.get_state()
                for mid, buffer in self.replay_buffers.items()
            },
        }

    def set_buffers(self, state: Mapping[str, Any]) -> None:
        """Go on with the buffers of :meth:`get_buffers`."""
        self._updates_owed, self._env_steps_held = float(state["updates_owed"]), int(state["env_steps_held"])
        for module_id in [mid for mid in self.replay_buffers if mid not in state["buffers"]]:
            del self.replay_buffers[module_id], self._betas[module_id]
        for module_id, buffer_state in state["buffers"].items():
            self._buffer_of(module_id).set_state(dict(buffer_state))
        self._lacks_buffers = False

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The algorithm's state; the replay buffers with it unless the config leaves them out of checkpoints."""
        left_out = self._left_out(components, not_components)
        return super().get_state(components, not_components=left_out, **kwargs)

    def snapshot(
        self,
        *,
        state: object = None,
        components: str | Collection[str] | None = None,
        not_components: str | Collection[str] | None = None,
    ) -> SavedComponent:
        """As of every component; the replay buffers are left out where the config says so."""
        left_out = self._left_out(components, not_components)
        return super().snapshot(state=state, components=components, not_components=left_out)

    def _left_out(
        self, components: str | Collection[str] | None, not_components: str | Collection[str] | None
    ) -> list[str]:
        left_out = [not_components] if isinstance(not_components, str) else list(not_components or ())
        kept = self.config.keeps_replay_buffers or components is not None
        return left_out if kept or REPLAY_BUFFERS in left_out else [*left_out, REPLAY_BUFFERS]

    def set_state(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Continue from :meth:`get_state`. Without buffers in it, learning waits until they are filled again."""
        super().set_state(state, strict=strict)
        if REPLAY_BUFFERS in state:
            self.set_buffers(state[REPLAY_BUFFERS])

    def restore_snapshot(self, snapshot: SavedComponent, *, strict: bool = True) -> None:
        """As of every component; where there are no replay buffers in it, the next training step says so."""
        self._lacks_buffers = True
        super().restore_snapshot(snapshot, strict=strict)
