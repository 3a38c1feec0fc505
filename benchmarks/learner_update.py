"""A PPO update of 4,096 rows by our Learner, eagerly and captured, beside a bare torch loop doing the same maths.

Four epochs of minibatches of 256 rows through two separate 64-64 tanh networks. The three take turns in one process, so
that a busy machine touches them alike; ratios are taken round by round and their median counts.

    python benchmarks/learner_update.py [--rounds 15] [--threads 1] [--json FILE] [--check]
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import gymnasium as gym
import numpy as np
import torch

from rlkit_ppo import PPOConfig

sys.path.insert(0, str(Path(__file__).resolve().parent))
from peers import bare_learner_update as bare
from side_by_side import describe_machine

from rlkit_core import Learner

LIMITS = {"eager": 0.8, "captured": 0.45}
MINIBATCHES = bare.NUM_EPOCHS * bare.NUM_ROWS // bare.MINIBATCH_SIZE


def make_learner(compile: str | None, seed: int) -> Learner:
    """Our PPO learner with the networks and settings of the bare loop."""
    config = (
        PPOConfig()
        .training(train_batch_size=bare.NUM_ROWS, entropy_coeff=0.01, lr=3e-4)
        .learners(compile=compile)
        .rl_module(
            model_config={"fcnet_hiddens": [64, 64], "fcnet_activation": "tanh", "vf_share_layers": False}
        )
        .debugging(seed=seed)
    )
    spaces = (
        gym.spaces.Box(-1.0, 1.0, (bare.NUM_INPUTS,), np.float32),
        gym.spaces.Discrete(bare.NUM_ACTIONS),
    )
    learner = config.build_learner(spaces={"default_policy": spaces})
    learner.build()
    return learner


def contestants(seed: int) -> dict[str, Callable[[], None]]:
    """A function per contestant that does one update."""
    torch.manual_seed(seed)
    batch = bare.build_batch()
    policy, value_net = bare.build_net(bare.NUM_ACTIONS), bare.build_net(1)
    adam = torch.optim.Adam([*policy.parameters(), *value_net.parameters()], lr=3e-4)

    def ours(learner: Learner) -> Callable[[], None]:
        def update() -> None:
            learner.update(
                {"default_policy": batch},
                num_epochs=bare.NUM_EPOCHS,
                minibatch_size=bare.MINIBATCH_SIZE,
                shuffle_batch_per_epoch=True,
            )

        return update

    return {
        "bare": lambda: bare.update(policy, value_net, adam, batch),
        "eager": ours(make_learner(None, seed)),
        "captured": ours(make_learner("capture", seed)),
    }


@click.command()
@click.option("--rounds", default=15, show_default=True, help="Interleaved updates of each.")
@click.option("--threads", default=1, show_default=True, help="Torch threads.")
@click.option("--seed", default=1, show_default=True, help="Of data and networks.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write every figure there.")
@click.option("--check", is_flag=True, help="Exit with 1 when a limit is exceeded.")
def main(rounds: int, threads: int, seed: int, file: Path | None, check: bool) -> None:
    """Measure our update beside the bare one."""
    torch.set_num_threads(threads)
    updates = contestants(seed)
    for update in updates.values():
        update()
    seconds: dict[str, list[float]] = {name: [] for name in updates}
    for _ in range(rounds):
        for name, update in updates.items():
            start = time.perf_counter()
            update()
            seconds[name].append(time.perf_counter() - start)
    report = {"rounds": rounds, "threads": threads, "machine": describe_machine(), "contestants": {}}
    exceeded = False
    for name, values in seconds.items():
        ratios = [mine / theirs for mine, theirs in zip(values, seconds["bare"], strict=True)]
        row = {
            "us_per_minibatch": statistics.median(values) / MINIBATCHES * 1e6,
            "ratio": statistics.median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
        }
        report["contestants"][name] = row
        limit = LIMITS.get(name)
        exceeded |= limit is not None and row["ratio"] > limit
        click.echo(
            f"{name:>9}: {row['us_per_minibatch']:7.0f} us per minibatch, ratio {row['ratio']:.3f} "
            f"({row['ratio_min']:.3f} to {row['ratio_max']:.3f})" + (f", limit {limit}" if limit else "")
        )
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(report, indent=1) + "\n")
    if check and exceeded:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
