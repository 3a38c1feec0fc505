"""``rlkit settings`` and ``rlkit config``: every setting is there, from where it is, and files fit their schema."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from actor_critic import ACConfig
from rlkit_core import DefaultModelConfig, Run
from rlkit_core.algorithm import AlgorithmConfig
from rlkit_core.cli.app import cli
from rlkit_core.cli.config.schema import config_schema
from rlkit_core.run.stop import Stop
from rlkit_core.settings.converters import schema_of


def rlkit(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def said(*args: object, code: int = 0) -> str:
    result = rlkit(*args)
    assert result.exit_code == code, result.output
    return result.stdout


# -- settings --------------------------------------------------------------------------------------------------------


def test_all_settings_of_an_algorithm_are_listed() -> None:
    rows = {row["name"]: row for row in json.loads(said("settings", "ac", "--json"))["settings"]}
    networks = {f"model_config.{name}" for name in DefaultModelConfig.known_settings()}
    assert set(rows) == {*ACConfig.known_settings(), *networks}
    for name, item in ACConfig.known_settings().items():
        assert (rows[name]["default"], rows[name]["help"]) == (repr(item.make_default()), item.help)
    assert rows["lr"]["section"] == "training()"
    text = said("settings", "ac")
    assert all(f"\n  {name} = " in text for name in rows)
    assert text.startswith("api_stack(), ac\n  enable_rl_module_and_learner = True\n      Always True.")
    assert max(map(len, text.splitlines())) <= 250  # but for defaults, lines fit a terminal


def test_settings_are_searched_by_name_meaning_and_older_name() -> None:
    def found(word: str) -> list[str]:
        return [row["name"] for row in json.loads(said("settings", "ac", "--search", word, "--json"))["settings"]]

    assert "lr" in found("learning_rate")  # another library's name
    assert "num_epochs" in found("num_sgd_iter")  # an older one
    assert {"checkpoint_keep", "checkpoint_every"} <= set(found("CHECKPOINT"))
    assert "wrappers" in found("innermost first")
    assert "no setting has 'nonesuch' in its name" in said("settings", "--search", "nonesuch")


def test_without_an_algorithm_each_tells_what_it_adds() -> None:
    rows = json.loads(said("settings", "--json"))["settings"]
    core = {row["name"] for row in rows if row["of"] == "all algorithms"}
    own = {row["name"] for row in rows if row["of"] == "ac"}
    assert set(AlgorithmConfig.known_settings()) <= core
    networks = {f"model_config.{name}" for name in ACConfig().model_config}
    assert {name for name in own if "." not in name} == {item.name for item in ACConfig.beyond(AlgorithmConfig)}
    assert "model_config.fcnet_hiddens" in own & networks
    assert "train_batch_size" in own  # another default
    assert "env" not in own


def test_settings_of_plugins_are_listed_as_set_takes_them() -> None:
    pytest.importorskip("rlkit_tools", reason="a plugin with settings of its own")
    rows = {row["name"]: row for row in json.loads(said("settings", "--search", "video", "--json"))["settings"]}
    assert rows["plugin.rlkit-tools.video_every"]["of"] == "rlkit-tools"
    given = ["--set", "plugin.rlkit-tools.video_every=3", "--no-preset", "--json"]
    shown = json.loads(said("config", "show", "ac", "CartPole-v1", *given))["settings"]
    assert shown["plugin_config.rlkit-tools"] == {"value": {"video_every": 3}, "from": "command line"}


def test_rllibs_figures_are_those_of_the_algorithms_file() -> None:
    pytest.importorskip("rlkit_ppo", reason="the core's own test algorithm has no such file")
    rows = {row["name"]: row for row in json.loads(said("settings", "ppo", "--json"))["settings"]}
    assert (rows["lr"]["default"], rows["lr"]["rllib"]) == ("0.0003", "5e-05")
    assert rows["lr"]["why"].startswith("the rate of the paper")
    assert rows["gamma"]["rllib"] is None
    assert "      RLlib: 5e-05; the rate of the paper's" in said("settings", "ppo", "--search", "lr")


# -- config show and diff --------------------------------------------------------------------------------------------


def origins(*args: object) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(said("config", "show", *args, "--json"))["settings"]
    return {name: row["from"] for name, row in settings.items()}


def test_where_each_value_is_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preset = {"training": {"lr": 0.5, "gamma": 0.9}, "rl_module": {"model_config": {"fcnet_hiddens": [4]}}}
    monkeypatch.setattr("rlkit_core.algorithm.config.presets.load_presets", lambda cls: {"CartPole-v1": preset})
    file = tmp_path / "run.toml"
    file.write_text('[training]\nlr = 0.1\nnum_epochs = 2\n[rl_module.model_config]\nfcnet_activation = "relu"\n')
    found = origins("ac", "CartPole-v1", "--config", file, "--set", "num_epochs=3", "--set", "minibatch_size=32")
    assert found == {
        "env": "command line",
        "lr": str(file),
        "num_epochs": "command line",
        "minibatch_size": "command line",
        "gamma": "preset CartPole-v1",
        "model_config.fcnet_activation": str(file),
        "model_config.fcnet_hiddens": "preset CartPole-v1",
    }
    every = origins("ac", "CartPole-v1", "--no-preset", "--all")
    assert set(AlgorithmConfig.known_settings()) - {"model_config"} <= set(every)
    assert every["gamma"] == "default"
    lines = said("config", "show", "ac", "CartPole-v1").splitlines()
    assert lines[0] == "ACConfig, until mean return 475 or 1,000,000 steps"
    assert [line.split() for line in lines if line.startswith("  gamma")] == [["gamma", "0.9", "preset", "CartPole-v1"]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of the command line, ``one``, and a run of Python, ``two``."""
    folder = tmp_path_factory.mktemp("config")
    small = ["--set", "train_batch_size=64", "--set", "minibatch_size=32", "--set", "num_epochs=1", "--seed", 1]
    more = ["--evaluate", 1, "--no-plot", "--quiet", "--stop-iters", 1, "--run-dir", folder / "one"]
    said("train", "ac", "CartPole-v1", *small, *more)
    said("resume", folder / "one", "--more-steps", 64, "--set", "lr=0.01", "--no-plot", "--quiet")
    config = ACConfig().environment("CartPole-v1").training(train_batch_size=64, minibatch_size=32, num_epochs=2)
    Run(config.debugging(seed=2), folder / "two", stop=Stop(iterations=1), evaluation_episodes=1, plot=False).fit()
    return folder


def test_a_runs_settings_and_where_they_were_from(runs: Path) -> None:
    found = origins(runs / "one")
    assert (found["num_epochs"], found["lr"]) == ("command line", "changed at iteration 1")
    assert found["evaluation_interval"] == "given"  # by the run, as it has a target
    assert origins(runs / "one" / "checkpoints" / "000002")["lr"] == "changed at iteration 1"
    assert origins(runs / "two") == dict.fromkeys(origins(runs / "two"), "given")
    assert "leave out the options" in rlkit("config", "show", runs / "one", "--set", "lr=1").stderr


def test_how_two_runs_differ(runs: Path, tmp_path: Path) -> None:
    report = json.loads(said("config", "diff", runs / "one", runs / "two", "--json", code=1))
    assert report["differences"]["num_epochs"] == [1, 2]
    assert report["differences"]["seed"] == [1, 2]
    assert set(report["differences"]) >= {"num_epochs", "seed", "lr"}
    assert "train_batch_size" not in report["differences"]
    text = said("config", "diff", runs / "one", runs / "two", code=1)
    assert f"num_epochs: 1 in {runs / 'one'}, 2 in {runs / 'two'}" in text.splitlines()
    assert said("config", "diff", runs / "one", runs / "one" / "config.json") == "no difference\n"
    file = tmp_path / "file.json"
    file.write_text('{"algo": "ac", "env": "CartPole-v1", "stop": {"iterations": 7}}')
    assert "stop.iterations: 7 in" in said("config", "diff", file, runs / "two", code=1)


# -- config schema ---------------------------------------------------------------------------------------------------

VALUES = [
    None, True, False, 0, 1, 2, -1, 0.5, 1.0, -0.5, 1e5, 2**40, 3e-4, "auto", "sync", "x", "10 iterations", [], [1],
    [0.5], ["a"], [[0, 1.0], [10, 0.0]], [[0, 1.0]], [[1, 2.0], [3, 4.0]], {}, {"a": 1}, {"a": {"b": 2}}, [[16, 4, 2]],
]  # fmt: skip


def accepts(config_class: type[Any], name: str, value: object) -> bool:
    try:
        config_class().change({name: value})
    except (ValueError, TypeError, LookupError, ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize("config_class", [ACConfig, DefaultModelConfig])
def test_the_schema_refuses_nothing_that_a_setting_takes_and_takes_little_else(config_class: type[Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="the schema is held against a validator of its own")
    told = 0
    for name, item in config_class.known_settings().items():
        check = jsonschema.Draft202012Validator(item.schema)
        if not config_class.none_is_unset:
            assert check.is_valid(json.loads(json.dumps(item.make_default()))), name
        for value in VALUES:
            taken, valid = accepts(config_class, name, value), check.is_valid(value)
            assert valid or not taken or (value is None and config_class.none_is_unset), (name, value)
        told += bool(schema_of(item.converter))
    assert told > len(config_class.known_settings()) / 3
    assert not jsonschema.Draft202012Validator(ACConfig.known_settings()["gamma"].schema).is_valid(1.5)


def test_files_fit_the_schema_of_their_algorithm(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="the schema is held against a validator of its own")
    schema = json.loads(said("config", "schema", "ac"))
    assert schema == json.loads(json.dumps(config_schema(ACConfig, "ac")))
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    good: dict[str, Any] = {
        "algo": "ac", "env": "CartPole-v1", "evaluate": 3, "seed": 1, "framework": "torch",
        "model_config.fcnet_hiddens": [8], "env_config": {"gravity": 9.8}, "plugin": {"acme": {"bonus": 1}},
        "training": {"lr": [[0, 1e-3], [100, 1e-4]], "num_epochs": 2}, "checkpointing": {"keep": 3},
        "rl_module": {"model_config": {"fcnet_hiddens": [8], "mine": 1}}, "stop": {"return": 10, "patience": 2},
        "execution": {"executor": "local", "anything": 1},
    }  # fmt: skip
    assert list(check.iter_errors(good)) == []
    for bad in (
        {"trainin": {}}, {"training": {"lrr": 1}}, {"training": {"lr": "fast"}}, {"lr": "fast"}, {"stop": {"step": 1}},
        {"training": {"num_envs_per_env_runner": 1}}, {"evaluate": 0}, {"model_config": 3}, {"gamma": math.pi},
    ):  # fmt: skip
        assert not check.is_valid(bad), bad


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["settings", "acc"], "Did you mean 'ac'"),
        (["config", "shew"], "No such command 'shew'"),
        (["config", "show"], "Missing argument 'ALGO'"),
        (["config", "show", "ac"], "Missing argument 'ENV'"),
        (["config", "show", "ac", "CartPole-v1", "--set", "lrr=1"], "Did you mean 'lr'?"),
        (["config", "diff", "here", "there"], "does not exist"),
        (["config", "schema", "acc"], "Did you mean 'ac'"),
    ],
)
def test_mistakes(words: list[str], says: str) -> None:
    result = rlkit(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr
    assert "Traceback" not in result.output
