"""``rlkit tune``: ranges that are right, studies that end early, go on and are told apart, and a preset that trains."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from click.testing import CliRunner
from gymnasium import spaces

from rlkit_core import get_algorithm_config
from rlkit_core.cli.app import cli
from rlkit_core.errors import ConfigError, UnknownSettingError
from rlkit_tools.tune.ranges import apply, as_preset, read_ranges, suggested
from rlkit_tools.tune.search import Asked, TuneError, search

optuna = pytest.importorskip("optuna", reason="pip install 'rlkit-tools[tune]'")
COMMAND = [sys.executable, "-c", "from rlkit_core.cli import main; main()"]


class Pays(gym.Env):
    """Episodes of four steps, each of which pays ``bonus`` whatever is done."""

    observation_space, action_space = spaces.Box(0.0, 4.0, (1,), np.float32), spaces.Discrete(2)

    def __init__(self, bonus=0):
        self.bonus = bonus
        if bonus == "broken":
            raise ValueError("no such bonus")

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 4
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.left -= 1
        return np.full(1, 4 - self.left, np.float32), float(self.bonus), self.left == 0, False, {}


@pytest.mark.parametrize("algorithm", ["ppo", "impala", "appo", "dqn", "sac"])
@pytest.mark.parametrize("end", [0, -1])
def test_the_ends_of_what_algorithms_come_with_are_settings(algorithm, end):
    pytest.importorskip(f"rlkit_{algorithm}")
    config = get_algorithm_config(algorithm).environment("Pendulum-v1" if algorithm == "sac" else "CartPole-v1")
    ranges = read_ranges(config)
    ends = {
        name: json.dumps(of[end]) if isinstance(of, list) else of["high" if end else "low"]
        for name, of in ranges.items()
    }
    values = suggested(optuna.trial.FixedTrial(ends), ranges)
    apply(config, values)
    config.validate()
    again = get_algorithm_config(algorithm)
    for section, settings in as_preset(config, values).items():
        getattr(again, section)(**settings)
    assert all(again.stored(name) == config.stored(name) for name in (*set(values) - {"model_config.fcnet_hiddens"},))
    assert again.model_config["fcnet_hiddens"] == values["model_config.fcnet_hiddens"]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"lrr": [1]}, UnknownSettingError, "Did you mean 'lr'"),
        ({"lr": {"low": 2, "high": 1}}, ConfigError, "lr: expected a list, or {low, high, log} with low below high"),
        ({"lr": {"low": 1, "hi": 2}}, ConfigError, "expected a list, or"),
        ({"lr": []}, ConfigError, "expected a list, or"),
        ([1], ConfigError, "expected {setting: choices or range}, got list"),
        ({"gamma": [0.9]}, ConfigError, "everything in it is fixed by --set"),
    ],
)
def test_ranges_that_are_none_are_refused(tmp_path, data, error, message):
    pytest.importorskip("rlkit_ppo")
    file = tmp_path / "ranges.json"
    file.write_text(json.dumps(data))
    with pytest.raises(error) as caught:
        read_ranges(get_algorithm_config("ppo"), file, fixed=["gamma"])
    assert message in str(caught.value)


def base():
    pytest.importorskip("rlkit_ppo")
    few = {"train_batch_size": 32, "minibatch_size": 32, "num_epochs": 1}
    config = get_algorithm_config("ppo").environment(Pays).training(**few)
    return config.env_runners(num_envs_per_env_runner=2).rl_module(model_config={"fcnet_hiddens": [4]})


def asked(ranges, **changes):
    return Asked(**{"algo": "ppo", "env": "Pays", "ranges": ranges, "settings": {"num_epochs": 1}, "steps": 64,
                    "evaluations": 2, "episodes": 2, "seed": 3, **changes})  # fmt: skip


@pytest.mark.slow
def test_trials_that_are_worse_than_most_end_early_and_the_best_is_a_preset(tmp_path):
    lines, ranges = [], {"env_config.bonus": list(range(10)), "gamma": {"low": 0.9, "high": 0.99}}
    found = search(base(), asked(ranges), tmp_path, 12, lines.append)
    study = optuna.load_study(study_name="rlkit", storage=f"sqlite:///{tmp_path / 'study.db'}")
    states = [trial.state.name for trial in study.trials]
    assert states.count("PRUNED") >= 1
    assert set(states) == {"COMPLETE", "PRUNED"}
    for trial in study.trials:
        returns = 4.0 * json.loads(trial.params["env_config.bonus"])
        assert trial.intermediate_values == dict.fromkeys(range(1, 2 if trial.state.name == "PRUNED" else 3), returns)
    best = max(json.loads(trial.params["env_config.bonus"]) for trial in study.trials)
    preset = json.loads(found.read_text())
    assert preset["environment"] == {"env_config": {"bonus": best}}
    assert preset["training"] == {"num_epochs": 1, "gamma": study.best_params["gamma"]}
    assert preset["stop"] == {"steps": 64}
    assert len(lines) == 12

    more = search(base(), asked(ranges), tmp_path, 13, lines.append)  # goes on, with one more
    assert more == found
    assert lines[12].startswith("trial 12: ")
    assert len(lines) == 13
    with pytest.raises(ConfigError, match="has a study of other steps, seed"):
        search(base(), asked(ranges, steps=65, seed=4), tmp_path, 1, lines.append)


def test_a_trial_that_fails_is_told_and_the_others_go_on(tmp_path):
    lines = []
    with pytest.raises(TuneError, match=r"no trial got to its end; the last one: EnvError\S* env Pays .*no such bonus"):
        search(base(), asked({"env_config.bonus": ["broken"]}), tmp_path, 1, lines.append)
    assert "failed: EnvError" in lines[0]
    assert not (tmp_path / "best.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_study_that_was_interrupted_goes_on(tmp_path, number):
    pytest.importorskip("rlkit_ppo")
    folder = tmp_path / "study"
    line = ["tune", "ppo", "CartPole-v1", "--trials", "3", "--evaluations", "2", "--folder", str(folder)]
    line += ["--steps", "2000", "--episodes", "2", "--set", "model_config.fcnet_hiddens=[8]"]
    with subprocess.Popen([*COMMAND, *line], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tunes:
        while not tunes.stdout.readline().startswith("trial 0: "):
            assert tunes.poll() is None
        storage = f"sqlite:///{folder / 'study.db'}"
        while len(optuna.load_study(study_name="rlkit", storage=storage).trials) < 2:
            assert tunes.poll() is None
        tunes.send_signal(number)
        _, errors = tunes.communicate(timeout=120)
    assert tunes.returncode != 0
    assert "Traceback" not in errors
    result = CliRunner().invoke(cli, line)
    assert result.exit_code == 0, result.output
    _, interrupted, again, *_ = trials = optuna.load_study(study_name="rlkit", storage=storage).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert interrupted.params.items() <= again.params.items()
    run = ["train", "ppo", "CartPole-v1", "--preset", str(folder / "best.json"), "--run-dir", str(tmp_path / "run")]
    result = CliRunner().invoke(cli, [*run, "--stop-iters", "1", "--evaluate", "1", "--no-plot"])
    assert result.exit_code == 0, result.output
    settings = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    best = json.loads((folder / "best.json").read_text())
    assert settings["lr"] == best["training"]["lr"]
    assert settings["model_config"]["fcnet_hiddens"] == [8]


@pytest.mark.slow
def test_a_study_goes_on_when_nobody_reads_its_lines(tmp_path):
    pytest.importorskip("rlkit_ppo")
    line = ["tune", "ppo", "CartPole-v1", "--trials", "2", "--evaluations", "1", "--folder", str(tmp_path / "study")]
    line += ["--steps", "200", "--episodes", "1", "--set", "model_config.fcnet_hiddens=[8]"]
    with subprocess.Popen([*COMMAND, *line], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tunes:
        assert tunes.stdout.readline()
        tunes.stdout.close()
        errors = tunes.stderr.read()
    assert tunes.returncode == 0, errors
    assert "Traceback" not in errors
    study = optuna.load_study(study_name="rlkit", storage=f"sqlite:///{tmp_path / 'study' / 'study.db'}")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE"]
