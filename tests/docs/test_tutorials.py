"""Tutorials and third parties use what is public and documented, and nothing else; pages are as short as they say."""

from __future__ import annotations

import ast
import functools
import importlib
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from doc_snippets import read_blocks
from gymnasium import Env
from override_points import OVERRIDE_POINTS

from rlkit_core.cli.app import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "tutorial").glob("*.md"))
REFERENCE = sorted(set((ROOT / "docs" / "reference").glob("*.md")) - {ROOT / "docs" / "reference" / "rllib-names.md"})
DIRECTIVE = re.compile(r"^\.\. (currentmodule|autoclass|autofunction):: ([\w.]+)", re.MULTILINE)
WORD = re.compile(r"[A-Za-z_]\w*")
THIRD_PARTIES = ("rlkit-graph", "rlkit-rnd")
"""Plugins of this workspace that show what others can do, so they may use what others may."""
LIMITS = {"encoder-plugin": 25, "on-policy-algorithm": 55, "off-policy-algorithm": 78, "api-mixin": 60}
"""Lines of Python that a reader writes: without empty ones, comments and docstrings."""


def code_of(page: str) -> Iterator[tuple[bool, ast.Module]]:
    """Python blocks of a page: whether each is a file, and what it says."""
    for block in read_blocks(page):
        if block.language == "python" and "not run" not in block.marks:
            yield block.file is not None, ast.parse(block.text)


def load(name: str) -> object:
    """What a dotted name stands for."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


@functools.cache
def documented() -> frozenset[str]:
    """Every word of the reference, with those of the docstrings that it takes its classes and functions from."""
    words: set[str] = set()
    for page in REFERENCE:
        text, module = page.read_text(encoding="utf-8"), ""
        words.update(WORD.findall(text))
        for directive, name in DIRECTIVE.findall(text):
            if directive == "currentmodule":
                module = name + "."
            else:
                words.update(WORD.findall(load(name if name.startswith("rlkit") else module + name).__doc__ or ""))
    return frozenset(words)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in OVERRIDE_POINTS


def problems(page: str) -> list[str]:
    """What a page's code uses that it should not."""
    return problems_of([tree for _, tree in code_of(page)])


def problems_of(trees: list[ast.Module]) -> list[str]:
    """What some code uses that it should not."""
    own = {name for tree in trees for name in defined(tree)}
    found = []
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rlkit"):
                found += import_problems(node.module, [alias.name for alias in node.names])
            elif isinstance(node, ast.Import):
                found += [f"import {a.name}" for a in node.names if a.name.startswith("rlkit")]
            elif isinstance(node, ast.Attribute) and is_private(node.attr):
                found.append(f".{node.attr} is private")
            elif isinstance(node, ast.FunctionDef | ast.ClassDef) and is_private(node.name):
                found.append(f"{node.name} is private")
            elif is_of_self(node) and node.attr not in own | documented() | OVERRIDE_POINTS | set(dir(Env)):
                found.append(f"self.{node.attr} is in no page of docs/reference")
    return found


def is_of_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"


def defined(tree: ast.Module) -> set[str]:
    """Functions, classes, variables and attributes that some code makes itself."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def import_problems(module: str, names: list[str]) -> list[str]:
    if any(part.startswith("_") for part in module.split(".")):
        return [f"{module} is private"]
    public = getattr(importlib.import_module(module), "__all__", None)
    if public is None:
        return [f"{module} has no __all__, so nobody says what of it is public"]
    hidden = [f"{name} is not in {module}.__all__" for name in names if name not in public]
    return hidden or [f"{module}.{name} is in no page of docs/reference" for name in names if name not in documented()]


def lines_of_code(source: str) -> int:
    """Lines that are neither empty nor nothing but comment or docstring."""
    lines: set[int] = set()
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            said = node.body[0]
            lines -= set(range(said.lineno, (said.end_lineno or said.lineno) + 1))
    return len(lines)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_uses_documented_names_only(page):
    assert problems(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("kind", ["algorithm", "component", "api"])
def test_a_new_plugin_uses_documented_names_only(kind, tmp_path):
    done = CliRunner().invoke(cli, ["new-plugin", "acme-first", "--kind", kind, "--dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    files = sorted(tmp_path.rglob("*.py"))
    assert {file.parent.name for file in files} == {"acme_first", "tests"}
    assert problems_of([ast.parse(file.read_text(encoding="utf-8")) for file in files]) == []


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("from rlkit_core._version import __version__", "rlkit_core._version is private"),
        ("from rlkit_core.data.gae import discounted_suffix_sum", "rlkit_core.data.gae has no __all__"),
        ("from rlkit_core.data import flatten_time", "flatten_time is not in rlkit_core.data.__all__"),
        ("module._prepare()", "._prepare is private"),
        ("class A:\n    def _own(self): ...", "_own is private"),
        ("self.no_such_name()", "self.no_such_name is in no page"),
    ],
)
def test_others_would_be_seen(code, message):
    (said,) = problems(f"```python\n{code}\n```\n")
    assert said.startswith(message)


@pytest.mark.parametrize("name", THIRD_PARTIES)
def test_a_third_party_imports_documented_names_only(name):
    files = sorted((ROOT / "plugins" / name / name.replace("-", "_")).rglob("*.py"))
    assert files
    found, seen = [], 0
    for node in (node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "rlkit_core":
            seen += 1
            found += import_problems(node.module, [alias.name for alias in node.names])
        elif isinstance(node, ast.Import):
            found += [f"import {a.name}" for a in node.names if a.name.startswith("rlkit")]
    assert found == []
    assert seen > 3


@pytest.mark.parametrize("page", LIMITS)
def test_a_tutorial_is_short(page):
    blocks = read_blocks((ROOT / "docs" / "tutorial" / f"{page}.md").read_text(encoding="utf-8"))
    files = [block.text for block in blocks if (block.file or "").endswith(".py")]
    assert files
    assert sum(map(lines_of_code, files)) <= LIMITS[page]


def test_lines_are_counted_as_said():
    assert (
        lines_of_code('"""Doc\n\nstring."""\n\nimport os  # why\n\n\n# a comment\ndef f(\n    x,\n):\n    """Doc."""\n')
        == 4
    )
