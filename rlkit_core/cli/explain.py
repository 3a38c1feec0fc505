"""``rlkit explain ALGO ENV``: build the module of a run and say where each of its components comes from, and why."""

from __future__ import annotations

import contextlib
import json
import warnings
from pathlib import Path
from typing import Any

import click

from rlkit_core.cli.compare_runs import show_differences
from rlkit_core.cli.output import stdout_for_the_report
from rlkit_core.cli.train import configure, settings_option
from rlkit_core.plugins.host import default_host


@click.command(help="Show which components a run of ALGO on ENV would use, and why.")
@click.argument("algo", required=False)
@click.argument("env", required=False)
@settings_option
@click.option("--no-preset", is_flag=True, help="Leave out the algorithm's tuned settings, as for train.")
@click.option(
    "--diff",
    "run",
    type=click.Path(exists=True, path_type=Path),
    metavar="RUN",
    help="Show how that differs from a run folder or checkpoint, whose ALGO and ENV are taken unless given.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def explain(
    ctx: click.Context,
    algo: str | None,
    env: str | None,
    settings: tuple[str, ...],
    no_preset: bool,
    run: Path | None,
    as_json: bool,
) -> None:
    """Build the module for an environment and print the trace of its components."""
    if run is not None:
        ctx.exit(show_differences(run, explain_config, algo, env, settings, preset=not no_preset, as_json=as_json))
    if algo is None or env is None:
        raise click.UsageError("Missing argument 'ALGO' or 'ENV'.")
    from rlkit_core.algorithm import get_algorithm_config

    notes: list[str] = []
    with stdout_for_the_report(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        config = get_algorithm_config(algo)
        configure(config, env, None, settings, preset=not no_preset, notes=notes)
        modules = explain_config(config)
    notes += [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    if as_json:
        click.echo(json.dumps({"algorithm": algo, "env": env, "modules": modules, "notes": notes}, indent=2))
        return
    for module_id, module in modules.items():
        for line in _text(module_id, module):
            click.echo(line)
    for note in notes:
        click.echo(f"note: {note}")


def explain_config(config: Any) -> dict[str, dict[str, Any]]:
    """Build the modules of a config: class, catalog, spaces, parameter count and component trace by id, JSON values."""
    from rlkit_core.envs.make import make_env
    from rlkit_core.spaces import describe

    with contextlib.closing(make_env(config.env, config.env_config)) as env:
        multi = config.get_multi_rl_module_spec(env=env).build()
    modules: dict[str, dict[str, Any]] = {}
    for module_id, module in multi.items():
        trace = module.component_trace()
        catalog = module.__dict__.get("_catalog")
        modules[module_id] = {"module": _part(module)} | ({"catalog": _part(catalog)} if catalog is not None else {})
        modules[module_id] |= {
            "observation_space": describe(module.observation_space),
            "action_space": describe(module.action_space),
            "parameters": sum(parameter.numel() for parameter in getattr(module, "parameters", tuple)()),
            "components": trace,
        }
    return modules


def _part(part: object) -> dict[str, str]:
    from rlkit_core.checkpoint import class_ref  # which imports torch

    origin = default_host().origin_of(type(part))
    return {"class": class_ref(type(part)), "distribution": origin.distribution, "version": origin.version}


def _text(module_id: str, module: dict[str, Any]) -> list[str]:
    lines = [f"{module_id}: {module['parameters']:,} parameters"]
    lines.append(f"  observations  {module['observation_space']}")
    lines.append(f"  actions       {module['action_space']}")
    for name in ("module", "catalog"):
        if name in module:
            part = module[name]
            lines.append(f"  {name:<12}  {part['class']} ({part['distribution']} {part['version']})")
    if not module["components"]:
        lines.append("  the module makes its networks itself; no component was chosen")
    for choice in module["components"]:
        place = choice["kind"] if choice["kind"] == "encoder" else f"{choice['kind']} {choice['slot']}"
        if choice["path"]:
            place += f" at {'.'.join(choice['path'])}"
        lines.append(f"  {place}")
        lines.append(f"    {choice['id']} {choice['version']}: {choice['rule']}")
        for other, why in choice["considered"]:
            if other != choice["id"]:
                lines.append(f"      not {other}: {why}")
    return lines
