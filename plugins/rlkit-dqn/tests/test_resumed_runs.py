"""A run of DQN that goes on, with its buffer and without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rlkit_core.cli.app import cli

SMALL = [
    "--no-preset", "--no-plot", "--quiet", "--evaluate", "2", "--seed", "1", "--stop-iters", "3",
    "--set", "num_steps_sampled_before_learning_starts=32", "--set", "train_batch_size=16", "--set", "hiddens=[8]",
    "--set", "model_config.fcnet_hiddens=[8]", "--set", "min_sample_timesteps_per_iteration=64",
    "--set", "writers=['csv']", "--set", "checkpoint_every='1 iterations'",
]  # fmt: skip


def rlkit(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


@pytest.mark.parametrize("replay", ["full", "last", "false"])
def test_a_resumed_run_is_verified_truthfully(tmp_path: Path, replay: str) -> None:
    folder = tmp_path / "run"
    begun = rlkit("train", "dqn", "CartPole-v1", "--run-dir", folder, *SMALL, "--set", f"checkpoint_replay={replay}")
    assert begun.exit_code == 0, begun.output
    done = rlkit("resume", folder, "--more-steps", 128, "--quiet")
    assert done.exit_code == 0, done.output
    assert "5 iterations" in done.stdout
    verified = rlkit("verify", folder, "--json")
    data = json.loads(verified.stdout)
    assert data["iterations"] == [4, 5]
    if replay == "full":
        assert (verified.exit_code, data["differences"], data["not_promised"]) == (0, [], [])
        assert data["arrays"]["replay_buffers"] > 0
    else:  # the buffer is filled anew before it is learned from
        assert verified.exit_code == 1
        assert data["not_promised"] == ["000004 was saved without replay_buffers"]


def test_what_shapes_the_module_stays(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    begun = rlkit("train", "dqn", "CartPole-v1", "--run-dir", folder, *SMALL)
    assert begun.exit_code == 0, begun.output
    refused = rlkit("resume", folder, "--more-steps", 64, "--set", "dueling=false")
    assert refused.exit_code == 2
    assert "dueling: it shapes the module, whose weights are there already" in refused.stderr
    assert rlkit("resume", folder, "--more-steps", 64, "--set", "lr=0.001", "--quiet").exit_code == 0
