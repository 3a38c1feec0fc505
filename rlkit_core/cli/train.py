"""``rlkit train ALGO ENV``: train, show it, and leave a run folder with a checkpoint."""

from __future__ import annotations

import ast
import json
import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rlkit_core.cli.named import check_named
from rlkit_core.errors import ConfigError
from rlkit_core.plugins import PluginWarning
from rlkit_core.run.output import unfailing_output
from rlkit_core.run.stop import DEFAULT_STEPS, Stop, reward_threshold

if TYPE_CHECKING:
    from rlkit_core.algorithm.config.config import AlgorithmConfig
    from rlkit_core.run.summary import RunSummary

NESTED = ("model_config", "env_config", "learner_config_dict", "evaluation_config", "components")

settings_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting: lr=3e-4, model_config.fcnet_hiddens=[64,64], env_config.gravity=12, "
    "plugin.acme-rnd.bonus=0.5. May be repeated.",
)


@click.command()
@click.argument("algo")
@click.argument("env")
@click.option("--seed", type=click.IntRange(min=0), help="Root of all random numbers; drawn and recorded if not given.")
@click.option("--stop-return", type=float, help="Stop when the deterministic evaluation reaches this mean return.")
@click.option("--stop-steps", type=click.IntRange(min=1), help="Stop after this many environment steps.")
@click.option("--stop-iters", type=click.IntRange(min=1), help="Stop after this many iterations.")
@click.option("--stop-seconds", type=click.FloatRange(min=0, min_open=True), help="Stop after this many seconds.")
@click.option("--run-dir", type=click.Path(path_type=Path), help="The run folder.  [default: a new one in runs/]")
@settings_option
@click.option("--no-preset", is_flag=True, help="Leave out the algorithm's tuned settings for this environment.")
@click.option(
    "--evaluate",
    "episodes",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Deterministic episodes of the evaluation that decides and of the final one.",
)
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="CHECKPOINT", help="Go on from a checkpoint or a run folder."
)
@click.option("--no-plot", is_flag=True, help="Draw no learning curve.")
@click.option("--quiet", is_flag=True, help="Show no progress; the summary stays.")
def train(
    algo: str,
    env: str,
    seed: int | None,
    stop_return: float | None,
    stop_steps: int | None,
    stop_iters: int | None,
    stop_seconds: float | None,
    run_dir: Path | None,
    settings: tuple[str, ...],
    no_preset: bool,
    episodes: int,
    resume: Path | None,
    no_plot: bool,
    quiet: bool,
) -> None:
    """Train ALGO (an installed algorithm, such as ppo) in ENV (an id, such as CartPole-v1).

    ENV is gymnasium's id of an environment, PettingZoo's (mpe2/simple_spread_v3), or module.path:name of a class or
    function. The algorithm's tuned settings for the environment are used where it has some. Ctrl-C ends the run after
    the iteration in progress, with a checkpoint.
    """
    check_named(algo, env, settings)
    from rlkit_core.algorithm import get_algorithm_config
    from rlkit_core.checkpoint.locate import locate, run_of
    from rlkit_core.run.progress import make_progress
    from rlkit_core.run.run import Run
    from rlkit_core.run.run_folder import default_run_dir
    from rlkit_core.run.signals import Interrupted

    with unfailing_output(), warnings_as_notes():
        config = get_algorithm_config(algo)
        own = Stop(stop_return, stop_steps, stop_iters, stop_seconds)
        notes: list[str] = []
        if resume is None:
            configure(config, env, seed, settings, preset=not no_preset, notes=notes)
            folder = run_dir or default_run_dir(algo, env)
        else:
            if settings or seed is not None or no_preset:
                raise click.UsageError(
                    "--resume takes all settings from the checkpoint; leave out --set, --seed and --no-preset"
                )
            config.environment(env)
            resume = locate(resume)
            folder = run_dir or run_of(resume) or default_run_dir(algo, env)
            notes.append(f"resuming from {resume}")
        stop = stop_criteria(own, config, env, use_preset=not no_preset, notes=notes)
        run = Run(config, folder, stop=stop, evaluation_episodes=episodes, resume=resume, plot=not no_plot)
        run.check()
        if not quiet:
            for note in [*notes, f"run folder: {folder}"]:
                click.echo(note)
        run.progress = make_progress(quiet=quiet, total_steps=stop.steps)
        try:
            summary = run.fit()
        except (Interrupted, KeyboardInterrupt) as error:
            run.progress.close()
            click.echo("\n".join(["interrupted", *what_is_left(run.newest_checkpoint)]), err=True)
            sys.exit(128 + int(error.args[0] if error.args else 2))
        finally:
            run.progress.close()
        print_summary(summary, stop)
        sys.exit(summary.exit_code)


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Show each warning once, as one line without control codes (gymnasium colours its own)."""
    usual, seen = warnings.showwarning, set[str]()

    def show(message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any) -> None:
        text = click.unstyle(str(message))
        if issubclass(category, PluginWarning):
            usual(message, category, *args, **kwargs)
        elif text not in seen:
            seen.add(text)
            click.echo(f"note: {text}", err=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def configure(
    config: AlgorithmConfig, env: str, seed: int | None, settings: tuple[str, ...], *, preset: bool, notes: list[str]
) -> None:
    """Apply the command line to a config: environment, settings, and the preset below them; append to ``notes``.

    Raises:
        ConfigError: a setting that does not exist or takes no such value.
    """
    config.environment(env)
    for text in settings:
        apply_setting(config, text)
    if seed is not None:
        config.debugging(seed=seed)
    if preset and config.apply_preset(env):
        used = f"tuned preset for {env} (--no-preset leaves it out)"
    else:
        used = f"defaults; it has no preset for {env}" if preset else "defaults"
    notes.append(f"settings: {type(config).__name__}'s {used}")


def apply_setting(config: AlgorithmConfig, text: str) -> None:
    """Apply one ``KEY=VALUE``; ``model_config.KEY`` and the like set one entry of a free-form setting.

    Raises:
        ConfigError: no ``=``, no such setting, or a value it does not take.
    """
    key, sign, value_text = text.partition("=")
    key = key.strip()
    if not sign or not key:
        raise ConfigError(f"--set {text!r}: expected KEY=VALUE, such as lr=3e-4")
    value = parse_value(value_text.strip())
    name, dot, inner = key.partition(".")
    if not dot:
        config.update_from_dict({key: value})
        return
    if name == "plugin" and "." in inner:
        distribution, _, inner = inner.partition(".")
        config.plugin(distribution, **{inner: value})
        return
    if name == "rl_module_spec" and inner:
        from rlkit_core.rl_module import RLModuleSpec

        spec = config.stored(name) or RLModuleSpec()
        if not isinstance(spec, RLModuleSpec):
            raise ConfigError(f"--set {text!r}: the config has a {type(spec).__name__}; write what it is to have there")
        config.update_from_dict({name: spec.copy().change({inner: value})})
        return
    if name not in NESTED or not inner:
        parts = ", ".join((*NESTED, "rl_module_spec"))
        raise ConfigError(f"--set {text!r}: only {parts} and plugin.DISTRIBUTION have entries of their own")
    whole = config.to_dict()[name]
    entry = whole
    *parents, last = [inner] if name == "components" else inner.split(".")  # places hold dots: encoder:camera.front
    for parent in parents:
        entry = entry.setdefault(parent, {})
        if not isinstance(entry, dict):
            raise ConfigError(f"--set {text!r}: {parent!r} is {entry!r}, which has no entries")
    entry[last] = value
    config.update_from_dict({name: whole})


def parse_value(text: str) -> Any:
    """A value as JSON or Python writes it; anything else is a text."""
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    for read in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError):
            return read(text)
    return text


def stop_criteria(own: Stop | None, config: AlgorithmConfig, env: str, *, use_preset: bool, notes: list[str]) -> Stop:
    """What was asked for, above the preset's, above the environment's own threshold; never without an end."""
    from rlkit_core.algorithm.config.presets import preset_for

    own = own or Stop()
    preset = preset_for(type(config), env) if use_preset else None
    below = (preset or {}).get("stop", {})
    targets = (own.return_mean, below.get("return"), reward_threshold(env))
    target = next((one for one in targets if one is not None), None)
    preset_limits = (below.get("steps"), below.get("iterations"), below.get("seconds"))
    kinds = ((own.steps, own.iterations, own.seconds), preset_limits, (DEFAULT_STEPS, None, None))
    limits = next(limits for limits in kinds if limits != (None, None, None))
    criteria = zip(("mean return {:g}", "{:,} steps", "{:,} iterations", "{:g} s"), (target, *limits), strict=True)
    notes.append(f"until: {' or '.join(text.format(value) for text, value in criteria if value is not None)}")
    return Stop(target, *limits)


def what_is_left(newest: Path | None) -> list[str]:
    """Of a run that ended at once: its newest checkpoint, and how to go on."""
    from rlkit_core.checkpoint.locate import quoted, run_of

    if newest is None:
        return ["no checkpoint was written"]
    return [f"the newest checkpoint is {newest}", f"go on from it: rlkit resume {quoted(run_of(newest) or newest)}"]


def print_summary(summary: RunSummary, stop: Stop) -> None:
    """The last lines of a run."""
    from rlkit_core.checkpoint.locate import quoted
    from rlkit_core.run.progress import clock

    target = "" if stop.return_mean is None else f" (target {stop.return_mean:g})"
    if math.isnan(summary.evaluation_return_mean):
        result = f"not evaluated: {summary.detail}"
    else:
        result = (
            f"mean return {summary.evaluation_return_mean:.1f} over {summary.evaluation_episodes} "
            f"deterministic evaluation episodes{target}"
        )
    heads = {"solved": "solved", "limit": f"ended after {summary.detail}", "stopped": f"ended by {summary.detail}"}
    head = heads.get(summary.reason, summary.reason)
    pace = f"{clock(summary.seconds)}, {summary.steps_per_s:,.0f} steps/s"
    rows = {
        "result": f"{head}: {result}",
        "trained": f"{summary.steps:,} steps, {summary.iterations} iterations, {pace}",
        "run folder": summary.run_dir,
        "checkpoint": summary.checkpoint,
        "plot": summary.plot or "none",
        "again": f"rlkit evaluate {quoted(summary.checkpoint or summary.run_dir)}",
    }
    click.echo("")
    for name, text in rows.items():
        click.echo(f"{name:<11} {text}")
