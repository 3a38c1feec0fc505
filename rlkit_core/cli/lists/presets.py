"""``rlkit presets [ALGO]``: tuned settings by environment, and what each was seen to reach."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from rlkit_core.cli.named import check_named, complete_algo
from rlkit_core.cli.output import stdout_for_the_report
from rlkit_core.errors import RLKitError
from rlkit_core.plugins.discovery import GROUP_ALGORITHMS
from rlkit_core.plugins.host import default_host

if TYPE_CHECKING:
    from rlkit_core.algorithm.config.config import AlgorithmConfig

_HEAD = ("PRESET", "REACHED", "STEPS", "SECONDS", "SEEDS", "COMMIT", "")


@click.command()
@click.argument("algo", required=False, shell_complete=complete_algo)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the settings.")
def presets(algo: str | None, as_json: bool) -> None:
    """Show the presets of ALGO, or of all installed algorithms, and what each was seen to reach.

    A preset is for an environment, or for a family of them that have none of their own. REACHED is the mean return over
    the seeds at the end of STEPS environment steps, in SECONDS of CPU time a seed (~: of the clock), at COMMIT.

    \b
    Examples:
      rlkit presets
      rlkit presets ppo
    """
    if algo is not None:
        check_named(algo, None)
    names = (
        [algo] if algo is not None else sorted({e.name for e in default_host().snapshot.entry_points(GROUP_ALGORITHMS)})
    )
    found: dict[str, list[dict[str, Any]]] = {}
    broken: dict[str, str] = {}
    with stdout_for_the_report():
        from rlkit_core.algorithm import get_algorithm_config

        for name in names:
            try:
                found[name] = list(rows(get_algorithm_config(name)))
            except RLKitError as error:
                if algo is not None:
                    raise
                broken[name] = str(error)
    if as_json:
        click.echo(json.dumps({"presets": found, "broken": broken}, indent=2))
        return
    for name, of_it in found.items():
        click.echo(name if of_it else f"{name}: no presets")
        for line in _table([_HEAD, *(cells for row in of_it for cells in _cells(row))] if of_it else []):
            click.echo(line)
    for name, why in broken.items():
        click.echo(f"{name}: cannot be used: {why}")


def rows(config: AlgorithmConfig) -> Iterator[dict[str, Any]]:
    """The presets of a config's class: ``preset``, ``family``, ``settings``, ``runs``, and whether these had them."""
    from rlkit_core.algorithm.config.presets import load_presets, load_reached
    from rlkit_core.envs.naming.known import families

    cls = type(config)
    reached = load_reached(cls)
    for name, preset in load_presets(cls).items():
        seen = reached.get(name, {"settings": {}, "runs": []})
        yield {
            "preset": name,
            "family": name in families(),
            "settings": preset,
            "runs": seen["runs"],
            "same_settings": _as_stored(cls(), preset) == seen["settings"] if seen["runs"] else None,
        }


def _as_stored(config: AlgorithmConfig, preset: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a preset as a run's ``config.json`` has them, without what only says when to look and to end."""
    sections = {section: settings for section, settings in preset.items() if section not in ("stop", "evaluation")}
    for section, settings in sections.items():
        config.change(settings, section=section)
    stored = json.loads(config.to_json())["settings"]
    return {name: stored[name] for settings in sections.values() for name in settings}


def _cells(row: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    name = f"{row['preset']} (family)" if row["family"] else row["preset"]
    if not row["runs"]:
        yield (name, "-", *[""] * 5)
    for run in row["runs"]:
        mean = sum(run["returns"]) / len(run["returns"])
        notes = ["sampled actions"] if run["sampled"] else []
        if run["held"] is False:
            notes.append(f"below its level, {run['level']:g}")
        if not row["same_settings"]:
            notes.append("with earlier settings")
        cpu, clock = run["cpu_seconds"], run["seconds"]
        seconds = f"{cpu:,.0f}" if cpu is not None else "-" if clock is None else f"~{clock:,.0f}"
        figures = (f"{mean:,.{2 if abs(mean) < 10 else 1}f}", f"{run['steps']:,}", seconds, str(len(run["returns"])))
        yield (name, *figures, run["commit"] or "-", ", ".join(notes))
        name = ""


def _table(lines: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(cells[k]) for cells in lines) for k in range(len(_HEAD))] if lines else []
    for cells in lines:
        aligned = (c.rjust(w) if 0 < k < 5 else c.ljust(w) for k, (c, w) in enumerate(zip(cells, widths, strict=True)))
        yield f"  {'  '.join(aligned)}".rstrip()
