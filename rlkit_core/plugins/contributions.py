"""What one plugin brings, checked before anything of it is used: its API version, its hooks, its records."""

from __future__ import annotations

import importlib
import inspect
import traceback
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rlkit_core.errors import PluginError, PluginVersionError, did_you_mean
from rlkit_core.plugins import API_VERSION
from rlkit_core.plugins.discovery import EntryPointInfo, top_level
from rlkit_core.plugins.hookspecs import RECORD_HOOKS, RLKitSpecs
from rlkit_core.plugins.records import Origin, Record, Registered, describe
from rlkit_core.plugins.versions import api_problem

_HOOK_ARGS: dict[str, tuple[str, ...]] = {
    name: tuple(inspect.signature(spec).parameters)[1:]
    for name, spec in vars(RLKitSpecs).items()
    if name.startswith("rlkit_")
}


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
) -> list[Registered[Record]]:
    """Call the record hooks of one plugin and check what they return.

    Args:
        implementations: hook name to pluggy's ``HookImpl``.
        origin: of the plugin.
        taken: (kind, name) that another entry point of the same distribution has registered already.

    Raises:
        PluginError: a hook returned no records, records of another kind, or a name is used twice.
    """
    registered: list[Registered[Record]] = []
    seen = set(taken)
    for hook, (cls, kind) in RECORD_HOOKS.items():
        if hook not in implementations:
            continue
        records = implementations[hook].function()
        if records is None:
            continue
        if isinstance(records, str) or not isinstance(records, Iterable):
            raise PluginError(f"{hook} returned {records!r}: expected a list of records")
        for record in records:
            if not isinstance(record, cls):
                raise PluginError(f"{hook}: got {record!r}, expected {cls.__name__} records")
            if kind is not None and record.kind != kind:
                raise PluginError(f"{hook}: {record.name!r} is of kind {record.kind!r}, this hook is for {kind!r}")
            if (record.kind, record.name) in seen:
                raise PluginError(
                    f"{hook}: {record.kind.replace('_', ' ')} {record.name!r} is registered twice by "
                    f"{origin.distribution}; names are unique inside a distribution"
                )
            seen.add((record.kind, record.name))
            registered.append(Registered(record, origin))
    return registered


# --------------------------------------------------------------------------- failures


def describe_failure(exc: BaseException, entry: EntryPointInfo) -> dict[str, Any]:
    """Return reason, remedy, traceback and exception of a failure, as a plugin's state keeps them."""
    name = entry.distribution
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
    return {"reason": describe(exc), "remedy": f"{remedy}, {hide}", "traceback": text, "exception": exc}
