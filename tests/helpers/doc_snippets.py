"""Read the code blocks of a Markdown page and run them in order, as a reader would.

- ``python`` blocks of one page share a namespace. A block, of any language, whose first line is a comment with a
  path (``# my_lab/encoder.py``) is a file: it is written, not run.
- ``console`` blocks: lines that begin with ``$ `` are run; the others are output, each of which must appear
  (``…`` stands for anything). ``pip install`` of the page's own package goes into a folder of the page, without
  extras and in the place of what was there, and ``python`` blocks after it begin a new interpreter.
- A comment right before a block changes this: ``<!-- not run: why -->``, ``<!-- raises: ConfigError -->`` or
  ``<!-- exits: 1 -->``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FENCE = re.compile(r"^(?P<indent>\s*)```+\s*(?P<language>[\w{}-]*)(\s.*)?$")
MARK = re.compile(r"^\s*<!--\s*(?P<key>not run|raises|exits):\s*(?P<value>.+?)\s*-->\s*$")
FILE = re.compile(r"^# (?P<path>[\w./-]+\.(?:py|toml|md))$")
TIMEOUT = 200

CHILD = """
import contextlib, io, json, sys, traceback
answers, sys.stdout = sys.stdout, sys.stderr
namespace = {"__name__": "__main__"}
for line in sys.stdin:
    order = json.loads(line)
    answer, printed = {"error": None}, io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile("\\n" * order["line"] + order["code"], order["page"], "exec"), namespace)
    except BaseException as error:
        names = [cls.__name__ for cls in type(error).__mro__]
        answer = {"error": names, "traceback": traceback.format_exc()}
    answers.write(json.dumps({**answer, "printed": printed.getvalue()}) + "\\n")
    answers.flush()
"""


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, the line before its first, and its marks."""

    language: str
    text: str
    line: int
    marks: dict[str, str]

    @property
    def file(self) -> str | None:
        """The path that the first line names, if it names one."""
        found = FILE.match(self.text.partition("\n")[0])
        return found["path"] if found else None


def read_blocks(page: str) -> Iterator[Block]:
    """All fenced blocks of a page."""
    lines = page.splitlines()
    marks: dict[str, str] = {}
    i = 0
    while i < len(lines):
        fence = FENCE.match(lines[i])
        if fence is None:
            mark = MARK.match(lines[i])
            if mark:
                marks[mark["key"]] = mark["value"]
            elif lines[i].strip():
                marks = {}
            i += 1
            continue
        end = next(j for j in range(i + 1, len(lines)) if lines[j].strip().startswith("```"))
        body = "\n".join(line.removeprefix(fence["indent"]) for line in lines[i + 1 : end])
        yield Block(fence["language"], body + "\n", i + 1, marks)
        marks, i = {}, end + 1


def write_files(page: str, folder: Path) -> list[Path]:
    """Write the files that a page's blocks are into a folder, without running anything; return their paths."""
    written = []
    for block in read_blocks(page):
        if block.file is not None:
            target = folder / block.file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
            written.append(target)
    return written


class Page:
    """Runs the blocks of one page in a folder of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.site = folder / ".site"
        self.child: subprocess.Popen[str] | None = None
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        self.env = {**os.environ, "PATH": path, "PYTHONPATH": str(self.site)}

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.end_interpreter()

    def end_interpreter(self) -> None:
        """The next ``python`` block begins a new one."""
        if self.child is not None:
            self.child.kill()
            self.child.communicate()
            self.child = None

    def run(self, block: Block) -> None:
        """Run one block; AssertionError says what went otherwise than the page says."""
        if "not run" in block.marks:
            return
        if block.file is not None:
            target = self.folder / block.file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            self.run_python(block)
        elif block.language == "console":
            self.run_console(block)

    def run_python(self, block: Block) -> None:
        """Execute in the page's interpreter, which starts with the first block."""
        if self.child is None:
            self.child = subprocess.Popen(
                [sys.executable, "-c", CHILD],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        order = {"page": self.name, "line": block.line, "code": block.text}
        self.child.stdin.write(json.dumps(order) + "\n")
        self.child.stdin.flush()
        line = self.child.stdout.readline()
        assert line, f"{self.name}:{block.line}: the interpreter died"
        answer: dict[str, Any] = json.loads(line)
        expected = block.marks.get("raises")
        if expected is None:
            assert answer["error"] is None, f"{self.name}:{block.line}\n{answer['traceback']}"
        else:
            assert answer["error"] is not None, f"{self.name}:{block.line}: {expected} was not raised"
            assert expected in answer["error"], answer["traceback"]

    def run_console(self, block: Block) -> None:
        """Run each command and look for the lines shown after it."""
        expected_status = int(block.marks.get("exits", "0"))
        for command, shown in read_commands(block.text):
            done = self.run_command(command)
            output = done.stdout + done.stderr
            where = f"{self.name}:{block.line}: $ {command}\n{output}"
            assert done.returncode == expected_status, f"{where}\nexit status {done.returncode}"
            for line in shown:
                wanted = r".*".join(re.escape(" ".join(part.split())) for part in line.split("…"))
                seen = [" ".join(text.split()) for text in output.splitlines()]
                assert any(re.search(wanted, text) for text in seen), f"{where}\nmissing: {line}"

    def run_command(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run one command line in the page's folder."""
        of_the_page = re.fullmatch(r"pip install (?:-e )?'?(\.[\w./-]*)(?:\[\w+\])?'?", command)
        if of_the_page:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
            self.end_interpreter()
            shutil.rmtree(self.site, ignore_errors=True)  # a page makes one distribution, perhaps a newer one
            arguments: Any = [*pip, "--no-index", "--target", str(self.site), of_the_page[1]]
        else:
            arguments = ["bash", "-c", command]
        return subprocess.run(
            arguments,
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )


def read_commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of a console block, each with the output lines that follow it."""
    command: str | None = None
    shown: list[str] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            if command is not None:
                yield command, shown
            command, shown = line[2:].partition("  # ")[0].strip(), []
        elif line.strip() and line.strip() != "…":
            shown.append(line.strip())
    if command is not None:
        yield command, shown
