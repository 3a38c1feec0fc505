"""Carrying out a run from the command line: begun or gone on with, shown while it goes on, and summed up."""

from __future__ import annotations

import gc
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from rlkit_core.cli.given import apply_setting, apply_wraps
from rlkit_core.plugins import PluginWarning

if TYPE_CHECKING:
    from rlkit_core.algorithm.config.config import AlgorithmConfig
    from rlkit_core.checkpoint.locate import Which
    from rlkit_core.run.run import Run
    from rlkit_core.run.stop import Stop
    from rlkit_core.run.summary import RunSummary

no_plot_option = click.option("--no-plot", is_flag=True, help="Draw no learning curve.")
quiet_option = click.option("--quiet", is_flag=True, help="Show no progress; the summary stays.")
profile_option = click.option(
    "--profile", is_flag=True, help="Measure where the time goes: say so at the end, and in profile.json."
)


def go_on(
    path: Path,
    run_dir: Path | None,
    settings: Sequence[str] = (),
    *,
    stop: Stop | None = None,
    episodes: int | None = None,
    more_steps: int | None = None,
    like: AlgorithmConfig | None = None,
    env: str | None = None,
    wraps: Sequence[str] = (),
    which: Which = "last",
    no_plot: bool = False,
    quiet: bool = False,
    profile: bool = False,
) -> NoReturn:
    """Go on with a run, and end the process; where it has reached its end, say so.

    Args:
        path: the run folder, or a checkpoint.
        run_dir: where it goes on; its own folder unless given.
        settings: ``KEY=VALUE`` of ``--set``.
        stop, episodes, no_plot: what takes the place of the run's own.
        more_steps, like, env, which: see :func:`~rlkit_core.run.resuming.going_on.going_on`.
        wraps: the run's wrappers again, of ``--wrap``.
        quiet: show no progress.
        profile: measure where the time goes.
    """
    from rlkit_core.run.resuming.going_on import RunEndedError, going_on
    from rlkit_core.run.run import Run

    def change(config: AlgorithmConfig) -> None:
        apply_wraps(config, wraps)
        for text in settings:
            apply_setting(config, text)

    try:
        one = going_on(
            path,
            which=which,
            like=like,
            env=env,
            change=change,
            stop=stop,
            more_steps=more_steps,
            evaluation_episodes=episodes,
            plot=False if no_plot else None,
        )
    except RunEndedError as ended:
        click.echo(str(ended))
        sys.exit(0)
    notes = [f"resuming from {one.checkpoint}, iteration {one.position.iteration}", *one.notes]
    carry_out(
        Run(one.config, run_dir, resume=one, profile=profile), [*notes, f"until: {in_words(one.stop)}"], quiet=quiet
    )


def carry_out(run: Run, notes: Sequence[str], *, quiet: bool) -> NoReturn:
    """Train, show it, and end the process with the run's exit code.

    Raises:
        RLKitError: as :meth:`Run.check` and :meth:`Run.fit`.
    """
    from rlkit_core.run.progress import make_progress
    from rlkit_core.run.signals import Interrupted

    run.check()
    if not gc.isenabled():  # all is imported by now
        gc.freeze()
        gc.enable()
    if not quiet:
        for note in [*notes, f"run folder: {run.run_dir}"]:
            click.echo(note)
    until = f"until {in_words(run.stop)}"
    run.progress = make_progress(quiet=quiet, stop=run.stop, title=str(run.run_dir), until=until)
    try:
        summary = run.fit()
    except (Interrupted, KeyboardInterrupt) as error:
        run.progress.close()
        click.echo("\n".join(["interrupted", *what_is_left(run.newest_checkpoint)]), err=True)
        sys.exit(128 + int(error.args[0] if error.args else 2))
    finally:
        run.progress.close()
    print_summary(summary, run.stop)
    if run.profile is not None:
        click.echo(f"\n{run.profile}")
    sys.exit(summary.exit_code)


def in_words(stop: Stop) -> str:
    """What ends a run, on one line."""
    limits = (stop.return_mean, *stop.limits, stop.patience)
    texts = ("mean return {:g}", "{:,} steps", "{:,} iterations", "{:g} s", "{:,} evaluations without a better one")
    criteria = zip(texts, limits, strict=True)
    return " or ".join(text.format(value) for text, value in criteria if value is not None) or "it is interrupted"


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
    failed = summary.evaluation_episodes_failed
    cut = summary.evaluation_episodes_cut - failed
    if math.isnan(summary.evaluation_return_mean):
        result = f"all {cut} evaluation episodes were cut" if cut else f"not evaluated: {summary.detail}"
        if failed:
            result = f"none of {cut + failed} evaluation episodes ended"
    else:
        result = (
            f"mean return {summary.evaluation_return_mean:.1f} over {summary.evaluation_episodes} "
            f"deterministic evaluation episodes{target}"
        )
        if cut:
            result += f"; {cut} more did not end and were cut"
        if failed:
            result += f"; {failed} more broke off because their env failed"
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
