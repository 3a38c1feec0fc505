"""The bundles around the envs that they are for: what agents see, what is counted, and that a run goes on exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actor_critic import ACConfig
from rlkit_core import load_policy
from rlkit_core.algorithm import Algorithm
from rlkit_core.envs.make import make_env

pytestmark = pytest.mark.slow


def config(env: str, bundle: object) -> ACConfig:
    return (
        ACConfig()
        .environment(env, wrappers=[bundle])
        .env_runners(num_envs_per_env_runner=2)
        .rl_module(model_config={"fcnet_hiddens": [16], "conv_filters": [[8, 8, 8]]})
        .training(train_batch_size=256, minibatch_size=128, num_epochs=1)
        .debugging(seed=3)
    )


@pytest.mark.parametrize("env", ["ALE/Breakout-v5", "ALE/Pong-v5"])
def test_atari(env: str, tmp_path: Path) -> None:
    pytest.importorskip("ale_py", reason="needs the extra 'atari'")
    pytest.importorskip("cv2", reason="needs the extra 'atari'")
    lives = "Breakout" in env
    algorithm = config(env, "atari").build_algo()
    for _ in range(3):
        metrics = algorithm.train()["env_runners"]
    if lives:  # an episode in training is a life: the first of a game
        assert metrics["num_episodes_lifetime"] >= 2
        assert metrics["episode_return_mean"] >= 0
    path = algorithm.save_to_path(tmp_path / "saved")
    rollout = algorithm.env_runner.sample(num_timesteps=64)["default_policy"]
    assert tuple(rollout["obs"].shape[1:]) == (2, 4, 84, 84)
    assert {*rollout["rewards"].unique().tolist()} <= {-1.0, 0.0, 1.0}
    resumed = Algorithm.from_checkpoint(path)
    again = resumed.env_runner.sample(num_timesteps=64)["default_policy"]
    for name in ("obs", "actions", "rewards", "terminateds"):
        assert again[name].equal(rollout[name]), name
    algorithm.stop()
    resumed.stop()

    policy = load_policy(path, explore=True)
    played = policy.make_env()
    observation, _ = played.reset(seed=1)
    left, terminated = [], False
    for _ in range(400):
        observation, _, terminated, _, info = played.step(policy(observation))
        left.append(info["lives"])
        if terminated:
            break
    assert not lives or (min(left) < 5 and terminated == (left[-1] == 0))  # a game has all of its lives


@pytest.mark.parametrize("env", ["MiniGrid-Empty-5x5-v0", "MiniGrid-DoorKey-5x5-v0"])
def test_minigrid(env: str, tmp_path: Path) -> None:
    pytest.importorskip("minigrid", reason="needs the extra 'minigrid'")
    plain, wrapped = make_env(env), make_env(env, None, config(env, "minigrid").wrappers)
    seen, ours = plain.reset(seed=1)[0]["image"], wrapped.reset(seed=1)[0].reshape(7, 7, -1)
    assert ours.dtype == np.float32
    assert set(np.unique(ours)) == {0.0, 1.0}
    assert (ours.sum(-1) == 3).all()
    assert (ours[..., :11].argmax(-1) == seen[..., 0]).all()
    algorithm = config(env, "minigrid").build_algo()
    algorithm.train()
    path = algorithm.save_to_path(tmp_path / "saved")
    resumed = Algorithm.from_checkpoint(path)
    one, other = (a.env_runner.sample(num_timesteps=64)["default_policy"] for a in (algorithm, resumed))
    assert one["obs"].equal(other["obs"])
    algorithm.stop()
    resumed.stop()
    policy = load_policy(path)
    assert policy.action_space.contains(policy(policy.make_env().reset(seed=1)[0]))
