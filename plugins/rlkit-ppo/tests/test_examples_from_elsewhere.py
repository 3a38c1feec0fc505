"""The examples whose experience comes from no env here: a recording, and a player at the other end of a socket."""

from __future__ import annotations

import importlib.util
import socket
import sys
import threading
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "examples"


def load(name):
    """An example of the documentation as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["bc_from_recording", "play_over_a_socket"])
def test_they_are_short(name):
    assert len((EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 120


# -- a recording -------------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """Six episodes of a rule that balances the pole, the last of them cut while it went on."""
    minari = pytest.importorskip("minari", reason="pip install 'minari[hdf5]'")
    pytest.importorskip("h5py", reason="pip install 'minari[hdf5]'")
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    env, buffers = gym.make("CartPole-v1"), []
    for k in range(6):
        obs, _ = env.reset(seed=k)
        made = EpisodeBuffer(id=k, observations=[obs], actions=[], rewards=[], terminations=[], truncations=[])
        while len(made.rewards) < (9 if k == 5 else 500):
            made.actions.append(np.int64(obs[2] + 0.5 * obs[3] > 0))
            obs, reward, terminated, truncated, _ = env.step(made.actions[-1])
            made.observations.append(obs)
            made.rewards.append(reward)
            made.terminations.append(terminated)
            made.truncations.append(truncated)
        buffers.append(made)
    return minari.create_dataset_from_buffers("lab/cartpole-v0", buffers, env="CartPole-v1").total_steps


@pytest.mark.filterwarnings("ignore")  # Minari's, of what a data set should say of its author
def test_a_policy_is_cloned_from_a_recording(recorded, tmp_path):
    example = load("bc_from_recording")
    assert recorded == 2509
    config = example.BCConfig().environment("CartPole-v1").training(recording="lab/cartpole-v0", lr=0.01)
    config.rl_module(model_config={"fcnet_hiddens": [32]}).debugging(seed=1)
    with config.build_algo() as algorithm:
        results = [algorithm.train() for _ in range(10)]
        # 1024, 1024 and what is left; then from the beginning
        steps = [result["env_runners"]["num_env_steps_sampled"] for result in results[:4]]
        assert steps == [1024, 1024, 461, 1024]
        assert results[2]["env_runners"]["episode_return_mean"] == (5 * 500.0 + 9.0) / 6
        assert results[-1]["learners"]["default_policy"]["total_loss"] < 0.4
        assert algorithm.evaluate(5)["env_runners"]["episode_return_mean"] > 100.0
        path = algorithm.save_to_path(tmp_path / "checkpoint")
        at = algorithm.env_runner.own.at
    classes = [example.BCConfig, example.Policy, example.Cloning, example.Recording]
    with example.Algorithm.from_checkpoint(path, classes=classes) as resumed:
        assert resumed.env_runner.own.at == at > 0


# -- a player at the other end of a socket -----------------------------------------------------------------------------


def test_a_player_at_the_other_end_of_a_socket():
    example = load("play_over_a_socket")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = example.make_config(port).training(train_batch_size=128, minibatch_size=64, num_epochs=1)
    config.rl_module(model_config={"fcnet_hiddens": [8]}).debugging(seed=1)
    with config.build_algo() as algorithm:
        player = threading.Thread(target=example.play, args=(port,))
        player.start()
        try:
            results = [algorithm.train() for _ in range(2)]
            rollout = next(iter(algorithm.env_runner_group.sample(num_timesteps=20).values()))
        finally:
            algorithm.env_runner.own.stop()
            player.join(20)
    assert not player.is_alive()
    assert results[-1]["num_env_steps_sampled_lifetime"] == 256
    assert results[-1]["env_runners"]["num_episodes_lifetime"] > 2
    assert 8.0 < results[-1]["env_runners"]["episode_return_mean"] < 60.0
    assert np.isfinite(results[-1]["learners"]["default_policy"]["total_loss"])
    moved = (rollout["obs"][1:] - rollout["obs"][:-1]).abs().amax((1, 2))
    assert rollout["obs"].shape == (20, 1, 4)
    assert moved.min() > 0.0
