"""``rlkit config``: settings of a run, where each is from, how two runs differ, the schema of a config file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from rlkit_core.cli.carry_out import in_words
from rlkit_core.cli.config.file import ConfigFile, config_option, read_config_file
from rlkit_core.cli.config.made import DEFAULT, Configured, Given, configure, entries, stop_criteria
from rlkit_core.cli.given import no_preset_option, settings_option, wrap_option
from rlkit_core.cli.named import check_named, complete_algo, complete_env
from rlkit_core.cli.output import stdout_for_the_report
from rlkit_core.run.stop import Stop
from rlkit_core.settings.base import equal

GIVEN, FILLED_IN = "given", "preset, or chosen by spaces"
"""Where settings of a run are from whose folder does not say more."""


@click.group()
def config() -> None:
    """Show settings of a run or a config file and where they are from, compare two, or print the schema of a file.

    \b
    Examples:
      rlkit config show ppo CartPole-v1
      rlkit config diff runs/mine runs/other
    """


@config.command()
@click.argument("algo", metavar="ALGO|RUN", required=False, shell_complete=complete_algo)
@click.argument("env", required=False, shell_complete=complete_env)
@config_option
@wrap_option
@settings_option
@no_preset_option
@click.option("--all", "every", is_flag=True, help="Show the defaults too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(
    algo: str | None,
    env: str | None,
    file: ConfigFile | None,
    wraps: tuple[str, ...],
    settings: tuple[str, ...],
    no_preset: bool,
    every: bool,
    as_json: bool,
) -> None:
    """Show the settings of ALGO in ENV, or of a RUN (its folder, or a checkpoint), and where each is from.

    They are defaults, or from a preset, the file of --config, or the command line.

    \b
    Examples:
      rlkit config show ppo CartPole-v1 --set lr=1e-3
      rlkit config show runs/mine
    """
    is_run = algo is not None and env is None and Path(algo).exists()
    with stdout_for_the_report():
        if is_run:
            if file is not None or wraps or settings or no_preset:
                raise click.UsageError(f"{algo} is a run, which has its settings; leave out the options")
            made, stop = _of_path(Path(str(algo)))
        else:
            given = Given(algo, env, settings, wraps, file=file, preset=not no_preset).checked()
            made = configure(given)
            stop = stop_criteria(Stop(), made.config, given)
            asked = made.config
            from rlkit_core.envs.gym_vectors.make import make_example

            make_example(asked.env, asked.env_config, asked.gym_env_vectorize_mode, asked.wrappers).close()
    from rlkit_core.run.writers import to_json_value

    shown = {
        name: (value, made.origins.get(name, DEFAULT))
        for name, value in entries(made.config).items()
        if every or name in made.origins
    }
    if as_json:
        rows = {name: {"value": to_json_value(value), "from": source} for name, (value, source) in shown.items()}
        report = {"config": type(made.config).__name__, "settings": rows, "until": in_words(stop), "notes": made.notes}
        click.echo(json.dumps(report, indent=1))
        return
    cells = [(name, _short(value), source) for name, (value, source) in shown.items()]
    widths = [max((len(row[k]) for row in cells), default=0) for k in range(2)]
    click.echo(f"{type(made.config).__name__}, until {in_words(stop)}")
    for name, text, source in cells:
        click.echo(f"  {name.ljust(widths[0])}  {text.ljust(widths[1])}  {source}")
    for note in made.notes:
        click.echo(f"note: {note}")


@config.command()
@click.argument("one", type=click.Path(exists=True, path_type=Path))
@click.argument("other", type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def diff(ctx: click.Context, one: Path, other: Path, as_json: bool) -> None:
    """Show the settings in which two differ: run folders, checkpoints, or config files that name ALGO and ENV.

    The exit code is 1 where there are any.

    \b
    Examples:
      rlkit config diff runs/mine runs/other
    """
    from rlkit_core.run.writers import to_json_value

    with stdout_for_the_report():
        sides = [_all_of(*_of_path(path)) for path in (one, other)]
    names = [name for name in {**sides[0], **sides[1]} if not equal(*(side.get(name, "-") for side in sides))]
    if as_json:
        pairs = {name: [to_json_value(side.get(name)) for side in sides] for name in names}
        click.echo(json.dumps({"one": str(one), "other": str(other), "differences": pairs}, indent=1))
    for name in [] if as_json else names:
        before, after = (_short(side[name]) if name in side else "-" for side in sides)
        click.echo(f"{name}: {before} in {one}, {after} in {other}")
    if not names and not as_json:
        click.echo("no difference")
    ctx.exit(1 if names else 0)


@config.command()
@click.argument("algo", shell_complete=complete_algo)
def schema(algo: str) -> None:
    """Print the JSON Schema of a config file for ALGO, by which an editor completes and checks one.

    \b
    Examples:
      rlkit config schema ppo > ppo.schema.json
    """
    check_named(algo, None)
    with stdout_for_the_report():
        from rlkit_core.algorithm import get_algorithm_config
        from rlkit_core.cli.config.schema import config_schema
        from rlkit_core.run.writers import to_json_value

        made = config_schema(type(get_algorithm_config(algo)), algo)
    click.echo(json.dumps(to_json_value(made), indent=1))


def _of_path(path: Path) -> tuple[Configured, Stop]:
    """The config of a run, a checkpoint or a file, and what ends it."""
    from rlkit_core.checkpoint.locate import run_of
    from rlkit_core.run.record import read_record
    from rlkit_core.run.run_folder import CONFIG, config_of

    if path.is_file():
        file = read_config_file(path)
        if not file.is_of_a_run:
            given = Given(file=file).checked()
            made = configure(given)
            return made, stop_criteria(Stop(), made.config, given)
        path = path.parent
    own = config_of(path)
    record = read_record(path if (path / CONFIG).is_file() else run_of(path) or path)
    origins: dict[str, str] = {}
    defaults, by_user = entries(type(own)()), own.set_by_user()
    for name, value in entries(own).items():
        if name not in defaults or not equal(value, defaults[name]):
            origins[name] = GIVEN if name.partition(".")[0] in by_user else FILLED_IN
    if record is None:
        return Configured(own, origins=origins), Stop.usual(own.env)
    origins |= {name: source for name, source in record.origins.items() if name in entries(own)}
    for change in record.changes:
        origins |= dict.fromkeys(change.get("settings", {}), f"changed at iteration {change.get('iteration')}")
    return Configured(own, origins=origins), record.stop


def _all_of(made: Configured, stop: Stop) -> dict[str, Any]:
    """All that is compared: the class, the settings, the limits."""
    limits = zip(("steps", "iterations", "seconds"), stop.limits, strict=True)
    ends = {"stop.return": stop.return_mean, "stop.patience": stop.patience} | {f"stop.{n}": v for n, v in limits}
    return {"config": type(made.config).__name__, **entries(made.config), **ends}


def _short(value: object) -> str:
    text = value.__name__ if isinstance(value, type) else " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
