"""Type stubs for modules that declare settings: ``python tests/helpers/settings_stubs.py rlkit_ppo.config``.

A type checker cannot see what a declaration makes: the keyword arguments of fluent methods, and that they return the
config. The stub beside the module says it: every setting with its type, every fluent method with the settings that its
section has in this class, and ``build()`` with the algorithm that the class names. What is not a setting is taken over
as it is written. A method takes what the setting's converter says it takes, else what the setting is.
"""

from __future__ import annotations

import ast
import builtins
import copy
import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from rlkit_core.settings.base import Settings
from rlkit_core.settings.declare import Setting
from rlkit_core.settings.sections import SectionedSettings, section

HEADER = "# Made by `python tests/helpers/settings_stubs.py {module}`; not to be edited.\n"
_BUILDERS = ("build", "build_algo")


def stub_path(module: ModuleType) -> Path:
    """Where a module's stub lies: beside it."""
    return Path(str(module.__file__)).with_suffix(".pyi")


def stub_text(module: ModuleType) -> str:
    """The stub of a module.

    Args:
        module: an imported module with classes of settings.

    Returns:
        The text of its ``.pyi`` file.
    """
    tree = ast.parse(inspect.getsource(module))
    body = "\n".join(line for node in tree.body for line in _statement(node, module))
    imports = sorted(set(_needed_imports(body, module)))
    return HEADER.format(module=module.__name__) + "\n".join([*imports, "", body]).rstrip() + "\n"


def main(names: Iterable[str]) -> None:
    """Write the stubs of the modules of these names, and say where they are."""
    for name in names:
        module = importlib.import_module(name)
        path = stub_path(module)
        path.write_text(stub_text(module), encoding="utf-8")
        print(path)


# One statement of the module after the other


def _statement(node: ast.stmt, module: ModuleType) -> Iterator[str]:
    if isinstance(node, ast.ClassDef):
        yield from _class(node, module)
    elif isinstance(node, ast.FunctionDef):
        if not node.name.startswith("_"):
            yield from _function(node)
    elif isinstance(node, ast.AnnAssign):
        yield f"{ast.unparse(node.target)}: {ast.unparse(node.annotation)}"
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        name = node.targets[0].id
        if name.startswith("_"):
            return
        value = getattr(module, name)
        kind = type(value).__name__
        if kind in vars(builtins):
            yield f"{name}: {kind}{'[Any, Any]' if kind == 'dict' else '[Any]' if kind in ('list', 'set') else ''}"
        else:
            yield f"{name} = {ast.unparse(node.value)}"


def _function(node: ast.FunctionDef) -> Iterator[str]:
    bare = copy.copy(node)
    bare.body = [ast.Expr(ast.Constant(...))]
    yield from ast.unparse(bare).replace(":\n    ...", ": ...").splitlines()


def _class(node: ast.ClassDef, module: ModuleType) -> Iterator[str]:
    config_class = getattr(module, node.name)
    is_settings = isinstance(config_class, type) and issubclass(config_class, Settings)
    bases = ", ".join(ast.unparse(base) for base in [*node.bases, *node.keywords])
    if is_settings:
        yield "@attrs.define(slots=False, kw_only=True)"
    else:
        yield from (f"@{ast.unparse(decorator)}" for decorator in node.decorator_list)
    yield f"class {node.name}({bases}):" if bases else f"class {node.name}:"
    lines = [line for child in node.body for line in _member(child, is_settings)]
    if isinstance(config_class, type) and issubclass(config_class, SectionedSettings):
        lines += _fluent_methods(config_class)
        lines += _builders(config_class)
    yield from (f"    {line}" for line in lines or ["..."])
    yield ""


def _member(node: ast.stmt, is_settings: bool) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef):
        yield from _function(node)
    elif isinstance(node, ast.AnnAssign):
        default = " = ..." if is_settings and "ClassVar" not in ast.unparse(node.annotation) else ""
        yield f"{ast.unparse(node.target)}: {ast.unparse(node.annotation)}{default}"
    elif isinstance(node, ast.Assign) and not is_settings:
        yield ast.unparse(node)


def _fluent_methods(config_class: type[SectionedSettings]) -> Iterator[str]:
    """The methods of sections that the class itself declares, or declares a setting of."""
    before = [base for base in config_class.__mro__[1:] if issubclass(base, SectionedSettings)]
    inherited = before[0].known_settings() if before else {}
    for name, method in config_class.sections().items():
        known = method.settings_of(config_class)
        new = [item for item in known if item.name not in inherited or item.type != inherited[item.name].type]
        if new or name in vars(config_class):
            taken_too = [config_class.known_settings()[other] for other in method.also]
            yield from _fluent_method(method, [*known, *taken_too])


def _fluent_method(method: section, known: list[Setting]) -> Iterator[str]:
    yield f"def {method.name}("
    yield "    self,"
    for item in known:
        if item.name == method.positional:
            yield f"    {item.name}: {taken_type(item)} = ...,"
    named = [item for item in known if item.name != method.positional]
    if named:
        yield "    *,"
    yield from (f"    {item.spelled}: {taken_type(item)} = ...," for item in named)
    if method.others:
        yield "    **others: Any,"
    yield ") -> Self: ..."


def _builders(config_class: type[SectionedSettings]) -> Iterator[str]:
    """``build()`` with its algorithm, where the class says itself which that is, as text."""
    algorithm = _algorithm_of(config_class)
    if algorithm is not None:
        for name in _BUILDERS:
            yield f"def {name}(self, env: Any = ..., use_copy: bool = ...) -> {algorithm[1]}: ..."


def _algorithm_of(config_class: type) -> tuple[str, str] | None:
    target = vars(config_class).get("default_algo_class")
    if not isinstance(target, str) or ":" not in target:
        return None
    module, _, name = target.partition(":")
    return module, name


def taken_type(item: Setting) -> str:
    """What the fluent method takes for a setting, as an annotation."""
    return item.takes


# Imports of the names that the stub uses


def _needed_imports(body: str, module: ModuleType) -> Iterator[str]:
    tree = ast.parse(body)
    defined = {getattr(node, "name", None) for node in tree.body}
    defined |= {target.id for node in tree.body for target in _targets(node) if isinstance(target, ast.Name)}
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    used = {node.id for node in names} - defined - set(vars(builtins))
    known = {"Self": "from typing_extensions import Self", "Any": "from typing import Any", "attrs": "import attrs"}
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Settings):
            algorithm = _algorithm_of(value)
            if algorithm is not None:
                known[algorithm[1]] = f"from {algorithm[0]} import {algorithm[1]}"
    for source in _sources(module):
        known = {**_imports_of(source), **known}
    yield from (known[name] for name in used if name in known)


def _targets(node: ast.stmt) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []


def _sources(module: ModuleType) -> Iterator[ModuleType]:
    """The module, those of its classes' bases, and those of converters, nearest first."""
    names: dict[str, None] = {module.__name__: None}
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Settings):
            names.update(dict.fromkeys(base.__module__ for base in value.__mro__ if issubclass(base, Settings)))
            converters = [item.converter for item in value.known_settings().values()]
            names.update(dict.fromkeys(str(getattr(converter, "__module__", "")) for converter in converters))
    yield from (sys.modules[name] for name in names if getattr(sys.modules.get(name), "__file__", None))


def _imports_of(module: ModuleType) -> dict[str, str]:
    """The import statement of each name that a module imports or, where it is a type's other name, defines."""
    statements: dict[str, str] = {}
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            origin = f"from {node.module} " if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                rename = f" as {alias.asname}" if alias.asname else ""
                statements[alias.asname or alias.name] = f"{origin}import {alias.name}{rename}"
    for node in tree.body:
        names = [target.id for target in _targets(node) if isinstance(target, ast.Name)]
        names += [node.name] if isinstance(node, ast.ClassDef | ast.FunctionDef) else []
        statements.update({name: f"from {module.__name__} import {name}" for name in names})
    return statements


if __name__ == "__main__":
    main(sys.argv[1:])
