"""The bare DQN on CartPole, and the bare loops on MinAtar, with tiny amounts of work."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
WORK = {"threads": 1, "seed": 1}


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
def bare_dqn(monkeypatch):
    return load("peers/bare_dqn.py", monkeypatch)


def test_the_bare_dqn_trains_every_four_steps_and_copies_its_target(bare_dqn, monkeypatch):
    span = sys.modules["_span"]
    loop = bare_dqn.BareDQN(span.Work(steps=1_501, **WORK))
    updates, copies = [], []
    update, copy = loop.update, loop.copy_target
    monkeypatch.setattr(loop, "update", lambda: updates.append(1) or update())
    monkeypatch.setattr(loop, "copy_target", lambda: copies.append(1) or copy())
    before = [p.clone() for p in loop.online.parameters()]
    steps, mean_return = loop.train()
    assert (steps, len(updates), len(copies)) == (1_501, 126, 2)
    assert mean_return > 8
    assert not any(torch.equal(p, q) for p, q in zip(loop.online.parameters(), before, strict=True))
    assert all(torch.equal(p, q) for p, q in zip(loop.target.parameters(), loop.online.parameters(), strict=True))


def test_the_bare_dqn_keeps_true_successors_and_overwrites_the_oldest(bare_dqn, monkeypatch):
    monkeypatch.setattr(bare_dqn, "CAPACITY", 30)
    monkeypatch.setattr(bare_dqn, "EPSILON", (0.0, 0.0))
    span = sys.modules["_span"]
    loop = bare_dqn.BareDQN(span.Work(steps=100, **WORK))
    loop.train()
    buffer = loop.buffer
    assert buffer.full
    assert buffer.place == 10
    ended = buffer.terminated[:, 0] == 1
    assert ended.any()
    assert (np.abs(buffer.next_obs[ended, 2]) > 0.2).all()  # the pole has fallen: not the next episode's start
    assert buffer.sample()[0].shape == (64, 4)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "steps"), [("dqn", 5_200), ("ppo", 2_048)])
def test_the_bare_loops_on_minatar_write_their_figure(name, steps, tmp_path):
    pytest.importorskip("minatar")
    out = tmp_path / "figure.json"
    script = BENCHMARKS / "peers" / f"bare_{name}_minatar.py"
    command = [sys.executable, str(script), "--steps", str(steps), "--json", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    figure = json.loads(out.read_text())
    assert (figure["name"], figure["steps"], figure["episodes"]) == (f"bare-{name}", steps, 100)
    assert 0 <= figure["return"] < 100


@pytest.mark.parametrize("name", ["dqn", "ppo"])
def test_the_committed_figures_of_the_bare_loops_are_those_of_their_files(name):
    file = BENCHMARKS / "results" / f"bare-{name}-MinAtar-Breakout-v1.json"
    figure = json.loads(file.read_text())
    assert figure["name"] == f"bare-{name}"
    assert (figure["steps"], figure["episodes"], figure["max_episode_steps"]) == (1_000_000, 100, 1_000)
    source = (BENCHMARKS / "peers" / f"bare_{name}_minatar.py").read_text()
    [settings] = [
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SETTINGS"
    ]
    assert figure["settings"] == json.loads(json.dumps(ast.literal_eval(settings)))
