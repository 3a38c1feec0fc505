"""A loaded module acts as it did in training, and a run says what it does not have of the one that was saved."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from exact_cells import ALGORITHMS, Cell, make_config

from rlkit_core import Algorithm, RLModule


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_greedy_actions_of_a_loaded_module_are_those_of_training(algorithm, tmp_path):
    observations = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    with make_config(Cell(algorithm)).build_algo() as algo:
        for _ in range(3):
            algo.train()
        path = algo.save_to_path(tmp_path / "checkpoint")
        algo.sync_weights()
        expected, _ = algo.get_module().compute_actions(observations)
    module = RLModule.from_checkpoint(f"{path}/learner_group/learner/rl_module/default_policy")
    found, _ = module.compute_actions(observations)
    assert found.tobytes() == expected.tobytes()


def test_what_differs_from_the_checkpoint_is_said(tmp_path, caplog):
    with make_config(Cell("ppo")).build_algo() as algo:
        path = algo.save_to_path(tmp_path / "checkpoint")
    with caplog.at_level(logging.WARNING, logger="rlkit_core"):
        Algorithm.from_checkpoint(path).stop()
        Algorithm.from_checkpoint(path, compile="auto").stop()
        assert not caplog.records
        Algorithm.from_checkpoint(path, num_envs_per_env_runner=1, rollout_fragment_length=24).stop()
    (said,) = [record.message for record in caplog.records if record.name == "rlkit_core.algorithm.used"]
    assert said == (
        "num_envs_per_env_runner=2 in the checkpoint, 1 now: envs begin with fresh episodes, and draw other seeds"
    )
