"""What presets were seen to reach, for ``rlkit presets``: ``reached.json`` beside each algorithm's ``presets.json``.

``benchmarks/learning_table.py`` writes it, from the files that ``make learn`` leaves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rlkit_core.algorithm import get_algorithm_config
from rlkit_core.algorithm.config.presets import preset_for

ROOT = Path(__file__).resolve().parent.parent
FILE = "reached.json"


def reached(results: Path) -> dict[str, dict[str, Any]]:
    """``{algorithm: {environment: {"settings": ..., "runs": [...]}}}``, from the files under ``results``."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted([*results.glob("learn-*.json"), *results.glob("sac-*.json")]):
        data = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(data, list):
            algorithm, env, settings, runs = _until_reached(data)
        elif "levels" in data:
            algorithm, env, settings = data["algorithm"], data["environment"], data["settings"]
            runs = [_at_the_end(row, data["commit"]) for row in data["levels"] if row["seeds"]]
        else:
            algorithm, env, settings, runs = _fixed_length(data)
        if runs and not _has_its_own_presets(env):
            kept = dict(_kept(algorithm, env, settings["settings"]))
            found.setdefault(algorithm, {})[env] = {"settings": kept, "runs": runs}
    return {algorithm: dict(sorted(entries.items())) for algorithm, entries in sorted(found.items())}


def files(results: Path) -> dict[Path, str]:
    """Path and text of each algorithm's file; a number a line would make them long, so an environment is one line."""
    texts = {}
    for algorithm, entries in reached(results).items():
        lines = ",\n".join(f" {json.dumps(env)}: {json.dumps(entry)}" for env, entry in entries.items())
        folder = ROOT / "plugins" / f"rlkit-{algorithm}" / f"rlkit_{algorithm}"
        texts[folder / FILE] = f"{{\n{lines}\n}}\n"
    return texts


def _has_its_own_presets(env: str) -> bool:
    """Whether it is an env of a plugin here, which brings its presets; an algorithm's file is not about these."""
    return (ROOT / "plugins" / env.partition("/")[0]).is_dir()


def _kept(algorithm: str, env: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Of a run's settings those that the preset has, which tell whether it is still the same."""
    preset = preset_for(type(get_algorithm_config(algorithm)), env) or {}
    for section in preset:
        if section not in ("stop", "evaluation"):
            yield from ((name, settings.get(name)) for name in preset[section])


def _at_the_end(row: Mapping[str, Any], commit: str) -> dict[str, Any]:
    suffix = "_sampled" if row["sampled"] else ""
    return {
        "steps": row["within"],
        "returns": [round(one[f"return{suffix}"], 2) for one in row["seeds"]],
        "sampled": row["sampled"],
        "level": row["level"],
        "held": not row["missed"],
        "cpu_seconds": _mean([one["cpu_seconds"] for one in row["seeds"]]),
        "seconds": _mean([one["seconds"] for one in row["seeds"]]),
        "commit": commit[:7],
    }


def _until_reached(rows: list[dict[str, Any]]) -> tuple[str, str, Any, list[dict[str, Any]]]:
    """Rows of the earlier protocol, which stopped where the level was reached."""
    run = {
        "steps": max(row["steps"] for row in rows),
        "returns": [round(row["return_of_checkpoint_on_other_seeds"], 2) for row in rows],
        "sampled": False,
        "level": rows[0]["level"],
        "held": all(row["return_of_checkpoint_on_other_seeds"] >= row["level"] for row in rows),
        "cpu_seconds": None,
        "seconds": _mean([row["seconds"] for row in rows]),
        "commit": rows[-1]["commit"][:7],
    }
    return rows[0]["algorithm"], rows[0]["environment"], rows[0]["settings"], [run]


def _fixed_length(data: Mapping[str, Any]) -> tuple[str, str, Any, list[dict[str, Any]]]:
    run = {
        "steps": data["steps"],
        "returns": [round(one["return"], 2) for one in data["runs"]],
        "sampled": False,
        "level": None,
        "held": None,
        "cpu_seconds": None,
        "seconds": _mean([one["seconds"] for one in data["runs"]]),
        "commit": data.get("commit", "")[:7],
    }
    return data["name"].removeprefix("rlkit-"), data["environment"], data["settings"], [run]


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 1) if known else None
