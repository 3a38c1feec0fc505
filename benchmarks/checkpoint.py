"""What checkpoints cost beside writing and reading the same bytes: modules of 10 MB and 1 GB, a replay buffer of 2 GB.

A save is compared with ``safetensors.save_file``, an fsync and one pass of SHA-256 over the file, a load with
``load_file`` and one such pass. The two take turns; ratios are taken round by round and their median counts. A buffer
is saved, gets one percent of new rows, and is saved again: the second save is compared with writing, syncing and
hashing those bytes that are not in files of the first.

    python benchmarks/checkpoint.py [--part modules] [--part replay] [--rounds 5] [--folder DIR] [--json FILE] [--check]
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
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

from rlkit_core import RLModuleSpec
from rlkit_core.data import Rollout
from rlkit_core.testing import DiscreteBCTorchModule

LIMITS = {"save": 1.3, "load": 1.3, "second_save": 1.3}
#: Width of the hidden layer, by size of the module.
WIDTHS = {"10MB": 2500, "1GB": 250_000}
PARTS = ("modules", "replay")


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
        "ratio": {"second_save": round(ratio, 3)},
        "seconds": {
            "first_save": round(first, 3),
            "load": round(load, 3),
            **{name: round(statistics.median(times), 4) for name, times in found.items()},
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
        for what in (sizes or tuple(WIDTHS)) if part == "modules" else ("replay",):
            with tempfile.TemporaryDirectory(dir=folder) as home:
                if part == "modules":
                    figures[what] = measure_modules(what, rounds, Path(home))
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
