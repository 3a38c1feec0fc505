"""Trials of Ray Tune: ``pip install 'rlkit-ray[tune]'``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune

from rlkit_core.execution.foreign_code import dumps, loads

if TYPE_CHECKING:
    from rlkit_core.algorithm import AlgorithmConfig


def trainable(
    config: AlgorithmConfig, *, iterations: int, checkpoint_every: int = 0
) -> Callable[[dict[str, Any]], None]:
    """What ``ray.tune.Tuner`` runs: one training with the trial's settings on top of a config's.

    A trial reports the whole result of each iteration, so that a scheduler can stop it early by any number in it, as
    ``"env_runners/episode_return_mean"``. One that is started again goes on from its latest checkpoint.

    Args:
        config: of the algorithm; where it has runners of their own, let it have ``execution(executor="ray")``.
        iterations: calls of ``train()`` in a trial that nobody stops.
        checkpoint_every: iterations between checkpoints, which Tune keeps; 0 keeps the last one's alone.

    Returns:
        A function of ``{setting: value}``, as ``param_space`` gives them.
    """
    pickled = dumps(config)

    def train(settings: dict[str, Any]) -> None:
        own: AlgorithmConfig = loads(pickled)
        with own.update_from_dict(settings).build_algo() as algo, tempfile.TemporaryDirectory() as folder:
            before = tune.get_checkpoint()
            if before is not None:
                with before.as_directory() as path:
                    algo.restore_from_path(Path(path) / "algorithm")
            while algo.iteration < iterations:
                result = algo.train()
                checkpoint = None
                if algo.iteration == iterations or (checkpoint_every and algo.iteration % checkpoint_every == 0):
                    algo.save_to_path(Path(folder) / "algorithm")
                    checkpoint = tune.Checkpoint.from_directory(folder)
                tune.report(result, checkpoint=checkpoint)

    return train
