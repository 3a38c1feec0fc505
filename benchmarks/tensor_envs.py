"""PPO on thousands of CartPoles that are torch tensors, end to end: how many env steps a second, and where time goes.

Each part is timed by itself, in this order: the envs alone, one after the other step without a policy; rollouts without
learning; whole iterations, that is rollouts and updates, once steps of the learner are recorded.

    python benchmarks/tensor_envs.py [--device cuda] [--envs 4096] [--json FILE] [--check]
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch

from rlkit_ppo import PPOConfig

sys.path.insert(0, str(Path(__file__).resolve().parent))
from side_by_side import describe_machine

from rlkit_core.testing import TensorCartPole

LEAST = 5e6
"""Env steps a second of 4,096 envs on a GPU, learned from."""
MODEL = {"fcnet_hiddens": [64, 64], "fcnet_activation": "tanh", "vf_share_layers": False}
EAGER = 110
"""Steps of the learner before all are replayed, and some more."""


def build(device: str, envs: int, steps: int, minibatch_size: int, epochs: int, seed: int) -> Any:
    """PPO on that many envs, all on one device."""
    config = (
        PPOConfig()
        .environment(TensorCartPole, env_config={"device": device})
        .env_runners(num_envs_per_env_runner=envs, rollout_fragment_length=steps)
        .training(train_batch_size=envs * steps, minibatch_size=minibatch_size, num_epochs=epochs, lr=1e-3)
        .learners(num_gpus_per_learner=float(device == "cuda"))
        .rl_module(model_config=MODEL)
        .debugging(seed=seed)
    )
    return config.build_algo()


def seconds_of(call: Callable[[], object], device: str, rounds: int) -> list[float]:
    """How long each of so many calls took, the device waited for."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    taken = []
    for _ in range(rounds):
        wait()
        start = time.perf_counter()
        call()
        wait()
        taken.append(time.perf_counter() - start)
    return taken


def envs_alone(device: str, envs: int, steps: int) -> Callable[[], None]:
    """A rollout's steps of the simulator with the same actions over and over."""
    sim = TensorCartPole(envs, device=device)
    sim.reset(seed=1)
    actions = torch.randint(2, (envs,), device=device)

    def run() -> None:
        for _ in range(steps):
            sim.step(actions)

    run()
    return run


def measure(
    device: str, envs: int, steps: int, minibatch_size: int, epochs: int, rounds: int, warm_up: int, seed: int
) -> dict[str, Any]:
    """Times of the parts: medians, microseconds a vector step, env steps a second; and the last mean return."""
    times = {"envs alone": seconds_of(envs_alone(device, envs, steps), device, rounds)}
    result: dict[str, Any] = {}
    with build(device, envs, steps, minibatch_size, epochs, seed) as algo:

        def iterate() -> None:
            nonlocal result
            result = algo.train()

        for _ in range(warm_up):
            iterate()
        times["iterations"] = seconds_of(iterate, device, rounds)
        timers = {name: 1e6 * seconds / steps for name, seconds in result["timers"].items()}
        times["sampling"] = seconds_of(lambda: algo.env_runner_group.sample(), device, rounds)
        mean_return = result["env_runners"].get("episode_return_mean")
    parts = {}
    for name, seconds in times.items():
        median = statistics.median(seconds)
        parts[name] = {
            "us_per_vector_step": 1e6 * median / steps,
            "env_steps_per_second": envs * steps / median,
            "slowest": envs * steps / max(seconds),
            "fastest": envs * steps / min(seconds),
        }
    return {"parts": parts, "timers_us_per_vector_step": timers, "mean_return": mean_return}


@click.command()
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--envs", default=4_096, show_default=True)
@click.option("--steps", default=32, show_default=True, help="Of each env in an iteration.")
@click.option("--minibatch-size", default=32_768, show_default=True)
@click.option("--epochs", default=4, show_default=True)
@click.option("--rounds", default=30, show_default=True, help="Iterations that are timed.")
@click.option("--threads", default=1, show_default=True, help="Torch threads.")
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write every figure there.")
@click.option("--check", is_flag=True, help="Exit with 1 when iterations are slower than they are to be on a GPU.")
def main(
    device: str,
    envs: int,
    steps: int,
    minibatch_size: int,
    epochs: int,
    rounds: int,
    threads: int,
    seed: int,
    file: Path | None,
    check: bool,
) -> None:
    """Measure PPO on CartPoles of tensors."""
    torch.set_num_threads(threads)
    if device == "cuda" and not torch.cuda.is_available():
        raise click.ClickException(
            f"torch {torch.__version__} sees no CUDA device here; run this on a machine with a GPU and a CUDA build of "
            "torch, or leave --device out"
        )
    sizes = {"envs": envs, "steps": steps, "minibatch_size": minibatch_size, "epochs": epochs}
    report: dict[str, Any] = {"device": device, **sizes, "rounds": rounds, "threads": threads}
    report["machine"] = describe_machine()
    if device == "cuda":
        report["gpu"] = torch.cuda.get_device_name()
    warm_up = 2 + (EAGER * minibatch_size // (envs * steps * epochs) if device == "cuda" else 0)
    report |= measure(device, envs, steps, minibatch_size, epochs, rounds, warm_up, seed)
    for name, part in report["parts"].items():
        click.echo(
            f"{name:>10}: {part['us_per_vector_step']:7.0f} us a vector step, {part['env_steps_per_second']:12,.0f} "
            f"env steps/s ({part['slowest']:,.0f} to {part['fastest']:,.0f})"
        )
    timers = report["timers_us_per_vector_step"].items()
    click.echo(", ".join(f"{name} {value:.0f} us" for name, value in timers) + f"; return {report['mean_return']}")
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(report, indent=1) + "\n")
    if check and report["parts"]["iterations"]["env_steps_per_second"] < LEAST:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
