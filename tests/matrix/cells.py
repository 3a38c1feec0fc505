"""The cells of the matrix: which there are, which an algorithm declares, and the config of each."""

from __future__ import annotations

import itertools
from typing import Any

from attrs import frozen

from rlkit_core import AlgorithmConfig, get_algorithm_config
from rlkit_core.algorithm.config.declared import names_of

ALGORITHMS = ("ppo", "impala", "appo", "dqn")
MODELS = ("mlp", "cnn", "lstm", "composed")
EXTRAS = ("", "encoder", "loss")
"""What is not the algorithm's own: nothing, a third party's encoder, a learner with a loss of its own."""


@frozen
class Cell:
    """One combination."""

    algorithm: str
    model: str
    multi_agent: bool = False
    masked: bool = False
    processes: bool = False
    extra: str = ""

    def __str__(self) -> str:
        agents, masked, place = ("agents", "single")[not self.multi_agent], "masked", "processes"
        rest = [masked] * self.masked + [place] * self.processes + [self.extra] * bool(self.extra)
        return "-".join([self.algorithm, self.model, agents, *rest])

    @property
    def is_declared(self) -> bool:
        """Whether the algorithm says that it takes this."""
        config = get_algorithm_config(self.algorithm)
        seen = {"composed": "Dict"}.get(self.model, "Dict" if self.masked else "Box")
        return (
            seen in names_of(config.observation_spaces)
            and "Discrete" in names_of(config.action_spaces)
            and (config.supports_recurrent or self.model != "lstm")
            and (config.supports_multi_agent or not self.multi_agent)
        )


def all_cells() -> list[Cell]:
    """Every combination of algorithm, model, agents, masks and place; and what is not the algorithm's own, here."""
    flags = (False, True)
    cells = [Cell(*values) for values in itertools.product(ALGORITHMS, MODELS, flags, flags, flags)]
    others = itertools.product(ALGORITHMS, MODELS, flags, EXTRAS[1:])
    return cells + [Cell(algo, model, agents, agents, False, extra) for algo, model, agents, extra in others]


def some_cells() -> list[Cell]:
    """16 cells in which every two values of two axes meet.

    The columns of the orthogonal array with 16 rows and five factors of four levels, which the field of four elements
    gives: two of them are axes, the others are divided among those with fewer values.
    """
    cells = []
    for i, j in itertools.product(range(4), range(4)):
        extra, pair, place = i ^ j, i ^ _twice(j), i ^ j ^ _twice(j)
        cells.append(
            Cell(ALGORITHMS[i], MODELS[j], bool(pair & 1), bool(pair & 2), place == 3, ("", "", *EXTRAS[1:])[extra])
        )
    return cells


def _twice(j: int) -> int:
    """j times the second element, in the field of four."""
    return (0, 2, 3, 1)[j]


def make_config(cell: Cell, compile: str | None = "auto") -> AlgorithmConfig:
    """The config of a cell: tiny networks, batches and envs."""
    from matrix_envs import SEEN, Several, Single
    from matrix_learners import OWN_LOSS

    training: dict[str, Any] = {
        "ppo": {"train_batch_size": 16, "minibatch_size": 8, "num_epochs": 2},
        "impala": {"train_batch_size": 16},
        "appo": {"train_batch_size": 16, "circular_buffer_num_batches": 1},
        "dqn": {
            "train_batch_size": 8,
            "num_steps_sampled_before_learning_starts": 8,
            "n_step": 2,
            "target_network_update_freq": 8,
            "replay_buffer_config": {"capacity": 64},
            "hiddens": [8],
        },
    }[cell.algorithm]
    model: dict[str, Any] = {"fcnet_hiddens": [8], "conv_filters": [[2, 4, 4]]}
    if cell.model == "lstm":
        model |= {"use_lstm": True, "lstm_cell_size": 8, "max_seq_len": 4}
    config = get_algorithm_config(cell.algorithm)
    config.environment(Several if cell.multi_agent else Single, env_config={"seen": cell.model, "masked": cell.masked})
    config.env_runners(
        num_envs_per_env_runner=1, rollout_fragment_length=16, num_env_runners=1 if cell.processes else 0
    )
    config.training(**training)
    config.rl_module(model_config=model)
    config.learners(compile=compile)
    config.reporting(min_sample_timesteps_per_iteration=16)
    config.evaluation(evaluation_duration=2)
    config.debugging(seed=3)
    if cell.multi_agent:
        config.multi_agent(policies=["a", "b"])
    if cell.extra == "encoder":
        parts = [f":{name}" for name in SEEN[cell.model]] if cell.masked or cell.model == "composed" else [""]
        config.rl_module(components={f"encoder{part}": "fx-lab/flat" for part in parts})
    if cell.extra == "loss":
        config.learners(learner_class=OWN_LOSS[cell.algorithm])
    return config
