"""Deep Q-networks and their extensions up to Rainbow.

Mnih et al., "Human-level control through deep reinforcement learning" (2015), https://doi.org/10.1038/nature14236;
Hessel et al., "Rainbow", https://arxiv.org/abs/1710.02298. One ``training_step()`` is a round of sampling into a replay
buffer, and the updates that are due by then.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from rlkit_core import Algorithm, Columns, Learner, MultiRLModuleSpec
from rlkit_core.apis import QNetAPI, TargetNetworkAPI
from rlkit_core.data import (
    DISCOUNT,
    N_STEP,
    WEIGHTS,
    PrioritizedReplayBuffer,
    ReplayBuffer,
    sequence_priorities,
)
from rlkit_core.learner import Scheduler, masked_mean, max_seq_len
from rlkit_dqn.q_learning import (
    categorical_loss,
    categorical_targets,
    choose,
    next_actions,
    td_loss,
    td_targets,
)
from rlkit_dqn.rl_module import (
    ATOMS,
    QF_LOGITS,
    QF_NEXT_PREDS,
    QF_PREDS,
    QF_TARGET_NEXT_PREDS,
    QF_TARGET_NEXT_PROBS,
)

TD_ERROR = "td_error"
#: Columns of a batch of rows that neither forward pass nor loss reads.
_UNREAD = (Columns.TERMINATEDS, N_STEP)


class DQN(Algorithm):
    """Deep Q-learning from a replay buffer.

    Attributes:
        replay_buffers: ``{module id: buffer}``, made when a module's first rollout arrives.
    """

    def __init__(self, config: Any, env: Any = None) -> None:
        self.replay_buffers: dict[str, ReplayBuffer] = {}
        self._updates_owed = 0.0
        self._env_steps_held = 0  # sampled into the buffers since there are these
        self._betas: dict[str, Scheduler] = {}
        self._stateless: dict[str, Any] = {}  # modules that were found to have no recurrent state
        super().__init__(config, env)

    # -- training -----------------------------------------------------------------------------------------------------

    def training_step(self) -> None:
        """Sample into the replay buffers; once they hold enough, make the updates that this round has earned."""
        with self.timers.time("sample"):
            before = self.num_env_steps_sampled_lifetime
            rollouts = self.env_runner_group.sample()
            sampled = self.num_env_steps_sampled_lifetime - before
        with self.timers.time("replay_buffer_add"):
            self._env_steps_held += sampled
            for module_id, rollout in self.trainable(rollouts).items():
                self._buffer_of(module_id).add(rollout)
        num_updates = self._num_updates(sampled)
        if not num_updates:
            return
        with self.timers.time("replay_buffer_sample"):
            batch = self.sample_train_batch(num_updates)
        if not batch:
            return
        with self.timers.time("learner_update"):
            self.learner_group.update(
                batch=batch,
                timesteps=self.timesteps,
                minibatch_size=self._rows_of_an_update(),
                reduce_metrics=False,
            )
            prioritized = {m: b for m, b in self.replay_buffers.items() if isinstance(b, PrioritizedReplayBuffer)}
            rows = self.learner_group.take_rows() if prioritized else {}
            for module_id, buffer in prioritized.items():
                if TD_ERROR in rows.get(module_id, {}):
                    buffer.update_priorities(rows[module_id][TD_ERROR])
        with self.timers.time("synch_weights"):
            self.sync_weights()

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

    def sample_train_batch(self, num_updates: int) -> dict[str, dict[str, Any]]:
        """``{module id: columns}`` for ``num_updates`` updates, one after the other, ``[num_updates * B, ...]``.

        Override to change what is learned from.
        """
        batches: dict[str, dict[str, Any]] = {}
        for module_id, buffer in self.trainable(self.replay_buffers).items():
            burn_in = self.config.get_config_for_module(module_id).burn_in_len
            if len(buffer) <= burn_in:
                continue
            beta = self._betas[module_id].at(self.num_env_steps_sampled_lifetime)
            sequence = self._sequence_settings(module_id, burn_in)
            if sequence is None:
                batch = buffer.sample(self.config.total_train_batch_size, beta=beta, num_batches=num_updates)
                unread = _UNREAD
            else:
                size, options = sequence
                batch = buffer.sample(size, beta=beta, num_batches=num_updates, **options)
                unread = _UNREAD[:1]
            if not isinstance(buffer, PrioritizedReplayBuffer):
                unread = (*unread, WEIGHTS)  # they are all 1
            batches[module_id] = {name: column for name, column in batch.items() if name not in unread}
        return batches

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

    def _rows_of_an_update(self) -> int:
        """Rows of one update on one learner, those of sequences counted step by step."""
        return max(1, self.config.train_batch_size_per_learner)

    def _buffer_of(self, module_id: str) -> ReplayBuffer:
        """The replay buffer of a module."""
        buffer = self.replay_buffers.get(module_id)
        if buffer is None:
            config = self.config.get_config_for_module(module_id)
            settings = config.replay_buffer_config
            options: dict[str, Any] = {
                "n_step": config.n_step_range,
                "gamma": config.gamma,
                "seed": self.seeds.child("replay_buffer", module_id),
            }
            if settings["type"] == "prioritized":
                buffer = PrioritizedReplayBuffer(settings["capacity"], alpha=settings["alpha"], **options)
            else:
                buffer = ReplayBuffer(settings["capacity"], **options)
            self.replay_buffers[module_id] = buffer
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

    def learner_results(self) -> dict[str, Any]:
        """Metrics of all updates of an iteration; those of the last that had some."""
        results = self.learner_group.reduce_metrics()
        if any(results.values()):
            self.last_learner_results = results
        return self.last_learner_results

    def extra_results(self) -> dict[str, Any]:
        """``replay_buffer``: ``{module id: its counters}``."""
        return {"replay_buffer": {mid: buffer.get_metrics() for mid, buffer in self.replay_buffers.items()}}

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The algorithm's state; the replay buffers with it where ``store_buffer_in_checkpoints`` is set."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self.config.store_buffer_in_checkpoints:
            state["updates_owed"] = self._updates_owed
            state["env_steps_held"] = self._env_steps_held
            state["replay_buffers"] = {mid: buffer.get_state() for mid, buffer in self.replay_buffers.items()}
        return state

    def set_state(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Continue from :meth:`get_state`. Without buffers in it, learning waits until they are filled again."""
        super().set_state(state, strict=strict)
        self._updates_owed = float(state.get("updates_owed", self._updates_owed))
        for module_id, buffer_state in state.get("replay_buffers", {}).items():
            self._buffer_of(module_id).set_state(dict(buffer_state))
        if state.get("replay_buffers"):
            added = max(buffer.num_env_steps_added_lifetime for buffer in self.replay_buffers.values())
            self._env_steps_held = int(state.get("env_steps_held", added))  # older versions had one module


class DQNTorchLearner(Learner):
    """DQN's loss."""

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        """DQN needs Q values and target networks."""
        return [QNetAPI, TargetNetworkAPI]

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """``E[w * loss(Q(s, a), R + discount * Q_target(s', a*))]``, or cross-entropy of return distributions.

        ``w`` are importance weights (Schaul et al., https://arxiv.org/abs/1511.05952, section 3.4), where the batch has
        some, and the rows' errors then become the priorities of the replay buffer; see :mod:`rlkit_dqn.q_learning` for
        the rest.
        """
        rewards, discounts, mask = batch[Columns.REWARDS], batch[DISCOUNT], batch.get(Columns.LOSS_MASK)
        table = self.module[module_id].unwrapped().table
        actions = table.index(batch[Columns.ACTIONS])
        online_next = fwd_out.get(QF_NEXT_PREDS)
        q_taken = choose(fwd_out[QF_PREDS], actions)
        q_logged = q_taken.detach()
        plain = mask is None and WEIGHTS not in batch and ATOMS not in fwd_out
        if ATOMS in fwd_out:
            best = next_actions(fwd_out[QF_TARGET_NEXT_PREDS], online_next)
            next_probs = choose(fwd_out[QF_TARGET_NEXT_PROBS], best)
            targets = categorical_targets(rewards, discounts, next_probs, fwd_out[ATOMS])
            losses, errors = categorical_loss(choose(fwd_out[QF_LOGITS], actions), targets)
        else:
            targets = td_targets(rewards, discounts, fwd_out[QF_TARGET_NEXT_PREDS], online_next)
        if plain:  # means over all rows alike are one operation each
            loss = td_loss(q_taken, targets, config.td_error_loss_fn, reduction="mean")
            td_error_mean = F.l1_loss(q_logged, targets)
        else:
            if ATOMS not in fwd_out:
                losses = td_loss(q_taken, targets, config.td_error_loss_fn)
                errors = q_logged - targets
            errors = errors.detach().abs()
            if WEIGHTS in batch:
                losses = losses * batch[WEIGHTS]
                rows = errors if mask is None else sequence_priorities(errors, mask)
                self.log_rows(module_id, TD_ERROR, rows)
            loss, td_error_mean = masked_mean(losses, mask), masked_mean(errors, mask)
        self.metrics.log_dict(
            {"qf_loss": loss, "qf_mean": masked_mean(q_logged, mask), "td_error_mean": td_error_mean},
            key=module_id,
        )
        self._log_range(module_id, q_logged, mask)
        return loss

    def _log_range(self, module_id: str, q: Tensor, mask: Tensor | None) -> None:
        """Log the lowest and highest value of an action taken."""
        if mask is None:
            low, high = q.aminmax()
        else:
            low, high = q.masked_fill(~mask, float("inf")).amin(), q.masked_fill(~mask, -float("inf")).amax()
        self.metrics.log_value((module_id, "qf_min"), low, reduce="min")
        self.metrics.log_value((module_id, "qf_max"), high, reduce="max")
