"""``rlkit tune ALGO ENV``."""

from __future__ import annotations

import re
from pathlib import Path

import click

from rlkit_core.cli.given import settings_option, wrap_option
from rlkit_core.cli.named import complete_algo, complete_env

COUNT = click.IntRange(min=1)


@click.command()
@click.argument("algo", shell_complete=complete_algo)
@click.argument("env", shell_complete=complete_env)
@click.option("--trials", type=COUNT, default=50, show_default=True, help="How many, those of before among them.")
@click.option("--steps", type=COUNT, help="Environment steps of a trial.  [default: the preset's, or 100000]")
@click.option("--evaluations", type=COUNT, default=5, show_default=True, help="Of a trial, which may end after each.")
@click.option("--episodes", type=COUNT, default=20, show_default=True, help="Of an evaluation.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the first trial.")
@click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), help="Of the study.  [default: tune/ALGO-ENV]"
)
@click.option(
    "--ranges",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What to search, as JSON, in place of what the algorithm comes with.",
)
@wrap_option
@settings_option
@click.option("--no-preset", is_flag=True, help="Begin with defaults in place of the algorithm's tuned settings.")
def tune(
    algo: str,
    env: str,
    trials: int,
    steps: int | None,
    evaluations: int,
    episodes: int,
    seed: int,
    folder: Path | None,
    file: Path | None,
    wraps: tuple[str, ...],
    settings: tuple[str, ...],
    no_preset: bool,
) -> None:
    """Search settings with which ALGO learns ENV best.

    A trial trains with settings that Optuna suggests, above the algorithm's preset; its value is the mean return of its
    last evaluation, and one that is worse than most at an evaluation ends there. What --set says is not searched. The
    same line again goes on with the study, after an interruption too. The best settings are a preset file,
    for 'rlkit train --preset'.

    \b
    Examples:
      rlkit tune ppo CartPole-v1 --trials 30
      rlkit tune ppo CartPole-v1 --ranges ranges.json --folder tune/mine
    """
    fixed = {text.partition("=")[0].strip() for text in settings}
    if "seed" in fixed:
        raise click.UsageError("--set seed: each trial has its own, counted from --seed; give that in its place")
    from rlkit_core.algorithm.config.presets import preset_for
    from rlkit_core.checkpoint.locate import quoted
    from rlkit_core.cli.carry_out import warnings_as_notes
    from rlkit_core.cli.config.made import Given, configure, entries
    from rlkit_core.run.beginning import check_to_train
    from rlkit_core.run.output import unfailing_output
    from rlkit_core.run.stop import Stop
    from rlkit_tools.tune.ranges import read_ranges
    from rlkit_tools.tune.search import Asked, search

    given = Given(algo, env, settings, wraps, preset=not no_preset).checked()
    with unfailing_output(), warnings_as_notes():
        made = configure(given)
        config = made.config
        check_to_train(config.copy(copy_frozen=False), Stop())
        ranges = read_ranges(config, file, fixed=fixed)
        stop = (preset_for(type(config), config.env) or {}).get("stop", {})
        kept = {name: value for name, value in entries(config).items() if name in made.origins}
        kept = {name: value for name, value in kept.items() if name not in ("env", "seed", *ranges)}
        steps = steps or stop.get("steps") or 100_000
        asked = Asked(algo, env, ranges, kept, steps, evaluations, episodes, seed, stop)
        folder = folder or Path("tune") / re.sub(r"[^A-Za-z0-9._-]+", "-", f"{algo}-{env}")
        for line in [*made.notes, f"searching: {', '.join(ranges)}", f"folder: {folder}"]:
            click.echo(line)
        best = search(config, asked, folder, trials, click.echo)
    click.echo(f"best: rlkit train {algo} {quoted(env)} --preset {quoted(str(best))}")
