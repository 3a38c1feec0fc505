"""What seeds for every episode and the record of open ones cost: CartPole, both kinds of run side by side, CPU seconds.

Two algorithms take turns, an iteration each: one as configured by default, one with ``debugging(seed_resets=False)``
and ``environment(replay=False)``. Given is the median of the quotients of such pairs. ``--sampling`` leaves learning
out, so that policies stay as bad as they are at first and episodes as short: the most that it can cost.

    python benchmarks/seeded_resets.py [--algo ppo] [--env CartPole-v1] [--steps 100000] [--sampling] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from rlkit_core import Algorithm, get_algorithm_config

LIMIT = 1.02


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algo", default="ppo")
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--steps", type=int, default=100_000, help="env steps of each")
    parser.add_argument("--sampling", action="store_true", help="take rollouts only")
    parser.add_argument("--fragment", type=int, default=128, help="steps of a rollout, with --sampling")
    parser.add_argument("--check", action="store_true", help="exit with 1 when it costs more than 2 percent")
    parser.add_argument("--json", type=Path, help="add the figures to this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    exact, plain = build(args.algo, args.env, exact=True), build(args.algo, args.env, exact=False)
    turn: Callable[[Algorithm], object] = Algorithm.train
    if args.sampling:
        turn = lambda algo: [algo.env_runner_group.sample(num_timesteps=args.fragment) for _ in range(8)]  # noqa: E731
    pairs: list[tuple[float, float]] = []
    while plain.num_env_steps_sampled_lifetime < args.steps:
        order = (exact, plain) if len(pairs) % 2 else (plain, exact)  # whoever is first finds the caches cold
        taken = {id(algo): cpu_seconds(turn, algo) for algo in order}
        pairs.append((taken[id(exact)], taken[id(plain)]))
    ratio = statistics.median(a / b for a, b in pairs)
    episodes = exact.env_runner_group.get_metrics()["num_episodes_lifetime"]
    figures = {
        "algo": args.algo,
        "env": args.env,
        "what": f"sampling {args.fragment} steps" if args.sampling else "training",
        "steps": exact.num_env_steps_sampled_lifetime,
        "episodes": episodes,
        "seconds": [round(sum(column), 2) for column in zip(*pairs, strict=True)],
        "median_ratio": round(ratio, 4),
    }
    print(json.dumps(figures))
    if args.json is not None:
        before = json.loads(args.json.read_text()) if args.json.exists() else []
        args.json.write_text(json.dumps([*before, figures], indent=1) + "\n")
    exact.stop()
    plain.stop()
    return int(args.check and ratio > LIMIT)


def build(name: str, env: str, *, exact: bool) -> Algorithm:
    """An algorithm with its plugin's defaults."""
    config = get_algorithm_config(name).environment(env).debugging(seed=1)
    if not exact:
        config.debugging(seed_resets=False).environment(replay=False)
    return config.build_algo()


def cpu_seconds(turn: Callable[[Algorithm], object], algo: Algorithm) -> float:
    """CPU seconds of one turn."""
    start = time.process_time()
    turn(algo)
    return time.process_time() - start


if __name__ == "__main__":
    sys.exit(main())
