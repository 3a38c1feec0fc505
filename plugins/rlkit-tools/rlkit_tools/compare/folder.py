"""A run folder as data: settings, components, returns over steps."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from rlkit_core.algorithm.results import look_up
from rlkit_core.checkpoint.locate import is_run
from rlkit_core.errors import CheckpointError
from rlkit_core.run.plot import EVALUATION, STEPS, TRAINING
from rlkit_core.run.record import read_record
from rlkit_core.run.run_folder import CONFIG, LOCK, SUMMARY, VERSIONS
from rlkit_core.run.writers import logged

#: Settings in which repetitions of one experiment differ.
OF_ONE_RUN = ("seed",)

Curve = list[tuple[float, float]]
"""``(env steps, mean return)``, oldest first."""


@frozen
class RunData:
    """What a run folder holds.

    Attributes:
        settings: the config's, as JSON; nested ones by dotted names.
        components: ``"kind slot"`` of each choice, with the module before where there are several, to the component.
        training, evaluation: mean returns over env steps.
        summary: of the end; empty where the run has not ended.
        versions: of what it ran with.
        target: the mean return at which it was to stop, if any.
    """

    path: Path
    algorithm: str
    env: str
    settings: Mapping[str, Any]
    components: Mapping[str, str]
    training: Curve
    evaluation: Curve
    summary: Mapping[str, Any]
    versions: Mapping[str, Any]
    target: float | None

    @property
    def score(self) -> float:
        """The mean return of the final evaluation, else of the last evaluation, else of the last training; or NaN."""
        final = self.summary.get("evaluation_return_mean")
        if isinstance(final, int | float):
            return float(final)
        curve = self.evaluation or self.training
        return curve[-1][1] if curve else math.nan

    def steps_to(self, target: float) -> float:
        """Env steps at which the mean return first was ``target``, by evaluations where there are some; or infinity."""
        return next((step for step, value in self.evaluation or self.training if value >= target), math.inf)


def read_runs(paths: Iterable[Path]) -> list[RunData]:
    """Read run folders; a folder of run folders stands for those in it.

    Raises:
        CheckpointError: one is neither.
    """
    found: list[Path] = []
    for path in paths:
        inside = [path] if is_run(path) else sorted(child for child in path.glob("*") if is_run(child))
        if not inside:
            raise CheckpointError(
                f"{path} is no run folder, and has none in it: name one that `rlkit train` made, or runs"
            )
        found += [one for one in inside if one not in found]
    return [read_run(path) for path in found]


def read_run(path: Path) -> RunData:
    """Read one run folder, whether or not the run has ended.

    Raises:
        CheckpointError: it does not say what was run.
    """
    config, lock = read_json(path / CONFIG), read_json(path / LOCK)
    settings = config.get("settings")
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path / CONFIG} holds no settings; is {path} a run folder?")
    results = list(logged(path))
    record = read_record(path)
    kind = str((config.get("class") or {}).get("$class", "?")).rpartition(":")[2].removesuffix("Config")
    return RunData(
        path,
        kind,
        str(settings.get("env")),
        dict(_flat(settings)),
        _components(lock.get("choices") or {}),
        curve(results, TRAINING),
        curve(results, EVALUATION),
        read_json(path / SUMMARY),
        read_json(path / VERSIONS),
        None if record is None else record.stop.return_mean,
    )


def curve(results: Sequence[Mapping[str, Any]], column: str) -> Curve:
    """The finite values of a column, ``"env_runners/episode_return_mean"``, over env steps."""
    points = ((look_up(result, STEPS), look_up(result, *column.split("/"))) for result in results)
    return [point for point in points if all(map(math.isfinite, point))]


def differing(runs: Sequence[RunData]) -> dict[str, list[Any]]:
    """Settings and components in which runs differ, to the value in each; seeds are left out."""
    rows = [{**run.settings, **{f"component {name}": one for name, one in run.components.items()}} for run in runs]
    rows = [{"algorithm": run.algorithm, **row} for run, row in zip(runs, rows, strict=True)]
    names = dict.fromkeys(name for row in rows for name in row if name not in OF_ONE_RUN)
    table = {name: [row.get(name) for row in rows] for name in names}
    return {name: values for name, values in table.items() if any(value != values[0] for value in values)}


def groups_of(runs: Sequence[RunData]) -> list[list[RunData]]:
    """Runs that differ in nothing but their seeds, together; in the order in which they are given."""
    found: dict[str, list[RunData]] = {}
    different = differing(runs)
    for index, run in enumerate(runs):
        key = json.dumps([values[index] for values in different.values()], sort_keys=True)
        found.setdefault(key, []).append(run)
    return list(found.values())


def _flat(settings: Mapping[str, Any], head: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict) and not any(key.startswith("$") for key in value):
            yield from _flat(value, f"{head}{name}.")
        else:
            yield head + name, value


def _components(choices: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for module_id, trace in choices.items():
        head = f"{module_id}: " if len(choices) > 1 else ""
        for one in trace or ():
            place = " ".join([str(one.get("kind")), str(one.get("slot")), *map(str, one.get("path") or ())])
            found[head + place] = f"{one.get('id')} {one.get('version')}"
    return found


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty where there is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
