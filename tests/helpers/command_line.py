"""What every command is held to, the core's and a plugin's: help by examples, one message, completion without torch."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
from click.testing import CliRunner, Result

from rlkit_core.cli.app import cli


def rlkit(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def check_help(name: str) -> None:
    """``--help`` of a command ("config show"; "" for rlkit itself) has examples, which its own parser takes."""
    help_text = rlkit(*name.split(), "--help").output
    examples = [line.strip() for line in help_text.splitlines() if line.startswith("    rlkit ")]
    assert "Examples:" in help_text
    assert examples
    for example in examples:
        words = shlex.split(example.partition(" > ")[0])[1:]
        if words[0] == "COMMAND":
            continue
        assert example.startswith(f"rlkit {name}".rstrip())
        context, command = click.Context(cli), cli.get_command(click.Context(cli), words.pop(0))
        while isinstance(command, click.Group):
            command = command.get_command(context, words.pop(0))
        assert command is not None
        command.make_parser(click.Context(command)).parse_args(words)  # raises at options that are not there


def check_one_message(words: list[str], says: str) -> None:
    """A line ends with code 2 and one message, and leaves the current folder as it was."""
    before = sorted(Path().rglob("*"))
    result = rlkit(*words)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert "Traceback" not in result.output
    assert result.stderr.count("Error: ") == 1
    assert sorted(Path().rglob("*")) == before


def completed(line: str, *, home: Path) -> list[str]:
    """What bash would offer for the last word of a line, which has to be found without importing torch."""
    words = shlex.split(line) + ([""] if line.endswith(" ") else [])
    asked = {"_RLKIT_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    env = {**os.environ, **asked, "PYTHONPATH": str(Path(__file__).parent), "XDG_CONFIG_HOME": str(home)}
    show = "print('torch' in sys.modules, file=sys.stderr)"
    code = f"import sys, atexit\natexit.register(lambda: {show})\nfrom rlkit_core.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1:] == ["False"], done.stderr  # nothing that takes seconds
    return [row.partition(",")[2] or row.partition(",")[0] for row in done.stdout.splitlines()]
