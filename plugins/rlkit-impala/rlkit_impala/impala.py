"""IMPALA: actors that sample with weights a little behind, and a learner that corrects for it.

Espeholt et al., "IMPALA: Scalable Distributed Deep-RL with Importance Weighted Actor-Learner Architectures",
https://arxiv.org/abs/1802.01561. A ``training_step()`` fetches the rollouts that are ready, makes one update from the
batch that has waited longest, and publishes the weights.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from rlkit_core import Algorithm, Columns
from rlkit_core.apis import ValueFunctionAPI
from rlkit_core.columns import ALL_MODULES
from rlkit_core.data import Rollout, vtrace
from rlkit_core.errors import ConfigError
from rlkit_core.learner import STATE_AFTER_UPDATE, Scheduler, TorchLearner, masked_mean
from rlkit_core.rl_module.weights import Weights
from rlkit_impala.batches import Batch, BatchQueue, Gatherer
from rlkit_impala.trajectories import BOOTSTRAP_VALUES, CUTS, DISCOUNTS, trajectory_batch


class IMPALA(Algorithm):
    """Learns from whatever runners have ready.

    With runners in this process, sampling and learning take turns and every run of a seed is the same. With runners in
    processes, they go on while the learner learns, and it never waits for the slowest: only where there is no batch at
    all, until the first is complete.
    """

    def setup(self) -> None:
        """Make the store in which batches wait, and what fills it."""
        self._updates_since_broadcast = 0
        self._acting: Weights | None = None  # of a checkpoint, until runners have them
        self._num_steps_trained = 0
        self._gatherer = Gatherer(self.config.total_train_batch_size)
        self._complete: deque[Batch] = deque()
        self._batches: Any = self.make_batch_store()

    def make_batch_store(self) -> Any:
        """Where batches wait for the learner; has what :class:`~rlkit_impala.batches.BatchQueue` has."""
        return BatchQueue(self.config.learner_queue_size)

    # -- training -----------------------------------------------------------------------------------------------------

    def training_step(self) -> None:
        """Fetch what is ready, one update, and new weights for the runners when it is time."""
        with self.timers.time("sample"):
            self._fetch()
        batch: Batch = self._batches.take()
        self._num_steps_trained += batch.num_env_steps
        arguments: dict[str, Any] = {
            "rollouts": self.trainable(batch),
            "timesteps": self.timesteps,
            "num_epochs": self.config.num_epochs,
            "minibatch_size": self.config.minibatch_size,
        }
        if self.learner_group.is_remote:
            self._update_elsewhere(arguments)
        else:
            self._update_here(arguments)

    def _fetch(self) -> None:
        """Fill the store from the runners; wait only while it is empty."""
        store = self._batches
        self._put_into_store()
        while not len(store) or not (self.config.in_lock_step or store.is_full):
            waited_for = not len(store)
            for rollouts in self.env_runner_group.sample_async(timeout=None if waited_for else 0.0):
                self._complete.extend(self._gatherer.add(self.trainable(rollouts), self.config.steps_of_a_sample))
            self._put_into_store()
            if not waited_for:
                return

    def _put_into_store(self) -> None:
        """Put complete batches where they wait; if nobody samples meanwhile, only as many as there is room for."""
        while self._complete and not (self.config.in_lock_step and self._batches.is_full):
            self._batches.add(self._complete.popleft())

    def _update_here(self, arguments: dict[str, Any]) -> None:
        with self.timers.time("learner_update"):
            self._take_in(self.learner_group.update(**arguments))
        if self._updates_since_broadcast >= self.config.broadcast_interval:
            with self.timers.time("synch_weights"):
                self.sync_weights()

    def _update_elsewhere(self, arguments: dict[str, Any]) -> None:
        """Hand a batch to learners in processes, and take in what they have finished; nothing is waited for."""
        due = self._updates_since_broadcast + 1 >= self.config.broadcast_interval
        with self.timers.time("learner_update"):
            finished = self.learner_group.async_update(**arguments, return_state=due)
        weights = None
        for results in finished:
            weights = results.pop(STATE_AFTER_UPDATE, weights)
            self._take_in(results)
        if weights is not None and self._updates_since_broadcast >= self.config.broadcast_interval:
            with self.timers.time("synch_weights"):
                self.env_runner_group.sync_weights(weights)
            self._updates_since_broadcast = 0

    def _take_in(self, results: dict[str, Any]) -> None:
        self._updates_since_broadcast += 1
        self.last_learner_results = results
        of_all = results.setdefault(ALL_MODULES, {})
        dropped = self._batches.num_steps_dropped
        dropped += self.learner_group.get_stats()["learner_group_ts_dropped_lifetime"]
        of_all["num_env_steps_dropped_lifetime"] = dropped
        of_all["num_batches_waiting"] = len(self._batches)

    def sync_weights(self) -> None:
        """Publish the learner's weights to the runners."""
        super().sync_weights()
        self._updates_since_broadcast = 0

    @property
    def timesteps(self) -> dict[str, int]:
        """Lifetime counts, as an update takes them."""
        return {**super().timesteps, "num_env_steps_trained_lifetime": self._num_steps_trained}

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def _forget_rollouts(self) -> None:
        complete = sum(batch.num_env_steps for batch in self._complete)
        self._complete.clear()
        self._batches.num_steps_dropped += complete + self._gatherer.clear() + self._batches.clear()

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The algorithm's state, with the counts of steps trained on and dropped.

        Where sampling and learning take turns the rollouts that wait are in it, and the weights that runners act with
        if learners have newer ones. Rollouts that processes have under way are not.
        """
        state = super().get_state(components, not_components=not_components, **kwargs)
        state["num_steps_trained"] = self._num_steps_trained
        state["batches"] = self._batches.get_state()
        if not self.config.in_lock_step:
            return state
        waiting = {"store": list(self._batches), "complete": list(self._complete), "open": [self._gatherer.open]}
        if all(batch.can_be_saved for batches in waiting.values() for batch in batches):
            state["waiting"] = {name: [batch.get_state() for batch in some] for name, some in waiting.items()}
        state["updates_since_broadcast"] = self._updates_since_broadcast
        if self._updates_since_broadcast:
            version, weights = self.env_runner_group.foreach_env_runner(_what_acts)[0]
            state["acting"] = {"version": version, "weights": weights}
        return state

    def set_state(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Continue from :meth:`get_state`; rollouts that wait here are forgotten."""
        acting = state.get("acting")
        self._acting = None if acting is None else Weights(int(acting["version"]), acting["weights"])
        super().set_state(state, strict=strict)
        self._forget_rollouts()
        self._updates_since_broadcast = int(state.get("updates_since_broadcast", 0))
        self._num_steps_trained = int(state.get("num_steps_trained", self._num_steps_trained))
        waiting = {
            name: [Batch.from_state(one) for one in some]
            for name, some in (state.get("waiting", {}) if self.config.in_lock_step else {}).items()
        }
        if "batches" in state:
            self._batches.set_state(state["batches"], waiting.get("store", ()))
        self._complete.extend(waiting.get("complete", ()))
        for batch in waiting.get("open", ()):
            self._gatherer.go_on_from(batch)

    def weights_to_act(self) -> Weights:
        """As of every algorithm; older ones where a checkpoint was made before the learner's were published."""
        acting, self._acting = self._acting, None
        return super().weights_to_act() if acting is None else acting


def _what_acts(runner: Any) -> tuple[int, dict[str, Any]]:
    return runner.weights_version, runner.module.get_state()


class IMPALATorchLearner(TorchLearner):
    """IMPALA's loss."""

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        """IMPALA needs a value function."""
        return [ValueFunctionAPI]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._entropy: dict[str, Scheduler] = {}

    def on_module_added(self, module_id: str) -> None:
        """Make the schedule of the entropy weight."""
        super().on_module_added(module_id)
        config = self.config.get_config_for_module(module_id)
        self._entropy[module_id] = Scheduler(config.entropy_coeff, device=self.device)

    def on_module_removed(self, module_id: str) -> None:
        """Forget it."""
        super().on_module_removed(module_id)
        self._entropy.pop(module_id, None)

    def build_train_batch(self, module_id: str, rollout: Rollout) -> dict[str, Any]:
        """Trajectories; see :mod:`~rlkit_impala.trajectories`.

        Episodes that come without log-probabilities count as played by the module as it is.

        Raises:
            ConfigError: minibatches would cut trajectories.
        """
        config = self.config.get_config_for_module(module_id)
        size = self.config.minibatch_size
        if size is not None and rollout.cut is not None and size % rollout.num_steps:
            # Agents that did not act in every step of their fragment.
            rollout = rollout.extend_time(self.config.steps_of_a_fragment)
        if size is not None and rollout.state_in is None and size % rollout.num_steps:
            raise ConfigError(
                f"training(minibatch_size={size}): minibatches hold whole trajectories, here of {rollout.num_steps} "
                "steps; use a multiple of that, or None"
            )
        module = self.module[module_id].unwrapped()
        batch = trajectory_batch(module, rollout, config.gamma)
        if Columns.ACTION_LOGP not in batch:
            inputs = module.forward_train(batch)[Columns.ACTION_DIST_INPUTS]
            dist = module.get_train_action_dist_cls().from_logits(inputs)
            batch[Columns.ACTION_LOGP] = dist.logp(batch[Columns.ACTIONS])
        return batch

    # -- every minibatch: the loss ------------------------------------------------------------------------------------

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """``-E[log pi(a) A] + c_vf E[(V - v)^2] / 2 - c_ent E[H]``, section 4.2 of the paper.

        ``A`` and the value targets ``v`` are V-trace's, with the probabilities and values of these very weights.
        """
        module = self.module[module_id].unwrapped()
        dist = module.get_train_action_dist_cls().from_logits(fwd_out[Columns.ACTION_DIST_INPUTS])
        logp, mask = dist.logp(batch[Columns.ACTIONS]), batch.get(Columns.LOSS_MASK)
        values = module.compute_values(batch, embeddings=fwd_out.get(Columns.EMBEDDINGS))
        vs, advantages = vtrace_of_batch(config, batch, self.target_logp(batch, logp), values)
        log: dict[str, Tensor] = {}
        loss = log["pi_loss"] = self.policy_loss(module_id, config, batch, dist, logp, advantages, log)
        log["vf_loss"] = vf_loss = 0.5 * masked_mean((values - vs).square(), mask)
        loss = loss + config.vf_loss_coeff * vf_loss
        scheduler = self._entropy[module_id]
        if scheduler.is_constant and scheduler.get_current_value() == 0.0:
            with torch.no_grad():
                log["entropy"] = masked_mean(dist.entropy(), mask)
        else:
            log["entropy"] = entropy = masked_mean(dist.entropy(), mask)
            loss = loss - scheduler.value * entropy
        self.metrics.log_dict(log, key=module_id)
        return loss

    def target_logp(self, batch: dict[str, Any], logp: Tensor) -> Tensor:
        """Log-probabilities of the policy that V-trace evaluates: the current one's."""
        return logp.detach()

    def policy_loss(
        self,
        module_id: str,
        config: Any,
        batch: dict[str, Any],
        dist: Any,
        logp: Tensor,
        advantages: Tensor,
        log: dict[str, Tensor],
    ) -> Tensor:
        """The policy's part of the loss, a 0-dim tensor; ``advantages`` have V-trace's weights in them."""
        return -masked_mean(logp * advantages, batch.get(Columns.LOSS_MASK))

    def after_gradient_based_update(self, *, timesteps: Mapping[str, int]) -> None:
        """Move the entropy schedule on."""
        super().after_gradient_based_update(timesteps=timesteps)
        now = timesteps.get("num_env_steps_sampled_lifetime", 0)
        for module_id, scheduler in self._entropy.items():
            scheduler.update(now)
            if module_id in self.trained_modules:
                self.metrics.log_value((module_id, "curr_entropy_coeff"), scheduler.get_current_value(), reduce="last")


def vtrace_of_batch(config: Any, batch: dict[str, Any], target_logp: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """V-trace over the steps of a batch, one after the other, cut where :mod:`~rlkit_impala.trajectories` says.

    Args:
        config: has the thresholds.
        batch: as :func:`~rlkit_impala.trajectories.trajectory_batch` gives it, or whole trajectories of it.
        target_logp: ``[...]``, of the policy that is evaluated.
        values: ``[...]``, of all steps.

    Returns:
        Value targets and advantages, both of the shape of ``values``; anything where the loss is masked.
    """
    values, behaviour_logp = values.detach(), batch[Columns.ACTION_LOGP]
    mask = batch.get(Columns.LOSS_MASK)
    if mask is not None:  # an action that fits another observation may be impossible here
        behaviour_logp = torch.where(mask, behaviour_logp, 0.0)
        target_logp = torch.where(mask, target_logp, 0.0)
    final_values = batch.get(BOOTSTRAP_VALUES)
    vs, advantages = vtrace(
        behaviour_logp.reshape(-1),
        target_logp.reshape(-1),
        batch[Columns.REWARDS].reshape(-1),
        values.reshape(-1),
        values.new_zeros(()),  # the last step is cut
        batch[DISCOUNTS].reshape(-1),
        clip_rho=config.vtrace_clip_rho_threshold,
        clip_pg_rho=config.vtrace_clip_pg_rho_threshold,
        truncateds=batch[CUTS].reshape(-1),
        final_values=None if final_values is None else final_values.reshape(-1),
    )
    return vs.view(values.shape), advantages.view(values.shape)
