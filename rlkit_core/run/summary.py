"""How a run ended, in figures, and the files that say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from rlkit_core.run import run_folder as folder
from rlkit_core.run.plot import plot_learning_curve


@frozen
class RunSummary:
    """How a run ended.

    Attributes:
        reason: ``"solved"`` (the target return), ``"limit"``, ``"stopped"`` (by a callback) or ``"interrupted"``.
        detail: the reason in words.
        evaluation_return_mean: mean return over ``evaluation_episodes`` deterministic episodes; NaN if not evaluated.
        evaluation_episodes_cut: how many others did not end. Unless their env failed, and only that of the lesser part,
            the mean says nothing about the target.
        evaluation_episodes_failed: how many of those broke off because their env failed.
        iterations: over the life of the run, and so are env ``steps``.
        seconds: of this process, the last evaluation included, and those of training in earlier ones.
        steps_per_s: env steps per second of training.
        checkpoint: the newest one, in the run folder or where the disk took it; None if nothing was trained.
        plot: the learning curve, or None.
        signal: that ended the run, or None.
    """

    reason: str
    detail: str
    evaluation_return_mean: float
    evaluation_episodes: int
    iterations: int
    steps: int
    seconds: float
    steps_per_s: float
    run_dir: Path
    checkpoint: Path | None
    plot: Path | None
    signal: int | None = None
    evaluation_episodes_cut: int = 0
    evaluation_episodes_failed: int = 0

    @property
    def exit_code(self) -> int:
        """0, or 128 + the signal's number."""
        return 0 if self.signal is None else 128 + self.signal

    def with_curve(self, title: str, target: float | None, say: Callable[[str], object]) -> RunSummary:
        """Draw the learning curve into the run folder; where that is not possible, say why."""
        picture = self.run_dir / folder.CURVE
        try:
            plot_learning_curve(self.run_dir / folder.PROGRESS, picture, title=title, target=target)
            return attrs.evolve(self, plot=picture)
        except ImportError:
            say("no learning curve was drawn: matplotlib is not installed (pip install 'rlkit-core[plots]')")
        except (OSError, ValueError) as error:
            with suppress(OSError):
                picture.unlink()  # half of one
            say(f"no learning curve was drawn: {error}")
        return self

    def write(self, say: Callable[[str], object], elsewhere: Callable[[], Path]) -> None:
        """Write ``summary.json`` into the run folder, or where it does not take it into another one."""
        data = attrs.asdict(self)
        for name in ("run_dir", "checkpoint", "plot"):
            data[name] = str(data[name]) if data[name] is not None else None
        write_somewhere(self.run_dir, folder.SUMMARY, data, say, elsewhere)


def write_somewhere(
    run_dir: Path, name: str, data: Mapping[str, Any], say: Callable[[str], object], elsewhere: Callable[[], Path]
) -> None:
    """Write a JSON file into the run folder, or where it does not take it into another one."""
    try:
        folder.write_json(run_dir / name, data)
    except OSError as error:
        try:
            path = elsewhere() / name
            folder.write_json(path, data)
            say(f"{name} is in {path.parent}, as {run_dir} does not take it: {error}")
        except OSError as worse:
            say(f"{name} cannot be written: {worse}")
