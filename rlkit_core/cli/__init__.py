"""The ``rlkit`` command."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, TextIO


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; ``sys.argv`` unless ``argv`` is given.

    Exits with 0; 1 where a command reports a finding, or something fails that rlkit does not explain; 2 for wrong usage
    or an error that it does explain.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _plain_warnings()
    if "--debug" in arguments:  # anywhere on the line, also after a sub-command
        arguments.remove("--debug")
        os.environ["RLKIT_DEBUG"] = "1"
    _take_plugin_files(arguments)
    if arguments and arguments[0] in ("plugins", "algorithms") and set(arguments[1:]) <= {"--json"}:
        # The two listings read metadata and print: they answer before click is imported, which would take half
        # of their time. Every other spelling, --help included, goes through click and ends in the same functions.
        from rlkit_core.cli import listing

        try:
            listing.show(arguments[0], as_json="--json" in arguments)
            sys.stdout.flush()
        except BrokenPipeError:  # the reader (head, less) has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if arguments[:1] in (["train"], ["resume"]):
        gc.disable()  # what imports make stays, and looking through it again and again is a tenth of the start
    from rlkit_core.cli.app import cli

    try:
        cli.main(args=arguments, prog_name="rlkit")
    finally:
        gc.enable()


def _take_plugin_files(arguments: list[str]) -> None:
    """Take ``--plugin FILE`` off the line, wherever it stands; workers inherit the variable that it becomes."""
    files = [name for name in os.environ.get("RLKIT_PLUGIN_FILES", "").split(os.pathsep) if name]
    for index in range(len(arguments) - 1, -1, -1):
        name, equals, value = arguments[index].partition("=")
        if name == "--plugin" and (equals or index + 1 < len(arguments)):
            end = index + (1 if equals else 2)
            files.append(os.path.abspath(value if equals else arguments[index + 1]))
            del arguments[index:end]
    if files:
        os.environ["RLKIT_PLUGIN_FILES"] = os.pathsep.join(dict.fromkeys(files))


def _plain_warnings() -> None:
    """Show plugin warnings as one line for people, not with the source line that raised them."""
    from rlkit_core.plugins import PluginWarning

    usual = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> Any:
        if issubclass(category, PluginWarning):
            print(f"Warning: {message}", file=file or sys.stderr)
        else:
            usual(message, category, filename, lineno, file, line)

    warnings.showwarning = show
