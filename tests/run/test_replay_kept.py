"""Runs that keep their replay buffers in the newest checkpoint alone, and buffers that are saved in other portions."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rlkit_core import Run
from rlkit_core.algorithm.config.config import AlgorithmConfig
from rlkit_core.checkpoint import read_snapshot
from rlkit_core.checkpoint.compare import differences
from rlkit_core.checkpoint.locate import read_index
from rlkit_core.cli.app import cli
from rlkit_core.run.resuming.verify import verify
from rlkit_core.run.stop import Stop

pytest.importorskip("rlkit_dqn")
pytest.importorskip("rlkit_sac")

KINDS = {"dqn": "CartPole-v1", "sac": "Pendulum-v1"}
BUFFERS = "replay_buffers"


def config_of(kind: str, **checkpointing: object) -> AlgorithmConfig:
    """A small run that learns from its second iteration on."""
    from rlkit_core import get_algorithm_config

    config = get_algorithm_config(kind).environment(KINDS[kind]).debugging(seed=3)
    config.rl_module(model_config={"fcnet_hiddens": [8]})
    config.training(train_batch_size=16, num_steps_sampled_before_learning_starts=40)
    config.reporting(min_sample_timesteps_per_iteration=64, writers=["csv"])
    return config.checkpointing(every="1 iterations", **checkpointing)


def rlkit(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def has_buffers(folder: Path) -> dict[str, bool]:
    index = read_index(folder)
    assert index.best is not None  # of the newest iteration it is the newest one's twin, else it has been thinned, too
    of_newest = index.best.iteration == index.checkpoints[-1].iteration
    assert (folder / "best" / BUFFERS).is_dir() == of_newest
    return {path.name: (path / BUFFERS).is_dir() for path in sorted((folder / "checkpoints").iterdir())}


@pytest.mark.parametrize("kind", list(KINDS))
def test_only_the_newest_checkpoint_has_the_buffer(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """It resumes exactly; an older one without its buffer, which is said, and verifying says what it cannot prove."""
    whole, folder = tmp_path / "whole", tmp_path / "run"
    Run(config_of(kind, replay="full", keep=2), run_dir=whole, stop=Stop(iterations=5), plot=False).fit()
    Run(config_of(kind, replay="last", keep=3), run_dir=folder, stop=Stop(iterations=4), plot=False).fit()
    assert has_buffers(folder) == {"000002": False, "000003": False, "000004": True}
    with caplog.at_level(logging.WARNING):
        done = rlkit("resume", folder, "--more-steps", 1, "--quiet", "--no-plot")
    assert done.exit_code == 0, done.output
    assert has_buffers(folder) == {"000003": False, "000004": False, "000005": True}
    assert "replay buffer" not in done.output + caplog.text
    expected, _ = read_snapshot(whole / "checkpoints" / "000005")
    resumed, _ = read_snapshot(folder / "checkpoints" / "000005")
    found = [one for one in differences(expected, resumed) if "checkpoint" not in one.name and one.component != BUFFERS]
    assert found == []

    old, elsewhere = folder / "checkpoints" / "000003", tmp_path / "elsewhere"
    older = rlkit("resume", old, "--run-dir", elsewhere, "--more-steps", 1, "--quiet", "--no-plot")
    assert older.exit_code == 0, older.output
    assert "without the replay buffer that it had" in older.output + caplog.text
    verified = rlkit("verify", folder)
    assert verified.exit_code == 1
    assert "not promised here: 000004 was saved without replay_buffers" in verified.stdout
    assert "here that was not promised" in verified.stdout
    data = json.loads(rlkit("verify", folder, "--json").stdout)
    assert data["not_promised"] == ["000004 was saved without replay_buffers"]


@pytest.mark.parametrize("tampered", [False, True])
def test_rows_in_other_portions_are_compared_as_they_are(tmp_path: Path, tampered: bool) -> None:
    """A save between two checkpoints (that of a best one, say) cuts rows into other files than a run without it."""
    algorithm = config_of("dqn", replay="full").build_algo()
    try:
        for iteration in range(1, 5):
            algorithm.train()
            if tampered and iteration == 3:
                algorithm.replay_buffers["default_policy"]._storage.rewards[150] += 1.0
            algorithm.save_to_path(tmp_path / ("elsewhere" if iteration % 2 else f"run/checkpoints/{iteration:06d}"))
    finally:
        algorithm.stop()
    found = verify(tmp_path / "run")
    assert found.outside == ()
    if tampered:
        (one,) = (one for one in found.differences if one.component == BUFFERS and "rewards" in one.name)
        assert one.text.startswith("1 of")
    else:
        assert found.differences == ()
        saved = (read_snapshot(path)[0].components[BUFFERS] for path in (found.first, found.second))
        assert [len(one.tree.segments) for one in saved] == [2, 4]
