"""What one plugin brings, checked before anything of it is used: its API version, its hooks, its records."""

from __future__ import annotations

import importlib
import inspect
import re
import traceback
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import Factory, define, frozen

from rlkit_core.errors import PluginError, PluginVersionError, did_you_mean
from rlkit_core.plugins import API_VERSION
from rlkit_core.plugins.discovery import EntryPointInfo, top_level
from rlkit_core.plugins.hookspecs import RECORD_HOOKS, RLKitSpecs
from rlkit_core.plugins.records import (
    Component,
    ExecutorRecord,
    ModuleAPI,
    Origin,
    RegisteredComponent,
    load_target,
)
from rlkit_core.plugins.versions import api_problem

_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*\Z")
_HOOK_ARGS: dict[str, tuple[str, ...]] = {
    name: tuple(inspect.signature(spec).parameters)[1:]
    for name, spec in vars(RLKitSpecs).items()
    if name.startswith("rlkit_")
}


@frozen
class RegisteredModuleAPI:
    """An API mixin record together with its origin. ``mixin`` and ``driver`` load on use."""

    api: ModuleAPI
    origin: Origin

    @property
    def id(self) -> str:
        """The full id, ``"distribution/name"``."""
        return f"{self.origin.distribution}/{self.api.name}"

    @property
    def mixin(self) -> type[Any]:
        """The mixin class.

        Raises:
            PluginError: it cannot be imported, is a Protocol, or has an ``__init__``.
        """
        mixin = self._load("mixin", self.api.mixin)
        problem = mixin_problem(mixin)
        if problem:
            raise PluginError(f"module API {self.id!r}: {problem}")
        return mixin  # type: ignore[no-any-return]

    @property
    def driver(self) -> type[Any] | None:
        """The driver class, or None.

        Raises:
            PluginError: it cannot be imported or is no class.
        """
        driver = self._load("driver", self.api.driver)
        if driver is not None and not isinstance(driver, type):
            raise PluginError(f"module API {self.id!r}: its driver is {driver!r}, expected a class")
        return driver

    def load(self) -> tuple[type[Any], type[Any] | None]:
        """Import and return mixin and driver.

        Raises:
            PluginError: as :attr:`mixin` and :attr:`driver`.
        """
        return self.mixin, self.driver

    def _load(self, what: str, target: Any) -> Any:
        try:
            return load_target(target)
        except Exception as exc:
            raise PluginError(
                f"module API {self.id!r}: its {what} {target!r} cannot be imported ({type(exc).__name__}: {exc})"
            ) from exc


@frozen
class RegisteredExecutor:
    """An executor record together with its origin."""

    record: ExecutorRecord
    origin: Origin

    @property
    def id(self) -> str:
        """The full id, ``"distribution/name"``."""
        return f"{self.origin.distribution}/{self.record.name}"

    def load(self) -> Any:
        """Import and return the executor class.

        Raises:
            PluginError: it cannot be imported.
        """
        try:
            return self.record.load()
        except Exception as exc:
            raise PluginError(
                f"executor {self.id!r}: its target {self.record.target!r} cannot be imported "
                f"({type(exc).__name__}: {exc})"
            ) from exc


@define
class Contributions:
    """The records of one plugin."""

    components: list[RegisteredComponent] = Factory(list)
    apis: list[RegisteredModuleAPI] = Factory(list)
    executors: list[RegisteredExecutor] = Factory(list)

    def names(self) -> set[tuple[str, str]]:
        """Return (kind, name) of every record: unique inside a distribution."""
        return (
            {(c.component.kind, c.component.name) for c in self.components}
            | {("module API", a.api.name) for a in self.apis}
            | {("executor", e.record.name) for e in self.executors}
        )


# --------------------------------------------------------------------------- importing


def import_value(value: str) -> Any:
    """Import what an entry-point value names: ``"package.module"`` or ``"package.module:object"``.

    Raises:
        ImportError, AttributeError: it does not exist; and whatever its import raises.
    """
    module, _, attribute = value.partition("[")[0].strip().partition(":")
    found: Any = importlib.import_module(module.strip())
    for part in filter(None, attribute.strip().split(".")):
        found = getattr(found, part)
    return found


def check_api(plugin: Any, entry: EntryPointInfo) -> None:
    """Check ``rlkit_api``.

    Raises:
        PluginVersionError: it is missing, malformed, of another major version, or newer than the core's.
    """
    problem = api_problem(getattr(plugin, "rlkit_api", None), API_VERSION)
    if problem:
        reason, remedy = problem
        error = PluginVersionError(reason)
        error.remedy = remedy.format(plugin=entry.distribution)  # type: ignore[attr-defined]
        raise error


# --------------------------------------------------------------------------- hooks


def find_hooks(plugin: Any) -> dict[str, Callable[..., Any]]:
    """Return the hook implementations of a module or object, each checked; only ``rlkit_*`` names are read.

    Raises:
        PluginError: an unknown hook, arguments a hook does not have or that would never be passed, a wrapper,
            or an object that can hold no hooks.
    """
    if plugin is None or isinstance(plugin, type | str | int | float | tuple | list | dict):
        raise PluginError(f"the entry point names {plugin!r}: expected a module or an object with hooks")
    hooks: dict[str, Callable[..., Any]] = {}
    for name in sorted(n for n in dir(plugin) if n.startswith("rlkit_") and n != "rlkit_api"):
        function = getattr(plugin, name)
        known = name in _HOOK_ARGS
        if not inspect.isroutine(function):
            if known:
                raise PluginError(f"{name} is {type(function).__name__} {function!r}: expected a function")
            continue  # an imported module such as rlkit_ppo, a constant, a class
        options = getattr(function, "rlkit_impl", None) or {}
        if options.get("wrapper") or options.get("hookwrapper"):
            raise PluginError(f"{name} is a hook wrapper: no plugin may alter what another one returns")
        target = options.get("specname") or name
        if target not in _HOOK_ARGS:
            if options.get("optionalhook"):
                continue
            raise PluginError(
                f"unknown hook {target!r}.{did_you_mean(target, _HOOK_ARGS)} Hooks of API "
                f"{API_VERSION[0]}.{API_VERSION[1]}: {', '.join(sorted(_HOOK_ARGS))} "
                "(a helper of another purpose must not begin with rlkit_)"
            )
        _check_arguments(target, function)
        if target in hooks:
            raise PluginError(f"hook {target!r} is implemented twice in one plugin")
        hooks[target] = function
    _check_forgotten(plugin)
    return hooks


def _check_arguments(hook: str, function: Callable[..., Any]) -> None:
    known = _HOOK_ARGS[hook]
    wanted = f"It may take: {', '.join(known) if known else 'no arguments'}"
    for parameter in inspect.signature(function).parameters.values():
        name = parameter.name
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.KEYWORD_ONLY):
            raise PluginError(f"{hook}: argument {str(parameter)!r} is never passed: use a plain name. {wanted}")
        if name not in known:
            raise PluginError(f"{hook}: unknown argument {name!r}.{did_you_mean(name, known)} {wanted}")
        if parameter.default is not parameter.empty:
            raise PluginError(f"{hook}: argument {name!r} has a default, so it is never passed: remove it")


def _check_forgotten(plugin: Any) -> None:
    """Refuse a function marked ``@hookimpl`` whose name does not begin with ``rlkit_``: it would be lost."""
    # vars() of a module or class runs no code, unlike getattr on names that load lazily.
    holders = [plugin] if isinstance(plugin, types.ModuleType) else list(type(plugin).__mro__)
    for holder in holders:
        for name, value in list(vars(holder).items()):
            marked = isinstance(value, types.FunctionType) and hasattr(value, "rlkit_impl")
            if marked and not name.startswith("rlkit_"):
                hint = did_you_mean(name, _HOOK_ARGS)
                raise PluginError(f"{name} is marked @hookimpl, but hooks begin with rlkit_.{hint}")


def namespace(name: str, hooks: Mapping[str, Callable[..., Any]]) -> types.ModuleType:
    """Return an object that holds these hooks and nothing else, for pluggy."""
    module = types.ModuleType(name)
    vars(module).update(hooks)
    return module


# --------------------------------------------------------------------------- records


def collect_records(
    implementations: Mapping[str, Any], origin: Origin, taken: Iterable[tuple[str, str]]
) -> Contributions:
    """Call the record hooks of one plugin and check every record.

    Args:
        implementations: hook name to pluggy's ``HookImpl``.
        origin: of the plugin.
        taken: (kind, name) that another entry point of the same distribution has registered already.

    Raises:
        PluginError: a hook returned no records, a record is wrong, or a name is used twice.
    """
    found = Contributions()
    seen = set(taken)
    for hook, kind in RECORD_HOOKS.items():
        if hook not in implementations:
            continue
        records = implementations[hook].function()
        if records is None:
            continue
        if isinstance(records, str) or not isinstance(records, Iterable):
            raise PluginError(f"{hook} returned {records!r}: expected a list of records")
        for record in records:
            problem = _record_problem(record, kind)
            if problem:
                raise PluginError(f"{hook}: {problem}")
            if (kind, record.name) in seen:
                raise PluginError(
                    f"{hook}: {kind} {record.name!r} is registered twice by {origin.distribution}; "
                    "names are unique inside a distribution"
                )
            seen.add((kind, record.name))
            if isinstance(record, Component):
                found.components.append(RegisteredComponent(record, origin))
            elif isinstance(record, ModuleAPI):
                found.apis.append(RegisteredModuleAPI(record, origin))
            else:
                found.executors.append(RegisteredExecutor(record, origin))
    return found


def _record_problem(record: Any, kind: str) -> str | None:
    cls = {"module API": ModuleAPI, "executor": ExecutorRecord}.get(kind, Component)
    if not isinstance(record, Component | ModuleAPI | ExecutorRecord) or not isinstance(record, cls):
        return f"got {record!r}, expected {cls.__name__} records"
    if isinstance(record, ModuleAPI):
        return _target_problem(record.name, record.mixin, "mixin") or (
            None if isinstance(record.mixin, str) else mixin_problem(record.mixin, record.name)
        )
    problem = _target_problem(record.name, record.target, "target")
    if problem or not isinstance(record, Component):
        return problem
    if record.kind != kind:
        return f"{record.name!r} is of kind {record.kind!r}, this hook is for kind {kind!r}"
    if not record.spaces or not all(isinstance(s, type) for s in record.spaces):
        return f"{record.name!r}: spaces {record.spaces!r}, expected one or more gymnasium space classes"
    if record.when is not None and not callable(record.when):
        return f"{record.name!r}: when {record.when!r}, expected a function of one request or None"
    if not isinstance(record.priority, int):
        return f"{record.name!r}: priority {record.priority!r}, expected an integer"
    return None


def _target_problem(name: str, target: Any, what: str) -> str | None:
    if isinstance(target, type) or (isinstance(target, str) and _TARGET.match(target)):
        return None
    return f"{name!r}: {what} {target!r}, expected a class or 'package.module:Class'"


def mixin_problem(mixin: Any, name: str | None = None) -> str | None:
    """Say why a class cannot be an API mixin, or return None."""
    label = repr(name or getattr(mixin, "__name__", mixin))
    if not isinstance(mixin, type):
        return f"{label}: the mixin is {mixin!r}, expected a class"
    if getattr(mixin, "_is_protocol", False):
        return f"{label}: a mixin cannot be a typing.Protocol; use a plain class or an ABC"
    if any("__init__" in vars(base) for base in mixin.__mro__ if base is not object):
        return f"{label}: a mixin must not have an __init__; use the module's setup() or a driver"
    return None


# --------------------------------------------------------------------------- failures


def describe_failure(exc: BaseException, entry: EntryPointInfo) -> dict[str, Any]:
    """Return reason, remedy, traceback and exception of a failure, as a plugin's state keeps them."""
    name = entry.distribution
    reason = str(exc) if isinstance(exc, PluginError) else f"{type(exc).__name__}: {exc}".rstrip(": ")
    hide = f"or hide it with RLKIT_PLUGINS_DISABLE={name}"
    remedy = getattr(exc, "remedy", None)
    if remedy:
        pass
    elif isinstance(exc, ModuleNotFoundError) and exc.name and exc.name.partition(".")[0] != top_level(entry.value):
        remedy = f"install {exc.name.partition('.')[0]!r}, which it imports"
    elif isinstance(exc, SystemExit):
        remedy = f"it tried to end Python while it was imported; update it (pip install -U {name})"
    elif isinstance(exc, ImportError | AttributeError):
        remedy = f"reinstall it (pip install --force-reinstall {name})"
    else:
        remedy = f"update it (pip install -U {name})"
    text = "".join(traceback.format_exception(type(exc), exc, exc.__traceback__))
    return {"reason": reason, "remedy": f"{remedy}, {hide}", "traceback": text, "exception": exc}
