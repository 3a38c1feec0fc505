"""What the comparison without tuning concludes, and what was recorded of it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
RECORDED = BENCHMARKS / "results" / "untuned.json"


@pytest.fixture
def untuned(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("untuned")


def runs(*returns):
    return [{"return": value, "stderr": 0.3} for value in returns]


def test_means_over_seeds_decide(untuned):
    found = untuned.compared(runs(1.0, 3.0, 2.0), runs(0.0, 5.0, 0.4))
    assert (found["ours_mean"], found["theirs_mean"], found["at_least"]) == (2.0, 1.8, True)
    assert found["stderr_of_difference"] == pytest.approx(0.2449, abs=1e-4)
    assert not untuned.compared(runs(-2.0), runs(-1.0))["at_least"]


def test_no_env_has_a_preset_of_its_own(untuned):
    presets = json.loads((BENCHMARKS.parent / "plugins/rlkit-ppo/rlkit_ppo/presets.json").read_text())
    assert not set(untuned.ENVS) & set(presets)
    assert len(untuned.ENVS) == 6


@pytest.mark.skipif(not RECORDED.exists(), reason="python benchmarks/untuned.py --json was not run yet")
def test_recorded_comparisons_are_of_the_same_budgets(untuned):
    recorded = json.loads(RECORDED.read_text())
    for env, one in recorded["envs"].items():
        assert one == {**one, **untuned.compared(one["ours"], one["theirs"])}
        assert one["steps"] == untuned.ENVS[env]
        assert {run["seed"] for run in one["ours"]} == {run["seed"] for run in one["theirs"]}
        for ours, theirs in zip(one["ours"], one["theirs"], strict=True):
            assert ours["steps"] == theirs["steps"] >= one["steps"]
