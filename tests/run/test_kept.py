"""What a run keeps when: saves that are due, the best one, rotation, and a fault at every single step of all that."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit_core.algorithm import AlgorithmConfig
from rlkit_core.checkpoint import Checkpointable
from rlkit_core.checkpoint.locate import CHECKPOINTS, locate, read_index
from rlkit_core.errors import CheckpointError, ConfigError
from rlkit_core.run.keeper import CheckpointKeeper, Position
from rlkit_core.run.signals import Interrupted, Signals
from rlkit_core.run.stop import Stop


class Counter(Checkpointable):
    """An array and a number that must agree."""

    def __init__(self, count: int = 0) -> None:
        self.count = count

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        return {"count": self.count, "array": np.full(100, self.count)}

    def set_state(self, state: Any) -> None:
        assert (state["array"] == state["count"]).all()
        self.count = int(state["count"])

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (), {"count": self.count}


def count_in(path: Path) -> int:
    return Counter.from_checkpoint(path, classes=[Counter]).count


class Life:
    """A run's keeper, with an algorithm of which an iteration lasts a second."""

    def __init__(self, folder: Path, **checkpointing: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.said = folder, list[str]()
        config = AlgorithmConfig().checkpointing(**checkpointing)
        self.keeper = CheckpointKeeper(folder, config, signals=Signals(self.said.append), say=self.said.append)
        self.algorithm = Counter()

    def iterations(
        self, *numbers: int, returns: Callable[[int], float] = lambda k: float("nan"), last: int = 0
    ) -> Life:
        for number in numbers:
            self.algorithm.count = number
            position = Position(number, number * 10, float(number), number // 2)
            self.keeper.iteration_ended(self.algorithm, position, evaluation=returns(number), last=number == last)
        return self

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.rglob("*") if path.is_dir())

    @property
    def index(self) -> Any:
        return json.loads((self.folder / "index.json").read_text())


def test_the_last_ones_are_kept_by_seconds_or_iterations_and_listed(tmp_path: Path) -> None:
    life = Life(tmp_path / "run", every="2 iterations", keep=2).iterations(*range(1, 9), last=8)
    assert life.names == ["000006", "000008", CHECKPOINTS]
    row = {"path": "checkpoints/000006", "iteration": 6, "steps": 60, "seconds": 6.0, "episodes": 3}
    later = {"path": "checkpoints/000008", "iteration": 8, "steps": 80, "seconds": 8.0, "episodes": 4}
    assert life.index == {"format": 1, "checkpoints": [row, later], "best": None}
    assert life.keeper.newest == life.folder / "checkpoints" / "000008"
    assert count_in(locate(life.folder)) == 8
    life = Life(tmp_path / "timed", every=3.5, keep=9).iterations(*range(1, 11), last=10)
    assert life.names == ["000004", "000008", "000010", CHECKPOINTS]
    assert Life(tmp_path / "end", every=None).iterations(*range(1, 200), last=199).names == ["000199", CHECKPOINTS]


def test_the_best_one_is_kept_beside_them(tmp_path: Path) -> None:
    returns = {2: 5.0, 4: 9.0, 6: 9.0, 8: 7.0, 10: float("inf")}
    life = Life(tmp_path / "run", every="4 iterations", keep=1)
    life.iterations(*range(1, 11), returns=lambda k: returns.get(k, float("nan")), last=10)
    assert life.index["best"] == {"path": "best", "iteration": 4, "steps": 40, "return": 9.0}
    assert count_in(locate(life.folder, "best")) == 4
    life.keeper.evaluated(life.algorithm, Position(10, 100, 10.0), 9.5)
    assert count_in(life.folder / "best") == 10
    array = "state.safetensors"  # the same weights once on disk
    assert os.path.samefile(life.folder / "best" / array, life.folder / "checkpoints" / "000010" / array)
    assert "best" not in Life(tmp_path / "none", best=False).iterations(1, returns=float, last=1).names


def test_a_resumed_run_goes_on_with_what_is_there_and_drops_what_it_trains_anew(tmp_path: Path) -> None:
    Life(tmp_path / "run", every="1 iterations", keep=3).iterations(1, 2, 3, 4, returns=float)
    (tmp_path / "run" / "checkpoints" / f".000009.new-{os.uname().nodename}-999999999-ab").mkdir()
    life = Life(tmp_path / "run", every="1 iterations", keep=3)
    life.keeper.go_on_from(tmp_path / "run" / "checkpoints" / "000003", 3)
    assert [row["iteration"] for row in life.index["checkpoints"]] == [2, 3]
    assert life.index["best"]["iteration"] == 4
    life.iterations(4, 5)
    assert [one.iteration for one in read_index(life.folder).checkpoints] == [3, 4, 5]
    assert count_in(locate(life.folder)) == 5
    life = Life(tmp_path / "run", every="5 iterations", keep=3)
    life.keeper.go_on_from(tmp_path / "run" / "best", 1)  # whose own checkpoint is long gone
    assert [row["iteration"] for row in life.index["checkpoints"]] == [1]
    elsewhere = Life(tmp_path / "other", every="5 iterations")
    elsewhere.keeper.go_on_from(tmp_path / "run" / "checkpoints" / "000001", 1)
    assert elsewhere.names == []


def test_a_mistake_in_what_is_saved_is_an_error_and_no_trouble_of_the_disk(tmp_path: Path) -> None:
    life = Life(tmp_path / "run", every="1 iterations").iterations(1)
    life.algorithm.get_state = lambda *args, **kwargs: {"count": object()}  # type: ignore[method-assign]
    with pytest.raises(CheckpointError, match="count"):
        life.iterations(2)
    assert count_in(locate(life.folder)) == 1
    assert life.said == []


PRIMITIVES = ("mkdir", "fsync", "rename", "replace", "link", "rmdir")


class Killed(BaseException):
    """Nothing works any more."""


def broken_at(patch: pytest.MonkeyPatch, at: int, error: Callable[[], BaseException], *, lasting: bool) -> list[str]:
    """Let the ``at``-th call of the primitives raise (and all after it); the calls so far are in what is returned."""
    calls: list[str] = []

    def broken(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            if len(calls) == at or (lasting and len(calls) > at):
                raise error()
            return original(*args, **kwargs)

        return call

    for name in PRIMITIVES:
        patch.setattr(os, name, broken(name, getattr(os, name)))
    return calls


def test_a_run_that_is_killed_at_any_step_of_saving_loads_whole_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(1, 1000):
        folder = tmp_path / str(at)
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)  # a dead process cleans nothing up
            life = Life(folder, every="1 iterations", keep=1)
            calls = broken_at(patch, at, Killed, lasting=True)
            died = False
            try:
                life.iterations(1, 2, 3, returns=lambda k: float(k % 3))
            except Killed:
                died = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reached = life.algorithm.count
            try:
                assert count_in(locate(folder)) in (reached - 1, reached)
            except CheckpointError:
                assert reached == 1
            if (folder / "index.json").exists():
                for row in [*life.index["checkpoints"], *filter(None, [life.index["best"]])]:
                    if (folder / row["path"]).exists():  # else it was about to go
                        assert row["path"] == "best" or count_in(folder / row["path"]) == row["iteration"]
            if (folder / "best").exists():
                assert count_in(folder / "best") in (1, 2)
            again = Life(folder, every="1 iterations", keep=1)
            if (folder / CHECKPOINTS).exists() and again.keeper.newest is not None:
                again.keeper.go_on_from(locate(folder), count_in(locate(folder)))
            again.iterations(3, 4)
            assert [one.iteration for one in read_index(folder).checkpoints] == [4]
        shutil.rmtree(folder)
        if not died:
            break
    assert 60 < at == len(calls) + 1
    assert {"fsync", "rename", "replace", "link", "mkdir"} <= set(calls)


@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_a_disk_that_fails_at_any_step_of_saving_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stride: int
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for at in range(1, 1000, stride):
        with monkeypatch.context() as patch:
            life = Life(tmp_path / str(at), every="1 iterations", keep=2)
            calls = broken_at(patch, at, lambda: OSError(errno.ENOSPC, "No space left on device"), lasting=False)
            life.iterations(1, 2, 3, returns=lambda k: float(k % 3))
        assert life.keeper.newest is not None
        assert count_in(life.keeper.newest) == 3
        run = life.folder if life.keeper.writable() == life.folder else life.keeper.writable()
        assert count_in(locate(run)) == 3
        assert count_in(locate(life.folder, "best")) == 2
        if len(calls) < at:
            break
    assert at > 60


def test_files_are_on_disk_before_what_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def recorded(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            where = os.readlink(f"/proc/self/fd/{args[0]}") if name == "fsync" else str(args[-1])
            hidden = "new " if ".new-" in where else ""
            parts = [part for part in Path(where).relative_to(tmp_path).parts if ".new-" not in part]
            steps.append(f"{name} {hidden}{'/'.join(parts)}")
            return original(*args, **kwargs)

        return call

    life = Life(tmp_path / "run", every="1 iterations", keep=1).iterations(1)
    for name in ("fsync", "rename", "replace"):
        monkeypatch.setattr(os, name, recorded(name, getattr(os, name)))
    life.iterations(2)
    files = ["class_and_ctor_args.json", "state.json", "state.safetensors", "metadata.json"]
    wanted = [f"fsync new run/checkpoints/{name}" for name in files]
    wanted += ["fsync new run/checkpoints", "rename run/checkpoints/000002", "fsync run/checkpoints"]
    wanted += ["fsync new run", "replace run/index.json", "fsync run"]
    assert steps[: len(wanted)] == wanted
    assert [step.split()[0] for step in steps[len(wanted) :]] == ["rename"]  # of the oldest, which goes last


def test_signals_wait_for_a_save_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    said, timer = list[str](), signal.getitimer(signal.ITIMER_REAL)
    with Signals(said.append, grace_s=30.0) as signals:
        after = []

        def told_so_often(count: int) -> None:
            with signals.held():
                for _ in range(count):
                    os.kill(os.getpid(), signal.SIGTERM)
                after.append(count)

        with pytest.raises(Interrupted):
            told_so_often(2)
        assert after == [2]
        assert (signals.number, signals.name) == (signal.SIGTERM, "SIGTERM")
        with pytest.raises(Interrupted):  # a third one ends it at once
            told_so_often(2)
        assert after == [2]
        with pytest.raises(Interrupted), signals.at_once():
            pytest.fail("it had come before")
    assert len(said) == 1
    assert bool(signal.getitimer(signal.ITIMER_REAL)[0]) == bool(timer[0])  # pytest's own, perhaps
    assert signal.getitimer(signal.ITIMER_REAL)[1] == timer[1]
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals(said.append) as signals:
            os.kill(os.getpid(), signal.SIGHUP)  # as under nohup
        assert signals.number is None
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    "limits",
    [
        {"return_mean": float("nan")},
        {"return_mean": float("inf")},
        {"return_mean": "475"},
        {"steps": 0},
        {"steps": 2.5},
        {"iterations": -1},
        {"seconds": 0.0},
        {"seconds": float("nan")},
    ],
)
def test_a_stop_refuses_what_is_no_limit(limits: dict[str, Any]) -> None:
    (name,) = limits
    with pytest.raises(ConfigError, match=rf"Stop\({name}=.*expected a (whole )?number"):
        Stop(**limits)
    assert Stop(return_mean=-200, steps=1e5, seconds=1) == Stop(-200.0, 100_000, None, 1.0)
    assert Stop.usual("CartPole-v1") == Stop(475.0, 1_000_000)
    assert Stop.usual(lambda: None) == Stop(None, 1_000_000)
