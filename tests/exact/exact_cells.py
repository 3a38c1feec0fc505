"""The cells in which a resumed run has to equal the uninterrupted one: which there are, and the config of each."""

from __future__ import annotations

import functools
import itertools
from typing import Any

from attrs import frozen

from rlkit_core import AlgorithmConfig, get_algorithm_config

ALGORITHMS = ("ppo", "dqn", "sac", "impala", "appo")
LOCK_STEP = ("impala", "appo")
STEPS, LENGTH = 12, 40
"""Of a rollout in each env, and of the longest episode."""
PLACES: dict[str, dict[str, Any]] = {
    "runners": {"num_env_runners": 2},
    "in-turn": {"num_env_runners": 2, "executor": "local"},
    "learner": {"num_learners": 1},
    "learners": {"num_learners": 2},
}
"""Other places where runners and learners may be: the settings of each."""


@frozen
class Cell:
    """One combination."""

    algorithm: str
    recurrent: bool = False
    multi_agent: bool = False
    processes: bool = False
    capture: bool = False
    place: str | None = None

    def __str__(self) -> str:
        names = [("mlp", "lstm")[self.recurrent], ("single", "agents")[self.multi_agent]]
        names += ["processes"] * self.processes + ["capture"] * self.capture
        return "-".join([self.algorithm, *names, *([] if self.place is None else [self.place])])

    @classmethod
    def named(cls, name: str) -> Cell:
        """The cell of that text."""
        return next(cell for cell in (*every_cell(), *CELLS_ELSEWHERE) if str(cell) == name)

    @property
    def is_declared(self) -> bool:
        """Whether the algorithm takes this; those that learn from whatever is ready are exact in lock-step only."""
        config = _defaults(self.algorithm)
        return (
            (config.supports_recurrent or not self.recurrent)
            and (config.supports_multi_agent or not self.multi_agent)
            and not (self.processes and self.algorithm in LOCK_STEP)
        )


@functools.cache
def _defaults(algorithm: str) -> AlgorithmConfig:
    return get_algorithm_config(algorithm)


@functools.cache
def every_cell() -> list[Cell]:
    """Every combination that an algorithm declares."""
    flags = (False, True)
    cells = [Cell(*values) for values in itertools.product(ALGORITHMS, flags, flags, flags, flags)]
    return [cell for cell in cells if cell.is_declared]


CELLS_ELSEWHERE = [
    Cell("ppo", multi_agent=True, place="runners"),
    Cell("ppo", place="learner"),
    Cell("ppo", recurrent=True, place="learners"),
    Cell("ppo", multi_agent=True, place="learners"),
    Cell("dqn", recurrent=True, place="runners"),
    Cell("dqn", place="learner"),
    Cell("dqn", multi_agent=True, place="learners"),
    Cell("sac", place="runners"),
    Cell("sac", place="learners"),
    Cell("impala", place="in-turn"),
    Cell("appo", multi_agent=True, place="in-turn"),
]
"""Some more, with several runners, or learners in processes, for which IMPALA and APPO do not wait."""


@functools.cache
def some_cells() -> list[Cell]:
    """Few of them in which every two values that may meet do: chosen one by one, the one with most new pairs first."""
    left = {pair for cell in every_cell() for pair in pairs(cell)}
    chosen: list[Cell] = []
    while left:
        best = max(every_cell(), key=lambda cell: (len(pairs(cell) & left), not cell.processes))
        chosen.append(best)
        left -= pairs(best)
    return chosen


def pairs(cell: Cell) -> set[Any]:
    """Every two values of a cell."""
    values = [
        ("algorithm", cell.algorithm),
        ("recurrent", cell.recurrent),
        ("agents", cell.multi_agent),
        ("processes", cell.processes),
        ("capture", cell.capture),
    ]
    return set(itertools.combinations(values, 2))


OFF_POLICY: dict[str, Any] = {
    "train_batch_size": 16,
    "num_steps_sampled_before_learning_starts": 40,
    "n_step": [1, 3],
    "training_intensity": 2.5,
    "replay_buffer_config": {"type": "prioritized", "capacity": 90, "beta": [[0, 0.4], [200, 1.0]]},
    "lr": [[0, 0.01], [300, 0.001]],
}
TRAINING: dict[str, dict[str, Any]] = {
    "ppo": {
        "train_batch_size": 24,
        "minibatch_size": 8,
        "num_epochs": 2,
        "reward_scaling": True,
        "use_kl_loss": True,
        "lr": [[0, 0.01], [300, 0.001]],
        "entropy_coeff": [[0, 0.1], [300, 0.0]],
    },
    "impala": {
        "train_batch_size": 36,
        "broadcast_interval": 2,
        "lr": [[0, 0.01], [300, 0.001]],
        "entropy_coeff": [[0, 0.1], [300, 0.0]],
    },
    "appo": {
        "train_batch_size": 24,
        "circular_buffer_num_batches": 3,
        "circular_buffer_iterations_per_batch": 2,
        "broadcast_interval": 2,
        "use_kl_loss": True,
        "entropy_coeff": [[0, 0.1], [300, 0.0]],
    },
    "dqn": {**OFF_POLICY, "target_network_update_freq": 20, "epsilon": [[0, 1.0], [150, 0.1]], "hiddens": [8]},
    "sac": {**OFF_POLICY, "warmup": "random"},
}


def make_config(cell: Cell) -> AlgorithmConfig:
    """The config of a cell: tiny, with everything that changes over time."""
    from exact_envs import Several, Single

    model: dict[str, Any] = {"fcnet_hiddens": [8], "normalize_observations": True}
    if cell.recurrent:
        model |= {"use_lstm": True, "lstm_cell_size": 8, "max_seq_len": 4}
    config = get_algorithm_config(cell.algorithm)
    config.environment(
        Several if cell.multi_agent else Single, env_config={"continuous": cell.algorithm == "sac", "length": LENGTH}
    )
    config.env_runners(
        num_envs_per_env_runner=2, rollout_fragment_length=STEPS, num_env_runners=1 if cell.processes else 0
    )
    config.training(**TRAINING[cell.algorithm])
    config.rl_module(model_config=model)
    config.learners(compile="auto" if cell.capture else None)
    config.reporting(min_sample_timesteps_per_iteration=2 * STEPS, metrics_num_episodes_for_smoothing=3)
    config.evaluation(
        evaluation_interval=2,
        evaluation_duration=6,
        evaluation_duration_unit="timesteps",
        evaluation_config={"explore": True},
    )
    config.debugging(seed=3)
    for name, value in PLACES.get(cell.place or "", {}).items():
        setattr(config, name, value)
    if cell.algorithm == "ppo" and config.num_env_runners > 1:
        config.training(train_batch_size=48)
    if cell.multi_agent:
        config.multi_agent(policies=["a", "b"])
    return config
