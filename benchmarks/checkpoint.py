"""What checkpoints cost beside writing and reading the same bytes: modules of 10 MB and 1 GB, a replay buffer of 2 GB.

A save is compared with ``safetensors.save_file``, an fsync and one pass of SHA-256 over the file, a load with
``load_file`` and one such pass. The two take turns; ratios are taken round by round and their median counts. A buffer
is saved, gets one percent of new rows, and is saved again: the second save is compared with writing, syncing and
hashing those bytes that are not in files of the first. What a load adds to the peak of a fresh process's memory is
given as the process's own memory and as pages of files, which the system takes back when it needs them. What a
checkpoint costs a run is given as its seconds in sixty of training, and beside it the CPU time of two runs that take
turns, of which one saves every ten.

    python benchmarks/checkpoint.py [--part modules] [--part replay] [--part run] [--rounds 5] [--folder DIR]
        [--json FILE] [--check]
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import gymnasium as gym
import numpy as np
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parent))
from side_by_side import describe_machine

from rlkit_core import RLModuleSpec, get_algorithm_config
from rlkit_core.checkpoint.locate import KeptCheckpoint, checkpoint_name
from rlkit_core.data import Rollout
from rlkit_core.run.shelf import Shelf
from rlkit_core.testing import DiscreteBCTorchModule

LIMITS = {"save": 1.3, "load": 1.3, "second_save": 1.3, "written": 1.3, "run": 1.01}
EVERY_S, PAIRED_S = 60.0, 10.0
"""Seconds of training from one checkpoint to the next, and in the paired figure, which is to see more of them."""
#: Width of the hidden layer, by size of the module.
WIDTHS = {"10MB": 2500, "1GB": 250_000}
PARTS = ("modules", "replay", "run")


def timed(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def hash_file(path: Path) -> str:
    """One pass of SHA-256."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Flush a file to disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def build_module(width: int) -> DiscreteBCTorchModule:
    """A module with one large layer."""
    spaces = (gym.spaces.Box(-1.0, 1.0, (1000,), np.float32), gym.spaces.Discrete(2))
    spec = RLModuleSpec(DiscreteBCTorchModule, *spaces, model_config={"fcnet_hiddens": [width]})
    module: DiscreteBCTorchModule = spec.build()
    return module


MEMORY = """
import sys, threading, time
sys.path[:0] = [{here!r}]
import torch
from checkpoint import build_module, hash_file
from safetensors.torch import load_file
torch.set_num_threads(1)
module = build_module({width})
def now():
    lines = [line.split() for line in open("/proc/self/status")]
    return [int(line[1]) * 1024 for line in lines if line[0] in ("RssAnon:", "RssFile:")]
before, peak, over = now(), [0, 0], threading.Event()
def look():
    while not over.wait(0.005):
        peak[:] = map(max, peak, now())
watch = threading.Thread(target=look)
watch.start()
if {floor}:
    hash_file({plain!r})
    state = load_file({plain!r})
    module.load_state_dict(state)
else:
    module.restore_from_path({ours!r})
over.set()
watch.join()
print(*(max(0, a - b) for a, b in zip(peak, before)))
"""


def memory_of_a_load(width: int, plain: Path, ours: Path) -> dict[str, dict[str, float]]:
    """GB that loading to a module adds to the peak of a process: its own, and pages of files."""
    found = {}
    for name, floor in (("load", False), ("floor_load", True)):
        here = str(Path(__file__).resolve().parent)
        script = MEMORY.format(here=here, width=width, floor=floor, plain=str(plain), ours=str(ours))
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        own, of_files = (round(int(count) / 1e9, 3) for count in done.stdout.split())
        found[name] = {"own": own, "files": of_files}
    return found


def measure_modules(size: str, rounds: int, folder: Path) -> dict[str, Any]:
    """Median ratios of saves and loads of one module, and seconds of the floor."""
    module = build_module(WIDTHS[size])
    tensors = {name: value.detach() for name, value in module.state_dict().items()}
    plain, ours = folder / "plain.safetensors", folder / "checkpoint"

    def floor_save() -> None:
        plain.unlink(missing_ok=True)
        save_file(tensors, plain)
        sync(plain)
        hash_file(plain)

    def our_save() -> None:
        module.save_to_path(ours)

    def floor_load() -> None:
        hash_file(plain)
        load_file(plain)

    def our_load() -> None:
        module.restore_from_path(ours)

    found: dict[str, list[float]] = {"floor_save": [], "save": [], "floor_load": [], "load": []}
    contestants = {"floor_save": floor_save, "save": our_save, "floor_load": floor_load, "load": our_load}
    for work in contestants.values():  # once without counting
        work()
    for k in range(rounds):
        for name in list(contestants) if k % 2 else reversed(list(contestants)):
            if name == "save":
                shutil.rmtree(ours)
            os.sync()
            found[name].append(timed(contestants[name]))
            if name == "save" and not ours.exists():
                raise RuntimeError("no checkpoint")
    ratios = {
        what: statistics.median(a / b for a, b in zip(found[what], found[f"floor_{what}"], strict=True))
        for what in ("save", "load")
    }
    return {
        "bytes": sum(t.numel() * t.element_size() for t in tensors.values()),
        "ratio": {name: round(value, 3) for name, value in ratios.items()},
        "seconds": {name: round(statistics.median(times), 4) for name, times in found.items()},
        "peak_memory_gb": memory_of_a_load(WIDTHS[size], plain, ours),
    }


def rollout_of(steps: int, envs: int, seed: int) -> Rollout:
    """Frames as Atari has them, stacked by four."""
    obs = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (steps + 1, envs, 84, 84, 4), np.uint8))
    flags = torch.zeros(steps, envs, dtype=torch.bool)
    columns = {
        "obs": obs[:-1],
        "actions": torch.zeros(steps, envs, dtype=torch.int64),
        "rewards": torch.zeros(steps, envs),
        "terminateds": flags,
        "truncateds": flags.clone(),
    }
    return Rollout(columns, obs[-1], fresh_start=True)


def measure_replay(gigabytes: float, rounds: int, folder: Path) -> dict[str, Any]:
    """Ratio of a save after one percent of new rows to writing, syncing and hashing the new bytes."""
    from rlkit_core.checkpoint import Checkpointable
    from rlkit_offpolicy import PrioritizedReplayBuffer

    class Saved(Checkpointable):
        def __init__(self, buffer: Any) -> None:
            self.buffer = buffer

        def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> Any:
            return self.buffer.get_state()

        def get_state_to_save(self, not_components: Any = ()) -> Any:
            return self.buffer.get_state_to_save()

        def set_state(self, state: Any) -> None:
            self.buffer.set_state(state)

        def get_ctor_args_and_kwargs(self) -> Any:
            return (), {}

    envs = 8
    rows = int(gigabytes * 1e9 / (84 * 84 * 4)) // envs * envs
    buffer = PrioritizedReplayBuffer(2 * rows, seed=0)
    new = rows // 100 // envs
    more, k = rollout_of(new, envs, 0), 0
    while len(buffer) < rows:
        buffer.add(more)
        k += 1
    saved = Saved(buffer)
    first = timed(lambda: saved.save_to_path(folder / "0"))
    total = sum(path.stat().st_size for path in (folder / "0").iterdir())
    found: dict[str, list[float]] = {"second_save": [], "floor": []}
    written = 0
    for k in range(1, rounds + 1):
        buffer.add(more)
        path = folder / str(k)
        os.sync()
        found["second_save"].append(timed(lambda path=path: saved.save_to_path(path)))  # type: ignore[misc]
        fresh = [file for file in path.iterdir() if file.stat().st_nlink == 1]
        written = sum(file.stat().st_size for file in fresh)
        data = os.urandom(written)
        plain = folder / "plain"

        def write(data: bytes = data, plain: Path = plain) -> None:
            plain.write_bytes(data)
            sync(plain)
            hash_file(plain)

        os.sync()
        found["floor"].append(timed(write))
        shutil.rmtree(folder / str(k - 1))
    other = Saved(PrioritizedReplayBuffer(2 * rows, seed=1))
    load = timed(lambda: other.restore_from_path(folder / str(rounds)))
    ratio = statistics.median(a / b for a, b in zip(found["second_save"], found["floor"], strict=True))
    return {
        "bytes": total,
        "new_rows_bytes": new * envs * 84 * 84 * 4,
        "written_bytes": written,
        "ratio": {
            "second_save": round(ratio, 3),
            "written": round(written / (new * envs * 84 * 84 * 4), 3),
        },
        "seconds": {
            "first_save": round(first, 3),
            "load": round(load, 3),
            **{name: round(statistics.median(times), 4) for name, times in found.items()},
        },
    }


def measure_run(rounds: int, folder: Path) -> dict[str, Any]:
    """CPU seconds of a checkpoint of PPO in CartPole, and what one for every minute of training adds."""
    algorithms = [get_algorithm_config("ppo").environment("CartPole-v1").debugging(seed=1).build_algo() for _ in "ab"]
    saving, plain = algorithms
    shelf = Shelf(folder, keep=3)
    count = 0

    def save() -> None:
        nonlocal count
        count += 1
        shelf.save(saving.save_to_path, KeptCheckpoint(checkpoint_name(count), count))

    def turn(algorithm: Any, *, may_save: bool) -> float:
        started = time.process_time()
        algorithm.train()
        if may_save and spent[0] >= PAIRED_S * (count + 0.5):
            save()
        return time.process_time() - started

    spent, pairs = [0.0, 0.0], 0
    while spent[0] < PAIRED_S * rounds:
        order = (0, 1) if pairs % 2 else (1, 0)
        for k in order:
            spent[k] += turn(algorithms[k], may_save=k == 0)
        pairs += 1
    in_pairs, cpu, wall = count, [], []
    for _ in range(10 * rounds):
        saving.train()
        started, began = time.process_time(), time.perf_counter()
        save()
        cpu.append(time.process_time() - started)
        wall.append(time.perf_counter() - began)
    saving.stop()
    plain.stop()
    return {
        "every_s": EVERY_S,
        "ratio": {"run": round(1 + statistics.median(wall) / EVERY_S, 5)},
        "seconds": {"save": round(statistics.median(wall), 4), "save_cpu": round(statistics.median(cpu), 4)},
        "paired": {
            "every_s": PAIRED_S,
            "saves": in_pairs,
            "iterations": pairs,
            "cpu_seconds": [round(one, 2) for one in spent],
            "ratio": round(spent[0] / spent[1], 4),
        },
    }


@click.command()
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Only these.")
@click.option("--size", "sizes", multiple=True, type=click.Choice(list(WIDTHS)), help="Of modules, only these.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--gigabytes", default=2.0, show_default=True, help="Of the replay buffer.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to write; a temporary folder unless given.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures there.")
@click.option("--check", is_flag=True, help="Fail if a ratio is above its limit.")
def main(
    parts: tuple[str, ...],
    sizes: tuple[str, ...],
    rounds: int,
    gigabytes: float,
    folder: Path | None,
    json_path: Path | None,
    check: bool,
) -> None:
    """Measure, print, and perhaps write and check."""
    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    for part in parts or PARTS:
        for what in (sizes or tuple(WIDTHS)) if part == "modules" else (part,):
            with tempfile.TemporaryDirectory(dir=folder) as home:
                if part == "modules":
                    figures[what] = measure_modules(what, rounds, Path(home))
                elif part == "run":
                    figures[what] = measure_run(rounds, Path(home))
                else:
                    figures[what] = measure_replay(gigabytes, rounds, Path(home))
            print(f"{what}: {json.dumps(figures[what])}", flush=True)
    report = {"machine": describe_machine(), "rounds": rounds, "limits": LIMITS, "figures": figures}
    if json_path is not None:
        json_path.write_text(json.dumps(report, indent=1) + "\n")
    above = {
        f"{what} {name}": ratio
        for what, found in figures.items()
        for name, ratio in found["ratio"].items()
        if ratio > LIMITS[name]
    }
    if check and above:
        raise SystemExit(f"above the limit: {above}")


if __name__ == "__main__":
    main()
