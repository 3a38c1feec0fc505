"""The benchmark of envs that are tensors runs on a CPU too. No figure is judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "tensor_envs.py"


def run(*arguments):
    return subprocess.run([sys.executable, str(FILE), *arguments], capture_output=True, text=True, check=False)


def test_it_times_each_part(tmp_path):
    file = tmp_path / "figures.json"
    sizes = ["--envs", "16", "--steps", "8", "--minibatch-size", "32", "--rounds", "2"]
    done = run(*sizes, "--json", str(file))
    assert done.returncode == 0, done.stderr
    report = json.loads(file.read_text())
    assert list(report["parts"]) == ["envs alone", "iterations", "sampling"]
    for part in report["parts"].values():
        assert part["env_steps_per_second"] == pytest.approx(16e6 / part["us_per_vector_step"])
    assert (report["device"], report["envs"], report["threads"]) == ("cpu", 16, 1)
    assert run(*sizes, "--check").returncode == 1  # no CPU is as fast as that


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so():
    done = run("--device", "cuda")
    assert done.returncode == 1
    assert "sees no CUDA device here" in done.stderr
