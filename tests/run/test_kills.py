"""Runs that are killed a hundred times, at any moment, and go on each time: nothing is lost, nothing is there twice."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlkit_core.checkpoint.locate import locate

KILLS = int(os.environ.get("RLKIT_TEST_KILLS", "100"))
SMALL = [
    "--no-preset", "--no-plot", "--quiet", "--evaluate", "1", "--seed", "1",
    "--set", "num_envs_per_env_runner=2", "--set", "model_config.fcnet_hiddens=[8]",
    "--set", "checkpoint_every='1 iterations'", "--set", "evaluation_interval=3", "--set", "evaluation_duration=1",
]  # fmt: skip
OF_ALGORITHM = {
    "ac": ["train_batch_size=64", "minibatch_size=32", "num_epochs=1"],
    "dqn": [
        "train_batch_size=16",
        "num_steps_sampled_before_learning_starts=32",
        "min_sample_timesteps_per_iteration=32",
        "replay_buffer_config={'capacity':2000}",
    ],
}
UNTIL = ["--stop-steps", "100000000", "--stop-return", "1e9"]


def iteration_of(checkpoint: Path) -> int:
    return int(json.loads((checkpoint / "algorithm_state.json").read_text())["iteration"])


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("algorithm", OF_ALGORITHM)
def test_whenever_a_run_is_killed_its_newest_checkpoint_loads_and_it_goes_on(
    start: Callable[..., Any], tmp_path: Path, algorithm: str
) -> None:
    if algorithm == "dqn" and importlib.util.find_spec("rlkit_dqn") is None:
        pytest.skip("rlkit-dqn is not installed")
    folder, chance = tmp_path / "run", random.Random(1)
    settings = [word for one in OF_ALGORITHM[algorithm] for word in ("--set", one)]
    reached, loaded = 0, 0
    for _ in range(KILLS):
        line = ["train", algorithm, "CartPole-v1", "--run-dir", str(folder)]
        line += ["--resume", str(folder), "--quiet", "--no-plot"] if reached else [*SMALL, *settings]
        run = start(line=[*line, *UNTIL])
        if reached == 0 or chance.random() < 0.7:
            run.until(lambda run=run, reached=reached: run.exists_after(reached) or not run.alive)
            time.sleep(chance.uniform(0.0, 0.5))
        else:  # while it starts, goes on from the checkpoint, or trains
            time.sleep(chance.uniform(0.0, 3.0))
        run.end()
        assert run.wait() == -signal.SIGKILL, run.said
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a folder that is not complete is passed over
            newest = locate(folder)  # every file is hashed
        assert iteration_of(newest) >= max(reached, run.iterations[-1] - 1)
        assert sorted(set(run.iterations)) == run.iterations
        reached, loaded = iteration_of(newest), loaded + 1
    last = start(
        line=["train", algorithm, "CartPole-v1", "--resume", str(folder), "--quiet", "--no-plot", "--evaluate", "1",
              "--stop-iters", str(reached + 3)]
    )  # fmt: skip
    assert last.wait() == 0, last.said
    assert last.iterations == list(range(1, reached + 4))
    lines = (folder / "progress.csv").read_text().splitlines()
    column = lines[0].split(",").index("training_iteration")
    assert [int(line.split(",")[column]) for line in lines[1:]] == last.iterations
    assert loaded == KILLS
    hidden = [path.name for path in (*folder.iterdir(), *(folder / "checkpoints").iterdir()) if path.name[0] == "."]
    assert hidden == []  # what the dead ones left
    print(f"{algorithm}: {KILLS} kills, {reached} iterations, all checkpoints loaded")
