"""Runs in processes of their own, which start at once; see ``child_runs.py``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rlkit_core.checkpoint.locate import locate

SMALL = [
    "--no-preset",
    "--no-plot",
    "--set", "train_batch_size=64",
    "--set", "minibatch_size=32",
    "--set", "num_epochs=1",
    "--set", "num_envs_per_env_runner=4",
    "--set", "model_config.fcnet_hiddens=[8]",
    "--set", "writers=['csv','jsonl']",
    "--evaluate", "2",
    "--seed", "1",
]  # fmt: skip


class ChildRun:
    """One ``rlkit train`` in a process of its own."""

    def __init__(self, ask: Callable[[Any], int], folder: Path, request: dict[str, Any]) -> None:
        self._ask, self.folder = ask, folder
        self._streams = {name: request[name] for name in ("stdout", "stderr")}
        self.pid = ask(request)
        self._code: int | None = None

    def until(self, holds: Callable[[], Any], seconds: float = 60) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, self.said
            time.sleep(0.005)

    def kill(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Its exit code, or minus the signal that killed it."""
        if self._code is None:
            self._code = self._ask({"wait": self.pid})
        return self._code

    def exists_after(self, iteration: int) -> bool:
        """Whether a checkpoint of a later iteration is there."""
        return any(name.isdigit() and int(name) > iteration for name in self.checkpoints)

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        with open(f"/proc/{self.pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"

    def end(self) -> None:
        """Kill it, if it is still there."""
        if self._code is None:
            self.kill(signal.SIGKILL)
            self.wait()

    @property
    def said(self) -> str:
        """What it wrote to its streams."""
        texts = [Path(name) for name in self._streams.values() if name is not None and Path(name).is_file()]
        return "".join(path.read_text() for path in texts)

    @property
    def iterations(self) -> list[int]:
        """Those that its log has."""
        path = self.folder / "results.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line)["training_iteration"] for line in lines]

    @property
    def checkpoints(self) -> list[str]:
        """Names in ``checkpoints/``, hidden ones included."""
        place = self.folder / "checkpoints"
        return sorted(path.name for path in place.iterdir()) if place.exists() else []

    def newest(self) -> tuple[Path, int]:
        """The checkpoint that ``locate`` finds, and the iteration in its state."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = locate(self.folder)
        return path, json.loads((path / "algorithm_state.json").read_text())["iteration"]


@pytest.fixture(scope="package")
def _server() -> Iterator[Callable[[Any], int]]:
    helpers = Path(__file__).parents[1] / "helpers"
    path = os.pathsep.join([str(helpers), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, str(Path(__file__).with_name("child_runs.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as server:

        def ask(request: Any) -> int:
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write(json.dumps(request) + "\n")
            server.stdin.flush()
            return int(server.stdout.readline())

        yield ask
        assert server.stdin is not None
        server.stdin.close()


@pytest.fixture
def start(_server: Callable[[Any], int], tmp_path: Path) -> Iterator[Callable[..., ChildRun]]:
    """``start(*args, faults=[(name, value)], env="CartPole-v1", stdout=..., stderr=...)``: begin a small run.

    With ``line=[...]`` the arguments of ``rlkit`` are these instead; ``folder`` names the run's.
    """
    begun: list[ChildRun] = []

    def start_one(
        *args: str,
        faults: Any = (),
        env: str = "CartPole-v1",
        folder: str = "run",
        line: list[str] | None = None,
        **streams: Any,
    ) -> ChildRun:
        place = tmp_path / folder
        log = str(tmp_path / f"said-{len(begun)}")
        line = line or ["train", "ac", env, "--run-dir", str(place), *SMALL, *args]
        said = {"stdout": log, "stderr": log, **streams}
        begun.append(ChildRun(_server, place, {"args": line, "faults": faults, "tmp": str(tmp_path), **said}))
        return begun[-1]

    yield start_one
    for one in begun:
        one.end()
