"""Generic settings: a data file beside the config class, chosen by the env's spaces, below what the user sets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from click.testing import CliRunner
from data_lab import data_lab
from gymnasium import spaces

from rlkit_core.algorithm import AlgorithmConfig
from rlkit_core.algorithm.config.generic import KINDS, load_generic
from rlkit_core.cli.app import cli
from rlkit_core.errors import ConfigError, EnvError
from rlkit_core.rl_module import RLModuleSpec
from rlkit_core.testing import MultiAgentCartPole, RandomEnv

VECTOR, IMAGE = spaces.Box(-1, 1, (3,), np.float32), spaces.Box(0, 255, (8, 8, 1), np.uint8)
DISCRETE, CONTINUOUS = spaces.Discrete(2), spaces.Box(-1, 1, (2,), np.float32)
GENERIC = {
    "any spaces": {"because": "all", "training": {"lr": 0.1, "beta": 2}},
    "discrete actions": {"because": "few", "training": {"beta": 3}},
    "continuous actions": {"because": "many", "rl_module": {"model_config": {"free_log_std": True}}},
    "vector observations": {
        "because": "numbers",
        "rl_module": {"model_config": {"normalize_observations": True, "fcnet_hiddens": [4]}},
    },
    "image observations": {"because": "pixels", "env_runners": {"num_envs_per_env_runner": 5}},
}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with data_lab(tmp_path, monkeypatch, "generic_lab", {"generic.json": GENERIC}) as package:
        yield package


def env_with(observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> Any:
    return lambda: RandomEnv({"observation_space": observation_space, "action_space": action_space})


def kinds(observation_space: gym.Space[Any], action_space: gym.Space[Any] = DISCRETE) -> set[str]:
    return {kind for kind, fits in KINDS.items() if fits(observation_space, action_space)} - {"any spaces"}


def test_kinds_of_spaces() -> None:
    assert kinds(VECTOR) == {"discrete actions", "vector observations"}
    assert kinds(IMAGE, CONTINUOUS) == {"continuous actions", "image observations"}
    assert kinds(spaces.Discrete(9)) == {"discrete actions"}
    assert kinds(spaces.Box(0, 9, (), np.float64)) == {"discrete actions", "vector observations"}
    assert kinds(spaces.Box(0, 9, (3,), np.int64)) == {"discrete actions"}
    assert kinds(spaces.Dict(eye=IMAGE, body=VECTOR), spaces.Tuple([DISCRETE, CONTINUOUS])) == {
        "continuous actions",
        "image observations",
        "vector observations",
    }
    float_image = spaces.Box(0, 1, (8, 8, 3), np.float32)  # whose pixels are not normalised one by one
    assert "vector observations" not in kinds(spaces.Dict(eye=float_image, body=VECTOR))
    mask = spaces.Box(0, 1, (2,), np.float32)  # is no input
    assert kinds(spaces.Dict(action_mask=mask, place=spaces.Discrete(3))) == {"discrete actions"}


def test_what_suits_the_spaces_fills_what_the_user_left_open(lab: Any) -> None:
    config = lab.LabConfig().environment(env_with(VECTOR, CONTINUOUS)).rl_module(model_config={"fcnet_hiddens": [8]})
    chosen = config.training(lr=0.2).apply_generic()
    assert (config.lr, config.beta) == (0.2, 2)
    assert config.model_config == {"fcnet_hiddens": [8], "free_log_std": True, "normalize_observations": True}
    assert config.set_by_user() == {"env", "model_config", "lr"}
    assert [(one.kind, one.because, one.settings) for one in chosen] == [
        ("any spaces", "all", {"beta": 2}),
        ("continuous actions", "many", {"model_config.free_log_std": True}),
        ("vector observations", "numbers", {"model_config.normalize_observations": True}),
    ]
    assert str(chosen[1]) == "continuous actions: model_config.free_log_std=True (many)"


def test_the_later_kind_has_the_word(lab: Any) -> None:
    config = lab.LabConfig().environment(env_with(IMAGE, DISCRETE))
    chosen = config.apply_generic()
    assert (config.lr, config.beta, config.num_envs_per_env_runner) == (0.1, 3, 5)
    assert [one.settings for one in chosen] == [{"lr": 0.1}, {"beta": 3}, {"num_envs_per_env_runner": 5}]
    assert config.model_config == {}


def test_a_module_of_ones_own_keeps_its_model_config(lab: Any) -> None:
    config = lab.LabConfig().environment(env_with(VECTOR, DISCRETE))
    config.rl_module(rl_module_spec=RLModuleSpec(model_config={"units": 3}))
    assert {one.kind for one in config.apply_generic()} == {"any spaces", "discrete actions"}
    assert config.model_config == {}


def test_spaces_that_the_config_names_count_and_those_of_all_agents(lab: Any) -> None:
    config = lab.LabConfig().environment(env_with(VECTOR, DISCRETE), observation_space=IMAGE)
    assert "image observations" in {one.kind for one in config.apply_generic()}
    several = lab.LabConfig().environment(MultiAgentCartPole, env_config={"num_agents": 2})
    assert {one.kind for one in several.apply_generic()} == {"any spaces", "discrete actions", "vector observations"}


def test_nothing_happens_without_a_file_and_without_being_asked(lab: Any) -> None:
    config = AlgorithmConfig().environment("CartPole-v1")
    assert config.apply_generic() == []
    assert config == AlgorithmConfig().environment("CartPole-v1")
    assert lab.LabConfig().environment("CartPole-v1").lr == AlgorithmConfig().lr


def test_an_env_is_needed(lab: Any) -> None:
    with pytest.raises(ConfigError, match="no environment to choose settings for"):
        lab.LabConfig().apply_generic()
    with pytest.raises(EnvError, match="Nowhere-v0"):
        lab.LabConfig().environment("Nowhere-v0").apply_generic()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("[]", "expected {kind of spaces: sections}"),
        ('{"image observation": {"because": "x"}}', "Did you mean 'image observations'"),
        ('{"any spaces": {"training": {}}}', "and 'because' with a text"),
        ('{"any spaces": {"because": "x", "trainin": {}}}', "'trainin': expected one of"),
        ('{"any spaces": {"because": "x", "training": 3}}', "'training': expected one of"),
    ],
)
def test_a_broken_file_is_named(lab: Any, data: str, says: str) -> None:
    file = Path(lab.__file__).with_name("generic.json")
    file.write_text(data)
    with pytest.raises(ConfigError) as caught:
        load_generic(lab.LabConfig)
    assert says in str(caught.value)
    assert str(file) in str(caught.value)


def test_the_command_says_what_it_chose(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ac` is the small actor-critic of the tests, which is told to have such a file."""
    from rlkit_core.algorithm.config import generic

    monkeypatch.setattr(generic, "read_beside", lambda config_class, name: ("here", CHOICES))
    said = CliRunner().invoke(cli, ["explain", "ac", "CartPole-v1", "--json"])
    assert said.exit_code == 0, said.output
    explained = json.loads(said.stdout)
    assert explained["notes"][0] == (
        "settings: ACConfig's generic ones for vector observations (--no-preset leaves them out); it has no preset for "
        "CartPole-v1"
    )
    assert explained["notes"][1] == "settings for any spaces: lr=0.1 (all)"
    assert explained["generic"][1] == {
        "kind": "vector observations",
        "because": "numbers",
        "settings": {"model_config.normalize_observations": True},
    }
    plain = CliRunner().invoke(cli, ["explain", "ac", "CartPole-v1", "--json", "--no-preset"])
    assert json.loads(plain.stdout)["generic"] == []
    assert json.loads(plain.stdout)["notes"][0] == "settings: ACConfig's defaults"


CHOICES = {
    "any spaces": {"because": "all", "training": {"lr": 0.1}},
    "vector observations": {
        "because": "numbers",
        "rl_module": {"model_config": {"normalize_observations": True}},
    },
}
