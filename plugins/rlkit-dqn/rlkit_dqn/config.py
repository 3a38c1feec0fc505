"""Settings of DQN."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from rlkit_core import AlgorithmConfig
from rlkit_core.settings import boolean, integer, number, one_of, optional, redeclare, schedule, setting
from rlkit_dqn.acting import EPSILON
from rlkit_offpolicy import OffPolicyConfig

_TEMPERATURE = (
    "no Boltzmann policy is built on Q values; explore with epsilon, or with noisy=True, or override "
    "_forward_exploration of DQNTorchRLModule"
)
_BEFORE_LEARN = "override DQN.sample_train_batch(), which returns the batch of an update, in a subclass"


def _hiddens(value: Sequence[int]) -> list[int]:
    if not isinstance(value, list | tuple):
        raise ValueError("expected a list of layer widths, such as [128]; [] puts the outputs on the encoder")
    return [int(integer(ge=1)(width)) for width in value]


@attrs.define
class DQNConfig(OffPolicyConfig):
    """Settings of DQN and of its extensions, which together are Rainbow.

    They have RLlib's names and meanings; defaults that differ are listed in the reference, each with the reason;
    :meth:`rllib_defaults` takes RLlib's.
    """

    algo_class = "rlkit_dqn.dqn:DQN"
    default_learner_class = "rlkit_dqn.dqn:DQNTorchLearner"
    default_module_class = "rlkit_dqn.rl_module:DQNTorchRLModule"
    default_catalog_class = "rlkit_dqn.rl_module:DQNCatalog"
    action_spaces = ("Discrete", "MultiDiscrete")
    supports_recurrent = supports_multi_agent = True

    lr: float | list[list[float]] = redeclare(AlgorithmConfig, "lr", 5e-4)
    train_batch_size: int = redeclare(AlgorithmConfig, "train_batch_size", 64)
    grad_clip: float | None = redeclare(AlgorithmConfig, "grad_clip", 10.0)

    double_q: bool = setting(
        True, section="training", help="Choose the next action with the online network.", converter=boolean
    )
    dueling: bool = setting(
        True, section="training", help="Separate streams for state value and advantages.", converter=boolean
    )
    num_atoms: int = setting(
        1,
        section="training",
        help="Atoms of the return distribution (C51); 1: means only.",
        converter=integer(ge=1),
    )
    v_min: float = setting(-10.0, section="training", help="Lowest atom.", converter=number())
    v_max: float = setting(10.0, section="training", help="Highest atom.", converter=number())
    noisy: bool = setting(
        False,
        section="training",
        help="Heads of noisy layers, which learn how to explore.",
        converter=boolean,
    )
    sigma0: float = setting(
        0.5, section="training", help="First scale of the noise of noisy layers.", converter=number(gt=0), needs="noisy"
    )
    hiddens: list[int] = setting(
        [128], section="training", help="Hidden layers of each head, above the encoder.", converter=_hiddens
    )
    epsilon: float | list[list[float]] | None = setting(
        section="training",
        help="Share of random actions, or [[step, value], ...]; None: 1 to 0.05 over 10,000 steps, 0 with noisy.",
        converter=optional(schedule(ge=0, le=1)),
    )
    td_error_loss_fn: str = setting(
        "huber",
        section="training",
        help="'huber' or 'mse'; atoms have a loss of their own.",
        converter=one_of("huber", "mse"),
    )
    adam_epsilon: float = setting(1e-8, section="training", help="Adam's epsilon.", converter=number(gt=0))
    categorical_distribution_temperature: float = setting(
        1.0, section="training", help="1.0.", converter=number(gt=0), only=(1.0,), only_why=_TEMPERATURE
    )
    before_learn_on_batch: None = setting(
        section="training", help="None.", converter=None, only=(None,), only_why=_BEFORE_LEARN
    )

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        epsilon = (0.0 if self.noisy else EPSILON) if self.epsilon is None else self.epsilon
        own = {
            "fcnet_hiddens": [128],
            "fcnet_activation": "relu",
            "head_fcnet_hiddens": self.hiddens,
            "double_q": self.double_q,
            "dueling": self.dueling,
            "num_atoms": self.num_atoms,
            "v_min": self.v_min,
            "v_max": self.v_max,
            "noisy": self.noisy,
            "sigma0": self.sigma0,
            "epsilon": epsilon,
        }
        return super()._model_config_auto_includes | own

    def get_rollout_fragment_length(self, worker_index: int = 0) -> int:
        """Steps that each env of a runner takes in one round; ``"auto"`` is 4, as in Mnih et al. (2015)."""
        length = self.rollout_fragment_length
        return length if isinstance(length, int) else 4

    def without_effect(self) -> Iterator[str]:
        """What was set and changes nothing."""
        yield from super().without_effect()
        given = self.set_by_user()
        for name in ("v_min", "v_max"):
            if name in given and self.num_atoms == 1:
                yield f"training({name}={self[name]!r}) changes nothing: it needs training(num_atoms=...) above 1"

    def problems(self) -> Iterator[str]:
        """What does not fit together."""
        yield from super().problems()
        if self.v_min >= self.v_max:
            yield f"training(v_min={self.v_min}, v_max={self.v_max}): v_min must lie below v_max"
        if self.num_atoms > 1 and "td_error_loss_fn" in self.set_by_user():
            yield (
                f"training(td_error_loss_fn={self.td_error_loss_fn!r}) with num_atoms={self.num_atoms}: a return "
                "distribution is trained with cross-entropy; leave td_error_loss_fn out, or use num_atoms=1"
            )
