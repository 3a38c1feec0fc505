"""A run of PPO that goes on, and is trained again to the last bit."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rlkit_core import RLModule
from rlkit_core.checkpoint.locate import read_index
from rlkit_core.cli.app import cli

SMALL = [
    "--no-preset", "--no-plot", "--quiet", "--evaluate", "2", "--seed", "1", "--stop-iters", "3",
    "--set", "train_batch_size=128", "--set", "minibatch_size=64", "--set", "num_epochs=2",
    "--set", "num_envs_per_env_runner=2", "--set", "writers=['csv']", "--set", "entropy_coeff=[[0,0.1],[1000,0]]",
    "--set", "checkpoint_every='1 iterations'", "--set", "evaluation_interval=2",
]  # fmt: skip


def rlkit(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


MLP = ["--set", "model_config.fcnet_hiddens=[8]"]
LSTM = ["--set", "model_config.use_lstm=true", "--set", "model_config.lstm_cell_size=8"]
AGENTS = "rlkit_core.testing:MultiAgentCartPole"


@pytest.mark.parametrize(
    ("env", "more"),
    [
        ("CartPole-v1", MLP),
        (AGENTS, [*MLP, "--set", "policies=['0', '1']"]),
        pytest.param("CartPole-v1", LSTM, marks=pytest.mark.slow),
        pytest.param("CartPole-v1", [*MLP, "--set", "compile=null"], marks=pytest.mark.slow),
        pytest.param("CartPole-v1", [*LSTM, "--set", "num_env_runners=2"], marks=pytest.mark.slow),
        pytest.param(AGENTS, [*MLP, "--set", "num_env_runners=2", "--set", "num_learners=2"], marks=pytest.mark.slow),
    ],
    ids=["plain", "agents", "lstm", "eager", "processes", "learners"],
)
def test_a_resumed_run_is_verified(tmp_path: Path, env: str, more: list[str]) -> None:
    folder = tmp_path / "run"
    begun = rlkit("train", "ppo", env, "--run-dir", folder, *SMALL, *more)
    assert begun.exit_code == 0, begun.output
    done = rlkit("resume", folder, "--more-steps", 256, "--quiet")
    assert done.exit_code == 0, done.output
    assert "640 steps, 5 iterations" in done.stdout
    assert [one.iteration for one in read_index(folder).checkpoints] == [3, 4, 5]
    if "policies=['0', '1']" not in more:
        assert RLModule.from_checkpoint(folder).compute_actions(  # the module alone, of a run folder
            [[0.0, 0.1, 0.0, -0.1]]
        )[0].shape == (1,)
    verified = rlkit("verify", folder)
    assert verified.exit_code == 0, verified.output
    assert "equal: iterations 4 to 5" in verified.stdout
