"""Sampling with runner processes beside bare processes that step the very same envs; a part of ``scaling.py``.

Two envs: one that costs CPU (counted in CPU time, so that a busy machine does not make it cheaper) and one that sleeps.
The floor has no runner, no module and no rollout: a process that steps its envs with random actions.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

import costly_env
from costly_env import CostlyEnv

from rlkit_core.envs import EnvRunnerGroup
from rlkit_ppo import PPOConfig

ENVS = {"busy": {"cpu": 0.001, "sleep": 0.0}, "sleeping": {"cpu": 0.0, "sleep": 0.005}}


class BareProcesses:
    """Processes that step envs and do nothing else."""

    def __init__(self, count: int, kwargs: dict[str, float], num_envs: int) -> None:
        command = [sys.executable, costly_env.__file__, json.dumps(kwargs), str(num_envs)]
        self._processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
        ]
        self._wait()

    def _wait(self) -> None:
        for process in self._processes:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise RuntimeError(f"a bare process ended with status {process.wait()}")

    def run(self, steps: int) -> None:
        """Let each take so many steps in each of its envs, and wait for all."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{steps}\n")
            process.stdin.flush()
        self._wait()

    def stop(self) -> None:
        """End them."""
        for process in self._processes:
            process.communicate()


def _group(count: int, kwargs: dict[str, float], num_envs: int, executor: str) -> EnvRunnerGroup:
    config = (
        PPOConfig()
        .environment(CostlyEnv, env_config=kwargs)
        .env_runners(num_env_runners=count, num_envs_per_env_runner=num_envs)
        .rl_module(model_config={"fcnet_hiddens": [64, 64]})
        .debugging(seed=0)
        .execution(executor=executor)
    )
    return EnvRunnerGroup(config)


def _take_turns(
    group: EnvRunnerGroup, count: int, kwargs: dict[str, float], options: argparse.Namespace
) -> dict[str, list[float]]:
    """Seconds of each round but the first."""
    bare = BareProcesses(count, kwargs, options.envs)
    total = count * options.envs * options.steps
    times: dict[str, list[float]] = {"runners": [], "bare": []}
    try:
        for turn in range(1 + max(1, options.rounds // 3)):
            start = time.perf_counter()
            group.sample(num_timesteps=total)
            between = time.perf_counter()
            bare.run(options.steps)
            if turn:
                times["runners"].append(between - start)
                times["bare"].append(time.perf_counter() - between)
    finally:
        group.stop()
        bare.stop()
    return times


def runners(options: argparse.Namespace) -> dict[str, Any]:
    """Env steps per second by kind of env and number of runners, beside bare processes taking turns with them."""
    found: dict[str, Any] = {
        "envs_per_runner": options.envs,
        "steps": options.steps,
        "rounds": options.rounds,
    }
    for kind in options.kinds:
        kwargs = ENVS[kind]
        found[kind] = {}
        for count in options.counts:
            total = count * options.envs * options.steps
            group = _group(count, kwargs, options.envs, options.executor)
            times = _take_turns(group, count, kwargs, options)
            rates = {name: total / statistics.median(values) for name, values in times.items()}
            found[kind][str(count)] = {
                "steps_per_s": round(rates["runners"], 1),
                "bare_steps_per_s": round(rates["bare"], 1),
                "of_bare": round(rates["runners"] / rates["bare"], 3),
            }
        first = found[kind][str(options.counts[0])]["steps_per_s"]
        for figures in found[kind].values():
            figures["times_first"] = round(figures["steps_per_s"] / first, 2)
    return found


def show_runners(result: dict[str, Any]) -> None:
    """Print what :func:`runners` measured."""
    print(f"sampling, {result['envs_per_runner']} envs in each runner       steps/s      bare   of bare   speed-up")
    for kind in ENVS:
        for count, figures in result.get(kind, {}).items():
            print(
                f"  {kind:<9} env, {count:>2} runner(s) {figures['steps_per_s']:14.0f} "
                f"{figures['bare_steps_per_s']:9.0f} {figures['of_bare']:9.3f} {figures['times_first']:10.2f}"
            )


def too_slow(result: dict[str, Any], wanted: float) -> list[str]:
    """What misses its target: two runners on a busy env, eight on one that sleeps (``wanted`` times one)."""
    problems = []
    two, sleeping = result.get("busy", {}).get("2"), result.get("sleeping", {})
    eight = sleeping.get("8")
    if two is not None and two["of_bare"] < 0.9:
        problems.append(f"2 runners on a busy env reach {two['of_bare']} of 2 bare processes; wanted 0.9")
    if eight is not None and "1" in sleeping and eight["times_first"] < wanted:
        problems.append(f"8 runners on a sleeping env are {eight['times_first']} times as fast as 1; wanted {wanted:g}")
    return problems
