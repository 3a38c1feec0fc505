"""Sampling with runner processes beside bare processes that step the very same envs; a part of ``scaling.py``.

Two envs: one that costs CPU (counted in CPU time, so that a busy machine does not make it cheaper) and one that sleeps.
The floor has no runner, no module and no rollout: a process that steps its envs with random actions.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core.envs import EnvRunnerGroup
from rlkit_ppo import PPOConfig

ENVS = {"busy": {"cpu": 0.001, "sleep": 0.0}, "sleeping": {"cpu": 0.0, "sleep": 0.005}}


class CostlyEnv(gym.Env[np.ndarray[Any, Any], Any]):
    """Each step takes ``cpu`` seconds of CPU time, or ``sleep`` seconds of none; episodes have 100 steps."""

    observation_space = gym.spaces.Box(-1, 1, (4,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, cpu: float = 0.0, sleep: float = 0.0) -> None:
        self._cpu, self._sleep, self._t = cpu, sleep, 0
        self._observation = np.zeros(4, np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self._t = 0
        return self._observation, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take time."""
        self._t += 1
        if self._sleep:
            time.sleep(self._sleep)
        else:
            until = time.thread_time() + self._cpu
            while time.thread_time() < until:
                pass
        return self._observation, 1.0, self._t == 100, False, {}


def _bare(pipe: Connection, kwargs: dict[str, float], num_envs: int) -> None:
    envs = [CostlyEnv(**kwargs) for _ in range(num_envs)]
    for env in envs:
        env.reset()
    pipe.send("ready")
    while (steps := pipe.recv()) is not None:
        for _ in range(steps):
            for env in envs:
                if env.step(env.action_space.sample())[2]:
                    env.reset()
        pipe.send(steps)


class BareProcesses:
    """Processes that step envs and do nothing else."""

    def __init__(self, count: int, kwargs: dict[str, float], num_envs: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes = []
        self._processes = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_bare, args=(theirs, kwargs, num_envs), daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)
        for pipe in self._pipes:
            pipe.recv()

    def run(self, steps: int) -> None:
        """Let each take so many steps in each of its envs, and wait for all."""
        for pipe in self._pipes:
            pipe.send(steps)
        for pipe in self._pipes:
            pipe.recv()

    def stop(self) -> None:
        """End them."""
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join()


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


def too_slow(result: dict[str, Any]) -> list[str]:
    """What misses its target: two runners on a busy env, eight on one that sleeps."""
    problems = []
    two, sleeping = result.get("busy", {}).get("2"), result.get("sleeping", {})
    eight = sleeping.get("8")
    if two is not None and two["of_bare"] < 0.9:
        problems.append(f"2 runners on a busy env reach {two['of_bare']} of 2 bare processes; wanted 0.9")
    if eight is not None and "1" in sleeping and eight["times_first"] < 7:
        problems.append(f"8 runners on a sleeping env are {eight['times_first']} times as fast as 1; wanted 7")
    return problems
