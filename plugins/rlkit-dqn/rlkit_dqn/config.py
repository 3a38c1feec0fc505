"""Settings of DQN."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from rlkit_core import AlgorithmConfig, RLModuleSpec
from rlkit_core.settings import boolean, integer, number, one_of, optional, redeclare, schedule, setting
from rlkit_dqn.acting import EPSILON

#: Names of replay buffers that are accepted, and what each stands for.
BUFFER_TYPES = {
    "prioritized": "prioritized",
    "uniform": "uniform",
    "PrioritizedReplayBuffer": "prioritized",
    "ReplayBuffer": "uniform",
    "PrioritizedEpisodeReplayBuffer": "prioritized",
    "EpisodeReplayBuffer": "uniform",
    "MultiAgentPrioritizedEpisodeReplayBuffer": "prioritized",
    "MultiAgentEpisodeReplayBuffer": "uniform",
}
#: What ``replay_buffer_config`` has where a key is not given.
BUFFER_DEFAULTS: dict[str, Any] = {"type": "prioritized", "capacity": 50_000, "alpha": 0.6, "beta": 0.4}
_TEMPERATURE = (
    "no Boltzmann policy is built on Q values; explore with epsilon, or with noisy=True, or override "
    "_forward_exploration of DQNTorchRLModule"
)
_BEFORE_LEARN = "override DQN.sample_train_batch(), which returns the batch of an update, in a subclass"


def _n_step(value: int | Sequence[int]) -> int | list[int]:
    """A whole number, or ``[lowest, highest]``, both possible."""
    one = integer(ge=1)
    if not isinstance(value, list | tuple):
        return int(one(value))
    if len(value) != 2 or one(value[0]) > one(value[1]):
        raise ValueError("expected a whole number >= 1, or [lowest, highest] with lowest <= highest")
    return [int(value[0]), int(value[1])]


def _hiddens(value: Sequence[int]) -> list[int]:
    if not isinstance(value, list | tuple):
        raise ValueError("expected a list of layer widths, such as [128]; [] puts the outputs on the encoder")
    return [int(integer(ge=1)(width)) for width in value]


def _replay_buffer(value: Mapping[str, Any]) -> dict[str, Any]:
    """A complete replay buffer config: what is given, over :data:`BUFFER_DEFAULTS`."""
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a dict with some of {', '.join(BUFFER_DEFAULTS)}")
    unknown = [key for key in value if key not in BUFFER_DEFAULTS]
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; expected some of {', '.join(BUFFER_DEFAULTS)}")
    given = {**BUFFER_DEFAULTS, **value}
    if not isinstance(given["type"], str) or given["type"] not in BUFFER_TYPES:
        raise ValueError(f"type {given['type']!r}: expected one of {', '.join(BUFFER_TYPES)}")
    kind = BUFFER_TYPES[given["type"]]
    useless = [key for key in ("alpha", "beta") if key in value and kind == "uniform"]
    if useless:
        raise ValueError(f"{useless[0]} belongs to type 'prioritized'; a uniform buffer has no use for it")
    checks = {"capacity": integer(ge=1), "alpha": number(ge=0, le=1), "beta": schedule(ge=0, le=1)}
    checked = {"type": kind}
    for key, check in checks.items():
        if kind == "uniform" and key != "capacity":
            continue
        try:
            checked[key] = check(given[key])
        except (ValueError, TypeError) as error:
            raise ValueError(f"{key}={given[key]!r}: {error}") from None
    return checked


@attrs.define
class DQNConfig(AlgorithmConfig):
    """Settings of DQN and of its extensions, which together are Rainbow.

    They have RLlib's names and meanings; the plugin's README lists the defaults that differ, and why.
    """

    algo_class = "rlkit_dqn.dqn:DQN"
    action_spaces = ("Discrete", "MultiDiscrete")
    supports_recurrent = supports_multi_agent = True
    shared_settings = frozenset({"num_steps_sampled_before_learning_starts", "training_intensity"})

    lr: float | list[list[float]] = redeclare(AlgorithmConfig, "lr", 5e-4)
    train_batch_size: int = redeclare(AlgorithmConfig, "train_batch_size", 64)
    grad_clip: float | None = redeclare(AlgorithmConfig, "grad_clip", 10.0)
    min_sample_timesteps_per_iteration: int = redeclare(AlgorithmConfig, "min_sample_timesteps_per_iteration", 1000)

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
        0.5, section="training", help="First scale of the noise of noisy layers.", converter=number(gt=0)
    )
    hiddens: list[int] = setting(
        [128], section="training", help="Hidden layers of each head, above the encoder.", converter=_hiddens
    )
    n_step: int | list[int] = setting(
        1,
        section="training",
        help="Rewards summed before bootstrapping; [lowest, highest] draws a number for each row.",
        converter=_n_step,
    )
    epsilon: float | list[list[float]] | None = setting(
        section="training",
        help="Share of random actions, or [[step, value], ...]; None: 1 to 0.05 over 10,000 steps, 0 with noisy.",
        converter=optional(schedule(ge=0, le=1)),
    )
    target_network_update_freq: int = setting(
        500,
        section="training",
        help="Sampled env steps between updates of the target network.",
        converter=integer(ge=0),
    )
    tau: float = setting(
        1.0,
        section="training",
        help="Share of the online network in such an update.",
        converter=number(gt=0, le=1),
    )
    num_steps_sampled_before_learning_starts: int = setting(
        1000,
        section="training",
        help="Env steps in the buffer before the first update.",
        converter=integer(ge=0),
    )
    training_intensity: float | None = setting(
        section="training",
        help="Rows trained on per sampled env step; None: one update per round of sampling.",
        converter=optional(number(gt=0)),
    )
    td_error_loss_fn: str = setting(
        "huber",
        section="training",
        help="'huber' or 'mse'; atoms have a loss of their own.",
        converter=one_of("huber", "mse"),
    )
    burn_in_len: int = setting(
        0,
        section="training",
        help="Steps at a sequence's start that only warm up the recurrent state.",
        converter=integer(ge=0),
    )
    replay_buffer_config: dict[str, Any] = setting(
        BUFFER_DEFAULTS,
        section="training",
        help="A dict of 'type' ('prioritized' or 'uniform'), 'capacity' (env steps), 'alpha', 'beta' (or a schedule).",
        converter=_replay_buffer,
    )
    adam_epsilon: float = setting(1e-8, section="training", help="Adam's epsilon.", converter=number(gt=0))
    store_buffer_in_checkpoints: bool = setting(
        False,
        section="checkpointing",
        help="Keep the replay buffer in checkpoints; without it a resumed run fills it again before it learns.",
        converter=boolean,
    )
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

    @property
    def n_step_range(self) -> tuple[int, int]:
        """Lowest and highest number of steps of a return."""
        return (self.n_step, self.n_step) if isinstance(self.n_step, int) else (self.n_step[0], self.n_step[1])

    def get_rollout_fragment_length(self, worker_index: int = 0) -> int:
        """Steps that each env of a runner takes in one round; ``"auto"`` is 4, as in Mnih et al. (2015)."""
        length = self.rollout_fragment_length
        return length if isinstance(length, int) else 4

    def get_default_learner_class(self) -> Any:
        """:class:`~rlkit_dqn.dqn.DQNTorchLearner`."""
        from rlkit_dqn.dqn import DQNTorchLearner

        return DQNTorchLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """:class:`~rlkit_dqn.rl_module.DQNTorchRLModule` with :class:`~rlkit_dqn.rl_module.DQNCatalog`."""
        from rlkit_dqn.rl_module import DQNCatalog, DQNTorchRLModule

        return RLModuleSpec(module_class=DQNTorchRLModule, catalog_class=DQNCatalog)

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
        capacity = self.replay_buffer_config["capacity"]
        least = max(self.num_steps_sampled_before_learning_starts, self.total_train_batch_size)
        if capacity < least:
            yield (
                f"training(replay_buffer_config={{'capacity': {capacity}}}): the buffer must hold at least {least} "
                "env steps (a train batch, and num_steps_sampled_before_learning_starts); raise the capacity"
            )
        max_seq_len = self.model_config.get("max_seq_len", 20)
        if self.burn_in_len and self.burn_in_len >= max_seq_len:
            yield (
                f"training(burn_in_len={self.burn_in_len}): must be less than model_config['max_seq_len']="
                f"{max_seq_len}; lower the one or raise the other"
            )
        if (self.num_epochs, self.minibatch_size, self.shuffle_batch_per_epoch) != (1, None, False):
            yield (
                "training(num_epochs, minibatch_size, shuffle_batch_per_epoch): DQN takes one step on each train "
                "batch; set train_batch_size for its size and training_intensity for how many there are"
            )
