"""``rlkit train ALGO ENV``: train, show it, and leave a run folder with a checkpoint."""

from __future__ import annotations

import functools
from pathlib import Path

import attrs
import click

from rlkit_core.cli.carry_out import (
    carry_out,
    go_on,
    in_words,
    no_plot_option,
    profile_option,
    quiet_option,
    warnings_as_notes,
)
from rlkit_core.cli.config.file import ConfigFile, config_option
from rlkit_core.cli.config.made import Given, configure, stop_criteria
from rlkit_core.cli.given import no_preset_option, settings_option, wrap_option
from rlkit_core.cli.named import check_given_once, complete_algo, complete_env
from rlkit_core.cli.seeds.options import jobs_option, seeds_option
from rlkit_core.run.output import unfailing_output
from rlkit_core.run.stop import Stop


@click.command()
@click.argument("algo", required=False, shell_complete=complete_algo)
@click.argument("env", required=False, shell_complete=complete_env)
@config_option
@click.option("--seed", type=click.IntRange(min=0), help="Root of all random numbers; drawn and recorded if not given.")
@click.option("--stop-return", type=float, help="Stop when the deterministic evaluation reaches this mean return.")
@click.option("--stop-steps", type=click.IntRange(min=1), help="Stop after this many environment steps.")
@click.option("--stop-iters", type=click.IntRange(min=1), help="Stop after this many iterations.")
@click.option("--stop-seconds", type=click.FloatRange(min=0, min_open=True), help="Stop after this many seconds.")
@click.option(
    "--patience",
    type=click.IntRange(min=1),
    help="Stop after this many evaluations in a row without a better mean return than the best one so far.",
)
@click.option("--run-dir", type=click.Path(path_type=Path), help="The run folder.  [default: a new one in runs/]")
@wrap_option
@settings_option
@no_preset_option
@click.option(
    "--preset",
    "preset_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Tuned settings of a file, such as 'rlkit tune' writes, in place of the algorithm's.",
)
@click.option(
    "--video-every",
    type=click.IntRange(min=1),
    metavar="N",
    help="Record an episode every N iterations, into videos of the run folder. Needs rlkit-tools[video].",
)
@click.option(
    "--evaluate",
    "episodes",
    type=click.IntRange(min=1),
    help="Deterministic episodes of the evaluation that decides and of the final one.  [default: 100]",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Go on from a run folder or a checkpoint, with what that says, as far as nothing else is given here.",
)
@click.option(
    "--from",
    "weights",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Begin with the module weights of a run folder or a checkpoint; all else is new.",
)
@click.option(
    "--log", multiple=True, metavar="NAME", help="Give the results to this writer too, by name. May be repeated."
)
@seeds_option
@jobs_option
@profile_option
@no_plot_option
@quiet_option
@click.pass_context
def train(
    ctx: click.Context,
    algo: str | None,
    env: str | None,
    file: ConfigFile | None,
    seed: int | None,
    stop_return: float | None,
    stop_steps: int | None,
    stop_iters: int | None,
    stop_seconds: float | None,
    patience: int | None,
    run_dir: Path | None,
    wraps: tuple[str, ...],
    settings: tuple[str, ...],
    no_preset: bool,
    preset_file: Path | None,
    video_every: int | None,
    episodes: int | None,
    resume: Path | None,
    weights: Path | None,
    log: tuple[str, ...],
    seeds: int | None,
    jobs: int | None,
    profile: bool,
    no_plot: bool,
    quiet: bool,
) -> None:
    """Train ALGO (an installed algorithm, such as ppo) in ENV (an id, such as CartPole-v1).

    ENV is gymnasium's id of an environment, PettingZoo's (mpe2/simple_spread_v3), or a class or function by
    module.path:name (of a module in the current folder too) or ./file.py:name. The algorithm's tuned settings for the
    environment are used where it has some, otherwise those for its spaces. Ctrl-C ends the run after the iteration in
    progress, with a checkpoint.

    \b
    Examples:
      rlkit train ppo CartPole-v1
      rlkit train sac Pendulum-v1 --set lr=1e-3 --stop-steps 20000 --patience 5
      rlkit train ppo CartPole-v1 --seeds 5 --jobs 2
      rlkit train --config run.toml --run-dir runs/mine
    """
    given = Given(algo, env, settings, wraps, log, seed, file, not no_preset)
    check_given_once(settings, **{"plugin.rlkit-tools.video_every": video_every})
    given = given.checked()
    of_new_runs = (seed, file, preset_file, video_every, weights)
    if resume is not None and (no_preset or log or any(one is not None for one in of_new_runs)):
        left_out = "--seed, --config, --preset, --no-preset, --video-every, --log and --from"
        raise click.UsageError(f"--resume takes the rest from the run; leave out {left_out}")
    if jobs is not None and seeds is None:
        raise click.UsageError("--jobs says how many of --seeds are trained at a time; give --seeds too")
    if seeds is not None and resume is not None:
        raise click.UsageError("--seeds begins new runs; `rlkit resume FOLDER` goes on with those of a folder")
    if no_preset and preset_file is not None:
        raise click.UsageError("--preset and --no-preset: keep one of them")
    from rlkit_core.algorithm import get_algorithm_config
    from rlkit_core.algorithm.config.presets import read_preset
    from rlkit_core.run.beginning import check_to_train
    from rlkit_core.run.run import Run

    with unfailing_output(), warnings_as_notes():
        own = Stop(stop_return, stop_steps, stop_iters, stop_seconds, patience)
        if resume is not None:
            like = get_algorithm_config(given.algo or "").environment(given.env)
            asked = functools.partial(go_on, like=like, wraps=wraps, stop=own, episodes=episodes)
            asked(resume, run_dir, settings, no_plot=no_plot, quiet=quiet, profile=profile)
        if preset_file is not None:
            given = attrs.evolve(given, preset=read_preset(preset_file))
        made = configure(given)
        if video_every is not None:
            made.config.plugin("rlkit-tools", video_every=video_every)
            made.config.callbacks(plugins=[*made.config.plugins, "rlkit-tools/video"])
        stop = stop_criteria(own, made.config, given)
        notes = [] if weights is None else [f"weights from {weights}; all else is new"]
        episodes = episodes or (None if given.file is None else given.file.ends()[1])
        run = Run(
            made.config,
            run_dir,
            stop=stop,
            evaluation_episodes=episodes,
            plot=not no_plot,
            weights_from=weights,
            origins=made.origins,
            profile=profile,
        )
        if seeds is not None:
            from rlkit_core.cli.seeds.command import train_seeds

            check_to_train(made.config.copy(copy_frozen=False), stop)
            first = 1 if seed is None else seed
            train_seeds(ctx, range(first, first + seeds), run.run_dir, jobs, quiet=quiet)
        carry_out(run, [*notes, *made.notes, f"until: {in_words(stop)}"], quiet=quiet)
