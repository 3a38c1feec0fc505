"""The pages of `docs/follow/` name files and functions in order; every one of them is still there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "follow").glob("*.md"))
PLACE = re.compile(r"`((?:rlkit_core|plugins)/[\w./-]+\.(?:pyi?|json|toml))(?:::([\w.]+))?`")


def definitions(file: Path) -> set[str]:
    """Names that a Python file defines, ``Class.method`` and class attributes included."""
    names: set[str] = set()

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(prefix + child.name)
                if isinstance(child, ast.ClassDef):
                    visit(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.Assign):
                names.update(prefix + target.id for target in child.targets if isinstance(target, ast.Name))
            elif isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
                names.add(prefix + child.target.id)
            elif isinstance(child, ast.If | ast.Try | ast.With):
                visit(child, prefix)

    visit(ast.parse(file.read_text(encoding="utf-8")), "")
    return names


def places(page: Path) -> list[tuple[str, str]]:
    return PLACE.findall(page.read_text(encoding="utf-8"))


def problem(file: str, name: str) -> str | None:
    path = ROOT / file
    if not path.is_file():
        return f"{file} is not there"
    if name and name not in definitions(path):
        return f"{file} does not define {name}"
    return None


def test_there_are_pages():
    assert {page.stem for page in PAGES} >= {"observation", "setting", "component"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_place_is_there(page):
    found = places(page)
    assert len(found) >= 10, "a page to follow names the places on the way"
    assert [said for file, name in found if (said := problem(file, name))] == []


def test_a_place_that_is_gone_would_be_seen(tmp_path):
    assert problem("rlkit_core/no_such_file.py", "") == "rlkit_core/no_such_file.py is not there"
    said = problem("rlkit_core/errors.py", "RLKitError.no_such_method")
    assert said == "rlkit_core/errors.py does not define RLKitError.no_such_method"
    assert problem("rlkit_core/errors.py", "RLKitError") is None
