"""``rlkit watch RUN``."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
def watch(run: Path) -> None:
    """Show how RUN, a run folder, stands and goes on, until the run ends.

    Another process trains; this one reads what it writes. In a terminal that is the panel of 'rlkit train',
    elsewhere a line for each iteration.

    \b
    Examples:
      rlkit watch runs/mine
    """
    from rlkit_core.checkpoint.locate import is_run, quoted, read_index
    from rlkit_core.errors import CheckpointError
    from rlkit_core.run.progress import make_progress
    from rlkit_core.run.record import read_record
    from rlkit_core.run.run_folder import SUMMARY
    from rlkit_tools.compare.folder import read_json
    from rlkit_tools.following import Lines, follow

    if not is_run(run):
        raise CheckpointError(f"{run} is no run folder: name one that `rlkit train` made, such as runs/NAME")
    record = read_record(run)
    stop = None if record is None else record.stop
    progress = make_progress(stop=stop, title=str(run)) if sys.stdout.isatty() else Lines()
    try:
        follow(run, progress)
    finally:
        progress.close()
    end = read_json(run / SUMMARY)
    if end:
        mean = end.get("evaluation_return_mean")
        click.echo(f"ended: {end['detail']}" + (f"; mean return {mean:.1f}" if isinstance(mean, float) else ""))
    elif read_index(run).checkpoints:
        click.echo(f"nothing trains there, and the run has not reached its end; go on with: rlkit resume {quoted(run)}")
    else:
        click.echo("nothing trains there, and the run has no checkpoint to go on from: begin it anew")
