"""What a start imports and does: what it does not need is not there. No time is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

#: Packages that take longer to import than an iteration takes, or start threads.
HEAVY = (
    *(
        "tensorboard",
        "google.protobuf",
        "absl",
        "matplotlib",
        "pandas",
        "sympy",
        "ray",
        "rich",
        "torch.utils.tensorboard",
    ),
    *("torch._dynamo", "torch._inductor"),
)
#: What our own packages hold back until it is used: actors elsewhere, mixins of modules that have none.
OWN = (
    "rlkit_processes.executor",
    "rlkit_ray.executor",
    "rlkit_rnd.api",
    "rlkit_tools.record",
)

TRAIN = """
import gc, json, sys
from rlkit_core.algorithm import Algorithm
from rlkit_core.cli import main

train = Algorithm.train

def first(self):
    result = train(self)
    print(json.dumps([sorted(sys.modules), gc.isenabled(), gc.get_freeze_count()]))
    sys.stdout.flush()
    return result

Algorithm.train = first
main(["train", *sys.argv[1:]])
"""


def python(code: str, *arguments: str, cwd: Path | None = None) -> Any:
    """The last line that a fresh interpreter prints, read as JSON."""
    command = [sys.executable, "-c", code, *arguments]
    env = {name: value for name, value in os.environ.items() if not name.startswith("RLKIT_")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    return json.loads(lines[0])


def test_the_first_iteration_is_there_before_what_it_does_not_need_is_imported(tmp_path: Path) -> None:
    ends = ["--stop-iters", "1", "--evaluate", "1", "--no-plot", "--run-dir", "run"]
    modules, collects, frozen = python(TRAIN, "ppo", "CartPole-v1", *ends, cwd=tmp_path)
    assert not {name for name in modules if name.startswith((*HEAVY, *OWN))}
    assert "torch" in modules
    assert collects
    assert frozen > 100_000  # what imports made is never looked at again


@pytest.mark.parametrize("code", ["import rlkit_core", "import rlkit_core.cli", "import rlkit_core.plugins.discovery"])
def test_importing_the_core_imports_a_handful_of_modules(code: str) -> None:
    count = "import json, sys; before = set(sys.modules); {}; print(json.dumps(sorted(set(sys.modules) - before)))"
    modules = python(count.format(code))
    assert not {name.partition(".")[0] for name in modules} - {"rlkit_core", *sys.stdlib_module_names}
    assert len(modules) <= 25, modules
    assert not {"asyncio", "email", "importlib.metadata", "inspect", "dataclasses", "json", "logging"} & set(modules)


BUILD = """
import json, sys
import gymnasium, torch
from rlkit_ppo import PPOConfig

calls = [0]

def count(frame, event, argument):
    calls[0] += event == "call"

before = set(sys.modules)
sys.setprofile(count)
algorithm = PPOConfig().environment("CartPole-v1").build_algo()
sys.setprofile(None)
print(json.dumps([calls[0], len(set(sys.modules) - before)]))
algorithm.stop()
"""


def test_the_first_algorithm_is_built_with_so_many_calls_of_python_functions() -> None:
    """38,000 with all of rlkit's plugins among 187 distributions; it took 63,000 once."""
    calls, modules = python(BUILD)
    assert calls <= 45_000
    assert modules <= 40
