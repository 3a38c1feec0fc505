"""What the two workers of ``untuned.py`` share: their arguments, the envs, and what they print."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from _catch import Catch

EPISODES = 200
"""Deterministic ones, at the end."""


def env_of(name: str) -> Any:
    """What both sides make the env from: an id, or a class."""
    return Catch if name == "Catch" else name


def measured(train: Callable[[str, int, int], tuple[int, Callable[[], tuple[float, float]]]]) -> None:
    """Run one worker: ``train(env, steps, seed)`` gives the steps it took, and what plays :data:`EPISODES`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("env")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    begun = time.process_time()
    steps, play = train(args.env, args.steps, args.seed)
    seconds = time.process_time() - begun
    mean, stderr = play()
    figures = {
        "seed": args.seed,
        "steps": steps,
        "cpu_seconds": round(seconds, 1),
        "return": round(mean, 4),
        "stderr": round(stderr, 4),
    }
    print(json.dumps(figures))
