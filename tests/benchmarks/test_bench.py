"""The races: their rounds, ratios and files, and that each worker does its work with default settings."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path += [str(BENCHMARKS), str(BENCHMARKS / "peers")]
bench = importlib.import_module("bench")
side_by_side = importlib.import_module("side_by_side")
ours = importlib.import_module("ours")
RACES, PYTHONS = bench.RACES, bench.PYTHONS
#: What a work asks of both sides; all else is to be what a user gets who sets nothing.
OF_THE_WORK = {
    *("env", "env_config", "wrappers", "policies", "policy_mapping_fn", "model_config"),
    *("num_env_runners", "num_envs_per_env_runner", "rollout_fragment_length"),
    *("min_time_s_per_iteration", "metrics_num_episodes_for_smoothing"),
}


@pytest.fixture(autouse=True)
def _same_threads_after():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def result(name: str, round_: int, speed: float, memory: float = 100.0) -> dict[str, Any]:
    row = {"name": name, "round": round_, "steps_per_second": speed, "peak_memory_mib": memory}
    return {**row, "mean_return": 20.0, "versions": {"torch": "x"}}


def test_ratios_are_taken_within_a_round():
    rows = [result("ours", 0, 300), result("bare", 0, 100), result("ours", 1, 60), result("bare", 1, 30)]
    rows += [result("ours", 2, 400, memory=50), result("bare", 2, 100)]
    report = side_by_side.summarise(rows)
    assert report["ratios"]["ours/bare"]["steps_per_second"] == {"median": 3.0, "min": 2.0, "max": 4.0}
    assert report["ratios"]["ours/bare"]["peak_memory_mib"]["min"] == 0.5
    assert report["workers"]["ours"]["steps_per_second"] == 300


def test_each_of_our_workers_is_compared_with_each_peer():
    rows = [result("ours", 0, 200), result("ours-eager", 0, 300), result("bare", 0, 100)]
    ratios = side_by_side.summarise(rows)["ratios"]
    assert list(ratios) == ["ours/bare", "ours-eager/bare"]
    assert side_by_side.summarise([result("bare", 0, 1.0)])["ratios"] == {}


def test_workers_take_turns():
    calls = []

    def run(name: str, **order: int) -> dict[str, Any]:
        calls.append((name, order["seed"]))
        return result(name, 0, 1.0)

    for number in range(2):
        side_by_side.one_round(run, ["ours", "sb3", "bare"], number, steps=1, threads=1, seed=7)
    assert calls == [("ours", 7), ("sb3", 7), ("bare", 7), ("sb3", 8), ("bare", 8), ("ours", 8)]


@pytest.fixture
def runs(monkeypatch):
    """Workers that measure nothing, at a commit without changes; what was run."""
    done: list[tuple[str, int]] = []

    def run_worker(race: Any, name: str, **order: Any) -> dict[str, Any]:
        done.append((name, order["seed"]))
        return result(name, 0, 100.0 if name == "ours" else 20.0)

    machine = {**side_by_side.describe_machine(), "commit": "c0ffee", "uncommitted_changes": False}
    monkeypatch.setattr(bench, "run_worker", run_worker)
    monkeypatch.setattr(bench, "describe_machine", lambda: dict(machine))
    return done


def invoke(*arguments: object) -> str:
    outcome = CliRunner().invoke(bench.main, [str(argument) for argument in arguments])
    assert outcome.exit_code == 0, outcome.output
    return str(outcome.output)


def here(*libraries: str) -> list[str]:
    """Options that say that these libraries are installed."""
    return [word for library in libraries for word in ("--python", f"{library}={sys.executable}")]


def test_a_race_that_was_ended_goes_on(runs, tmp_path):
    order = ["dqn_cartpole", "--out", tmp_path]
    invoke(*order, "--rounds", 2)
    assert len(runs) == 6
    output = invoke(*order, "--rounds", 3)
    assert {seed for _, seed in runs[6:]} == {3}
    report = json.loads((tmp_path / "speed-dqn_cartpole.json").read_text())
    assert (report["rounds"], len(report["results"])) == (3, 9)
    assert "ok     dqn_cartpole: bare 5.00 >= 2.70" in output
    assert "5.00 (5.00 to 5.00)" in (tmp_path / "speed.md").read_text()
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")
    invoke(*order, "--rounds", 3)
    assert len(runs) == 9
    invoke(*order, "--rounds", 1, "--again")
    assert len(runs) == 12


def test_rounds_of_other_code_or_work_are_not_mixed(runs, tmp_path, monkeypatch):
    order = ["dqn_cartpole", "--out", tmp_path, "--rounds", 1]
    invoke(*order)
    invoke(*order, "--steps", 8)
    assert len(runs) == 6
    machine = bench.describe_machine()
    monkeypatch.setattr(bench, "describe_machine", lambda: {**machine, "uncommitted_changes": True})
    invoke(*order, "--steps", 8)
    assert len(runs) == 9


def test_a_missing_library_is_left_out_and_named(runs, tmp_path):
    nowhere = tmp_path / "python"
    order = ["--out", tmp_path, "--rounds", 1, "--python", f"rllib={nowhere}"]
    output = invoke("two_agents", *order)
    assert f"Without rllib, which is not installed at {nowhere}; `make bench` builds it." in output
    assert "two_agents: rllib was not measured" in output
    assert [name for name, _ in runs] == ["ours"]
    assert "none of its workers is chosen" in invoke("two_agents", *order, "--worker", "rllib")


def test_what_is_aimed_at_is_judged(runs, tmp_path):
    output = invoke("start_import", "one_observation", "ppo_cartpole", "--rounds", 1, "--out", tmp_path, *here("sb3"))
    assert "ok     start_import: ours -40 ms above python <= 25" in output
    assert "ok     ppo_cartpole: sb3 5.00 >= 4.80" in output
    assert "MISSED ppo_cartpole: memory, sb3 1.00 < 1" in output


def test_all_usual_races_run_unless_some_are_named(runs, tmp_path):
    invoke("--rounds", 1, "--out", tmp_path, *here("sb3", "rllib"))
    files = {file.stem.removeprefix("speed-") for file in tmp_path.glob("*.json")}
    assert files == {name for name, race in RACES.items() if race.usual}
    assert len(runs) == sum(len(race.workers) for race in RACES.values() if race.usual)


def test_figures_of_a_part_do_not_replace_the_committed_ones(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    before = {file: file.read_bytes() for file in bench.RESULTS.glob("speed-*.json")}
    for part in (["--rounds", 4], ["--steps", 10], ["--worker", "ours"]):
        invoke("dqn_together", *part)
    assert (tmp_path / ".benchmarks" / "speed-dqn_together.json").exists()
    assert before == {file: file.read_bytes() for file in bench.RESULTS.glob("speed-*.json")}


def test_a_failing_worker_is_reported_with_its_error(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "PEERS", tmp_path)
    (tmp_path / "bare_dqn.py").write_text("raise RuntimeError('the env is gone')")
    done = CliRunner().invoke(bench.main, ["dqn_cartpole", "--worker", "bare", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert "the env is gone" in done.output


@pytest.mark.parametrize("name", [name for name in ours.CONFIGS if not name.endswith(("-eager", "-ray", "-bf16"))])
def test_what_is_measured_is_what_a_user_gets_who_sets_nothing(name):
    config = ours.CONFIGS[name]()
    default = type(config)().to_dict()
    changed = {key for key, value in config.to_dict().items() if value != default[key]}
    training = {key for key, item in type(config).known_settings().items() if item.section == "training"}
    assert changed <= training | OF_THE_WORK
    assert (config.compile, config.torch_threads, config.gym_env_vectorize_mode) == ("auto", "auto", "auto")


WORKERS = [(race, worker) for race in RACES for worker in RACES[race].workers]
STEPS = {"ppo_update": 128, "sac_pendulum": 300, "start_training": 1, "start_import": 1}


@pytest.mark.slow
@pytest.mark.parametrize(("race", "worker"), WORKERS)
def test_each_worker_does_its_work(race, worker):
    done = RACES[race].workers[worker]
    if done.library is not None and not PYTHONS[done.library].exists():
        pytest.skip(f"{done.library} is installed by `make bench` only")
    for module in {"pong": ["ale_py", "cv2"], "half_cheetah": ["mujoco"], "impala_ray": ["ray"]}.get(race, []):
        pytest.importorskip(module)
    steps = STEPS.get(race, 1_024)
    row = bench.run_worker(RACES[race], worker, pythons=PYTHONS, steps=steps, threads=1, seed=1)
    assert row["name"] == worker
    assert row["steps"] >= min(steps, RACES[race].steps)
    assert row["steps_per_second"] > 0
    assert row["peak_memory_mib"] > 5
    assert row["versions"]


def test_our_ppo_does_its_work():
    row = bench.run_worker(RACES["ppo_cartpole"], "ours", pythons=PYTHONS, steps=1_024, threads=1, seed=1)
    assert (row["name"], row["steps"]) == ("ours", 1_024)
    assert "rlkit-ppo" in row["versions"]
