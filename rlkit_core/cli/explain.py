"""``rlkit explain ALGO ENV``: build the module of a run and say where each of its components comes from, and why."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import click

from rlkit_core.cli.compare_runs import show_differences
from rlkit_core.cli.config.file import ConfigFile, config_option
from rlkit_core.cli.config.made import Given, configure, stop_criteria
from rlkit_core.cli.explained import explain_modules, explain_run
from rlkit_core.cli.given import no_preset_option, settings_option, wrap_option
from rlkit_core.cli.named import complete_algo, complete_env
from rlkit_core.cli.output import stdout_for_the_report
from rlkit_core.run.stop import Stop

_MOST_AGENTS = 8  # by name in text


@click.command()
@click.argument("algo", required=False, shell_complete=complete_algo)
@click.argument("env", required=False, shell_complete=complete_env)
@config_option
@wrap_option
@settings_option
@no_preset_option
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
    file: ConfigFile | None,
    wraps: tuple[str, ...],
    settings: tuple[str, ...],
    no_preset: bool,
    run: Path | None,
    as_json: bool,
) -> None:
    """Show which components a run of ALGO on ENV would use, and why.

    \b
    Examples:
      rlkit explain ppo CartPole-v1
      rlkit explain --diff runs/mine
    """
    given = Given(algo, env, settings, wraps, file=file, preset=not no_preset)
    if run is not None:
        ctx.exit(show_differences(run, explain_modules, given, as_json=as_json))
    given = given.checked()
    from rlkit_core.run.beginning import check_to_train

    with stdout_for_the_report(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        made = configure(given)
        check_to_train(made.config, stop_criteria(Stop(), made.config, given))
        explained = explain_run(made.config)
    found = (str(warning.message) for warning in caught if issubclass(warning.category, UserWarning))
    explained["generic"] = [{"kind": g.kind, "because": g.because, "settings": dict(g.settings)} for g in made.generic]
    explained["notes"] = [*made.notes, *(f"settings for {one}" for one in made.generic), *dict.fromkeys(found)]
    if as_json:
        click.echo(json.dumps({"algorithm": given.algo, "env": str(made.config.env), **explained}, indent=2))
        return
    for module_id, module in explained["modules"].items():
        for line in _text(module_id, module):
            click.echo(line)
    for line in _rest(explained):
        click.echo(line)
    for note in explained["notes"]:
        click.echo(f"note: {note}")


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
        # The slot of an encoder is worth a word only where it is not the module's one encoder.
        place = choice["kind"] if choice["slot"] == "encoder" else f"{choice['kind']} {choice['slot']}"
        if choice["path"]:
            place += f" at {'.'.join(choice['path'])}"
        lines.append(f"  {place}")
        lines.append(f"    {choice['id']} {choice['version']}: {choice['rule']}")
        for other, why in choice["considered"]:
            if other != choice["id"]:
                lines.append(f"      not {other}: {why}")
    for api in module["apis"]:
        calls = f": {', '.join(api['calls'])}" if api["calls"] else ""
        lines.append(f"  API           {api['id']} {api['version']}{calls}")
    return lines


_SHOWN = ("env", "wrapper", "executor", "learners", "step engine", "callbacks", "writer")
"""Roles of what a run uses beside its modules; JSON has all."""


def _rest(explained: dict[str, Any]) -> list[str]:
    """Lines about what a run uses beside its modules."""
    lines = ["run"]
    modules = list(dict.fromkeys(explained["agents"].values()))
    for module_id in modules if len(explained["agents"]) > 1 else ():
        agents = [agent for agent, used in explained["agents"].items() if used == module_id]
        shown = ", ".join(agents) if len(agents) <= _MOST_AGENTS else f"{len(agents)} agents"
        lines.append(f"  {module_id:<12}  acts for {shown}")
    for catalog in explained["catalogs"]:
        uses = [f"assembles {', '.join(catalog['assembles'])}"] if catalog["assembles"] else []
        uses += [f"gives {', '.join(catalog['chosen'])}"] if catalog["chosen"] else []
        what = "; ".join(uses) or f"is not used: {catalog['unused']}"
        lines.append(f"  catalog       {catalog['name']} ({catalog['distribution']} {catalog['version']}) {what}")
    learner = explained["learner"]
    if learner is not None:
        lines.append(f"  learner       {learner['class']} ({learner['distribution']} {learner['version']})")
    lines += [f"  wrapped in    {text}" for text in explained["wrappers"]]
    for reason in explained["not_exact"] or ["goes on in the middle of episodes, as if it had not ended"]:
        lines.append(f"  resume        {reason}")
    for role in _SHOWN:
        used = [f"{e['id']} {e['version']}" for e in explained["used"] if e["role"] == role]
        lines += [f"  {role:<12}  {', '.join(used)}"] if used else []
    for distribution, settings in explained["plugin_config"].items():
        lines.append(
            f"  settings      {distribution}: {', '.join(f'{name}={value}' for name, value in settings.items())}"
        )
    return lines
