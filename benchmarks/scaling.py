"""What processes cost and what they bring.

The part ``runners``: sampling with runner processes, on an env that costs 1 ms of CPU a step and one that sleeps 5 ms,
beside bare processes that step the same envs.

The part ``transport``: how long a call to an actor in another process takes, and how long a rollout takes to come back
from one, beside one copy of the same rollout in memory and beside the standard library's process pool, or with
``--executor ray`` beside a bare actor of Ray. The variants take turns, so that a busy machine hurts all of them alike;
the figures are medians.

    python benchmarks/scaling.py [--executor process] [--parts runners transport] [--rounds 15]
        [--kinds busy sleeping] [--counts 1 2 4 8] [--steps 100] [--envs 4] [--megabytes 100]
        [--limit-ratio 1.5] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from runner_scaling import ENVS, runners, show_runners, too_slow
from side_by_side import describe_machine

from rlkit_core.execution import ActorHandle, make_executor

Rollout = dict[str, Any]
BLOCK = 200  # calls in a row whose time is taken together
SPEED_UP = {"ray": 6.5}  # of eight runners on an env that sleeps, where it is less than in processes
CALL_RATIO = 1.5  # of a call through Ray to a bare one


def make_rollout(megabytes: int) -> Rollout:
    """Columns of about so many MB in all, as a runner would return them."""
    steps, envs = 128, 64
    width = max(1, megabytes * 10**6 // (steps * envs * 4) - 6)
    return {
        "obs": np.ones((steps, envs, width), np.float32),
        "actions": np.zeros((steps, envs), np.int64),
        "rewards": np.ones((steps, envs), np.float64),
        "flags": {
            "terminateds": np.zeros((steps, envs), np.bool_),
            "truncateds": np.zeros((steps, envs), np.bool_),
        },
    }


def copy_into(target: Rollout, source: Rollout) -> None:
    """One copy in memory."""
    for name, value in source.items():
        if isinstance(value, dict):
            copy_into(target[name], value)
        else:
            np.copyto(target[name], value)


class Holder:
    """An actor that has a rollout."""

    def __init__(self, megabytes: int) -> None:
        self.rollout = make_rollout(megabytes)

    def sample(self) -> Rollout:
        """Return it, as a runner does."""
        return self.rollout

    def nothing(self) -> None:
        """Take no time."""


_held: Holder | None = None


def _hold(megabytes: int) -> None:
    global _held
    _held = Holder(megabytes)


def _pool_sample() -> Rollout:
    assert _held is not None
    return _held.sample()


def _pool_nothing() -> None:
    return None


def seconds(call: Callable[[], Any]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    result = call()
    spent = time.perf_counter() - start
    del result
    return spent


def medians(variants: dict[str, Callable[[], Any]], rounds: int, warm_up: int) -> dict[str, float]:
    """Let the variants take turns; the median time of each in seconds."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(warm_up + rounds):
        for name, call in variants.items():
            spent = seconds(call)
            if turn >= warm_up:
                times[name].append(spent)
    return {name: statistics.median(values) for name, values in times.items()}


def transport(options: argparse.Namespace) -> dict[str, Any]:
    """Latency of a call, and time to move a rollout between processes."""
    rollout, target = make_rollout(options.megabytes), make_rollout(options.megabytes)
    with make_executor(options.executor) as executor:
        actor = executor.spawn(Holder, options.megabytes)
        actor.ready.result()
        with bare_peer(options.executor, options.megabytes) as (peer_nothing, peer_sample):
            return _transport(options, actor, rollout, target, peer_nothing, peer_sample)


@contextmanager
def its_cluster(executor: str, megabytes: int) -> Iterator[dict[str, Any]]:
    """What the executor needs around it, and what is to be known of that."""
    if executor != "ray":
        yield {}
        return
    import ray

    os.environ.setdefault("RAY_worker_niceness", "0")  # as other processes here; Ray's 15 loses to whoever else is busy
    # A store so small that all of its memory is used while warming up: the system makes memory when it is touched.
    ray.init("local", object_store_memory=8 * megabytes * 10**6, include_dashboard=False, logging_level="warning")
    try:
        yield {"ray": ray.__version__}
    finally:
        ray.shutdown()


@contextmanager
def bare_peer(executor: str, megabytes: int) -> Iterator[tuple[Callable[[], Any], Callable[[], Any]]]:
    """What moves the same without rlkit: a call that does nothing, and one that returns the rollout."""
    if executor == "ray":
        import ray

        holder = ray.remote(Holder).remote(megabytes)
        yield lambda: ray.get(holder.nothing.remote()), lambda: ray.get(holder.sample.remote())
        ray.kill(holder)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_hold, initargs=(megabytes,)) as pool:
        yield lambda: pool.submit(_pool_nothing).result(), lambda: pool.submit(_pool_sample).result()


def _transport(
    options: argparse.Namespace,
    actor: ActorHandle[Holder],
    rollout: Rollout,
    target: Rollout,
    peer_nothing: Callable[[], Any],
    peer_sample: Callable[[], Any],
) -> dict[str, Any]:
    latency = medians(
        {
            "call": lambda: [actor.call("nothing").result() for _ in range(BLOCK)],
            "peer": lambda: [peer_nothing() for _ in range(BLOCK)],
        },
        options.rounds,
        warm_up=3,
    )
    move = medians(
        {
            "copy": lambda: copy_into(target, rollout),
            "result": lambda: actor.call("sample").result(),
            "result, then read": lambda: float(actor.call("sample").result()["obs"].max()),
            "read alone": lambda: float(rollout["obs"].max()),
            "argument": lambda: actor.call(_ignore, rollout).result(),
        },
        options.rounds,
        warm_up=3,
    )
    alone = medians({"peer": peer_sample}, 3, warm_up=1)
    read = move["result, then read"] - move["read alone"]
    return {
        "megabytes": options.megabytes,
        "rounds": options.rounds,
        "call_us": round(latency["call"] / BLOCK * 1e6, 1),
        "peer": "bare Ray" if options.executor == "ray" else "process pool",
        "peer_call_us": round(latency["peer"] / BLOCK * 1e6, 1),
        "call_ratio": round(latency["call"] / latency["peer"], 3),
        "copy_ms": round(move["copy"] * 1e3, 2),
        "result_ms": round(move["result"] * 1e3, 2),
        "argument_ms": round(move["argument"] * 1e3, 2),
        "peer_result_ms": round(alone["peer"] * 1e3, 2),
        "result_ratio": round(move["result"] / move["copy"], 3),
        "result_ratio_with_reading": round(read / move["copy"], 3),
        "argument_ratio": round(move["argument"] / move["copy"], 3),
    }


def _ignore(holder: Holder, rollout: Rollout) -> None:
    """Take an argument."""


def show_transport(result: dict[str, Any]) -> None:
    """Print what :func:`transport` measured."""
    print(f"a call to an actor       {result['call_us']:8.1f} us   ({result['peer']}: {result['peer_call_us']} us)")
    print(f"{result['megabytes']} MB, one copy in memory {result['copy_ms']:8.2f} ms")
    print(
        f"  result of a call       {result['result_ms']:8.2f} ms   {result['result_ratio']} copies; "
        f"{result['result_ratio_with_reading']} when it is read as well, reading itself not counted"
    )
    print(f"  argument of a call     {result['argument_ms']:8.2f} ms   {result['argument_ratio']} copies")
    print(f"  {result['peer']:<22} {result['peer_result_ms']:8.2f} ms")


PARTS: dict[str, tuple[Callable[[argparse.Namespace], dict[str, Any]], Callable[[dict[str, Any]], None]]] = {
    "runners": (runners, show_runners),
    "transport": (transport, show_transport),
}


def main() -> None:
    """Measure, print, and exit with 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--executor", default="process", help="process, or ray")
    parser.add_argument("--parts", nargs="+", choices=sorted(PARTS), default=sorted(PARTS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--kinds", nargs="+", choices=list(ENVS), default=list(ENVS), help="of envs")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4, 8], help="numbers of runners")
    parser.add_argument("--steps", type=int, default=100, help="of each env in one sample")
    parser.add_argument("--envs", type=int, default=4, help="in each runner")
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--limit-ratio", type=float, default=1.5)
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    options = parser.parse_args()
    results: dict[str, Any] = {
        "executor": options.executor,
        "machine": describe_machine(),
        "limit_ratio": options.limit_ratio,
    }
    with its_cluster(options.executor, options.megabytes) as about:
        results.update(about)
        for name in options.parts:
            measure, show = PARTS[name]
            results[name] = measure(options)
            show(results[name])
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=2) + "\n")
    problems = too_slow(results["runners"], SPEED_UP.get(options.executor, 7.0)) if "runners" in results else []
    moved = results.get("transport", {})
    if moved.get("result_ratio", 0.0) > options.limit_ratio:
        problems.append(f"a result costs {moved['result_ratio']} copies; wanted {options.limit_ratio}")
    if options.executor == "ray" and moved.get("call_ratio", 0.0) > CALL_RATIO:
        problems.append(f"a call costs {moved['call_ratio']} of bare Ray's; wanted {CALL_RATIO}")
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
