"""pluggy's manager with rlkit's rules: what a plugin implements is checked as pluggy reads it, and asked one by one.

pluggy keeps, orders and calls implementations. It would let through what would never be called (arguments with
defaults, wrappers are allowed, a hook that does not exist), so those are refused here, with the nearest name.
"""

from __future__ import annotations

import inspect
import time
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pluggy

from rlkit_core.errors import PluginError, did_you_mean
from rlkit_core.plugins import API_VERSION, PluginDeprecationWarning
from rlkit_core.plugins.guard import notice, safe_text
from rlkit_core.plugins.hookspecs import FORMER, RECORD_HOOKS, RLKitSpecs
from rlkit_core.plugins.records import Origin, Record, Registered


def hooks_of(specs: type) -> dict[str, tuple[str, ...]]:
    """Return every hook that a class of specifications declares, with the names of its arguments."""
    names = [name for name in dir(specs) if name.startswith("rlkit_")]
    return {name: tuple(inspect.signature(getattr(specs, name)).parameters)[1:] for name in names}


HOOKS = hooks_of(RLKitSpecs)
"""Every hook with the names of its arguments."""


class Hooks(NamedTuple):
    """What a plugin implements: read and checked, by hook; the namespace is what pluggy gets."""

    name: str
    namespace: types.ModuleType
    functions: Mapping[str, Callable[..., Any]]


def registered_twice(record: Registered[Record]) -> PluginError:
    """Return the error for a second record of one kind and name in a distribution."""
    return PluginError(
        f"{record.kind.replace('_', ' ')} {record.name!r} is registered twice by {record.origin.distribution}; names "
        "are unique inside a distribution"
    )


class HookManager(pluggy.PluginManager):
    """A manager of ``rlkit_*`` hooks, marked or not.

    Args:
        trace: is told, in one line, of each call of one.
        specs: the class that declares the hooks.
    """

    def __init__(self, trace: Callable[[str], None] | None = None, specs: type = RLKitSpecs) -> None:
        super().__init__("rlkit")
        self._hooks = hooks_of(specs)
        self._deprecated: dict[str, tuple[Warning | None, Mapping[str, Warning]]] = {}
        self.add_hookspecs(specs)
        self._trace_line = trace
        if trace is not None:
            self._trace_calls(trace)

    def read(self, plugin: object, name: str) -> Hooks:
        """Read and check what a module or object implements; nothing is registered.

        Raises:
            PluginError: an unknown hook, one implemented twice, arguments a hook does not have or that would never
                be passed, a wrapper, a marked function under another name, or an object that can hold no hooks.
        """
        if plugin is None or isinstance(plugin, type | str | int | float | tuple | list | dict):
            raise PluginError(f"the entry point names {plugin!r}: expected a module or an object with hooks")
        _check_forgotten(plugin, self._hooks)
        # pluggy wants what it is given hashable, and older ones read every attribute of it, which imports all that a
        # lazy module (PEP 562) offers. It gets a namespace that holds the names in question and nothing else.
        namespace = types.ModuleType(name)
        names = [n for n in dir(plugin) if n.startswith("rlkit_") and n != "rlkit_api"]
        vars(namespace).update({n: getattr(plugin, n) for n in names})
        functions: dict[str, Callable[..., Any]] = {}
        for attribute in names:
            options = self.parse_hookimpl_opts(namespace, attribute)
            hook = None if options is None else options.get("specname") or attribute
            if hook in functions:
                raise PluginError(f"hook {hook!r} is implemented twice in one plugin")
            if hook is not None:
                functions[hook] = getattr(namespace, attribute)
        return Hooks(name, namespace, functions)

    def add(self, hooks: Hooks) -> None:
        """Register what :meth:`read` read, and warn of what will go. After an error the caller discards it."""
        self.register(hooks.namespace, name=hooks.name)
        for text in self.deprecations(hooks.functions):
            notice(("deprecated", hooks.name, text), f"plugin {hooks.name}: {text}", PluginDeprecationWarning)

    def parse_hookspec_opts(self, module_or_class: types.ModuleType | type, name: str) -> Any:
        """Return pluggy's options of a specification, without the warnings: those given here name the plugin."""
        options = super().parse_hookspec_opts(module_or_class, name)
        if options is None:
            return None
        self._deprecated[name] = options["warn_on_impl"], options["warn_on_impl_args"] or {}
        return {**options, "warn_on_impl": None, "warn_on_impl_args": None}

    def deprecations(self, functions: Mapping[str, Callable[..., Any]]) -> list[str]:
        """Say which of the hooks that a plugin implements, and of the arguments that they take, will go."""
        found: list[str] = []
        for hook, function in functions.items():
            of_hook, of_arguments = self._deprecated.get(hook, (None, {}))
            taken = inspect.signature(function).parameters
            found += [str(of_hook)] if of_hook is not None else []
            found += [str(warning) for argument, warning in of_arguments.items() if argument in taken]
        return found

    def implemented(self, name: str) -> dict[str, Callable[..., Any]]:
        """Return the functions registered under ``name``, by hook."""
        callers = self.get_hookcallers(self.get_plugin(name)) or ()
        impls = [(caller.name, impl) for caller in callers for impl in caller.get_hookimpls()]
        return {hook: impl.function for hook, impl in impls if impl.plugin_name == name}

    def discard(self, name: str) -> None:
        """Take back everything registered under ``name``; nothing happens where nothing is."""
        if self.get_plugin(name) is not None:
            self.unregister(name=name)

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        """Return pluggy's options of one attribute, or None where it is no hook; pluggy calls this for each.

        Raises:
            PluginError: as :meth:`add`.
        """
        if not name.startswith("rlkit_"):
            return None
        function = getattr(plugin, name)
        if not inspect.isroutine(function):
            if name in self._hooks:
                raise PluginError(f"{name} is {type(function).__name__} {function!r}: expected a function")
            return None  # an imported module such as rlkit_ppo, a constant, a class
        options: Mapping[str, Any] = super().parse_hookimpl_opts(plugin, name) or {}
        if options.get("wrapper") or options.get("hookwrapper"):
            raise PluginError(f"{name} is a hook wrapper: no plugin may alter what another one returns")
        hook = options.get("specname") or name
        if hook in self._hooks:
            _check_arguments(hook, function, self._hooks[hook])
        elif hook in FORMER:
            raise PluginError(f"hook {hook!r} is no more: {FORMER[hook]}")
        elif not options.get("optionalhook"):
            raise PluginError(
                f"unknown hook {hook!r}.{did_you_mean(hook, self._hooks)} Hooks of API "
                f"{API_VERSION[0]}.{API_VERSION[1]}: {', '.join(sorted(self._hooks))} "
                "(a helper of another purpose must not begin with rlkit_)"
            )
        return options

    def implementers(self, hook: str) -> list[str]:
        """Return who implements a hook: tryfirst, plain, trylast, each sorted by (distribution, name).

        Raises:
            ValueError: there is no such hook.
        """
        if hook not in self._hooks:
            raise ValueError(f"no hook {hook!r}.{did_you_mean(hook, self._hooks)}")
        # pluggy goes by the order of registration, which asking for one plugin alone changes.
        impls = sorted(
            getattr(self.hook, hook).get_hookimpls(),
            key=lambda impl: (impl.trylast - impl.tryfirst, impl.plugin_name.split(":", 1)),
        )
        return [impl.plugin_name for impl in impls]

    def ask(self, name: str, hook: str, kwargs: Mapping[str, object]) -> Any:
        """Call a hook of the plugin registered under ``name`` alone; None where it has none, or returns None."""
        others = [impl.plugin for impl in getattr(self.hook, hook).get_hookimpls() if impl.plugin_name != name]
        answers = self.subset_hook_caller(hook, others)(**kwargs)
        return answers[0] if answers else None

    def records(self, hooks: Hooks, origin: Origin) -> list[Registered[Record]]:
        """Call the record hooks of a plugin and check what they return.

        Raises:
            PluginError: a hook returned no records, records of another kind, or a name is used twice.
        """
        registered: list[Registered[Record]] = []
        for hook, (cls, kind) in RECORD_HOOKS.items():
            if hook not in hooks.functions:
                continue
            records = hooks.functions[hook]()
            if self._trace_line is not None:
                self._trace_line(f"{hook} of {hooks.name}: done")
            if records is None:
                continue
            if isinstance(records, str) or not isinstance(records, Iterable):
                raise PluginError(f"{hook} returned {safe_text(repr(records))}: expected a list of records")
            for record in records:
                if not isinstance(record, cls):
                    raise PluginError(f"{hook}: got {safe_text(repr(record))}, expected {cls.__name__} records")
                if kind is not None and record.kind != kind:
                    raise PluginError(f"{hook}: {record.name!r} is of kind {record.kind!r}, this hook is for {kind!r}")
                if any((record.kind, record.name) == (other.kind, other.name) for other in registered):
                    raise registered_twice(Registered(record, origin))
                registered.append(Registered(record, origin))
        return registered

    def _trace_calls(self, trace: Callable[[str], None]) -> None:
        starts: list[float] = []

        def before(hook: str, impls: Sequence[Any], kwargs: Mapping[str, object]) -> None:
            starts.append(time.perf_counter())

        def after(
            outcome: pluggy.Result[object], hook: str, impls: Sequence[Any], kwargs: Mapping[str, object]
        ) -> None:
            milliseconds = (time.perf_counter() - starts.pop()) * 1e3
            said = "done" if outcome.exception is None else "raised"
            for impl in impls:
                trace(f"{hook} of {impl.plugin_name}: {said}, {milliseconds:.1f} ms")

        self.add_hookcall_monitoring(before, after)


def _check_arguments(hook: str, function: Callable[..., object], known: Sequence[str]) -> None:
    wanted = f"It may take: {', '.join(known) if known else 'no arguments'}"
    for parameter in inspect.signature(function).parameters.values():
        name = parameter.name
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.KEYWORD_ONLY):
            raise PluginError(f"{hook}: argument {str(parameter)!r} is never passed: use a plain name. {wanted}")
        if name in FORMER and name not in known and "view" in known:
            raise PluginError(f"{hook}: argument {name!r} is no more: {FORMER[name]}")
        if name not in known:
            raise PluginError(f"{hook}: unknown argument {name!r}.{did_you_mean(name, known)} {wanted}")
        if parameter.default is not parameter.empty:
            raise PluginError(f"{hook}: argument {name!r} has a default, so it is never passed: remove it")


def _check_forgotten(plugin: object, hooks: Iterable[str]) -> None:
    """Refuse a function marked ``@hookimpl`` whose name does not begin with ``rlkit_``: it would be lost."""
    # vars() of a module or class runs no code, unlike getattr on names that load lazily.
    holders = [plugin] if isinstance(plugin, types.ModuleType) else list(type(plugin).__mro__)
    for holder in holders:
        for name, value in list(vars(holder).items()):
            marked = isinstance(value, types.FunctionType) and hasattr(value, "rlkit_impl")
            if marked and not name.startswith("rlkit_"):
                hint = did_you_mean(name, hooks)
                raise PluginError(f"{name} is marked @hookimpl, but hooks begin with rlkit_.{hint}")
