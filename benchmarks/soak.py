"""Half an hour of PPO and IMPALA with runners and learners in processes, envs that fail, and workers that are killed.

Both algorithms train in turns in one process. Envs raise and return what does not fit, at random; every few seconds a
worker (a runner, or one of two learners) gets SIGKILL. What must hold at the end:

- memory is flat: a line through the driver's resident memory after the warm-up rises by less than ``--limit`` percent
  of its median over the rest of the time; the same of all workers together, by less than twice that;
- neither open files, threads, workers nor blocks of shared memory have grown in number;
- step counts add up, and the policies have not forgotten how to balance a pole.

    python benchmarks/soak.py [--minutes 30] [--every 8] [--seed 1] [--limit 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import signal
import statistics
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from side_by_side import ROOT, describe_machine

sys.path.insert(0, str(ROOT / "tests" / "helpers"))

from faulty_envs import Faulty

from rlkit_core import Algorithm
from rlkit_impala import IMPALAConfig
from rlkit_ppo import PPOConfig

SAMPLE_EVERY = 2.0
WARM_UP = 0.25
"""Part of the time after which memory is to be flat."""
PAGE = os.sysconf("SC_PAGE_SIZE")
SHM = Path("/dev/shm")
WORKER = b"rlkit_processes"


def children(pid: int) -> list[int]:
    """Processes below one, those below them included."""
    below: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            below.setdefault(parent, []).append(int(folder.name))
    found, todo = [], [pid]
    while todo:
        todo += (more := below.get(todo.pop(), []))
        found += more
    return found


def resident(pid: int) -> float:
    """MB in memory; 0 of a process that is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6
    except OSError:
        return 0.0


def is_worker(pid: int) -> bool:
    """Whether a process runs an actor."""
    try:
        return WORKER in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


class Watch(threading.Thread):
    """Takes samples of memory and counts, and kills workers."""

    def __init__(self, every: float, seed: int) -> None:
        super().__init__(daemon=True)
        self.samples: list[dict[str, float]] = []
        self.kills = self.rounds = 0  # a round: each algorithm has made an iteration
        self.over = threading.Event()
        self._every, self._random = every, random.Random(seed)
        self._since = time.monotonic()

    def run(self) -> None:
        """Until :attr:`over`."""
        next_kill, healed = self._every, 1
        while not self.over.wait(SAMPLE_EVERY):
            now = time.monotonic() - self._since
            below = children(os.getpid())
            self.samples.append(
                {
                    "seconds": round(now, 1),
                    "driver_mb": resident(os.getpid()),
                    "workers_mb": sum(resident(pid) for pid in below),
                    "workers": len(below),
                    "files": len(os.listdir("/proc/self/fd")),
                    "threads": threading.active_count(),
                    "shared": sum(1 for _ in SHM.iterdir()) if SHM.is_dir() else 0,
                }
            )
            if now >= next_kill and self.rounds > healed:  # two learners lost at once leave nobody to go on from
                workers = [pid for pid in below if is_worker(pid)]
                if workers:
                    os.kill(self._random.choice(workers), signal.SIGKILL)
                    self.kills += 1
                    healed = self.rounds + 1
                next_kill = now + self._random.uniform(0.5, 1.5) * self._every


def rise(samples: list[dict[str, float]], name: str) -> tuple[float, float]:
    """How much a least-squares line through the samples after the warm-up rises, and their median."""
    rest = samples[int(len(samples) * WARM_UP) :]
    x, y = [one["seconds"] for one in rest], [one[name] for one in rest]
    mean_x, mean_y = statistics.fmean(x), statistics.fmean(y)
    spread = sum((one - mean_x) ** 2 for one in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    return slope * (x[-1] - x[0]), statistics.median(y)


def algorithms(seed: int) -> dict[str, Algorithm]:
    """PPO and IMPALA, each with two runners and two learners."""
    faults = {"chance": 1 / 1500, "bad_resets": 1 / 50}
    restarts = {
        "max_num_env_runner_restarts": 10**6,
        "max_num_learner_restarts": 10**6,
        "max_num_sub_environment_restarts": 10**6,
    }
    ppo = (
        PPOConfig()
        .environment(Faulty, env_config=faults)
        .env_runners(num_env_runners=2, num_envs_per_env_runner=4)
        .learners(num_learners=2)
        .training(train_batch_size=1024, minibatch_size=128, num_epochs=4, lr=1e-3)
        .rl_module(model_config={"fcnet_hiddens": [64, 64]})
        .fault_tolerance(**restarts)
        .debugging(seed=seed)
    )
    impala = (
        IMPALAConfig()
        .environment(Faulty, env_config=faults)
        .env_runners(num_env_runners=2, num_envs_per_env_runner=4)
        .learners(num_learners=2)
        .training(lr=5e-4)
        .reporting(min_time_s_per_iteration=1.0)
        .rl_module(model_config={"fcnet_hiddens": [64, 64]})
        .fault_tolerance(**restarts)
        .debugging(seed=seed)
    )
    return {"ppo": ppo.build_algo(), "impala": impala.build_algo()}


def train(built: dict[str, Algorithm], watch: Watch, until: float) -> dict[str, dict[str, Any]]:
    """One iteration of each in turn until the time is over; what happened."""
    told: dict[str, dict[str, Any]] = {name: {"steps": 0, "iterations": 0, "returns": []} for name in built}
    while time.monotonic() < until:
        for name, algorithm in built.items():
            result = algorithm.train()
            mine = told[name]
            mine["steps"] += result["env_runners"]["num_env_steps_sampled"]
            mine["lifetime_steps"] = result["num_env_steps_sampled_lifetime"]
            mine["iterations"] += 1
            mine["returns"].append(result["env_runners"]["episode_return_mean"])
            mine["faults"] = result["fault_tolerance"]
        watch.rounds += 1
    return told


def verdict(watch: Watch, told: dict[str, dict[str, Any]], limit: float) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what does not hold."""
    problems, figures = [], {}
    for name, allowed in (("driver_mb", limit), ("workers_mb", 2 * limit)):
        grown, median = rise(watch.samples, name)
        percent = 100 * grown / median
        figures[name] = {"median": round(median, 1), "rise_percent": round(percent, 2), "limit_percent": allowed}
        if percent > allowed:
            problems.append(f"{name} has grown by {percent:.1f} % (limit {allowed:g} %)")
    for name in ("workers", "files", "threads", "shared"):
        rest = [one[name] for one in watch.samples[int(len(watch.samples) * WARM_UP) :]]
        # What belonged to dead workers is freed with the next full garbage collection: the least is what stays.
        first, last = (min(half) for half in (rest[: len(rest) // 2], rest[len(rest) // 2 :]))
        figures[name] = {"first_half": first, "second_half": last}
        if last > first + 2:
            problems.append(f"{name}: {first:g} in the first half, {last:g} in the second")
    for name, mine in told.items():
        if mine["steps"] != mine["lifetime_steps"]:
            problems.append(f"{name}: {mine['steps']} steps in results, {mine['lifetime_steps']} over the lifetime")
        if mine["iterations"] >= 50 and max(mine["returns"][-20:]) < 100:
            problems.append(f"{name}: mean return {mine['returns'][-1]:.0f} at the end")
    return figures, problems


def main() -> int:
    """Run, report, and say by the exit code whether all held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=8.0, help="seconds between two kills, on average")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=float, default=3.0, help="percent")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    messages: Counter[str] = Counter()

    class Counting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages[record.msg] += 1

    logging.getLogger().addHandler(Counting())
    start = {"machine": describe_machine(), "minutes": arguments.minutes, "seconds_between_kills": arguments.every}
    built = algorithms(arguments.seed)
    watch = Watch(arguments.every, arguments.seed)
    watch.start()
    try:
        told = train(built, watch, time.monotonic() + 60 * arguments.minutes)
    finally:
        watch.over.set()
        watch.join()
        for algorithm in built.values():
            algorithm.stop()
    figures, problems = verdict(watch, told, arguments.limit)
    left = [pid for pid in children(os.getpid()) if is_worker(pid)]
    if left:
        problems.append(f"workers are left: {left}")
    report = {
        **start,
        "kills": watch.kills,
        "log_messages": dict(messages),
        "algorithms": {name: {**mine, "returns": mine["returns"][-5:]} for name, mine in told.items()},
        "figures": figures,
        "problems": problems,
        "samples": watch.samples[:: max(1, len(watch.samples) // 100)],
    }
    text = json.dumps(report, indent=1)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    print(json.dumps({k: v for k, v in report.items() if k != "samples"}, indent=1))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
