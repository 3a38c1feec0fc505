"""The benchmarks' arguments, arithmetic and workers. No figure is judged here: only that the work is done."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from click.testing import CliRunner

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SB3_PYTHON = BENCHMARKS.parent / ".bench-venv" / "bin" / "python"


def load(path: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    file = BENCHMARKS / path
    monkeypatch.syspath_prepend(str(file.parent))
    spec = importlib.util.spec_from_file_location(f"bench_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _same_threads_after():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def driver(monkeypatch):
    return load("ppo_cartpole.py", monkeypatch)


def result(name: str, round_: int, speed: float, memory: float = 100.0) -> dict[str, Any]:
    row = {"name": name, "round": round_, "steps_per_second": speed, "peak_memory_mib": memory}
    return {**row, "mean_return": 20.0, "versions": {"torch": "x"}}


def test_ratios_are_taken_within_a_round(driver):
    rows = [result("ours", 0, 300), result("bare", 0, 100), result("ours", 1, 60), result("bare", 1, 30)]
    rows += [result("ours", 2, 400, memory=50), result("bare", 2, 100)]
    report = driver.summarise(rows)
    assert report["ratios"]["ours/bare"]["steps_per_second"] == {"median": 3.0, "min": 2.0, "max": 4.0}
    assert report["ratios"]["ours/bare"]["peak_memory_mib"]["min"] == 0.5
    assert report["workers"]["ours"]["steps_per_second"] == 300


def test_each_of_our_workers_is_compared_with_each_peer(driver):
    rows = [result("ours", 0, 200), result("ours-capture", 0, 300), result("bare", 0, 100)]
    ratios = driver.summarise(rows)["ratios"]
    assert list(ratios) == ["ours/bare", "ours-capture/bare"]
    assert ratios["ours-capture/bare"]["steps_per_second"]["median"] == 3.0


def test_no_ratio_without_ours(driver):
    assert driver.summarise([result("bare", 0, 1.0)])["ratios"] == {}


def test_workers_take_turns(driver, monkeypatch):
    calls = []
    monkeypatch.setattr(
        driver,
        "run_worker",
        lambda name, python, **kw: calls.append((name, kw["seed"])) or result(name, 0, 1.0),
    )
    pythons = dict.fromkeys(("ours", "sb3", "bare"), Path(sys.executable))
    driver.run_rounds(pythons, rounds=2, steps=1, threads=1, seed=7)
    assert calls == [("ours", 7), ("sb3", 7), ("bare", 7), ("sb3", 8), ("bare", 8), ("ours", 8)]


def test_missing_sb3_says_how_to_get_it(driver, tmp_path):
    done = CliRunner().invoke(driver.main, ["--sb3-python", str(tmp_path / "python")])
    assert done.exit_code == 1
    assert "make bench" in done.output


def test_a_failing_worker_is_reported_with_its_error(driver, tmp_path, monkeypatch):
    script = tmp_path / "bad.py"
    script.write_text("raise RuntimeError('the env is gone')")
    monkeypatch.setitem(driver.SCRIPTS, "bare", script)
    done = CliRunner().invoke(driver.main, ["--worker", "bare"])
    assert done.exit_code == 1
    assert "the env is gone" in done.output


@pytest.mark.slow
def test_bare_ppo_runs_through_the_driver_and_writes_json(driver, tmp_path):
    out = tmp_path / "report.json"
    done = CliRunner().invoke(driver.main, ["--worker", "bare", "--steps", "1024", "--rounds", "1", "--json", str(out)])
    assert done.exit_code == 0, done.output
    report = json.loads(out.read_text())
    [row] = report["results"]
    assert row["steps"] == 1024
    assert row["steps_per_second"] > 0
    assert row["peak_memory_mib"] > 50
    assert report["machine"]["python"] == sys.version.split()[0]


def test_bare_ppo_learns(monkeypatch):
    bare = load("peers/bare_ppo.py", monkeypatch)
    span = sys.modules["_span"]
    steps, mean_return = bare.BarePPO(span.Work(steps=10_240, threads=1, seed=1)).train()
    assert steps == 10_240
    assert mean_return > 35  # random play stays near 22


def test_bare_learner_update_changes_both_networks(monkeypatch):
    bare = load("peers/bare_learner_update.py", monkeypatch)
    torch.manual_seed(0)
    nets = bare.build_net(2), bare.build_net(1)
    before = [[p.clone() for p in net.parameters()] for net in nets]
    optimizer = torch.optim.Adam([p for net in nets for p in net.parameters()], lr=3e-4)
    bare.update(*nets, optimizer, bare.build_batch())
    for net, old in zip(nets, before, strict=True):
        assert not any(torch.equal(p, q) for p, q in zip(net.parameters(), old, strict=True))
    assert bare.run(seed=1, threads=1, updates=1) > 0


@pytest.mark.skipif(not SB3_PYTHON.exists(), reason="Stable-Baselines3 is installed by `make bench` only")
def test_sb3_does_the_same_work(driver):
    row = driver.run_worker("sb3", SB3_PYTHON, steps=1024, threads=1, seed=1)
    assert row["name"] == "sb3"
    assert row["steps"] == 1024
    assert "stable-baselines3" in row["versions"]


def test_ours_does_the_same_work(driver):
    row = driver.run_worker("ours", Path(sys.executable), steps=1024, threads=1, seed=1)
    assert row["name"] == "ours"
    assert row["steps"] == 1024


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ours", "bare"])
def test_the_image_workers_do_the_same_work(name, monkeypatch):
    image = load("ppo_image.py", monkeypatch)
    row = image.run_worker(name, Path(sys.executable), steps=1024, threads=1, seed=1)
    assert row["name"] == name
    assert row["steps"] == 1024


def test_the_image_peer_keeps_bytes_and_trains_every_parameter(monkeypatch):
    bare = load("peers/bare_ppo_image.py", monkeypatch)
    span = sys.modules["_span"]
    loop = bare.BareImagePPO(span.Work(steps=1024, threads=1, seed=1))
    frames = torch.from_numpy(loop.envs.reset(seed=1)[0])
    assert frames.shape == (8, 84, 84, 4)
    assert loop.obs.dtype is frames.dtype is torch.uint8
    before = [p.clone() for p in loop.agent.parameters()]
    assert loop.train()[0] == 1024
    assert not any(torch.equal(p, q) for p, q in zip(loop.agent.parameters(), before, strict=True))


def test_worker_arguments_have_the_published_defaults(monkeypatch):
    span = load("peers/_span.py", monkeypatch)
    work = span.parse_work([])
    assert (work.steps, work.threads, work.iterations) == (102_400, 1, 100)
    help_text = subprocess.run(
        [sys.executable, str(BENCHMARKS / "ppo_cartpole.py"), "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "102400" in help_text
