"""Which policy a command is about: the options that ``export`` and ``record`` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rlkit_core.cli.named import complete_env, own_env

if TYPE_CHECKING:
    from rlkit_core.run.policy.policy import Policy

_OPTIONS = (
    click.argument("run", type=click.Path(path_type=Path)),
    click.option(
        "--which",
        type=click.Choice(["best", "last"]),
        help="Checkpoint of a run folder.  [default: best, where the run has one]",
    ),
    click.option("--module", "module_id", metavar="ID", help="Which of several modules."),
    click.option(
        "--env",
        shell_complete=complete_env,
        help="To play in: an id, or module.path:name or ./file.py:name.  [default: the run's]",
    ),
)


def policy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function the arguments of :func:`read_policy`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_policy(
    run: Path, which: str | None, module_id: str | None, env: str | None, *, explore: bool = False
) -> tuple[Policy, Path]:
    """The policy, and the checkpoint that it was read from.

    Raises:
        CheckpointError: there is none.
    """
    from rlkit_core import load_policy
    from rlkit_core.checkpoint.locate import is_run, locate, read_index

    if which is None:
        which = "best" if is_run(run) and read_index(run).best is not None else "last"
    checkpoint = locate(run, "best" if which == "best" else "last")
    named = None if env is None else own_env(env)
    return load_policy(checkpoint, module_id=module_id, explore=explore, env=named), checkpoint
