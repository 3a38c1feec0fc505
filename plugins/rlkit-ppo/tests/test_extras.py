"""Envs of the extras, each trained for a moment with what `rlkit train` begins with."""

from __future__ import annotations

import json

import pytest
from learning import rlkit

from rlkit_ppo import PPOConfig

SMALL = ("train_batch_size=256", "minibatch_size=128", "num_epochs=1", "num_envs_per_env_runner=2")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("extra", "package", "env", "settings"),
    [
        ("atari", "ale_py", "ALE/Pong-v5", ()),
        ("box2d", "Box2D", "BipedalWalkerHardcore-v3", ()),
        ("envpool", "envpool", "CartPole-v1", ("gym_env_vectorize_mode=envpool",)),
        ("minigrid", "minigrid", "minigrid:MiniGrid-DoorKey-5x5-v0", ()),
        ("mujoco", "mujoco", "Reacher-v5", ()),
    ],
)
def test_what_an_extra_installs_trains_at_once(extra, package, env, settings, tmp_path):
    pytest.importorskip(package, reason=f"pip install 'rlkit-core[{extra}]'")
    if extra == "atari":
        pytest.importorskip("cv2", reason=f"pip install 'rlkit-core[{extra}]'")
    run = tmp_path / "run"
    given = [word for text in (*SMALL, *settings) for word in ("--set", text)]
    said = rlkit(
        "train", "ppo", env, "--run-dir", str(run), "--stop-iters", "2", "--evaluate", "1", "--no-plot", *given
    )
    assert f"preset for {env}" in said
    summary = json.loads((run / "summary.json").read_text())
    assert 450 < summary["steps"] <= 512  # envpool takes a step to reset an env, which does not count
    assert summary["evaluation_return_mean"] == summary["evaluation_return_mean"]  # an episode was played to its end


def test_presets_are_found_through_wrappers_and_modules():
    pytest.importorskip("mujoco", reason="pip install 'rlkit-core[mujoco]'")
    limit = {"name": "gymnasium.wrappers:TimeLimit", "max_episode_steps": 100}
    config = PPOConfig().environment("gymnasium.envs.mujoco:Swimmer-v5", wrappers=[limit])
    assert config.apply_preset()
    assert config.gamma == 0.9999
    assert config.wrappers == [limit]
