"""Settings of APPO."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from rlkit_core.settings import boolean, integer, number, redeclare, setting
from rlkit_impala import IMPALAConfig


@attrs.define
class APPOConfig(IMPALAConfig):
    """Settings of APPO: those of IMPALA, and those of the surrogate, the target policy and the circular buffer.

    They have RLlib's names and meanings; defaults that differ are listed in the reference, each with the reason;
    :meth:`rllib_defaults` takes RLlib's.
    """

    algo_class = "rlkit_appo.appo:APPO"
    default_learner_class = "rlkit_appo.appo:APPOTorchLearner"
    default_module_class = "rlkit_appo.rl_module:APPOTorchRLModule"
    default_catalog_class = "rlkit_appo.rl_module:APPOCatalog"
    shared_settings = IMPALAConfig.shared_settings | {
        "use_circular_buffer",
        "circular_buffer_num_batches",
        "circular_buffer_iterations_per_batch",
    }

    learner_queue_size: int = redeclare(IMPALAConfig, "learner_queue_size", 16)

    clip_param: float = setting(
        0.4,
        section="training",
        help="How far the probability ratio of the new and the target policy may move from 1.",
        converter=number(gt=0),
    )
    target_worker_clipping: float = setting(
        2.0,
        section="training",
        help="Bound on the ratio of the probabilities with which the runner and the target policy act.",
        converter=number(gt=0),
    )
    use_kl_loss: bool = setting(
        False,
        section="training",
        help="Add a penalty on KL(target policy || new), with a weight that adapts.",
        converter=boolean,
    )
    kl_coeff: float = setting(
        1.0, section="training", help="First weight of the KL penalty.", converter=number(ge=0), needs="use_kl_loss"
    )
    kl_target: float = setting(
        0.01,
        section="training",
        help="KL that the penalty's weight steers towards.",
        converter=number(gt=0),
        needs="use_kl_loss",
    )
    use_circular_buffer: bool = setting(
        True,
        section="training",
        help="Use each batch several times, in random order; False: once, in the order in which they come.",
        converter=boolean,
    )
    circular_buffer_num_batches: int = setting(
        2,
        section="training",
        help="Batches in the circular buffer; a further one drives the oldest out.",
        converter=integer(ge=1),
        needs="use_circular_buffer",
    )
    circular_buffer_iterations_per_batch: int = setting(
        2,
        section="training",
        help="How often each of them is used.",
        converter=integer(ge=1),
        needs="use_circular_buffer",
    )
    target_network_update_freq: int = setting(
        1,
        section="training",
        help="The target policy follows after so many train batches (with the circular buffer: fillings of it, all "
        "uses counted).",
        converter=integer(ge=1),
    )
    tau: float = setting(
        1.0,
        section="training",
        help="Share of the current policy in such an update of the target policy.",
        converter=number(gt=0, le=1),
    )

    @property
    def num_batches_that_wait(self) -> int:
        """Batches that there is room for before the learner."""
        return self.circular_buffer_num_batches if self.use_circular_buffer else self.learner_queue_size

    @property
    def target_network_clock(self) -> tuple[str, int]:
        """``(a lifetime count, how far it moves between two updates of the target policy)``."""
        uses = 1
        if self.use_circular_buffer:
            uses = self.circular_buffer_num_batches * self.circular_buffer_iterations_per_batch
        steps = self.target_network_update_freq * uses * self.train_batch_size_per_learner
        return "num_env_steps_trained_lifetime", steps

    def problems(self) -> Iterator[str]:
        """What does not fit together."""
        yield from super().problems()
        if self.use_circular_buffer and "learner_queue_size" in self.set_by_user():
            yield (
                f"training(learner_queue_size={self.learner_queue_size}): with use_circular_buffer=True batches wait "
                "in the circular buffer; set circular_buffer_num_batches instead, or use_circular_buffer=False"
            )
