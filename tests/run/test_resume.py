"""Going on with a run: nothing is repeated, nothing is there twice, and what may not change does not."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from click.testing import CliRunner, Result
from gymnasium.wrappers import TimeLimit

from actor_critic import ACConfig
from rlkit_core import Algorithm, RLModule, Run
from rlkit_core.algorithm import AlgorithmConfig
from rlkit_core.checkpoint.locate import locate, read_index
from rlkit_core.cli.app import cli
from rlkit_core.errors import CheckpointError, ConfigError
from rlkit_core.run.record import read_record
from rlkit_core.run.resuming.going_on import RunEndedError, going_on
from rlkit_core.run.stop import Stop

CLOCKS = ("timers/", "env_runners/episode_duration_sec_mean")


def rlkit(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def config() -> ACConfig:
    made: ACConfig = (
        ACConfig()
        .environment("CartPole-v1")
        .env_runners(num_envs_per_env_runner=4)
        .training(train_batch_size=64, minibatch_size=32, num_epochs=1)
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .reporting(writers=["csv", "jsonl"])
        .checkpointing(every="2 iterations", keep=3)
        .debugging(seed=1)
    )
    return made


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that reached its limit of 320 env steps, with checkpoints of iterations 2, 4 and 5."""
    folder = tmp_path_factory.mktemp("resume") / "my run"
    Run(config(), folder, stop=Stop(return_mean=1e9, steps=320), evaluation_episodes=2, plot=False).fit()
    return folder


@pytest.fixture
def run(ended: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(ended, tmp_path / "my run"))


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "progress.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_clocks(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if not name.startswith(CLOCKS)} for row in rows]


def iterations(folder: Path) -> list[int]:
    return [int(row["training_iteration"]) for row in table(folder)]


def test_a_run_that_is_killed_again_and_again_has_each_iteration_once(start: Callable[..., Any]) -> None:
    every = ("--set", "checkpoint_every='2 iterations'", "--set", "evaluation_interval=1000")
    run = start("--stop-iters", "9", "--stop-return", "1e9", *every, faults=[("killed_at", 4)])
    assert run.wait() == -signal.SIGKILL
    again = start(line=["resume", str(run.folder)], faults=[("killed_at", 7)])
    assert again.wait() == -signal.SIGKILL, again.said
    assert "until: mean return 1e+09 or 9 iterations" in again.said
    last = start(line=["resume", str(run.folder)])
    assert last.wait() == 0, last.said
    whole = list(range(1, 10))
    assert run.iterations == iterations(run.folder) == whole
    summary = json.loads((run.folder / "summary.json").read_text())
    assert (summary["iterations"], summary["steps"], summary["evaluation_episodes"]) == (9, 576, 2)
    index = read_index(run.folder)
    seconds = [one.seconds for one in index.checkpoints]
    assert None not in seconds
    assert [*seconds, summary["seconds"]] == sorted([*seconds, summary["seconds"]])
    straight = start("--stop-iters", "9", "--stop-return", "1e9", *every, folder="straight")
    assert straight.wait() == 0, straight.said
    assert without_clocks(table(run.folder)) == without_clocks(table(straight.folder))


def test_a_run_that_has_reached_its_end_says_so_and_how_to_go_on(run: Path) -> None:
    before = sorted(path.name for path in run.rglob("*"))
    done = rlkit("resume", run)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (
        f"{run} has reached its end: 320 environment steps. To go on: rlkit resume '{run}' --more-steps N\n"
    )
    assert sorted(path.name for path in run.rglob("*")) == before
    with pytest.raises(RunEndedError, match="320 environment steps"):
        Run.resume(run)
    with pytest.raises(RunEndedError):
        Run(config(), resume=run)


def test_more_steps_and_changed_settings_are_recorded_and_everything_else_goes_on(run: Path) -> None:
    done = rlkit("resume", run, "--more-steps", 128, "--set", "lr=0.01", "--set", "checkpoint_keep=2")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[:5] == [
        f"resuming from {run}/checkpoints/000005, iteration 5",
        "checkpoint_keep: 3 becomes 2",
        "lr: 0.0003 becomes 0.01",
        "until: mean return 1e+09 or 448 steps",
        f"run folder: {run}",
    ]
    assert iterations(run) == [1, 2, 3, 4, 5, 6, 7]
    assert [one.iteration for one in read_index(run).checkpoints] == [5, 7]
    record = read_record(run)
    assert record is not None
    assert (record.stop, record.evaluation_episodes) == (Stop(return_mean=1e9, steps=448), 2)
    (change,) = record.changes
    assert (change["iteration"], "@" in change["by"]) == (5, True)
    assert change["settings"] == {"lr": [0.0003, 0.01], "checkpoint_keep": [3, 2], "stop.steps": [320, 448]}
    assert AlgorithmConfig.from_json((run / "config.json").read_text()).lr == 0.01
    assert "learning_curve.png" not in {path.name for path in run.iterdir()}  # plot=False is remembered
    again = Run.resume(run, more_steps=64).fit()
    assert (again.iterations, again.steps) == (8, 512)
    assert again.seconds > (read_index(run).checkpoints[-1].seconds or 0) > 0
    with Algorithm.from_checkpoint(run) as algo:
        assert (algo.config.lr, algo.iteration) == (0.01, 8)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("seed=3", "seed: its random numbers go on"),
        ("model_config.fcnet_hiddens=[9]", "model_config: the networks and their weights are there already"),
        ("env=Acrobot-v1", "env: what was learned is of that environment"),
        ("env_config.x=1", "env_config: what was learned is of that environment"),
        ("clip_rewards=True", "clip_rewards: what was learned is of that environment"),
        ("policies=['a']", "policies: the modules and who uses them are there already"),
    ],
)
def test_what_may_not_change_is_refused_before_anything_happens(run: Path, setting: str, says: str) -> None:
    before = (run / "run.json").read_bytes()
    refused = rlkit("resume", run, "--more-steps", 64, "--set", setting)
    assert refused.exit_code == 2
    assert says in refused.stderr
    assert "rlkit train ALGO ENV --from RUN" in refused.stderr
    assert (run / "run.json").read_bytes() == before


def test_what_a_change_costs_is_said(run: Path) -> None:
    one = going_on(run, more_steps=64, change=lambda made: made.env_runners(num_envs_per_env_runner=2))
    assert one.notes == ("num_envs_per_env_runner: 4 becomes 2; episodes that are open begin anew",)
    assert Run(one.config, resume=one).fit().iterations == 6


def test_another_folder_gets_the_history_and_the_runs_own_stays(run: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for which, first, name in (("last", 5, "further"), ("best", read_index(run).best.iteration, "branch")):  # type: ignore[union-attr]
        new = tmp_path / name
        done = rlkit("resume", run, "--run-dir", new, "--which", which, "--more-steps", 64, "--quiet")
        assert done.exit_code == 0, done.output
        assert iterations(new) == list(range(1, 7))
        assert read_index(new).checkpoints[-1].iteration == 6
        assert first is not None
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    taken = rlkit("resume", run, "--run-dir", new, "--more-steps", 64)
    assert taken.exit_code == 2
    assert "is not empty" in taken.stderr


def test_an_older_checkpoint_does_not_cost_the_later_ones(run: Path, tmp_path: Path) -> None:
    older = run / "checkpoints" / "000002"
    refused = rlkit("resume", older, "--more-steps", 64)
    assert refused.exit_code == 2
    assert "has later checkpoints than 000002 (checkpoints/000004, checkpoints/000005)" in refused.stderr
    assert not (run / "run.lock").exists()
    done = rlkit("resume", older, "--more-steps", 64, "--run-dir", tmp_path / "new")
    assert done.exit_code == 0, done.output
    assert iterations(tmp_path / "new") == [1, 2, 3, 4, 5, 6]


def test_a_damaged_checkpoint_is_passed_over_and_trained_again(run: Path) -> None:
    newest = run / "checkpoints" / "000005"
    with (newest / "algorithm_state.json").open("ab") as file:
        file.write(b" ")
    done = rlkit("resume", run)
    assert done.exit_code == 0, done.output
    assert "000005 is passed over: " in done.stderr
    assert f"resuming from {run}/checkpoints/000004, iteration 4" in done.stdout
    assert iterations(run) == [1, 2, 3, 4, 5]
    assert locate(run) == newest


def test_a_solved_run_is_trained_beyond_its_target(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    summary = Run(config(), folder, stop=Stop(return_mean=5, steps=6400), evaluation_episodes=2, plot=False).fit()
    assert summary.reason == "solved"
    done = rlkit("resume", folder)
    assert f"has reached its end: mean return {summary.evaluation_return_mean:.1f} reached 5" in done.stdout
    one = going_on(folder, more_steps=64)
    assert one.stop == Stop(steps=6464)
    assert one.notes == ("the target 5 is reached and ends it no more",)
    data = json.loads((folder / "summary.json").read_text())  # evaluations count for a limit of seconds
    (folder / "summary.json").write_text(json.dumps({**data, "reason": "limit", "seconds": 7200.0}))
    with pytest.raises(RunEndedError, match="7200 seconds"):
        going_on(folder, stop=Stop(seconds=3600))
    assert going_on(folder, stop=Stop(seconds=3600), more_steps=64).stop.seconds is None
    assert going_on(folder).seconds == 7200.0
    (folder / "summary.json").write_text(json.dumps(data))
    higher = going_on(folder, stop=Stop(return_mean=1e6))
    assert higher.stop == Stop(return_mean=1e6, steps=6400)


def short(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    return TimeLimit(env, 20)


def test_wrappers_given_again_are_those_that_a_run_goes_on_with(tmp_path: Path) -> None:
    """A checkpoint holds no code, so a function of the user's own is named once more."""
    folder = tmp_path / "run"
    Run(config().environment(wrappers=[short]), folder, stop=Stop(steps=64), plot=False).fit()
    refused = rlkit("resume", folder, "--more-steps", 64)
    assert refused.exit_code == 2
    assert "--wrap" in refused.output
    other = json.dumps({"name": "gymnasium.wrappers:TimeLimit", "max_episode_steps": 30})
    refused = rlkit("resume", folder, "--wrap", other, "--more-steps", 64)
    assert refused.exit_code == 2
    assert "wrappers: what was learned is of that environment" in refused.output
    done = rlkit("resume", folder, "--wrap", f"{__name__}:short", "--more-steps", 64)
    assert done.exit_code == 0, done.output
    assert iterations(folder) == [1, 2]


def test_train_resume_does_the_same_and_its_words_must_agree(run: Path) -> None:
    assert "has reached its end" in rlkit("train", "ac", "CartPole-v1", "--resume", run).stdout
    args = ("train", "ac", "CartPole-v1", "--resume", run, "--stop-iters", 6, "--set", "lr=0.02")
    done = rlkit(*args)
    assert done.exit_code == 0, done.output
    assert iterations(run) == [1, 2, 3, 4, 5, 6]
    record = read_record(run)
    assert record is not None
    assert record.stop == Stop(return_mean=1e9, iterations=6)
    assert record.changes[-1]["settings"]["stop.steps"] == [320, None]
    other = rlkit("train", "ac", "Acrobot-v1", "--resume", run)
    assert "was trained in 'CartPole-v1', not 'Acrobot-v1'" in other.stderr
    assert "leave out --seed" in rlkit(*args, "--no-preset").stderr


def test_patience_goes_on_counting_where_it_was(tmp_path: Path) -> None:
    def patient() -> AlgorithmConfig:
        return config().training(lr=0.0).evaluation(evaluation_interval=1, evaluation_duration=1)

    whole = Run(patient(), tmp_path / "whole", stop=Stop(patience=4, iterations=60), evaluation_episodes=1, plot=False)
    ended = whole.fit()
    assert ended.detail == "4 evaluations without a better mean return"
    early = Stop(patience=4, iterations=ended.iterations - 2)
    Run(patient(), tmp_path / "run", stop=early, evaluation_episodes=1, plot=False).fit()
    resumed = Run.resume(tmp_path / "run", stop=Stop(iterations=60)).fit()
    assert (resumed.iterations, resumed.detail) == (ended.iterations, ended.detail)
    with pytest.raises(RunEndedError, match="4 evaluations without a better mean return"):
        going_on(tmp_path / "run")
    further = going_on(tmp_path / "run", more_steps=64)
    assert further.stop.patience is None
    assert "the patience of 4 evaluations is at its end and ends it no more" in further.notes


def make_cart_pole() -> Any:
    return gym.make("CartPole-v1")


def test_an_env_that_was_a_function_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import gymnasium\n\n\ndef pole():\n    return gymnasium.make('CartPole-v1')\n"
    (tmp_path / "my_cart_poles.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "run"
    made = config().environment(make_cart_pole)
    Run(made, folder, stop=Stop(iterations=3), evaluation_episodes=2, plot=False).fit()
    for command in (["resume", folder, "--more-steps", 64], ["evaluate", folder], ["verify", folder]):
        refused = rlkit(*command)
        assert refused.exit_code == 2
        assert "make_cart_pole, and checkpoints hold no code: name it with --env module:name" in refused.stderr
    named = ("--env", "my_cart_poles:pole")
    assert rlkit("evaluate", folder, "--episodes", 2, *named).exit_code == 0
    done = rlkit("resume", folder, "--more-steps", 64, *named)
    assert done.exit_code == 0, done.output
    assert rlkit("resume", folder, "--more-steps", 64).exit_code == 0  # it has a name from now on
    assert iterations(folder) == [1, 2, 3, 4, 5]


def test_a_new_run_begins_with_the_weights_of_another(run: Path, tmp_path: Path) -> None:
    Run(config().debugging(seed=7).training(lr=0.0), tmp_path / "new", stop=Stop(iterations=1), evaluation_episodes=2,
        weights_from=run, plot=False).fit()  # fmt: skip
    theirs, ours = (RLModule.from_checkpoint(folder).get_state() for folder in (run, tmp_path / "new"))
    assert all(np.array_equal(theirs[name], ours[name]) for name in theirs)
    assert iterations(tmp_path / "new") == [1]
    record = read_record(tmp_path / "new")
    assert record is not None
    assert record.weights_from == run / "checkpoints" / "000005"
    command = ("train", "ac", "CartPole-v1", "--no-preset", "--run-dir", tmp_path / "wide", "--from", run)
    refused = rlkit(*command)
    assert refused.exit_code == 2
    assert "do not fit what is built here" in refused.stderr
    assert "pi.net.layers.0.weight is (2, 64) here and (2, 8) in the checkpoint" in refused.stderr
    assert not (tmp_path / "wide").exists()
    assert "leave out --seed, --config, --preset, --no-preset" in rlkit(*command, "--resume", run).stderr
    with pytest.raises(ConfigError, match="leave out weights_from"):
        Run(config(), resume=run, weights_from=run)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        Run(config(), tmp_path / "other", weights_from=tmp_path / "nowhere")


def test_evaluate_takes_the_last_or_the_best_of_a_run(run: Path) -> None:
    best = read_index(run).best
    assert best is not None
    said = rlkit("evaluate", run, "--which", "best", "--episodes", 2, "--json")
    assert json.loads(said.stdout)["checkpoint"] == str(run / "best")
    assert json.loads(said.stdout)["episode_return_mean"] == best.return_mean
    shutil.rmtree(run / "best")
    assert "its newest one is" in rlkit("evaluate", run, "--which", "best").stderr
    assert (
        "one checkpoint: 'best' is asked of a run folder"
        in rlkit("evaluate", run / "checkpoints" / "000004", "--which", "best").stderr
    )


def test_verify_trains_again_and_compares(run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    done = rlkit("verify", run)
    assert done.exit_code == 0, done.output
    assert "training from iteration 4 to 5 in a temporary folder, with" in done.stderr
    assert "learner_group/learner/rl_module/default_policy: 8 arrays, equal" in done.stdout
    assert done.stdout.splitlines()[-1] == (
        f"equal: iterations 4 to 5, trained again, give {run}/checkpoints/000005 bit for bit"
    )
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    data = json.loads(rlkit("verify", run, "--json").stdout)
    assert (data["equal"], data["iterations"], data["differences"], data["not_promised"]) == (True, [4, 5], [], [])


def test_verify_of_a_run_that_was_evaluated_for_its_target(tmp_path: Path) -> None:
    """Training again does not evaluate for it, and need not: such an evaluation leaves no trace."""
    folder = tmp_path / "run"
    Run(config(), folder, stop=Stop(return_mean=19.0, iterations=4), evaluation_episodes=2, plot=False).fit()
    results = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert ["evaluation" in result for result in results] == [False, False, False, True]
    done = rlkit("verify", folder)
    assert done.exit_code == 0, done.output
    assert "equal: iterations 2 to 4" in done.stdout


def test_a_resumed_run_is_evaluated_for_its_target_when_the_whole_one_is(tmp_path: Path) -> None:
    """After an evaluation that missed the target, training's mean does not call for another one at once."""

    def evaluations(folder: Path) -> list[float | None]:
        results = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
        return [result.get("evaluation", {}).get("env_runners", {}).get("episode_return_mean") for result in results]

    made = config().training(lr=0.0).evaluation(evaluation_interval=3)
    for name, steps in (("whole", 384), ("begun", 256)):
        stop = Stop(return_mean=17.0, steps=steps)
        Run(made, tmp_path / name, stop=stop, evaluation_episodes=2, plot=False).fit()
    Run.resume(tmp_path / "begun", more_steps=128).fit()
    whole = evaluations(tmp_path / "whole")
    assert [one is not None for one in whole] == [False, False, True, True, False, True]
    assert evaluations(tmp_path / "begun") == whole


def test_verify_names_what_differs_first_and_by_how_much(run: Path) -> None:
    newest = run / "checkpoints" / "000005"
    with Algorithm.from_checkpoint(newest) as algo:
        module = algo.learner_group.learner.module["default_policy"]
        state = module.get_state()
        state["pi.net.layers.0.bias"] = state["pi.net.layers.0.bias"] + np.float32(0.5)
        module.set_state(state)
        algo.save_to_path(newest)
    done = rlkit("verify", run)
    assert done.exit_code == 1
    assert "learner_group/learner/rl_module/default_policy: 8 arrays, 1 differences" in done.stdout
    assert "default_policy, pi.net.layers.0.bias: 2 of 2 numbers differ, by up to 0.5" in done.stdout
    assert "do not give" in done.stdout.splitlines()[-1]


def test_verify_says_why_an_env_that_is_not_repeatable_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import os
import re
import gymnasium

class Noisy(gymnasium.Wrapper):
    def step(self, action):
        obs, *more = self.env.step(action)
        return obs + (1 + os.urandom(1)[0]) * 1e-4, *more

def noisy():
    return Noisy(gymnasium.make("CartPole-v1"))
"""
    (tmp_path / "my_noise.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "run"
    made = config().environment("my_noise:noisy")
    Run(made, folder, stop=Stop(iterations=3), evaluation_episodes=2, plot=False).fit()
    done = rlkit("verify", folder)
    assert done.exit_code == 1, done.output
    began = r"not promised here: env \d of runner 0 began a fresh episode when it was resumed"
    assert re.search(began, done.stdout)  # whichever has played long enough to tell
    assert "the env is not deterministic given its seed" in done.stdout
    assert "note: " not in done.stdout  # nothing is said twice
    assert done.stdout.splitlines()[-1].endswith("here that was not promised")


def test_verify_says_what_it_takes(run: Path, tmp_path: Path) -> None:
    with (run / "checkpoints" / "000004" / "algorithm_state.json").open("ab") as file:
        file.write(b" ")
    done = rlkit("verify", run)
    assert "000004 is passed over: " in done.stderr
    assert "training from iteration 2 to 5" in done.stderr
    for name in ("000002", "000004"):
        shutil.rmtree(run / "checkpoints" / name)
    refused = rlkit("verify", run)
    assert refused.exit_code == 2
    assert "has 1 complete checkpoint, and verifying takes two: rlkit resume" in refused.stderr
    assert "is no run folder" in rlkit("verify", tmp_path).stderr


def test_settings_that_changed_between_the_two_are_taken_into_account(run: Path) -> None:
    assert rlkit("resume", run, "--more-steps", 64, "--set", "lr=0.01", "--quiet").exit_code == 0
    done = rlkit("verify", run)
    assert done.exit_code == 0, done.output
    assert "training from iteration 5 to 6" in done.stderr


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "stop": {"steps": -1}}', '{"format": 9, "stop": {}}']
)
def test_a_record_that_is_damaged_or_missing_leaves_the_usual_end(run: Path, text: str) -> None:
    (run / "run.json").write_text(text)
    assert read_record(run) is None
    assert going_on(run).stop == Stop(return_mean=475.0, steps=1_000_000)
