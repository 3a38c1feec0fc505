"""``rlkit resume RUN``: go on with a run as if it had never ended, or with something changed."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal

import click

from rlkit_core.cli.carry_out import go_on, no_plot_option, profile_option, quiet_option, warnings_as_notes
from rlkit_core.cli.given import settings_option, wrap_option
from rlkit_core.cli.named import check_given_once, own_env
from rlkit_core.cli.seeds.options import is_of_seeds, jobs_option
from rlkit_core.run.output import unfailing_output


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--more-steps", type=click.IntRange(min=1), help="Move the run's limit by so many environment steps.")
@settings_option
@click.option("--env", help="module.path:name or ./file.py:name of the environment, where the run does not find it.")
@wrap_option
@click.option(
    "--which",
    type=click.Choice(["last", "best"]),
    default="last",
    show_default=True,
    help="Go on from the newest checkpoint, or from that of the best evaluation (elsewhere, with --run-dir).",
)
@click.option("--run-dir", type=click.Path(path_type=Path), help="Go on in another, new folder.  [default: RUN]")
@jobs_option
@profile_option
@no_plot_option
@quiet_option
@click.pass_context
def resume(
    ctx: click.Context,
    run: Path,
    more_steps: int | None,
    settings: tuple[str, ...],
    env: str | None,
    wraps: tuple[str, ...],
    which: Literal["last", "best"],
    run_dir: Path | None,
    jobs: int | None,
    profile: bool,
    no_plot: bool,
    quiet: bool,
) -> None:
    """Go on with RUN (a run folder, or a checkpoint) from its newest checkpoint, as if it had never ended.

    Algorithm, environment, settings, limits, counters and seconds are the run's. --set changes a setting from here on
    (not those that shape the module, nor environment and seed), which run.json records. A run that has reached its end
    says so. --wrap names the run's wrappers again, where they are neither gymnasium's nor a plugin's. In a folder of
    `rlkit train --seeds` all runs go on.

    \b
    Examples:
      rlkit resume runs/mine
      rlkit resume runs/mine --more-steps 100000 --set lr=1e-4
    """
    env = None if env is None else own_env(env)
    check_given_once(settings, env=env, wrappers=wraps)
    if is_of_seeds(run):
        if run_dir is not None:
            raise click.UsageError("--run-dir: the runs of `train --seeds` go on in their own folders; leave it out")
        from rlkit_core.cli.seeds.command import resume_seeds

        resume_seeds(ctx, run, jobs, quiet=quiet)
    with unfailing_output(), warnings_as_notes():
        asked = functools.partial(go_on, more_steps=more_steps, env=env, wraps=wraps, which=which)
        asked(run, run_dir, settings, no_plot=no_plot, quiet=quiet, profile=profile)
