"""Observations without a fixed array reach a third party's encoder, and an algorithm learns from them."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from attrs import define, field
from gymnasium.spaces import GraphInstance

from actor_critic import ACConfig
from rlkit_core import ActorCriticCatalog, ActorCriticTorchRLModule, Component, RLModuleSpec, TorchRLModule
from rlkit_core.envs import EnvRunner
from rlkit_core.errors import ConfigError
from rlkit_core.models import Encoder, ModelConfig

pytestmark = pytest.mark.usefixtures("next_step_resets")

WORDS = ("go left", "right", "stay")
TEXT = gym.spaces.Text(10, charset="abcdefghijklmnopqrstuvwxyz ")


@define(slots=False, kw_only=True)
class BagOfLettersConfig(ModelConfig):
    """Text: letters as numbers, padded to the longest text of the list; 0 is padding."""

    output: int = field(default=8)

    @classmethod
    def from_space(cls, space, model_config):
        return cls()

    @staticmethod
    def pack(space, observations):
        longest = max(len(text) for text in observations)
        letters = np.zeros((len(observations), max(1, longest)), np.int64)
        for row, text in zip(letters, observations, strict=True):
            row[: len(text)] = [1 + "abcdefghijklmnopqrstuvwxyz ".index(c) for c in text]
        return {"letters": letters}

    @property
    def output_dims(self):
        return (self.output,)

    def build(self, framework="torch"):
        return BagOfLetters(self)


class BagOfLetters(Encoder):
    def __init__(self, config):
        super().__init__(config)
        self.table = torch.nn.Embedding(28, config.output, padding_idx=0)

    def forward(self, batch, **kwargs):
        return {"encoder_out": torch.tanh(self.table(batch["obs"]["letters"]).sum(-2))}


class WithText(ActorCriticCatalog):
    components = (Component("letters", "encoder", BagOfLettersConfig, (gym.spaces.Text,)),)


class Commands(gym.Env):
    """Pays for doing what the text says. ``nested``: the text is one part of a Dict."""

    action_space = gym.spaces.Discrete(3)

    def __init__(self, config):
        self.nested = config.get("nested", False)
        self.observation_space = (
            gym.spaces.Dict({"say": TEXT, "x": gym.spaces.Box(-1.0, 1.0, (2,))}) if self.nested else TEXT
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._obs(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        reward, self.t = float(action == self.word), self.t + 1
        return self._obs(), reward, False, self.t == 10, {}

    def _obs(self):
        self.word = int(self.np_random.integers(3))
        text = WORDS[self.word]
        return {"say": text, "x": np.zeros(2, np.float32)} if self.nested else text


def config_for(mode="sync", nested=False, **model_config):
    return (
        ACConfig()
        .environment(Commands, env_config={"nested": nested})
        .env_runners(num_envs_per_env_runner=4, gym_env_vectorize_mode=mode)
        .training(train_batch_size=256, minibatch_size=64, num_epochs=6, lr=0.01, gamma=0.5)
        .rl_module(
            catalogs=[WithText],
            model_config={"fusionnet_hiddens": [16], "fcnet_hiddens": [8], **model_config},
        )
        .debugging(seed=1)
    )


@pytest.mark.parametrize(
    ("mode", "nested", "model_config"),
    [
        ("sync", False, {}),
        ("sync", True, {"use_gru": True, "lstm_cell_size": 8, "max_seq_len": 5}),
        ("gymnasium_sync", True, {"vf_share_layers": True}),
        ("gymnasium_sync", False, {"use_lstm": True, "lstm_cell_size": 8, "max_seq_len": 5}),
    ],
)
def test_it_learns_what_the_text_says(mode, nested, model_config):
    with config_for(mode, nested, **model_config).build_algo() as algo:
        for _ in range(15):
            algo.train()
        assert algo.evaluate(8)["env_runners"]["episode_return_mean"] == 10.0
        module = algo.get_module()
        for word, text in enumerate(WORDS):
            obs = {"say": text, "x": np.zeros(2, np.float32)} if nested else text
            assert module.compute_single_action(obs)[0] == word
        batch = {"say": list(WORDS), "x": np.zeros((3, 2), np.float32)} if nested else list(WORDS)
        assert module.compute_actions(batch)[0].tolist() == [0, 1, 2]


def test_a_rollout_holds_arrays_padded_alike():
    runner = EnvRunner(config_for())
    rollout = runner.sample(num_timesteps=80)["default_policy"]
    assert rollout["obs"]["letters"].shape[:2] == (20, 4)
    width = rollout["obs"]["letters"].shape[2]
    assert rollout.bootstrap_obs["letters"].shape == (4, width)
    assert rollout.final_obs["letters"].shape == (8, width)
    texts = {"".join(" abcdefghijklmnopqrstuvwxyz "[i] for i in row).strip() for row in rollout["obs"]["letters"][0]}
    assert texts <= set(WORDS)


class Graphs(gym.Env):
    """Graphs of changing size, whose arrays the env goes on writing to."""

    observation_space = gym.spaces.Graph(gym.spaces.Box(-100.0, 100.0, (2,)), None)
    action_space = gym.spaces.Discrete(2)

    def __init__(self):
        self.t = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._obs(), {}

    def step(self, action):
        self.t += 1
        self.last.nodes[:] = -7.0
        return self._obs(), 1.0, False, self.t == 5, {}

    def _obs(self):
        self.last = GraphInstance(np.full((self.t + 1, 2), self.t, np.float32), None, None)
        return self.last


class CountsNodes(TorchRLModule):
    """A module of its own, without a catalog, that packs graphs itself."""

    def setup(self):
        self.seen = []

    def observation_packs(self):
        def pack(space, observations):
            assert isinstance(space, gym.spaces.Graph)
            return {
                "nodes": np.array([len(g.nodes) for g in observations], np.float64),
                "first": np.array([g.nodes[0, 0] for g in observations]),
            }

        return {(): pack}

    def _forward(self, batch, **kwargs):
        nodes = batch["obs"]["nodes"]
        assert nodes.dtype is torch.float32
        return {"actions": torch.zeros(len(nodes), dtype=torch.int64)}


@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync"])
def test_a_module_without_catalog_packs_graphs_of_changing_size(mode):
    spec = RLModuleSpec(CountsNodes)
    config = (
        ACConfig()
        .environment(Graphs)
        .env_runners(num_envs_per_env_runner=2, gym_env_vectorize_mode=mode)
        .rl_module(rl_module_spec=spec)
        .debugging(seed=1)
    )
    rollout = EnvRunner(config).sample(num_timesteps=14)["default_policy"]
    expected = [1, 2, 3, 4, 5, 1, 2] if mode == "sync" else [1, 2, 3, 4, 5, 6, 1]
    assert rollout["obs"]["nodes"][:, 0].tolist() == expected
    assert rollout["obs"]["first"][:, 0].tolist() == [n - 1 for n in expected]  # what the env wrote later is not seen
    if mode == "sync":
        assert rollout.final_obs["nodes"].tolist() == [6, 6]


def test_a_leaf_that_nobody_packs_is_refused_with_its_place():
    class Plain(TorchRLModule):
        pass

    module = Plain(observation_space=gym.spaces.Dict(say=TEXT), action_space=gym.spaces.Discrete(2))
    with pytest.raises(ConfigError, match=r"observation say: Text.*pack\(space, observations\)"):
        module.compute_actions({"say": ["go"]})


@pytest.mark.parametrize(
    ("packed", "message"), [([1], "dict of arrays"), ({"a": np.zeros((2, 1))}, "has shape.*expected 3 rows")]
)
def test_what_pack_returns_is_checked(packed, message):
    class Packs(ActorCriticTorchRLModule):
        def setup(self):
            self.encoder = self.pi = self.vf = torch.nn.Identity()

        def observation_packs(self):
            return {(): lambda space, observations: packed}

    module = Packs(observation_space=TEXT, action_space=gym.spaces.Discrete(2))
    with pytest.raises(ConfigError, match=message):
        module.compute_actions(["a", "b", "c"])
