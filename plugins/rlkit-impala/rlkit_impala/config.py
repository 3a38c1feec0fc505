"""Settings of IMPALA."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from rlkit_core import AlgorithmConfig
from rlkit_core.settings import integer, number, redeclare, schedule, setting


@attrs.define
class IMPALAConfig(AlgorithmConfig):
    """Settings of IMPALA (Espeholt et al. 2018, https://arxiv.org/abs/1802.01561), good for one process as they are.

    They have RLlib's names and meanings; defaults that differ are listed in the reference, each with the reason;
    :meth:`rllib_defaults` takes RLlib's.
    """

    algo_class = "rlkit_impala.impala:IMPALA"
    default_learner_class = "rlkit_impala.impala:IMPALATorchLearner"
    default_module_class = "rlkit_impala.rl_module:IMPALATorchRLModule"
    default_catalog_class = "rlkit_impala.rl_module:IMPALACatalog"
    action_spaces = ("Discrete", "MultiDiscrete", "MultiBinary", "Box", "Dict", "Tuple")
    supports_recurrent = supports_multi_agent = True
    shared_settings = frozenset({"learner_queue_size", "broadcast_interval"})

    lr: float | list[list[float]] = redeclare(AlgorithmConfig, "lr", 1e-3)
    train_batch_size: int = redeclare(AlgorithmConfig, "train_batch_size", 512)
    rollout_fragment_length: int | str = redeclare(AlgorithmConfig, "rollout_fragment_length", 32)
    num_envs_per_env_runner: int = redeclare(AlgorithmConfig, "num_envs_per_env_runner", 16)
    max_requests_in_flight_per_env_runner: int = redeclare(AlgorithmConfig, "max_requests_in_flight_per_env_runner", 2)
    grad_clip: float | None = redeclare(AlgorithmConfig, "grad_clip", 40.0)
    min_sample_timesteps_per_iteration: int = redeclare(AlgorithmConfig, "min_sample_timesteps_per_iteration", 5000)

    vtrace_clip_rho_threshold: float = setting(
        1.0,
        section="training",
        help="V-trace's rho-bar: bound on the importance weights of temporal differences.",
        converter=number(gt=0),
    )
    vtrace_clip_pg_rho_threshold: float = setting(
        1.0,
        section="training",
        help="Bound on the importance weights of the policy gradient.",
        converter=number(gt=0),
    )
    vf_loss_coeff: float = setting(0.5, section="training", help="Weight of the value loss.", converter=number(ge=0))
    entropy_coeff: float | list[list[float]] = setting(
        0.01,
        section="training",
        help="Weight of the entropy bonus, or [[step, value], ...].",
        converter=schedule(ge=0),
    )
    learner_queue_size: int = setting(
        3,
        section="training",
        help="Batches that may wait for the learner; while so many do, no more rollouts are fetched from runners.",
        converter=integer(ge=1),
    )
    broadcast_interval: int = setting(
        1,
        section="training",
        help="Runners get new weights after so many updates.",
        converter=integer(ge=1),
    )

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        own = {"vf_share_layers": False, "fcnet_hiddens": [64, 64], "fcnet_activation": "tanh"}
        return super()._model_config_auto_includes | own

    @property
    def in_lock_step(self) -> bool:
        """Whether runners are in this process, so that sampling and learning take turns."""
        return self.num_env_runners == 0 or self.executor == "local"

    @property
    def matters_of_time(self) -> list[str]:
        """Why two runs of a seed may differ, as those do in which nobody waits; empty where all take turns."""
        reasons = []
        if not self.in_lock_step:
            reasons.append("runners sample while learners learn, and which comes first is a matter of time")
        if self.num_learners and self.executor != "local":
            reasons.append("learners in processes are not waited for, and what they have finished is a matter of time")
        return reasons

    @property
    def steps_of_a_fragment(self) -> int:
        """Steps of each env in one sample of a runner."""
        return self.get_rollout_fragment_length(1 if self.num_env_runners else 0)

    @property
    def steps_of_a_sample(self) -> int:
        """Env steps in it, over all envs."""
        return self.steps_of_a_fragment * self.num_envs_per_env_runner

    @property
    def num_batches_that_wait(self) -> int:
        """Batches that there is room for before the learner."""
        return self.learner_queue_size

    def problems(self) -> Iterator[str]:
        """What does not fit together."""
        yield from super().problems()
        if self.shuffle_batch_per_epoch:
            yield (
                "training(shuffle_batch_per_epoch=True): V-trace needs the steps of a trajectory one after the other; "
                "leave it False"
            )
        envs, batch_size = self.num_envs_per_env_runner, self.total_train_batch_size
        batches = round(self.get_rollout_fragment_length(1) * envs / batch_size)
        if not self.in_lock_step and batches > self.num_batches_that_wait:
            yield (
                f"a rollout of {envs} envs makes {batches} train batches of {batch_size} steps, but "
                f"only {self.num_batches_that_wait} may wait and the rest would be lost; raise train_batch_size, or "
                "lower rollout_fragment_length"
            )
        model_config = self.model_config
        steps = self.steps_of_a_fragment
        recurrent = model_config.get("use_lstm") or model_config.get("use_gru")
        if self.minibatch_size is not None and not recurrent and self.minibatch_size % steps:
            near = steps * max(1, self.minibatch_size // steps)
            yield (
                f"training(minibatch_size={self.minibatch_size}): minibatches hold whole fragments of "
                f"rollout_fragment_length={steps} steps; use a multiple of that, {near} say"
            )
