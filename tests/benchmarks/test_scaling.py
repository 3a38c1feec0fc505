"""The benchmark of processes, with tiny amounts of work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCALING = Path(__file__).resolve().parents[2] / "benchmarks" / "scaling.py"


@pytest.mark.slow
def test_runners_beside_bare_processes(tmp_path):
    out = tmp_path / "figures.json"
    work = [
        "--parts",
        "runners",
        "--kinds",
        "sleeping",
        "--counts",
        "1",
        "--steps",
        "3",
        "--rounds",
        "3",
        "--json",
    ]
    ran = subprocess.run(
        [sys.executable, str(SCALING), *work, str(out)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(out.read_text())["runners"]
    assert 0 < figures["sleeping"]["1"]["bare_steps_per_s"] < 200  # five milliseconds each
    assert 0 < figures["sleeping"]["1"]["steps_per_s"] < 200
    assert "busy" not in figures
    assert figures["sleeping"]["1"]["times_first"] == 1
    assert "of bare" in ran.stdout


def test_a_missed_target_is_said(monkeypatch):
    monkeypatch.syspath_prepend(str(SCALING.parent))
    from runner_scaling import too_slow

    def figures(of_bare, times):
        return {
            "busy": {"2": {"of_bare": of_bare}},
            "sleeping": {"1": {"times_first": 1.0}, "8": {"times_first": times}},
        }

    assert too_slow(figures(0.95, 7.5), 7.0) == []
    assert [text.split()[0] for text in too_slow(figures(0.85, 6.5), 7.0)] == ["2", "8"]
