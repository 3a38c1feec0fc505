"""``rlkit train ALGO ENV``: train, show it, and leave a run folder with a checkpoint."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rlkit_core.cli.carry_out import carry_out, go_on, in_words, no_plot_option, quiet_option, warnings_as_notes
from rlkit_core.cli.given import apply_setting, apply_wraps, settings_option, wrap_option
from rlkit_core.cli.named import check_given_once, check_named, own_env
from rlkit_core.run.output import unfailing_output
from rlkit_core.run.stop import DEFAULT_STEPS, Stop, reward_threshold

if TYPE_CHECKING:
    from rlkit_core.algorithm.config.config import AlgorithmConfig
    from rlkit_core.algorithm.config.generic import GenericSettings


@click.command()
@click.argument("algo")
@click.argument("env")
@click.option("--seed", type=click.IntRange(min=0), help="Root of all random numbers; drawn and recorded if not given.")
@click.option("--stop-return", type=float, help="Stop when the deterministic evaluation reaches this mean return.")
@click.option("--stop-steps", type=click.IntRange(min=1), help="Stop after this many environment steps.")
@click.option("--stop-iters", type=click.IntRange(min=1), help="Stop after this many iterations.")
@click.option("--stop-seconds", type=click.FloatRange(min=0, min_open=True), help="Stop after this many seconds.")
@click.option("--run-dir", type=click.Path(path_type=Path), help="The run folder.  [default: a new one in runs/]")
@wrap_option
@settings_option
@click.option(
    "--no-preset", is_flag=True, help="Leave out the algorithm's tuned settings for the environment, or for its spaces."
)
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
@no_plot_option
@quiet_option
def train(
    algo: str,
    env: str,
    seed: int | None,
    stop_return: float | None,
    stop_steps: int | None,
    stop_iters: int | None,
    stop_seconds: float | None,
    run_dir: Path | None,
    wraps: tuple[str, ...],
    settings: tuple[str, ...],
    no_preset: bool,
    preset_file: Path | None,
    video_every: int | None,
    episodes: int | None,
    resume: Path | None,
    weights: Path | None,
    no_plot: bool,
    quiet: bool,
) -> None:
    """Train ALGO (an installed algorithm, such as ppo) in ENV (an id, such as CartPole-v1).

    ENV is gymnasium's id of an environment, PettingZoo's (mpe2/simple_spread_v3), or a class or function by
    module.path:name (of a module in the current folder too) or ./file.py:name. The algorithm's tuned settings for the
    environment are used where it has some, otherwise those for its spaces. Ctrl-C ends the run after the iteration in
    progress, with a checkpoint.
    """
    env = own_env(env)
    check_given_once(settings, env=env, seed=seed, wrappers=wraps)
    check_named(algo, env)
    of_new_runs = (seed, preset_file, video_every, weights)
    if resume is not None and (no_preset or any(one is not None for one in of_new_runs)):
        left_out = "--seed, --preset, --no-preset, --video-every and --from"
        raise click.UsageError(f"--resume takes the rest from the run; leave out {left_out}")
    if no_preset and preset_file is not None:
        raise click.UsageError("--preset and --no-preset: keep one of them")
    from rlkit_core.algorithm import get_algorithm_config
    from rlkit_core.algorithm.config.presets import read_preset
    from rlkit_core.run.run import Run

    with unfailing_output(), warnings_as_notes():
        config = get_algorithm_config(algo)
        own = Stop(stop_return, stop_steps, stop_iters, stop_seconds)
        if resume is not None:
            config.environment(env)
            asked = functools.partial(go_on, like=config, wraps=wraps, stop=own, episodes=episodes)
            asked(resume, run_dir, settings, no_plot=no_plot, quiet=quiet)
        notes: list[str] = [] if weights is None else [f"weights from {weights}; all else is new"]
        own_preset = None if preset_file is None else read_preset(preset_file)
        preset = not no_preset if own_preset is None else own_preset
        configure(config, env, seed, settings, wraps, preset=preset, notes=notes)
        if video_every is not None:
            config.plugin("rlkit-tools", video_every=video_every)
            config.callbacks(plugins=[*config.plugins, "rlkit-tools/video"])
        stop = stop_criteria(own, config, env, preset=preset, notes=notes)
        from rlkit_core.run.run_folder import default_run_dir

        folder = run_dir or default_run_dir(algo, env)
        run = Run(config, folder, stop=stop, evaluation_episodes=episodes, plot=not no_plot, weights_from=weights)
        carry_out(run, notes, quiet=quiet)


def configure(
    config: AlgorithmConfig,
    env: str,
    seed: int | None,
    settings: tuple[str, ...],
    wraps: tuple[str, ...] = (),
    *,
    preset: bool | Mapping[str, Any],
    notes: list[str],
) -> list[GenericSettings]:
    """Apply the command line to a config: environment, settings, and the preset below them; append to ``notes``.

    Where there is no preset, settings are chosen by the env's spaces, if the algorithm has some.

    Args:
        config: what is changed.
        env, seed, settings, wraps: of the command line.
        preset: whether to use the algorithm's, or another one in its place.
        notes: what is said of it goes there.

    Returns:
        Those that were.

    Raises:
        ConfigError: a setting that does not exist or takes no such value.
    """
    from rlkit_core.algorithm.config.generic import ANY
    from rlkit_core.algorithm.config.presets import fill_in, preset_name
    from rlkit_core.envs.naming.known import families

    config.environment(env)
    apply_wraps(config, wraps)
    for text in settings:
        apply_setting(config, text)
    if seed is not None:
        config.debugging(seed=seed)
    generic: list[GenericSettings] = []
    if not isinstance(preset, bool):
        fill_in(config, preset)
        used = "those of --preset"
    elif preset and config.apply_preset(env):
        name = preset_name(type(config), env)
        of = f"tuned preset for {env}" if name not in families() else f"preset for {env}, of the family {name}"
        used = f"{of} (--no-preset leaves it out)"
    else:
        generic = config.apply_generic() if preset else []
        kinds = " and ".join([one.kind for one in generic if one.kind != ANY] or [ANY])
        used = f"generic ones for {kinds} (--no-preset leaves them out)" if generic else "defaults"
        used += f"; it has no preset for {env}" if preset else ""
    notes.append(f"settings: {type(config).__name__}'s {used}")
    return generic


def stop_criteria(
    own: Stop | None, config: AlgorithmConfig, env: str, *, preset: bool | Mapping[str, Any], notes: list[str]
) -> Stop:
    """What was asked for, above the preset's, above the environment's own threshold; never without an end."""
    from rlkit_core.algorithm.config.presets import preset_for

    own = own or Stop()
    used = (preset_for(type(config), env) if preset else None) if isinstance(preset, bool) else preset
    below = (used or {}).get("stop", {})
    targets = (own.return_mean, below.get("return"), reward_threshold(env))
    target = next((one for one in targets if one is not None), None)
    preset_limits = (below.get("steps"), below.get("iterations"), below.get("seconds"))
    kinds = ((own.steps, own.iterations, own.seconds), preset_limits, (DEFAULT_STEPS, None, None))
    limits = next(limits for limits in kinds if limits != (None, None, None))
    stop = Stop(target, *limits)
    notes.append(f"until: {in_words(stop)}")
    return stop
