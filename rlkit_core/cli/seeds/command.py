"""What ``rlkit train --seeds`` and ``rlkit resume`` of its folder do: begin, show, and sum up the runs of all seeds."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from rlkit_core.checkpoint import files
from rlkit_core.checkpoint.locate import quoted, read_index
from rlkit_core.cli.seeds.options import SEED_RUNS
from rlkit_core.cli.seeds.processes import TELL_S, Process, cores, run_all
from rlkit_core.cli.seeds.table import Reached, lines, reached
from rlkit_core.errors import CheckpointError, ConfigError
from rlkit_core.run.lock import RunLock
from rlkit_core.run.output import unfailing, unfailing_output
from rlkit_core.run.progress import is_live
from rlkit_core.run.run_folder import make_run_dir, write_json

Shown = tuple[Callable[[str], object], Callable[[Mapping[int, str]], object]]


def train_seeds(ctx: click.Context, seeds: Sequence[int], folder: Path, jobs: int | None, *, quiet: bool) -> NoReturn:
    """Train a run for each seed into a folder of its own, and end the process.

    Args:
        ctx: of the command, whose other options the runs get.
        seeds: of the runs.
        folder: where the runs' folders are made; new or empty.
        jobs: how many at a time; one a core unless given.
        quiet: show the table alone.

    Raises:
        ConfigError: the folder cannot be used.
    """
    make_run_dir(folder)
    words = words_of(ctx, "seeds", "jobs", "seed", "run_dir", "quiet")
    about = {"format": 1, "arguments": words, "folder": os.getcwd(), "seeds": list(seeds)}
    write_json(folder / SEED_RUNS, about)
    _run(folder, seeds, Path.cwd(), lambda seed: _begin(words, folder, seed), jobs, quiet=quiet)


def resume_seeds(ctx: click.Context, folder: Path, jobs: int | None, *, quiet: bool) -> NoReturn:
    """Go on with the runs of a folder of ``train --seeds``: those that did not begin are begun.

    Args:
        ctx: of the command, whose other options the runs get that go on.
        folder: the folder.
        jobs, quiet: as for :func:`train_seeds`.

    Raises:
        ConfigError: the folder does not say which runs it has, or one of them is about to begin in another process.
    """
    try:
        about: Any = json.loads(files.read_bytes(folder / SEED_RUNS, files.METADATA_LIMIT))
        words, seeds, place = list(about["arguments"]), [int(seed) for seed in about["seeds"]], Path(about["folder"])
    except (CheckpointError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder / SEED_RUNS} does not say which runs there are: {error}") from error
    more = words_of(ctx, "run", "run_dir", "jobs", "quiet")[1:]

    def command(seed: int) -> list[str]:
        run = folder_of(folder, seed)
        if read_index(run).checkpoints:
            return ["resume", str(run.resolve()), *more]
        if run.exists():  # it ended before its first checkpoint
            lock = RunLock(run, lambda text: None)
            lock.take()  # or it has not ended, which is an error
            lock.release()
            run.rename(run.with_name(f"{run.name}-before-{time.strftime('%Y%m%d-%H%M%S')}"))
        return _begin(words, folder, seed)

    _run(folder, seeds, place, command, jobs, quiet=quiet)


def folder_of(folder: Path, seed: int) -> Path:
    """The run folder of a seed."""
    return folder / f"seed-{seed}"


def words_of(ctx: click.Context, *left_out: str) -> list[str]:
    """The command and what was given to it, as a command line has it, but for some parameters."""
    words = [str(ctx.info_name)]
    for param in ctx.command.params:
        name, value = str(param.name), ctx.params.get(str(param.name))
        given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if name in left_out or not given or value is None:
            continue
        if not isinstance(param, click.Option):
            words.append(str(value))
        elif param.is_flag:
            words.append(param.opts[0])
        else:
            words += [word for one in (value if param.multiple else [value]) for word in (param.opts[0], str(one))]
    return words


def _begin(words: Sequence[str], folder: Path, seed: int) -> list[str]:
    return [*words, "--seed", str(seed), "--run-dir", str(folder_of(folder, seed).resolve())]


def _run(
    folder: Path,
    seeds: Sequence[int],
    place: Path,
    command: Callable[[int], list[str]],
    jobs: int | None,
    *,
    quiet: bool,
) -> NoReturn:
    rlkit = (sys.executable, "-m", "rlkit_core")
    processes = [Process(seed, (*rlkit, *command(seed)), folder / f"seed-{seed}.log") for seed in seeds]
    jobs = min(jobs or cores(), len(seeds))
    with unfailing_output():
        if not quiet:
            click.echo(f"{len(seeds)} runs, {jobs} at a time, in {folder}")
        with _nothing() if quiet else _live() if is_live() else _plain() as (say, show):
            number = run_all(processes, folder=place, jobs=jobs, say=say, show=show)
        rows = [reached(one.seed, folder_of(folder, one.seed), one.code) for one in processes]
        click.echo("\n".join(["", *lines(rows)]))
        unfinished = number is not None or any(not _is_finished(row) for row in rows)
        if unfinished:
            click.echo(f"go on with those that have not ended: rlkit resume {quoted(folder)}")
    sys.exit(128 + number if number is not None else 1 if unfinished else 0)


def _is_finished(row: Reached) -> bool:
    return row.state in ("solved", "limit", "stopped")


@contextmanager
def _nothing() -> Iterator[Shown]:
    yield (lambda text: None), (lambda running: None)


@contextmanager
def _plain() -> Iterator[Shown]:
    told = time.monotonic()

    def show(running: Mapping[int, str]) -> None:
        nonlocal told
        if time.monotonic() - told > TELL_S:
            told = time.monotonic()
            for seed, line in running.items():
                click.echo(f"seed {seed}: {line or 'starting'}")

    yield click.echo, show


@contextmanager
def _live() -> Iterator[Shown]:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    console = Console(file=unfailing(sys.stdout), highlight=False)

    def show(running: Mapping[int, str]) -> None:
        table = Table.grid(padding=(0, 2))
        for seed, line in running.items():
            table.add_row(f"seed {seed}", line or "starting")
        live.update(table)

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    with Live(console=console, refresh_per_second=2, transient=True) as live:
        yield say, show
