"""What happens before a run trains: its config is completed and checked, and its folder says what it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rlkit_core.algorithm.config.to_json import to_data
from rlkit_core.algorithm.used import choices_of, used_by
from rlkit_core.envs.gym_vectors.make import make_example
from rlkit_core.envs.multi_agent.make import check_spaces
from rlkit_core.errors import ConfigError
from rlkit_core.run import run_folder as folder
from rlkit_core.run.stop import Stop, evaluate_for
from rlkit_core.seeding import SeedTree

if TYPE_CHECKING:
    from rlkit_core.algorithm import Algorithm
    from rlkit_core.algorithm.config.config import AlgorithmConfig


def check_to_train(config: AlgorithmConfig, stop: Stop) -> None:
    """Complete the config of a new run (seed, evaluation) and check all that can be checked before anything is built.

    Raises:
        ConfigError: settings that do not fit or cannot be stored.
        EnvError: the env cannot be made.
    """
    if config.seed is None:
        config.debugging(seed=SeedTree.from_seed(None).root)
    evaluate_for(stop, config)
    config.validate()
    if config.env is None:
        raise ConfigError("there is no environment: config.environment('CartPole-v1')")
    env = make_example(config.env, config.env_config, config.gym_env_vectorize_mode, config.wrappers)
    check_spaces(env)
    env.close()
    to_data(config)


def describe_run(algorithm: Algorithm, place: Path) -> None:
    """Write the files that are known before training.

    Raises:
        OSError: they cannot be written.
    """
    config = algorithm.config
    lock, data = used_by(algorithm), to_data(config)
    folder.write_json(place / folder.CONFIG, data)
    folder.write_json(place / folder.VERSIONS, folder.versions_of(lock))
    folder.write_json(place / folder.LOCK, folder.lock_of(lock, data, choices_of(algorithm)))
    seed = getattr(getattr(algorithm, "seeds", None), "root", config.seed)
    folder.write_json(place / folder.SEEDS, {"seed": seed})


def keep_reports_of(algorithm: Algorithm, run_dir: Path) -> None:
    """Let a minibatch whose loss is not finite be saved in the run folder, unless the config says where."""
    group = getattr(algorithm, "learner_group", None)  # an algorithm may do without
    if group is not None and algorithm.config.nonfinite_dir is None:
        group.foreach_learner(lambda learner: setattr(learner, "report_dir", run_dir))
