"""``rlkit train`` with runners and a learner in processes, and ``rlkit evaluate`` without them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import actor_critic
from rlkit_core.algorithm import Algorithm, AlgorithmConfig
from rlkit_core.cli.app import cli

HELPERS = str(Path(actor_critic.__file__).parent)  # where `ac` is "installed"
SMALL = [
    "--no-preset",
    "--set", "minibatch_size=32",
    "--set", "num_epochs=1",
    "--set", "model_config.fcnet_hiddens=[8]",
    "--evaluate", "2",
    "--seed", "1",
]  # fmt: skip


@pytest.mark.slow
def test_training_with_runners_and_a_learner_in_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of 60 steps is one of two runners of 3 envs; with one runner these settings would not fit together."""
    folder = tmp_path / "run"
    own = ("num_env_runners=2", "num_learners=1", "num_envs_per_env_runner=3", "train_batch_size=60")
    settings = [text for one in (*own, "rollout_fragment_length=10") for text in ("--set", one)]
    command = [sys.executable, "-c", "from rlkit_core.cli import main; main()", "train", "ac", "CartPole-v1"]
    command += ["--run-dir", str(folder), *SMALL, *settings, "--stop-iters", "2", "--no-plot"]
    variables = {**os.environ, "PYTHONPATH": HELPERS}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    out = done.stdout
    assert "ended after 2 iterations: mean return" in out
    assert "120 steps, 2 iterations" in out
    config = AlgorithmConfig.from_json((folder / "config.json").read_text())
    assert (config.num_env_runners, config.num_learners, config.train_batch_size) == (2, 1, 60)
    first, second = (json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines())
    assert first["env_runners"]["num_env_steps_sampled_lifetime"] == 60
    assert second["env_runners"]["num_env_steps_sampled_lifetime"] == 120
    assert second["learners"]["default_policy"]["num_module_steps_trained"] == 60
    assert len((folder / "progress.csv").read_text().splitlines()) == 3
    assert json.loads((folder / "summary.json").read_text())["iterations"] == 2

    # Evaluation starts none of them.
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr("rlkit_processes.ProcessExecutor.spawn", refuse)
    for more in ((), ("--env", "CartPole-v0")):
        said = CliRunner().invoke(cli, ["evaluate", str(folder), "--episodes", "3", *more])
        assert said.exit_code == 0, said.output
        assert "num_episodes         3" in said.stdout
    with pytest.raises(AssertionError, match="a process was started"):
        Algorithm.from_checkpoint(folder)


@pytest.mark.slow
def test_an_env_that_prints_where_nobody_reads_any_more_ends_nothing(tmp_path: Path) -> None:
    """As ``rlkit train ... | head -1``."""
    (tmp_path / "talking.py").write_text(
        "import gymnasium as gym\n\n\nclass Talking(gym.Wrapper):\n"
        "    def __init__(self):\n        super().__init__(gym.make('CartPole-v1'))\n\n"
        "    def step(self, action):\n        print('a step', flush=True)\n        return self.env.step(action)\n"
    )
    folder = tmp_path / "run"
    settings = [text for one in ("num_env_runners=1", "train_batch_size=64") for text in ("--set", one)]
    command = [sys.executable, "-c", "from rlkit_core.cli import main; main()", "train", "ac", "talking:Talking"]
    command += ["--run-dir", str(folder), *SMALL, *settings, "--stop-iters", "4", "--no-plot"]
    variables = {**os.environ, "PYTHONPATH": f"{HELPERS}:{tmp_path}"}
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("settings:")
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(120) == 0, said
    assert "Traceback" not in said
    assert json.loads((folder / "summary.json").read_text())["iterations"] == 4
    result = json.loads((folder / "results.jsonl").read_text().splitlines()[-1])
    assert result["fault_tolerance"]["num_env_runner_restarts"] == 0
