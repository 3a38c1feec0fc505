"""``rlkit verify RUN``: train the last stretch of a run again, and say whether the same comes out, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rlkit_core.cli.carry_out import warnings_as_notes
from rlkit_core.cli.output import stdout_for_the_report

if TYPE_CHECKING:
    from rlkit_core.run.resuming.verify import Verification

MOST_SHOWN = 10
"""Differences that are listed in text; JSON has all."""


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--env", help="module.path:name of the environment, where it was a function.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def verify(ctx: click.Context, run: Path, env: str | None, as_json: bool) -> None:
    """Prove that RUN can be repeated: train from its last but one checkpoint to the last one, and compare.

    It is trained in a temporary folder, with as many torch threads as RUN had; nothing of RUN is changed. The exit code
    is 0 where all arrays and values of all components are equal, bit for bit, and 1 where anything differs.

    \b
    Examples:
      rlkit verify runs/mine
    """
    with stdout_for_the_report(), warnings_as_notes():
        from rlkit_core.run.resuming.verify import verify as train_again

        found = train_again(run, env=env, tell=lambda text: click.echo(text, err=True))
    if as_json:
        click.echo(json.dumps(_data(found), indent=1))
    else:
        for line in _text(found):
            click.echo(line)
    ctx.exit(0 if found.is_equal else 1)


def _data(found: Verification) -> dict[str, object]:
    return {
        "equal": found.is_equal,
        "first": str(found.first),
        "second": str(found.second),
        "iterations": [found.begin, found.end],
        "threads": found.threads,
        "arrays": found.arrays,
        "differences": [{"component": d.component, "name": d.name, "what": d.text} for d in found.differences],
        "not_promised": list(found.outside),
        "notes": list(found.notes),
    }


def _text(found: Verification) -> Iterator[str]:
    differ: dict[str, int] = {}
    for difference in found.differences:
        differ[difference.component] = differ.get(difference.component, 0) + 1
    for component in dict.fromkeys([*found.arrays, *differ]):
        count = found.arrays.get(component, 0)
        state = f"{differ[component]} differences" if component in differ else "equal"
        yield f"{component or 'algorithm'}: {count} {'array' if count == 1 else 'arrays'}, {state}"
    for difference in found.differences[:MOST_SHOWN]:
        where = f"{difference.component or 'algorithm'}, {difference.name}"
        yield f"  {where}: {difference.text}"
    if len(found.differences) > MOST_SHOWN:
        yield f"  and {len(found.differences) - MOST_SHOWN} more (--json lists all)"
    for reason in found.outside:
        yield f"not promised here: {reason}"
    for note in found.notes:
        yield f"note: {note}"
    end = f"iterations {found.begin} to {found.end}"
    if found.is_equal:
        yield f"equal: {end}, trained again, give {found.second} bit for bit"
    elif found.outside:
        yield f"different: {end}, trained again, do not give {found.second}; here that was not promised"
    elif found.notes:
        yield f"different: {end}, trained again, do not give {found.second}; the notes may say why"
    else:
        yield f"different: {end}, trained again, do not give {found.second}, which they should"
