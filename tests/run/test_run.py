"""The loop of a run, with a small algorithm whose returns are written down beforehand."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import attrs
import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_core.algorithm import AlgorithmConfig
from rlkit_core.algorithm.results import assemble_result, returns_of_each
from rlkit_core.errors import ConfigError, EnvError
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.records import Service
from rlkit_core.run.judge import PROBE_EPISODES
from rlkit_core.run.plot import curves_of_each, read_curve
from rlkit_core.run.progress import PlainProgress, ProgressRow, clock, make_progress
from rlkit_core.run.run import Run
from rlkit_core.run.run_folder import default_run_dir
from rlkit_core.run.signals import Interrupted
from rlkit_core.run.stop import Stop
from rlkit_core.run.writers import MOST_COLUMNS, CSVWriter
from rlkit_core.settings import setting

STEPS = 10


class Scripted:
    """Ten steps an iteration; returns as scripted by iteration (the last one repeats)."""

    made: list[Scripted] = []

    def __init__(self, config: Any, env: Any = None) -> None:
        self.config = config.prepared(env)
        self.iteration = 0
        self.evaluations: list[tuple[int, int | None]] = []
        self.stopped = 0
        self.saved: list[Path] = []
        self.results: dict[str, Any] = {}
        self.runners: dict[str, Any] = {}
        Scripted.made.append(self)

    @property
    def num_env_steps_sampled_lifetime(self) -> int:
        return self.iteration * STEPS

    def _at(self, returns: list[float]) -> float:
        return returns[min(self.iteration, len(returns)) - 1]

    def train(self) -> dict[str, Any]:
        self.iteration += 1
        if self.config.on_iteration is not None:
            self.config.on_iteration(self)
        interval = self.config.evaluation_interval
        due = interval and self.iteration % interval == 0
        result = assemble_result(
            env_runners={
                **self.runners,
                "episode_return_mean": self._at(self.config.training_returns),
                "num_env_steps_sampled_lifetime": self.num_env_steps_sampled_lifetime,
            },
            learners={"default_policy": {"total_loss": 0.5}},
            evaluation=self.evaluate() if due else None,
            timers={},
            training_iteration=self.iteration,
            num_training_step_calls=1,
            config=self.config.to_dict(),
        )
        return {**result, **self.results}

    def evaluate(self, num_episodes: int | None = None, seed: int | None = None) -> dict[str, Any]:
        self.evaluations.append((self.iteration, num_episodes))
        if self.config.on_evaluation is not None and num_episodes is not None:
            self.config.on_evaluation(self)
        return {"env_runners": {"episode_return_mean": self._at(self.config.evaluation_returns)}}

    def save_to_path(self, path: Path) -> str:
        path.mkdir(parents=True, exist_ok=True)
        (path / "iteration").write_text(str(self.iteration))
        (path / "metadata.json").write_text('{"format_version": 1}')
        self.saved.append(path)
        return str(path)

    def stop(self) -> None:
        self.stopped += 1


@attrs.define
class ScriptedConfig(AlgorithmConfig):
    algo_class = Scripted
    training_returns: Any = setting([0.0], section="training", help="By iteration.")
    evaluation_returns: Any = setting([0.0], section="training", help="By iteration.")
    on_iteration: Any = setting(section="training", help="Called in each iteration.")
    on_evaluation: Any = setting(section="training", help="Called in each evaluation of the run.")


@pytest.fixture(autouse=True)
def forget_algorithms() -> None:
    Scripted.made.clear()


def config(**settings: Any) -> ScriptedConfig:
    made: ScriptedConfig = ScriptedConfig().environment("CartPole-v1").debugging(seed=5).training(**settings)
    return made


def run(tmp_path: Path, made: AlgorithmConfig, stop: Stop, **kwargs: Any) -> Any:
    return Run(made, tmp_path / "run", stop=stop, plot=False, **kwargs).fit()


@pytest.mark.parametrize(
    ("stop", "iterations", "detail"),
    [
        (Stop(iterations=3), 3, "3 iterations"),
        (Stop(steps=25), 3, "30 environment steps"),
        (Stop(steps=30, iterations=9), 3, "30 environment steps"),
        (Stop(seconds=1e-9), 1, r"\d+ seconds"),
    ],
)
def test_limits(tmp_path: Path, stop: Stop, iterations: int, detail: str) -> None:
    summary = run(tmp_path, config(evaluation_returns=[1, 2, 3]), stop, evaluation_episodes=20)
    assert (summary.reason, summary.iterations) == ("limit", iterations)
    assert re.fullmatch(detail, summary.detail)
    assert summary.steps == iterations * STEPS
    assert summary.evaluation_return_mean == iterations
    assert summary.exit_code == 0
    (algorithm,) = Scripted.made
    assert algorithm.evaluations == [(iterations, 20)]
    assert algorithm.stopped == 1


@pytest.mark.parametrize(
    ("returns", "patience", "iterations"),
    [
        ([1, 2, 2, 1, 3, 0, 0, 0, 9], 3, 8),  # an equal return is no better one
        ([1, 2, 2, 1, 3, 0, 0, 0, 9], 2, 4),
        ([5, math.nan, math.nan, 4, 6, 6], 1, 4),  # evaluations none of whose episodes ended do not count
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 1, 10),
    ],
)
def test_patience(tmp_path: Path, returns: list[float], patience: int, iterations: int) -> None:
    made = config(evaluation_returns=returns).evaluation(evaluation_interval=1)
    summary = run(tmp_path, made, Stop(patience=patience, iterations=10))
    assert (summary.reason, summary.iterations) == ("limit", iterations)
    if iterations < 10:
        assert re.fullmatch(rf"{patience} evaluations? without a better mean return", summary.detail)
        ((row),) = json.loads((tmp_path / "run" / "index.json").read_text())["checkpoints"]
        assert (row["best_return"], row["no_better"]) == (max(returns[: iterations - 1]), patience)


def test_patience_makes_a_run_evaluate(tmp_path: Path) -> None:
    summary = run(tmp_path, config(evaluation_returns=[0.0]), Stop(patience=2, iterations=99))
    assert summary.iterations == 30  # the first evaluation is the best one
    assert Scripted.made[0].config.evaluation_interval == 10


def test_an_evaluation_that_reaches_the_target_is_confirmed_in_full_and_ends_the_run(tmp_path: Path) -> None:
    made = config(evaluation_returns=[0, 0, 0, 9]).evaluation(evaluation_interval=2)
    summary = run(tmp_path, made, Stop(return_mean=9, iterations=50), evaluation_episodes=20)
    assert (summary.reason, summary.iterations, summary.evaluation_return_mean) == ("solved", 4, 9)
    assert Scripted.made[0].evaluations == [(2, None), (4, None), (4, 20)]


def test_training_that_reaches_the_target_is_probed_then_confirmed(tmp_path: Path) -> None:
    made = config(training_returns=[0, 9], evaluation_returns=[0, 0, 0, 0, 9]).evaluation(evaluation_interval=100)
    summary = run(tmp_path, made, Stop(return_mean=9, iterations=4), evaluation_episodes=20)
    assert Scripted.made[0].evaluations == [(2, PROBE_EPISODES), (4, 20)]
    assert summary.reason == "limit"
    again = config(training_returns=[0, 9], evaluation_returns=[0, 9]).evaluation(evaluation_interval=100)
    summary = Run(again, tmp_path / "again", stop=Stop(return_mean=9), plot=False).fit()
    assert (summary.reason, summary.iterations) == ("solved", 2)
    assert Scripted.made[1].evaluations == [(2, PROBE_EPISODES), (2, 100)]


def test_no_target_means_no_evaluation_but_the_last(tmp_path: Path) -> None:
    run(tmp_path, config(training_returns=[100.0]), Stop(iterations=20))
    assert Scripted.made[0].evaluations == [(20, 100)]


def test_a_target_switches_evaluation_on(tmp_path: Path) -> None:
    run(tmp_path, config(), Stop(return_mean=9, iterations=20))
    assert Scripted.made[0].config.evaluation_interval == 10
    assert Scripted.made[0].evaluations == [(10, None), (20, None), (20, 100)]


def test_the_folder_tells_everything(tmp_path: Path) -> None:
    made = config(evaluation_returns=[4.5]).evaluation(evaluation_interval=2)
    summary = Run(made, tmp_path / "run", stop=Stop(iterations=4)).fit()
    folder = tmp_path / "run"
    found = {path.name for path in folder.iterdir()}
    assert found == {
        "config.json",
        "run.json",
        "versions.json",
        "plugins.lock.json",
        "seeds.json",
        "progress.csv",
        "results.jsonl",
        "tensorboard",
        "learning_curve.png",
        "summary.json",
        "checkpoints",
        "best",
        "index.json",
    }
    stored = ScriptedConfig.from_json((folder / "config.json").read_text())
    assert stored.diff(Scripted.made[0].config) == {}
    assert json.loads((folder / "seeds.json").read_text()) == {"seed": 5}
    versions = json.loads((folder / "versions.json").read_text())
    assert versions["torch"] == torch.__version__
    assert versions["gymnasium"] == gym.__version__
    assert len((folder / "progress.csv").read_text().splitlines()) == 5
    assert len((folder / "results.jsonl").read_text().splitlines()) == 4
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads((folder / "summary.json").read_text())
    assert (told["reason"], told["evaluation_return_mean"], told["iterations"]) == ("limit", 4.5, 4)
    assert told["checkpoint"] == str(summary.checkpoint)
    assert (folder / "checkpoints" / "000004" / "iteration").read_text() == "4"


def test_a_seed_is_drawn_and_recorded(tmp_path: Path) -> None:
    run(tmp_path, ScriptedConfig().environment("CartPole-v1"), Stop(iterations=1))
    seed = json.loads((tmp_path / "run" / "seeds.json").read_text())["seed"]
    assert Scripted.made[0].config.seed == seed


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda c: c.environment("CartPol-v1"), EnvError, "CartPole-v1"),
        (lambda c: c.environment(lambda: 3), EnvError, "no reset"),
        (lambda c: setattr(c, "env", None), ConfigError, "there is no environment"),
        (lambda c: c.rl_module(model_config={"net": torch.nn.Linear(1, 1)}), ConfigError, "nn.Module"),
        (lambda c: c.execution(executor="proces"), ConfigError, "'proces'"),
    ],
)
def test_everything_that_can_be_checked_is_checked_before_anything_is_written(
    tmp_path: Path, change: Callable[[Any], Any], error: type[Exception], says: str
) -> None:
    made = config()
    change(made)
    with pytest.raises(error, match=says):
        run(tmp_path, made, Stop(iterations=1))
    assert Scripted.made == []
    assert list(tmp_path.iterdir()) == []


def test_run_folders_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    for name, says in (("file", "is a file"), ("full", "is not empty"), ("file/below", "cannot be written")):
        with pytest.raises(ConfigError, match=says):
            Run(config(), tmp_path / name).check()


def test_an_error_in_training_closes_everything_and_propagates(tmp_path: Path) -> None:
    def fail(algorithm: Scripted) -> None:
        if algorithm.iteration == 3:
            raise ZeroDivisionError("in training")

    with pytest.raises(ZeroDivisionError) as caught:
        run(tmp_path, config(on_iteration=fail), Stop(iterations=9))
    kept = tmp_path / "run" / "traceback.txt"
    assert f"the traceback is in {kept}" in getattr(caught.value, "__notes__", [f"the traceback is in {kept}"])
    assert kept.read_text().startswith("Traceback (most recent call last):\n")
    assert 'raise ZeroDivisionError("in training")' in kept.read_text()
    assert Scripted.made[0].stopped == 1
    assert len((tmp_path / "run" / "results.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_the_iteration_with_a_checkpoint(tmp_path: Path, number: signal.Signals) -> None:
    finished: list[int] = []

    def interrupt(algorithm: Scripted) -> None:
        if algorithm.iteration == 3:
            os.kill(os.getpid(), number)
            time.sleep(0.01)
        finished.append(algorithm.iteration)

    before = signal.getsignal(number)
    summary = run(tmp_path, config(on_iteration=interrupt), Stop(iterations=9))
    assert finished == [1, 2, 3]
    assert (summary.reason, summary.iterations, summary.exit_code) == ("interrupted", 3, 128 + number)
    assert (tmp_path / "run" / "checkpoints" / "000003" / "iteration").read_text() == "3"
    assert len((tmp_path / "run" / "results.jsonl").read_text().splitlines()) == 3
    assert Scripted.made[0].evaluations == []
    assert signal.getsignal(number) is before


def test_a_signal_in_an_evaluation_ends_that_at_once(tmp_path: Path) -> None:
    def interrupt(algorithm: Scripted) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    started = time.monotonic()
    summary = run(tmp_path, config(on_evaluation=interrupt), Stop(iterations=2))
    assert time.monotonic() - started < 4
    assert (summary.reason, summary.exit_code) == ("interrupted", 130)
    assert summary.checkpoint.exists()


def test_two_signals_stop_at_once(tmp_path: Path) -> None:
    def interrupt(algorithm: Scripted) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, config(on_iteration=interrupt), Stop(iterations=2))
    assert Scripted.made[0].stopped == 1


def test_an_algorithm_that_cannot_be_built_leaves_no_folder(tmp_path: Path) -> None:
    class Unbuildable(Scripted):
        def __init__(self, config: Any, env: Any = None) -> None:
            raise ConfigError("no component serves this space")

    with pytest.raises(ConfigError, match="no component"):
        run(tmp_path, ScriptedConfig(Unbuildable).environment("CartPole-v1"), Stop(iterations=1))
    assert list(tmp_path.iterdir()) == []


def test_the_last_evaluation_may_still_reach_the_target(tmp_path: Path) -> None:
    summary = run(tmp_path, config(evaluation_returns=[0, 9]), Stop(return_mean=9, iterations=2))
    assert (summary.reason, summary.detail) == ("solved", "2 iterations")


def test_a_signal_while_building_writes_no_checkpoint(tmp_path: Path) -> None:
    class Slow(Scripted):
        def __init__(self, config: Any, env: Any = None) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    made = ScriptedConfig(Slow).environment("CartPole-v1")
    with pytest.raises(Interrupted):
        run(tmp_path, made, Stop(iterations=1))
    assert not (tmp_path / "run" / "checkpoints").exists()


class Kept:
    """A writer that keeps what it was given."""

    made: ClassVar[list[Kept]] = []

    def __init__(self, run_dir: Path, config: Any, resume_at: int | None) -> None:
        self.given, self.results, self.closed = (run_dir, config, resume_at), [], False
        Kept.made.append(self)

    def write(self, result: Any) -> None:
        self.results.append(result)

    def close(self) -> None:
        self.closed = True


class NotMade(Kept):
    def __init__(self, *args: Any) -> None:
        raise SystemExit(0)


class NotWriting(Kept):
    def write(self, result: Any) -> None:
        np.random.rand(3)
        torch.set_grad_enabled(False)
        raise OSError("no space")


class Leaving(Kept):
    def write(self, result: Any) -> None:
        result["mine"] = 1

    def close(self) -> None:
        raise SystemExit(0)


class NotClosing(Kept):
    def close(self) -> None:
        raise SystemExit(0)


class Labs:
    """A plugin with writers."""

    rlkit_api = "1.0"

    def rlkit_services(self) -> list[Service]:
        made = {"kept": Kept, "not-made": NotMade, "none": dict, "not-writing": NotWriting, "leaving": Leaving}
        return [Service("writer", name, cls) for name, cls in {**made, "not-closing": NotClosing}.items()]


@pytest.mark.covers("service:writer")
def test_writers_are_named_and_a_failing_one_is_left_out_and_said_once(tmp_path: Path) -> None:
    Kept.made.clear()
    names = ["csv", "rlkit-core/csv", "kept", "not-made", "local/none", "not-writing", "leaving", "not-closing"]
    stream, host = io.StringIO(), default_host()
    with host.temporary(Labs()):
        state = np.random.get_state()[1].copy()
        run(tmp_path, config().reporting(writers=names), Stop(iterations=3), progress=PlainProgress(stream))
        assert (np.random.get_state()[1] == state).all()
        assert torch.is_grad_enabled()
    said = stream.getvalue()
    for name, how in (("not-made", "could not be made"), ("none", "could not be made"), ("not-writing", "failed")):
        assert said.count(f"the result writer '{name}' of local {how} and is left out") == 1
    assert said.count("'leaving' of local failed") == 1
    assert "kept" not in said
    kept = Kept.made[0]
    assert [result["training_iteration"] for result in kept.results] == [1, 2, 3]
    assert kept.closed
    run_dir, made_with, resume_at = kept.given
    assert (run_dir, made_with.is_frozen, type(made_with), resume_at) == (tmp_path / "run", True, ScriptedConfig, None)
    assert host.watchers.errors["local", "writer 'not-closing', close()"] == 1
    lines = (tmp_path / "run" / "progress.csv").read_text().splitlines()
    assert len(lines) == 4
    assert not (tmp_path / "run" / "results.jsonl").exists()
    assert (tmp_path / "run" / "checkpoints" / "000003").exists()


def test_a_run_may_have_no_writers(tmp_path: Path) -> None:
    run(tmp_path, config().reporting(writers=()), Stop(iterations=1))
    assert not list((tmp_path / "run").glob("progress*"))


def test_a_writer_that_nothing_supplies_is_an_error_before_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"reporting\(writers=\['cvs'\]\): .*Did you mean 'csv'"):
        run(tmp_path, config().reporting(writers=["cvs"]), Stop(iterations=1))


def test_paths() -> None:
    path = default_run_dir("ppo", "ALE/Pong-v5", root="some-root")
    assert path.parent == Path("some-root")
    assert path.name.startswith("ppo-ALE-Pong-v5-")


ROW = ProgressRow(
    iteration=2,
    steps=2048,
    steps_per_s=1234.5,
    return_mean=9.75,
    evaluation=float("nan"),
    loss=0.125,
    seconds=75,
)


def test_plain_progress_is_plain_and_not_too_much() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream, interval_s=1000)
    for _ in range(5):
        progress.update(ROW)
    assert stream.getvalue() == "iteration 2: return 9.8 | eval - | 2,048 steps | 1,234 steps/s | loss 0.125 | 1:15\n"
    progress.close()
    progress.close()
    assert len(stream.getvalue().splitlines()) == 2


def test_no_live_line_where_there_is_no_terminal() -> None:
    assert isinstance(make_progress(), PlainProgress)
    make_progress(quiet=True).line("nothing")
    assert [clock(0), clock(61), clock(3723)] == ["0:00", "1:01", "1:02:03"]


def test_a_callback_ends_the_run_with_its_checkpoint_and_summary(tmp_path: Path) -> None:
    def stop(algorithm: Any) -> None:
        algorithm.results = {"stopped_by": "on_train_result=enough"} if algorithm.iteration == 3 else {}

    made = config(on_iteration=stop, evaluation_returns=[1, 2, 3])
    summary = run(tmp_path, made, Stop(iterations=9, return_mean=3), evaluation_episodes=20)
    assert (summary.reason, summary.detail) == ("stopped", "the callback on_train_result=enough")
    assert (summary.iterations, summary.exit_code, summary.evaluation_return_mean) == (3, 0, 3)
    assert Scripted.made[0].saved == [summary.checkpoint]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["reason"] == "stopped"
    last = json.loads((tmp_path / "run" / "results.jsonl").read_text().splitlines()[-1])
    assert last["stopped_by"] == "on_train_result=enough"


def test_successes_and_agents_are_shown_logged_and_drawn(tmp_path: Path) -> None:
    def more(algorithm: Any) -> None:
        agents = {"left": 1.25 * algorithm.iteration, 7: 2.0}
        algorithm.runners = {"is_success_mean": 0.85, "agent_episode_returns_mean": agents}

    shown = io.StringIO()
    Run(config(on_iteration=more), tmp_path / "run", stop=Stop(iterations=2), progress=PlainProgress(shown, 0.0)).fit()
    assert "return 0.0 (left 2.5, 7 2.0) | success 85% | eval" in shown.getvalue()
    csv_file = tmp_path / "run" / "progress.csv"
    assert curves_of_each(csv_file) == {
        name: f"env_runners/agent_episode_returns_mean/{name}" for name in ("left", "7")
    }
    assert read_curve(csv_file, "env_runners/agent_episode_returns_mean/left") == ([10, 20], [1.25, 2.5])
    assert read_curve(csv_file, "env_runners/is_success_mean") == ([10, 20], [0.85, 0.85])
    assert (tmp_path / "run" / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("agents", "modules", "shown"),
    [
        ({}, {}, {}),
        ({"a": 1.0}, {"p": 1.0}, {}),
        ({"a": 1.0, "b": 2.0}, {"p": 1.5}, {"a": 1.0, "b": 2.0}),
        ({str(k): 1.0 for k in range(10_000)}, {"p": 1.0, "q": 2.0}, {"p": 1.0, "q": 2.0}),
        ({str(k): 1.0 for k in range(10_000)}, {"p": 1.0}, {}),
    ],
)
def test_as_many_returns_are_shown_as_fit_a_line(agents: Any, modules: Any, shown: Any) -> None:
    runners = {"agent_episode_returns_mean": agents, "module_episode_returns_mean": modules}
    assert returns_of_each({"env_runners": runners}) == shown


def test_agents_with_new_ids_each_time_do_not_make_the_table_grow_for_ever(tmp_path: Path) -> None:
    writer = CSVWriter(tmp_path)
    for iteration in range(5):
        agents = {f"agent {iteration}-{k}": 1.0 for k in range(MOST_COLUMNS // 2)}
        writer.write({"training_iteration": iteration, "env_runners": {"agent_episode_returns_mean": agents}})
    writer.close()
    rows = list(csv.reader((tmp_path / "progress.csv").open(newline="")))
    assert {len(row) for row in rows} == {MOST_COLUMNS}
    assert [row[0] for row in rows] == ["training_iteration", "0", "1", "2", "3", "4"]
