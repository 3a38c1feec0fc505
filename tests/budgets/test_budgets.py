"""Python calls, C calls, tensor operations and memory of the hot paths stay what they are, whatever the machine.

A change that adds some fails here, and so does one that takes some away: `make budgets` then writes the new figures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.envs.classic_control import CartPoleEnv

sys.path.insert(0, str(Path(__file__).parent))
from measure import CASES, FILE, changes, measure, ppo, versions

MARGIN = 0.05
COMMITTED = json.loads(FILE.read_text(encoding="utf-8"))
same_versions = pytest.mark.skipif(
    versions() != COMMITTED["versions"], reason=f"figures are of {COMMITTED['versions']}, this is {versions()}"
)


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, float]]:
    """Measured in a process of its own, in which nothing else has been."""
    command = [sys.executable, str(FILE.with_name("measure.py"))]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    budgets: dict[str, dict[str, float]] = json.loads(done.stdout)["budgets"]
    return budgets


@same_versions
@pytest.mark.parametrize("name", CASES)
def test_it_costs_what_it_did(name: str, found: dict[str, dict[str, float]]) -> None:
    said = list(changes(name, COMMITTED["budgets"][name], found[name], margin=MARGIN))
    assert not said, "\n".join([*said, "if that is meant, `make budgets` writes the new figures"])


def test_more_and_fewer_are_told() -> None:
    before = {"calls": 100.0, "operations": 0.0}
    assert list(changes("it", before, {"calls": 104.9, "operations": 0.05}, margin=MARGIN)) == []
    assert list(changes("it", before, {"calls": 106.0, "operations": 0.0}, margin=MARGIN)) == [
        "it: more calls: 106, before 100"
    ]
    assert list(changes("it", before, {"calls": 94.0, "operations": 1.0}, margin=MARGIN)) == [
        "it: fewer calls: 94, before 100",
        "it: more operations: 1, before 0",
    ]
    assert list(changes("it", before, {"operations": 0.0}, margin=MARGIN)) == ["it: fewer calls: 0, before 100"]


class OneCallMore(CartPoleEnv):
    def step(self, action: Any) -> Any:
        return super().step(action)


def small(env: type[gym.Env[Any, Any]]) -> dict[str, float]:
    return measure(ppo(lambda config: env(), envs=2, steps=32, minibatch=32, epochs=1))


def test_a_call_more_in_each_env_step_is_seen() -> None:
    plain, more = small(CartPoleEnv), small(OneCallMore)
    assert more["Python calls per env step"] == pytest.approx(plain["Python calls per env step"] + 1, abs=0.1)
    assert more["tensor operations per env step"] == plain["tensor operations per env step"] > 0
    assert more["Python calls per minibatch"] == pytest.approx(plain["Python calls per minibatch"], rel=0.02)
