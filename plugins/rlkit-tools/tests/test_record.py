"""Videos show what the policy does, leave training as it is, and what cannot be recorded is refused."""

from __future__ import annotations

import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from gymnasium import spaces

from rlkit_core import RLModule, get_algorithm_config, load_policy
from rlkit_core.algorithm.run_view import RunView
from rlkit_core.cli.app import cli
from rlkit_core.errors import RLKitError
from rlkit_core.run.policy.policy import Policy
from rlkit_tools.record import video
from rlkit_tools.record.video import RecordError

ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="pip install 'rlkit-tools[video]'")


class Lamp(gym.Env):
    """As bright as the action: 0, 100 or 200. Three steps an episode."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}
    observation_space, action_space = spaces.Box(0.0, 3.0, (1,), np.float32), spaces.Discrete(3)

    def __init__(self, render_mode=None, shape=(33, 48, 3)):
        self.render_mode, self.shape = render_mode, shape

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_, self.light = 0, 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.step_, self.light = self.step_ + 1, 100 * int(action)
        return np.full(1, self.step_, np.float32), float(action), self.step_ == 3, False, {}

    def render(self):
        return np.full(self.shape, self.light, np.uint8) if self.render_mode == "rgb_array" else None


class Counts(RLModule):
    """Does 1, 2, 1."""

    def _forward(self, batch, **kwargs):
        return {"actions": 1 + np.asarray(batch["obs"])[:, 0].astype(np.int64) % 2}


def frames_of(path):
    reader = ffmpeg.read_frames(str(path))
    about = next(reader)
    width, height = about["size"]
    return about, [np.frombuffer(one, np.uint8).reshape(height, width, 3) for one in reader]


def test_a_video_has_a_frame_for_each_observation(tmp_path):
    module = Counts(observation_space=Lamp.observation_space, action_space=Lamp.action_space)
    policy = Policy(module, make_env=Lamp)
    path = tmp_path / "videos" / "v.mp4"
    assert video.record(policy, video.rendering(policy.make_env), path, episodes=2) == [4.0, 4.0]
    about, frames = frames_of(path)
    assert about["size"] == (48, 32)  # even, as codecs want it
    assert about["fps"] == 5
    np.testing.assert_allclose([one.mean() for one in frames], [0, 100, 200, 100] * 2, atol=6)
    assert [file.name for file in path.parent.iterdir()] == ["v.mp4"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda render_mode: Lamp(), "its render() gives NoneType, expected .* render modes are ['rgb_array']"),
        (lambda render_mode: Lamp(render_mode, (8, 8)), "its render() gives uint8 (8, 8)"),
        (lambda render_mode: gym.make_vec("CartPole-v1", 2), "a video shows one env with one agent"),
    ],
)
def test_an_env_without_pictures_is_refused(make, message):
    with pytest.raises(RecordError) as caught:
        video.rendering(make)
    for part in message.split(" .* "):
        assert part in str(caught.value)


def test_what_fails_leaves_no_file(tmp_path, monkeypatch):
    policy = Policy(Counts(observation_space=Lamp.observation_space, action_space=Lamp.action_space))
    env = Lamp("rgb_array")
    with pytest.raises(RecordError, match=r"has to end in \.mp4"):
        video.record(policy, env, tmp_path / "v.bin")
    monkeypatch.setattr(Lamp, "step", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        video.record(policy, env, tmp_path / "v.mp4")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(RecordError, match=r"pip install 'rlkit-tools\[video\]'"):
        video.record(policy, env, tmp_path / "v.mp4")


def base(env):
    few = {"train_batch_size": 64, "minibatch_size": 32, "num_epochs": 1}
    return get_algorithm_config("ppo").environment(env).training(**few).debugging(seed=3)


def test_training_with_videos_is_training_without(tmp_path, monkeypatch):
    pytest.importorskip("rlkit_ppo")
    monkeypatch.chdir(tmp_path)
    weights = []
    for plugins in (["video"], []):
        with base(Lamp).plugin("rlkit-tools", video_every=2).callbacks(plugins=plugins).build_algo() as algo:
            for _ in range(3):
                algo.train()
            weights.append(RunView(algo).get_weights())
    assert [file.name for file in (tmp_path / "videos").iterdir()] == ["iteration-000002.mp4"]
    assert len(frames_of(tmp_path / "videos" / "iteration-000002.mp4")[1]) == 4
    for name, value in weights[0]["default_policy"].items():
        np.testing.assert_array_equal(value, weights[1]["default_policy"][name])


def test_a_video_while_training_is_of_the_weights_and_statistics_of_that_moment(tmp_path, monkeypatch):
    pytest.importorskip("rlkit_ppo")
    monkeypatch.chdir(tmp_path)
    acted, record = [], video.record
    monkeypatch.setattr(video, "record", lambda policy, *rest: [acted.append(policy), record(policy, *rest)])
    config = base(Lamp).plugin("rlkit-tools", video_every=2).callbacks(plugins=["video"])
    with config.rl_module(model_config={"normalize_observations": True}).build_algo() as algo:
        for _ in range(2):
            algo.train()
        algo.save_to_path(tmp_path / "checkpoint")
    (policy,) = acted
    saved = load_policy(tmp_path / "checkpoint")
    for number in range(4):
        observation = np.full(1, number, np.float32)
        seen, expected = (
            one.module.forward_inference({"obs": torch.tensor(observation[None])}) for one in (policy, saved)
        )
        torch.testing.assert_close(seen["action_dist_inputs"], expected["action_dist_inputs"])


def test_training_is_refused_where_nothing_can_be_seen():
    pytest.importorskip("rlkit_ppo")
    with pytest.raises(RLKitError, match=r"the env cannot be recorded: its render\(\) gives NoneType"):
        base(lambda config: Lamp()).callbacks(plugins=["video"]).build_algo()


def test_the_commands(tmp_path):
    pytest.importorskip("rlkit_ppo")
    run, out = str(tmp_path / "run"), tmp_path / "v.mp4"
    few = [f"--set={name}={value}" for name, value in (("train_batch_size", 64), ("minibatch_size", 32))]
    asked = ["train", "ppo", "CartPole-v1", "--run-dir", run, "--stop-iters", "2", "--video-every", "2", "--no-plot"]
    result = CliRunner().invoke(cli, [*asked, "--no-preset", *few, "--evaluate", "1"])
    assert result.exit_code == 0, result.output
    assert [file.name for file in (tmp_path / "run" / "videos").iterdir()] == ["iteration-000002.mp4"]
    result = CliRunner().invoke(cli, ["record", run, "-o", str(out), "--seed", "5"])
    assert result.exit_code == 0, result.output
    assert len(frames_of(out)[1]) == 1 + int(result.stdout.rsplit(maxsplit=1)[-1])  # a reward of 1 for each step
