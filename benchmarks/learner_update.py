"""A PPO update of 4,096 rows by our Learner, eagerly and captured, beside a bare torch loop doing the same maths.

Four epochs of minibatches of 256 rows through two separate 64-64 tanh networks. The three take turns in one process, so
that a busy machine touches them alike; ratios are taken round by round and their median counts.

    python benchmarks/learner_update.py [--rounds 15] [--threads 1] [--json FILE] [--check]

On a GPU, the captured step stands beside the same maths as a bare CUDA graph: that MLP, and a Nature CNN.

    python benchmarks/learner_update.py --device cuda [--network cnn] [--minibatch-size 256] [...]
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
from peers import bare_graph
from peers import bare_learner_update as bare
from side_by_side import describe_machine

from rlkit_core import Learner

LIMITS = {"eager": 0.8, "captured": 0.45}
#: Of a captured step on a GPU beside a bare graph.
GRAPH_LIMITS = {"mlp": 1.3, "cnn": 1.2}


def make_learner(compile: str | None, seed: int) -> Learner:
    """Our PPO learner with the networks and settings of the bare loop."""
    config = (
        PPOConfig()
        .training(train_batch_size=bare.NUM_ROWS, entropy_coeff=0.01, lr=3e-4)
        .learners(compile=compile)
        .rl_module(model_config={"fcnet_hiddens": [64, 64], "fcnet_activation": "tanh", "vf_share_layers": False})
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


def make_graph_learner(network: str, device: str, compile: str | None, seed: int) -> Learner:
    """Our PPO learner with the networks and settings of the bare graph."""
    if network == "mlp":
        model = {"fcnet_hiddens": [64, 64], "fcnet_activation": "tanh", "vf_share_layers": False}
        obs = gym.spaces.Box(-1.0, 1.0, (bare.NUM_INPUTS,), np.float32)
    else:
        model = {
            "conv_filters": [[*row, "valid"] for row in bare_graph.FILTERS],
            "conv_activation": "relu",
            "conv_fcnet_hiddens": [512],
            "vf_share_layers": True,
        }
        obs = gym.spaces.Box(0, 255, bare_graph.IMAGE, np.uint8)
    config = (
        PPOConfig()
        .training(entropy_coeff=0.01, lr=3e-4)
        .learners(compile=compile, num_gpus_per_learner=float(device == "cuda"))
        .rl_module(model_config=model)
        .debugging(seed=seed)
    )
    learner = config.build_learner(spaces={"default_policy": (obs, gym.spaces.Discrete(bare.NUM_ACTIONS))})
    learner.build()
    return learner


def graph_contestants(
    network: str, device: str, rows: int, minibatch_size: int, epochs: int, seed: int
) -> dict[str, Callable[[], None]]:
    """A function per contestant that does one update and waits for the device."""
    torch.manual_seed(seed)
    batch = bare_graph.build_batch(network, rows, torch.device(device))
    bare_update = bare_graph.BareUpdate(network, batch, minibatch_size)

    def waited(update: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            update()
            if device == "cuda":
                torch.cuda.synchronize()

        return run

    def ours(compile: str | None) -> Callable[[], None]:
        learner = make_graph_learner(network, device, compile, seed)
        return waited(
            lambda: learner.update(
                {"default_policy": batch},
                num_epochs=epochs,
                minibatch_size=minibatch_size,
                shuffle_batch_per_epoch=True,
            )
        )

    return {
        "bare": waited(lambda: bare_update(epochs)),
        "eager": ours(None),
        "captured": ours("capture"),
    }


def measure(
    updates: dict[str, Callable[[], None]], rounds: int, minibatches: int, limits: dict[str, float]
) -> tuple[dict[str, dict[str, float]], bool]:
    """Time updates in turns, print a line for each; figures, and whether a limit was exceeded."""
    for update in updates.values():
        update()
    seconds: dict[str, list[float]] = {name: [] for name in updates}
    for _ in range(rounds):
        for name, update in updates.items():
            start = time.perf_counter()
            update()
            seconds[name].append(time.perf_counter() - start)
    figures, exceeded = {}, False
    for name, values in seconds.items():
        ratios = [mine / theirs for mine, theirs in zip(values, seconds["bare"], strict=True)]
        figures[name] = row = {
            "us_per_minibatch": statistics.median(values) / minibatches * 1e6,
            "ratio": statistics.median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
        }
        limit = limits.get(name)
        exceeded |= limit is not None and row["ratio"] > limit
        click.echo(
            f"{name:>9}: {row['us_per_minibatch']:7.0f} us per minibatch, ratio {row['ratio']:.3f} "
            f"({row['ratio_min']:.3f} to {row['ratio_max']:.3f})" + (f", limit {limit}" if limit else "")
        )
    return figures, exceeded


@click.command()
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--network", type=click.Choice(["mlp", "cnn"]), default="mlp", show_default=True, help="On a GPU.")
@click.option("--rows", default=bare.NUM_ROWS, show_default=True, help="On a GPU: rows of one update.")
@click.option("--minibatch-size", default=bare.MINIBATCH_SIZE, show_default=True, help="On a GPU.")
@click.option("--rounds", default=15, show_default=True, help="Interleaved updates of each.")
@click.option("--threads", default=1, show_default=True, help="Torch threads.")
@click.option("--seed", default=1, show_default=True, help="Of data and networks.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write every figure there.")
@click.option("--check", is_flag=True, help="Exit with 1 when a limit is exceeded.")
def main(
    device: str,
    network: str,
    rows: int,
    minibatch_size: int,
    rounds: int,
    threads: int,
    seed: int,
    file: Path | None,
    check: bool,
) -> None:
    """Measure our update beside the bare one."""
    torch.set_num_threads(threads)
    report = {"rounds": rounds, "threads": threads, "machine": describe_machine(), "device": device}
    if device == "cuda":
        if not torch.cuda.is_available():
            raise click.ClickException(
                f"torch {torch.__version__} sees no CUDA device here; run this on a machine with a GPU and a CUDA "
                "build of torch, or leave --device out"
            )
        report |= {"gpu": torch.cuda.get_device_name(), "network": network, "minibatch_size": minibatch_size}
        updates = graph_contestants(network, device, rows, minibatch_size, bare.NUM_EPOCHS, seed)
        minibatches = bare.NUM_EPOCHS * rows // minibatch_size
        limits = {"captured": GRAPH_LIMITS[network]}
    else:
        updates, minibatches, limits = contestants(seed), bare.NUM_MINIBATCHES, LIMITS
    report["contestants"], exceeded = measure(updates, rounds, minibatches, limits)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(report, indent=1) + "\n")
    if check and exceeded:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
