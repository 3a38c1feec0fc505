"""How this installation differs from what a run used: ``rlkit explain --diff``, ``rlkit plugins --requirements``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import click

from rlkit_core.cli.config.made import Given, configure
from rlkit_core.cli.output import stdout_for_the_report
from rlkit_core.errors import RLKitError
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.used.lock import Lock, installed_requirements, installed_version

Choices = Mapping[str, list[dict[str, Any]]]
"""Component traces by module id."""
Explained = Callable[[Any], dict[str, dict[str, Any]]]


def requirements(run: str) -> list[str]:
    """Lines for ``pip install -r``: what is installed, or, given a run folder or checkpoint, what that one used.

    Raises:
        CheckpointError: the run does not say.
    """
    from rlkit_core.plugins.discovery import scan

    if not run:
        return installed_requirements(scan())
    from rlkit_core.run.run_folder import read_lock

    return read_lock(Path(run))[0].requirements()


def differences(run: Path, explained: Explained, config: Any = None) -> list[dict[str, str]]:
    """What differs between this installation and a run, each as ``{"what", "name", "run", "here"}``.

    Args:
        run: the run folder, or a checkpoint.
        explained: builds the modules of a config and says what they are made of, by module id.
        config: what would be built here; the run's own config unless given.

    Raises:
        RLKitError: the run does not say what it used, or the config cannot be built here.
    """
    from rlkit_core.algorithm.config.used import used_by_config
    from rlkit_core.run.run_folder import config_of, read_lock

    lock, choices = read_lock(run)
    found = list(_distributions(lock))
    try:
        stored = config_of(run)
        chosen = stored if config is None else config
        modules = explained(chosen)
    except RLKitError as error:
        return [*found, _row("build", "this run", "built", f"cannot be built here: {error}")]
    found += _named(lock, used_by_config(chosen))
    found += _components(choices, {module_id: module["components"] for module_id, module in modules.items()})
    return found + [
        _row("setting", name, repr(there), repr(here)) for name, (here, there) in chosen.diff(stored).items()
    ]


def show_differences(run: Path, explained: Explained, given: Given, *, as_json: bool) -> int:
    """Print :func:`differences`; what the command line says takes the place of the run's config.

    Returns:
        The exit code: 1 if anything differs.
    """
    with stdout_for_the_report():
        found = differences(run, explained, _asked_for(run, given))
    if as_json:
        click.echo(json.dumps({"run": str(run), "differences": found}, indent=2))
    else:
        for line in as_text(found):
            click.echo(line)
    return 1 if found else 0


def _asked_for(run: Path, given: Given) -> Any:
    """The config that a command line asks for, in the run's env unless it says another; None where it asks for none."""
    from rlkit_core.cli.given import apply_setting
    from rlkit_core.run.run_folder import config_of

    if given.algo is not None or given.file is not None:
        of_run = config_of(run).env
        env = given.env or (given.file and given.file.env) or (of_run if isinstance(of_run, str) else None)
        return configure(attrs.evolve(given, env=env).checked()).config
    if not given.settings:
        return None
    config = config_of(run)
    for text in given.settings:
        apply_setting(config, text)
    return config


def _row(what: str, name: str, run: object, here: object) -> dict[str, str]:
    return {"what": what, "name": name, "run": str(run), "here": str(here)}


def _distributions(lock: Lock) -> Iterator[dict[str, str]]:
    snapshot = default_host().snapshot
    for name, version in sorted(lock.versions.items()):
        here = installed_version(snapshot, name)
        if here != version:
            yield _row("distribution", name, version, here or "not installed")


_OF_CONFIGS = ("algorithm", "learner", "env", "executor", "step engine", "callbacks", "writer", "wrapper")


def _named(there: Lock, here: Lock) -> Iterator[dict[str, str]]:
    """What the configs name for each role; versions are those of distributions."""
    for role in _OF_CONFIGS:
        run, now = ([e.id for e in lock.entries if e.role == role] for lock in (there, here))
        if run != now:
            yield _row(role, role, ", ".join(run) or "none", ", ".join(now) or "none")


def _components(there: Choices, here: Choices) -> Iterator[dict[str, str]]:
    for module_id in sorted({mid for side in (there, here) for mid, trace in side.items() if trace}):
        if module_id not in there or module_id not in here:
            yield _row("module", module_id, *("there" if module_id in side else "absent" for side in (there, here)))
            continue
        run, now = _by_place(there[module_id]), _by_place(here[module_id])
        for place in sorted({*run, *now}):
            if run.get(place) != now.get(place):
                yield _row("component", f"{module_id}: {place}", run.get(place, "none"), now.get(place, "none"))


def _by_place(trace: list[dict[str, Any]]) -> dict[str, str]:
    return {
        " ".join([choice["kind"], choice["slot"], *([f"at {'.'.join(choice['path'])}"] if choice["path"] else [])]): (
            f"{choice['id']} {choice['version']} ({choice['rule']})"
        )
        for choice in trace
    }


def as_text(found: list[dict[str, str]]) -> Iterator[str]:
    """The differences for people, a line each."""
    if not found:
        yield "no difference: this installation builds what the run was built of"
    for row in found:
        name = row["name"] if row["what"] == row["name"] else f"{row['what']} {row['name']}"
        yield f"{name}: {row['run']} in the run, {row['here']} here"
