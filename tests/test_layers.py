"""The house keeps its shape: layers, sizes, what the core may not touch. Read from source, not imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "rlkit_core"
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/*/__init__.py") if path.parent.name != "tests")
CORE_FILES = sorted(CORE.rglob("*.py"))
ALL_FILES = [*CORE_FILES, *(file for package in PLUGINS for file in sorted(package.rglob("*.py")))]

LAYERS = {
    "errors": 1,
    "columns": 1,
    "spaces": 1,
    "seeding": 1,
    "_version": 1,
    "settings": 1,
    "plugins": 1,
    "distributions": 1,
    "checkpoint": 2,
    "execution": 2,
    "data": 2,
    "models": 2,
    "catalog": 3,
    "rl_module": 4,
    "apis": 4,
    "envs": 5,
    "learner": 5,
    "algorithm": 6,
    "run": 7,
    "cli": 8,
    "testing": 8,
}
# The core's own plugin names every built-in, as any plugin names its own; it does so inside of hooks.
FREE = {CORE / "__init__.py", CORE / "plugins" / "builtin.py"}


def is_type_checking(node: ast.AST) -> bool:
    test = getattr(node, "test", None)
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(test)


def imports(node: ast.AST) -> Iterator[str]:
    """Full names that a file imports when it runs, at any depth; what only type checkers read is left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif is_type_checking(child):
            for other in child.orelse:
                yield from imports(other)
        else:
            yield from imports(child)


def imports_of(file: Path) -> list[str]:
    return list(imports(ast.parse(file.read_text(encoding="utf-8"))))


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def part_of(file: Path) -> str:
    return file.relative_to(CORE).parts[0].removesuffix(".py")


def test_every_part_of_the_core_has_a_layer():
    parts = {part_of(file) for file in CORE_FILES} - {"__init__", "__main__"}
    assert parts <= set(LAYERS)


@pytest.mark.parametrize("file", CORE_FILES, ids=name_of)
def test_a_file_imports_from_its_own_layer_or_below(file):
    if file in FREE:
        return
    layer = LAYERS.get(part_of(file), max(LAYERS.values()))
    upward = []
    for name in imports_of(file):
        parts = name.split(".")
        if parts[0] == "rlkit_core" and len(parts) > 1 and LAYERS.get(parts[1], 0) > layer:
            upward.append(name)
    assert upward == []


def test_the_core_imports_no_plugin():
    packages = {package.name for package in PLUGINS}
    assert "rlkit_ppo" in packages
    for file in CORE_FILES:
        assert not packages & {name.split(".")[0] for name in imports_of(file)}, name_of(file)


def test_plugins_import_public_names_only():
    for file in ALL_FILES:
        if file.is_relative_to(CORE):
            continue
        names = [name for name in imports_of(file) if name.startswith("rlkit_core.")]
        assert [name for name in names if any(part.startswith("_") for part in name.split("."))] == []


def test_nothing_pickles():
    for file in ALL_FILES:
        assert not {"pickle", "dill", "joblib"} & {name.split(".")[0] for name in imports_of(file)}, name_of(file)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("torch.save", "torch.load"), name_of(file)


@pytest.mark.parametrize("file", ALL_FILES, ids=name_of)
def test_files_stay_readable(file):
    lines = len(file.read_text(encoding="utf-8").splitlines())
    assert lines <= 500, f"{name_of(file)} has {lines} lines: split it"


def test_a_violation_would_be_seen():
    source = "from rlkit_core.algorithm import Algorithm\nif TYPE_CHECKING:\n    import rlkit_core.cli\n"
    source += "def f():\n    import pickle\n"
    assert list(imports(ast.parse(source))) == ["rlkit_core.algorithm.Algorithm", "pickle"]
