"""``--config FILE``: TOML, JSON and a run's own config; what wins over what, and mistakes in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rlkit_core.algorithm import AlgorithmConfig
from rlkit_core.cli.app import cli
from rlkit_core.cli.config.file import read_config_file
from rlkit_core.cli.config.made import COMMAND_LINE, Given, configure, stop_criteria
from rlkit_core.run.stop import Stop

TOML = """
algo = "ac"
env = "CartPole-v1"
evaluate = 2
seed = 4
minibatch_size = 32                 # a setting by its name
"model_config.fcnet_activation" = "relu"

[training]                          # or in its section
train_batch_size = 64
num_epochs = 1

[env_runners]
num_envs_per_env_runner = 4

[rl_module.model_config]
fcnet_hiddens = [8]

[stop]
iterations = 2
"""


def rlkit(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def written(folder: Path, text: str, name: str = "run.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def made_of(path: Path, **given: Any) -> tuple[Any, Stop]:
    asked = Given(file=read_config_file(path), **given).checked()
    made = configure(asked)
    return made, stop_criteria(Stop(), made.config, asked)


def test_a_run_from_a_file_and_again_from_its_own_config(tmp_path: Path) -> None:
    file = written(tmp_path, TOML)
    one, two = tmp_path / "one", tmp_path / "two"
    said = rlkit("train", "--config", file, "--run-dir", one, "--set", "lr=0.01", "--set", "num_epochs=2", "--no-plot")
    assert said.exit_code == 0, said.output
    assert said.stdout.splitlines()[:3] == [
        "num_epochs: 2 of the command line takes the place of 1",
        f"settings: those of {file}, and ACConfig's defaults; it has no preset for CartPole-v1",
        "until: mean return 475 or 2 iterations",
    ]
    assert "over 2 deterministic evaluation episodes" in said.stdout
    again = rlkit("train", "--config", one / "config.json", "--run-dir", two, "--no-plot")
    assert again.exit_code == 0, again.output
    assert again.stdout.splitlines()[:2] == [
        f"settings: all of {one / 'config.json'}",
        "until: mean return 475 or 2 iterations",
    ]
    for name in ("config.json", "seeds.json"):
        assert json.loads((one / name).read_text()) == json.loads((two / name).read_text())
    summaries = [json.loads((run / "summary.json").read_text()) for run in (one, two)]
    assert summaries[0]["evaluation_return_mean"] == summaries[1]["evaluation_return_mean"]


def test_what_a_file_says(tmp_path: Path) -> None:
    made, stop = made_of(written(tmp_path, TOML))
    config: AlgorithmConfig = made.config
    assert (config.env, config.seed, config.minibatch_size, config.train_batch_size) == ("CartPole-v1", 4, 32, 64)
    assert (config.model_config["fcnet_hiddens"], config.model_config["fcnet_activation"]) == ([8], "relu")
    assert stop == Stop(return_mean=475, iterations=2)
    limits = {"patience": 3, "steps": 9}
    as_json = json.dumps({"$schema": "x", "algo": "ac", "environment": {"env": "Acrobot-v1"}, "stop": limits})
    made, stop = made_of(written(tmp_path, as_json, "run.json"))
    assert (made.config.env, stop) == ("Acrobot-v1", Stop(return_mean=-100, steps=9, patience=3))


def test_the_command_line_wins(tmp_path: Path) -> None:
    file = written(tmp_path, TOML)
    made, _ = made_of(
        file, env="Acrobot-v1", seed=7, settings=["model_config.fcnet_hiddens=[4]", "lr=0.5", "minibatch_size=32"]
    )
    config: AlgorithmConfig = made.config
    assert (config.env, config.seed, config.lr) == ("Acrobot-v1", 7, 0.5)
    assert config.model_config["fcnet_hiddens"] == [4]
    assert made.notes[:-1] == [
        "env: 'Acrobot-v1' of the command line takes the place of 'CartPole-v1'",
        "model_config.fcnet_hiddens: [4] of the command line takes the place of [8]",
        "seed: 7 of the command line takes the place of 4",
    ]
    assert made.origins["model_config.fcnet_hiddens"] == COMMAND_LINE
    assert made.origins["train_batch_size"] == str(file)
    assert "gamma" not in made.origins


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lr = ", "Invalid value"),
        ("[trainin]\nlr = 1.0", "there is no section or setting 'trainin'. Did you mean 'training'?"),
        ("[training]\nlearning_rate = 1.0", "Did you mean 'lr'?"),
        ("learning_rate = 1.0", "Did you mean 'lr'?"),
        ("[training]\nnum_envs_per_env_runner = 1", "it belongs to env_runners(num_envs_per_env_runner=...)"),
        ("lr = 'fast'", "training(lr='fast'): expected a number"),
        ("model_config.a = 1\n[rl_module.model_config]\nb = 1", "'model_config' is there twice, in rl_module"),
        ("lr = 0.1\n[training]\nlr = 0.2", "'lr' is there twice, in training and by itself"),
        ("algo = 3", "algo = 3: expected a name"),
        ("stop = 3", "stop = 3: expected a table"),
        ("[stop]\nsteps = -1", "Stop(steps=-1): expected a whole number >= 1"),
        ("[stop]\nreturns = 1", "there is no limit 'returns'. Did you mean 'return'?"),
        ("algo = 'acc'", "No algorithm 'acc'. Did you mean 'ac'"),
        ("env = 'CartPol-v1'", "Did you mean 'CartPole-v1'?"),
    ],
)
def test_mistakes_in_a_file_end_at_once_with_one_message(tmp_path: Path, text: str, says: str) -> None:
    usual = {"algo": "ac", "env": "CartPole-v1"}
    keys = "".join(f"{key} = '{value}'\n" for key, value in usual.items() if f"{key} =" not in text)
    file = written(tmp_path, keys + text)
    result = rlkit("train", "--config", file, "--run-dir", tmp_path / "run")
    assert result.exit_code == 2
    assert says in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("run.yaml", "algo: ac", "its name ends neither in .toml nor in .json"),
        ("run.json", "[1]", "expected sections and settings, got list"),
        ("run.json", "{", "cannot be read"),
        ("run.toml", "", "Missing argument 'ALGO'"),
        ("run.toml", "algo = 'ac'", "Missing argument 'ENV'"),
        ("run.json", '{"class": "x", "set": [], "settings": {}}', "this is no config"),
    ],
)
def test_files_that_are_none(tmp_path: Path, name: str, text: str, says: str) -> None:
    result = rlkit("train", "--config", written(tmp_path, text, name))
    assert result.exit_code == 2
    assert says in result.stderr
    assert str(tmp_path / name) in result.stderr or "Missing" in says
    assert "Traceback" not in result.output


def test_a_runs_config_is_of_one_algorithm(tmp_path: Path) -> None:
    file = written(tmp_path, AlgorithmConfig().environment("CartPole-v1").to_json(), "config.json")
    result = rlkit("train", "ac", "CartPole-v1", "--config", file)
    assert result.exit_code == 2
    assert "it is a AlgorithmConfig, which is not ac's; leave out ac" in result.stderr


def test_a_writer_by_name_comes_beside_those_of_the_config(tmp_path: Path) -> None:
    made, _ = made_of(written(tmp_path, TOML), log=("tensorboard", "wandb"), settings=["lr=1"])
    assert made.config.writers == ["csv", "jsonl", "tensorboard", "wandb"]
    refused = rlkit("train", "ac", "CartPole-v1", "--log", "wandb", "--run-dir", tmp_path / "run")
    assert refused.exit_code == 2
    assert "no writer named 'wandb'" in refused.stderr
    twice = rlkit("train", "ac", "CartPole-v1", "--log", "wandb", "--set", "writers=['csv']")
    assert "--log is given as wandb too" in twice.stderr
