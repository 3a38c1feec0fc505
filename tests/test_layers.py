"""The house keeps its shape: import contracts, sizes, what the core and its plugins may not touch. Read from source."""

from __future__ import annotations

import ast
import functools
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest
from override_points import OVERRIDE_POINTS

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "rlkit_core"
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/*/__init__.py") if path.parent.name != "tests")
CORE_FILES = sorted(CORE.rglob("*.py"))
ALL_FILES = [*CORE_FILES, *(file for package in PLUGINS for file in sorted(package.rglob("*.py")))]
FOLDERS = sorted({file.parent for file in ALL_FILES})

#: Accesses to underscore names of other objects, over core and plugins. This number only falls.
PRIVATE_ACCESSES = 24
#: Parameters annotated Any in the core: what authors override with narrower types, and little else. It only falls.
ANY_PARAMETERS = 224


@functools.cache
def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def parameters_that_are_any(tree: ast.Module) -> int:
    """How many parameters of functions are annotated ``Any``, and nothing else."""
    functions = [node.args for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    parameters = [p for a in functions for p in (*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg)]
    return sum(p is not None and isinstance(p.annotation, ast.Name) and p.annotation.id == "Any" for p in parameters)


def imports(node: ast.AST) -> Iterator[str]:
    """Full names that a file imports, at any depth."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@functools.cache
def private_names(tree: ast.Module) -> set[str]:
    """Underscore names that a file defines: functions, classes, variables and attributes."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return {name for name in names if is_private(name)}


def private_accesses(tree: ast.Module) -> list[str]:
    """Underscore names that are read from anything but the object itself; torch, numpy and Python have their own."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            owner = ast.unparse(node.value)
            of_itself = owner in ("self", "cls", "super()", "type(self)")
            of_itself = of_itself or node.attr in ("_asdict", "_replace")  # public methods of any NamedTuple
            if not of_itself and owner.split(".")[0] not in ("torch", "np", "os", "sys"):
                found.append(f"{owner}.{node.attr}")
    return found


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_import_contracts_hold(monkeypatch):
    pytest.importorskip("rlkit_ppo", reason="the contracts are about the whole workspace")
    cli = pytest.importorskip("importlinter.cli")
    monkeypatch.chdir(ROOT)
    uninstalled = str(ROOT / "plugins" / "rlkit-tensorflow")  # it is read, not imported
    monkeypatch.setattr(sys, "path", [*sys.path, uninstalled])  # a list of its own: it puts the folder in front
    held = cli.lint_imports(no_cache=True)
    for logger in logging.root.manager.loggerDict.values():  # it silences everybody else's
        logger.disabled = False
    assert held == cli.EXIT_STATUS_SUCCESS


def test_every_plugin_is_in_the_contracts():
    contracts = ConfigParser()
    contracts.read(ROOT / ".importlinter")
    packages = {package.name for package in PLUGINS}
    assert "rlkit_ppo" in packages
    sections = [
        contracts["importlinter"]["root_packages"],
        contracts["importlinter:contract:plugins"]["layers"],
        contracts["importlinter:contract:acyclic"]["ancestors"],
    ]
    for section in sections:
        assert packages - set(section.replace("|", " ").replace(":", " ").split()) == set()


def test_the_core_imports_no_plugin():
    packages = {package.name for package in PLUGINS}
    for file in CORE_FILES:
        assert not packages & {name.split(".")[0] for name in imports(parse(file))}, name_of(file)


def test_the_cores_tests_import_no_plugin():
    """`tests/` passes where the core alone is installed; what needs more is tested beside what it needs."""
    packages = {package.name for package in PLUGINS}
    for file in sorted((ROOT / "tests").rglob("*.py")):
        assert not packages & {name.split(".")[0] for name in imports(parse(file))}, name_of(file)


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_file_does_not_import_the_folder_it_lies_in(folder):
    # A circle through an __init__.py, which contracts between siblings do not see.
    package = ".".join(folder.relative_to(CORE.parent if folder.is_relative_to(CORE) else folder.parents[0]).parts)
    init = folder / "__init__.py"
    modules = {path.stem for path in folder.iterdir()}
    if not init.exists() or not any(name.startswith(f"{package}.") for name in imports(parse(init))):
        return
    inside = [file for file in folder.rglob("*.py") if file != init]
    for file in inside:
        for node in ast.walk(parse(file)):
            if isinstance(node, ast.ImportFrom) and node.module == package:
                assert {alias.name for alias in node.names} <= modules, name_of(file)


@pytest.mark.parametrize("package", PLUGINS, ids=name_of)
def test_a_plugin_uses_public_names_of_the_core_only(package):
    trees = {file: parse(file) for file in sorted(package.rglob("*.py"))}
    own = set().union(*(private_names(tree) for tree in trees.values()))
    of_the_core = set().union(*(private_names(parse(file)) for file in CORE_FILES)) - own - OVERRIDE_POINTS
    for file, tree in trees.items():
        names = [name for name in imports(tree) if name.startswith("rlkit_core.")]
        assert [name for name in names if any(part.startswith("_") for part in name.split("."))] == [], name_of(file)
        used = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in of_the_core]
        assert used == [], name_of(file)


def test_few_private_names_of_other_objects_are_used():
    counts = Counter({name_of(file): len(private_accesses(parse(file))) for file in ALL_FILES})
    assert counts.total() <= PRIVATE_ACCESSES, counts.most_common(10)


def test_few_parameters_are_any():
    counts = Counter({name_of(file): parameters_that_are_any(parse(file)) for file in CORE_FILES})
    assert counts.total() <= ANY_PARAMETERS, counts.most_common(10)


TRANSPORT = "rlkit_core/execution/foreign_code.py"  # what goes from process to process, and is kept nowhere


def test_nothing_pickles():
    for file in ALL_FILES:
        tree = parse(file)
        pickled = {"pickle", "dill", "joblib"} & {name.split(".")[0] for name in imports(tree)}
        assert not pickled or name_of(file) == TRANSPORT, name_of(file)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("torch.save", "torch.load"), name_of(file)


@pytest.mark.parametrize("file", ALL_FILES, ids=name_of)
def test_files_stay_readable(file):
    lines = len(file.read_text(encoding="utf-8").splitlines())
    assert lines <= 500, f"{name_of(file)} has {lines} lines: split it"


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_folders_stay_small(folder):
    files = len(list(folder.glob("*.py")))
    assert files <= 18, f"{name_of(folder)} has {files} files"


def test_a_violation_would_be_seen():
    source = "from rlkit_core.algorithm import Algorithm\nif TYPE_CHECKING:\n    import rlkit_core.cli\n"
    source += "def f(other: Any, more: list[Any], **rest: Any):\n    import pickle\n"
    source += "    self._mine = other._theirs + torch._C + self._mine\n"
    tree = ast.parse(source)
    assert list(imports(tree)) == ["rlkit_core.algorithm.Algorithm", "rlkit_core.cli", "pickle"]
    assert parameters_that_are_any(tree) == 2
    assert private_accesses(tree) == ["other._theirs"]
    assert private_names(tree) == {"_mine"}
