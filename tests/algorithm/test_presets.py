"""Presets: a data file beside the config class, below what the user sets."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from data_lab import data_lab

from rlkit_core.algorithm import AlgorithmConfig
from rlkit_core.algorithm.config.presets import load_presets, preset_for, preset_name
from rlkit_core.errors import ConfigError
from rlkit_core.plugins.discovery import GROUP_ALGORITHMS, EntryPointInfo, Snapshot
from rlkit_core.plugins.host import default_host

PRESETS = {
    "CartPole-v1": {
        "training": {"lr": 0.1, "gamma": 0.5, "beta": 7},
        "env_runners": {"num_envs_per_env_runner": 4},
        "rl_module": {"model_config": {"fcnet_hiddens": [4], "fcnet_activation": "relu"}},
        "stop": {"return": 475, "steps": 1000},
    }
}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with data_lab(tmp_path, monkeypatch, "preset_lab", {"presets.json": PRESETS}) as package:
        yield package


def test_a_preset_fills_what_the_user_left_open(lab: Any) -> None:
    config = lab.LabConfig().training(gamma=0.9).rl_module(model_config={"fcnet_hiddens": [8]})
    assert config.apply_preset("CartPole-v1")
    assert (config.lr, config.gamma, config.beta, config.num_envs_per_env_runner) == (0.1, 0.9, 7, 4)
    assert config.model_config == {"fcnet_hiddens": [8], "fcnet_activation": "relu"}
    assert config.set_by_user() == {"gamma", "model_config"}


def test_no_preset_changes_nothing(lab: Any) -> None:
    config = lab.LabConfig()
    assert not config.apply_preset("Pendulum-v1")
    assert not config.apply_preset()
    assert config == lab.LabConfig()
    assert not AlgorithmConfig().apply_preset("CartPole-v1")


def test_the_configs_own_env_is_the_default_and_subclasses_inherit(lab: Any) -> None:
    class Mine(lab.LabConfig):  # type: ignore[misc,name-defined]
        pass

    assert Mine().environment("CartPole-v1").apply_preset()
    assert preset_for(Mine, "CartPole-v1")["stop"] == {"return": 475, "steps": 1000}  # type: ignore[index]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("{", "not JSON"),
        ("[]", "expected {environment id: sections}"),
        ('{"E": {"trainin": {}}}', "no section 'trainin'"),
        ('{"E": {"training": 3}}', "expected settings, got int"),
        ('{"E": {"stop": {"reward": 1}}}', "stop has ['reward']"),
        ('{"mujoco": {}, "E": {"like": "mujoko"}}', "like 'mujoko': expected another entry of the file. Did you mean"),
        ('{"E": {"like": "F"}, "F": {"like": "E"}}', "like 'E': expected another entry"),
        ('{"E": {"like": {}}}', "like {}: expected another entry"),
    ],
)
def test_a_broken_file_is_named(lab: Any, data: str, says: str) -> None:
    file = Path(lab.__file__).with_name("presets.json")
    file.write_text(data)
    with pytest.raises(ConfigError) as caught:
        load_presets(lab.LabConfig)
    assert says in str(caught.value)
    assert str(file) in str(caught.value)


def test_an_unknown_setting_in_a_preset_is_an_error(lab: Any) -> None:
    Path(lab.__file__).with_name("presets.json").write_text('{"E": {"training": {"lrr": 1}}}')
    with pytest.raises(ConfigError, match="Did you mean 'lr'"):
        lab.LabConfig().apply_preset("E")


def test_a_family_serves_its_envs_that_have_no_entry_of_their_own(lab: Any) -> None:
    presets = {"classic": {"training": {"lr": 0.2}}, "CartPole-v1": {"like": "classic", "training": {"beta": 3}}}
    Path(lab.__file__).with_name("presets.json").write_text(json.dumps(presets))
    for env, name, settings in [
        ("CartPole-v1", "CartPole-v1", (0.2, 3)),
        ("gymnasium.envs.classic_control:CartPole-v1", "CartPole-v1", (0.2, 3)),
        ("Acrobot-v1", "classic", (0.2, 1)),
        ("FrozenLake-v1", None, (0.001, 1)),
        (None, None, (0.001, 1)),
        (lambda: None, None, (0.001, 1)),
    ]:
        config = lab.LabConfig()
        assert preset_name(lab.LabConfig, env) == name
        assert config.environment(env).apply_preset() is (name is not None)
        assert (config.lr, config.beta) == settings


def test_what_is_like_another_entry_is_completed_from_it(lab: Any) -> None:
    presets = {
        "mujoco": {"training": {"lr": 0.2, "gamma": 0.5}, "stop": {"steps": 7}},
        "wide": {"like": "mujoco", "rl_module": {"model_config": {"fcnet_hiddens": [4], "fcnet_activation": "relu"}}},
        "E": {
            "like": "wide",
            "training": {"gamma": 0.9},
            "rl_module": {"model_config": {"fcnet_hiddens": [8]}},
            "stop": {"return": 3},
        },
    }
    Path(lab.__file__).with_name("presets.json").write_text(json.dumps(presets))
    assert load_presets(lab.LabConfig)["E"] == {
        "training": {"lr": 0.2, "gamma": 0.9},
        "rl_module": {"model_config": {"fcnet_hiddens": [8], "fcnet_activation": "relu"}},
        "stop": {"steps": 7, "return": 3},
    }
    assert load_presets(lab.LabConfig)["mujoco"] == presets["mujoco"]


@pytest.fixture
def registered(lab: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of envs that brings presets, for an algorithm that the lab is said to have."""
    entry = EntryPointInfo(GROUP_ALGORITHMS, "lab", "preset_lab:LabConfig", "local", "0")
    monkeypatch.setattr(Snapshot, "entry_points", lambda self, group: (entry,) if group == GROUP_ALGORITHMS else ())
    gym.register("Deep-v0", "preset_lab.deep:Deep")
    yield Path(lab.__file__).with_name("rlkit_presets.json")
    del gym.registry["Deep-v0"]


def test_an_env_brings_presets_for_the_algorithms_of_others(lab: Any, registered: Path) -> None:
    def lr_for(env: str) -> float:
        config = lab.LabConfig()
        config.apply_preset(env)
        return float(config.lr)

    before = lr_for("Deep-v0"), lr_for("Acrobot-v1"), lr_for("CartPole-v1")
    own = {"training": {"lr": 0.3}, "stop": {"return": 1}}
    of_others = {"training": {"lr": 0.7}}
    presets = {"Deep-v0": own, "wide": own, "preset_lab.deep:Deep": {"like": "wide", "training": {"lr": 0.4}}}
    registered.write_text(json.dumps({"lab": {**presets, "Acrobot-v1": of_others, "CartPole-v1": of_others}}))
    assert before == (0.001, 0.001, 0.1)
    assert lr_for("Deep-v0") == lr_for("preset_lab:Deep-v0") == 0.3
    assert lr_for("preset_lab.deep:Deep") == 0.4
    assert lr_for("Acrobot-v1") == 0.001  # which lies elsewhere
    assert lr_for("CartPole-v1") == 0.1
    assert preset_name(lab.LabConfig, "Deep-v0") == "Deep-v0"
    assert preset_for(lab.LabConfig, "Deep-v0") == own
    registered.write_text(json.dumps({"local/lab": {"Deep-v0": of_others}, "lab": presets}))
    assert lr_for("Deep-v0") == 0.7  # the full name before the short one
    registered.write_text(json.dumps({"another": presets}))
    assert lr_for("Deep-v0") == 0.001
    Path(lab.__file__).with_name("presets.json").write_text(json.dumps({"Deep-v0": {"training": {"lr": 0.5}}}))
    registered.write_text(json.dumps({"lab": presets}))
    assert lr_for("Deep-v0") == 0.5  # the algorithm's own word


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("{", "not JSON"),
        ("[]", "expected {algorithm: {environment id: sections}}, got list"),
        ('{"lab": []}', ": lab: expected {environment id: sections}"),
        ('{"lab": {"Deep-v0": {"trainin": {}}}}', "no section 'trainin'"),
    ],
)
def test_a_broken_file_of_an_env_is_named(lab: Any, registered: Path, data: str, says: str) -> None:
    registered.write_text(data)
    with pytest.raises(ConfigError) as caught:
        lab.LabConfig().apply_preset("Deep-v0")
    assert says in str(caught.value)
    assert str(registered) in str(caught.value)


@pytest.mark.parametrize("algo", ["ppo", "dqn", "impala", "appo", "sac"])
def test_every_preset_of_an_installed_algorithm_is_one_that_it_takes(algo: str) -> None:
    host = default_host()
    if algo not in {entry.name for entry in host.snapshot.entry_points("rlkit.algorithms")}:
        pytest.skip(f"rlkit-{algo} is not installed")
    config_class = host.get_algorithm_config_class(algo)
    for preset in load_presets(config_class).values():
        config = config_class().environment("an-env-v0")
        for section, settings in preset.items():
            if section != "stop":
                config.change(settings, section=section)
        if any(importlib.util.find_spec(name.partition(".")[0]) is None for name in names_of(config.wrappers)):
            config.environment(wrappers=[])  # of an extra that is not installed
        config.validate()


def names_of(wrappers: list[dict[str, Any]]) -> list[str]:
    return [entry["name"].partition(":")[0] for entry in wrappers if "name" in entry]
