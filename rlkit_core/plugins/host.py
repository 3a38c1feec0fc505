"""Loading plugins so that a broken one costs only itself, and asking them things.

Entry points of group ``rlkit.plugins`` are loaded one by one in the order (distribution, name); what goes wrong with
one is kept as its state, with the traceback, and everything that plugin had registered is taken back.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import threading
import time
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from attrs import evolve

from rlkit_core.errors import PluginError, PluginNotFoundError, PluginVersionError, did_you_mean
from rlkit_core.plugins import API_VERSION, lookup
from rlkit_core.plugins.discovery import (
    CORE,
    DISABLED,
    GROUP_ALGORITHMS,
    GROUP_CATALOGS,
    GROUP_COMMANDS,
    GROUP_PLUGINS,
    INCOMPATIBLE,
    RESERVED,
    SHADOWED,
    EntryPointInfo,
    Snapshot,
    scan,
    top_level,
)
from rlkit_core.plugins.guard import Watchers, describe, in_use
from rlkit_core.plugins.manager import HookManager, Hooks, registered_twice
from rlkit_core.plugins.quarantine import quarantined
from rlkit_core.plugins.records import (
    LOCAL,
    SERVICE_KINDS,
    Component,
    ModuleAPI,
    Origin,
    R,
    Record,
    Registered,
    Service,
    load_target,
)
from rlkit_core.plugins.registry import ComponentRegistry
from rlkit_core.plugins.states import FAILED, LOADED, PluginState, report_once
from rlkit_core.plugins.versions import check_api

Key = tuple[str, str]  # distribution and entry point
_Read = tuple[Hooks, list[Registered[Record]]]


class PluginHost:
    """The plugins of a process.

    Args:
        snapshot: what is installed; scanned (once per process) unless given.
        env: where ``RLKIT_PLUGINS*`` and ``RLKIT_TRACE_PLUGINS`` are read from; ``os.environ`` unless given.
    """

    def __init__(self, snapshot: Snapshot | None = None, env: Mapping[str, str] | None = None) -> None:
        self._env = os.environ if env is None else env
        self.snapshot = scan(env=self._env) if snapshot is None else snapshot
        self._traced = self._is_on("RLKIT_TRACE_PLUGINS")
        self._manager = HookManager(self._trace if self._traced else None)
        self._lock = threading.RLock()  # held while something is registered, never while a plugin's code runs
        self._states: dict[Key, PluginState] = {}
        self._held: dict[Key, list[Registered[Record]]] = {}
        self._by_hand: dict[str, object] = {}
        self._importing: set[tuple[int, Key]] = set()
        self._complete = False
        self._registry: ComponentRegistry | None = None
        self._origins = lookup.OriginFinder(self.snapshot)
        self.watchers = Watchers(lambda: self.strict)

    # ------------------------------------------------------------------ loading

    @property
    def strict(self) -> bool:
        """Whether ``RLKIT_PLUGINS_STRICT=1`` asks that a failing plugin stops everything."""
        return self._is_on("RLKIT_PLUGINS_STRICT")

    def load(self) -> None:
        """Load every enabled plugin that is not loaded yet; report each failure once per process.

        Threads may load at the same time: each imports for itself, as Python allows, and the first registers.

        Raises:
            PluginError: only with ``RLKIT_PLUGINS_STRICT=1``, chained from the plugin's own exception.
        """
        if self._complete:
            return
        entries = self.snapshot.entry_points(GROUP_PLUGINS)
        for entry in sorted(entries, key=lambda e: e.distribution != CORE):  # what it imports is looked at beforehand
            self._load(entry)
        with self._lock:
            self._complete = all((e.distribution, e.name) in self._states for e in entries)
        for state in self.states if self._complete else ():
            if state.state in (FAILED, INCOMPATIBLE):
                if self.strict:
                    self._complete = False
                    raise state.error()
                report_once(state)

    def _load(self, entry: EntryPointInfo) -> None:
        key = (entry.distribution, entry.name)
        me = (threading.get_ident(), key)
        if key in self._states or me in self._importing:  # a plugin may ask for the host while it is imported
            return
        if self._traced:
            self._trace(f"importing {':'.join(key)} = {entry.value} ...")
        start = time.perf_counter()
        self._importing.add(me)
        read: _Read | BaseException | None
        try:
            with quarantined(Origin(entry.distribution, entry.version)) as quarantine:
                read = self._read(entry)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            read = exc
        finally:
            self._importing.discard(me)
        if read is None:
            return  # half of it: somewhere up the stack, or in another thread, it is still being imported
        seconds = time.perf_counter() - start
        with self._lock:
            if key in self._states:
                return  # another thread was faster
            try:
                if isinstance(read, BaseException):
                    raise read
                self._register(key, *read)
                state = PluginState.of(entry, LOADED, seconds=seconds)
            except KeyboardInterrupt:
                raise
            except BaseException as exc:
                self._manager.discard(":".join(key))  # whatever step it failed at
                state = PluginState.failure(entry, exc, seconds=seconds)
            self._states[key] = state = evolve(state, changes=quarantine.changes)
            self._registry = None
        if self._traced:
            self._trace(f"load {':'.join(key)} = {entry.value}: {state.state}, {state.seconds * 1e3:.1f} ms")

    def _read(self, entry: EntryPointInfo) -> _Read | None:
        """Import a plugin and ask for its records; None where it is only half imported."""
        try:
            plugin = load_target(entry.value)
        except RuntimeError as exc:
            if type(exc).__name__ == "_DeadlockError":  # Python's: two threads wait for each other's half modules
                return None
            raise
        module = sys.modules.get(entry.value.partition(":")[0].strip())
        if getattr(getattr(module, "__spec__", None), "_initializing", False):
            return None
        origin = Origin(entry.distribution, entry.version, entry.name)
        return self._hooks_of(plugin, origin)

    def _hooks_of(self, plugin: object, origin: Origin) -> _Read:
        check_api(getattr(plugin, "rlkit_api", None), API_VERSION, origin.distribution)
        hooks = self._manager.read(plugin, f"{origin.distribution}:{origin.entry_point}")
        return hooks, self._manager.records(hooks, origin)

    def _register(self, key: Key, hooks: Hooks, held: list[Registered[Record]]) -> None:
        """Take up the hooks and records of a plugin, all or nothing; the lock is held."""
        beside = {
            (r.kind, r.name): other for other, records in self._held.items() if other[0] == key[0] for r in records
        }
        twice = next((r for r in held if (r.kind, r.name) in beside), None)
        if twice is not None:
            raise registered_twice(twice)
        self._manager.add(hooks)
        self._held[key] = held

    # ------------------------------------------------------------------ by hand

    def register(self, plugin: object, *, name: str | None = None) -> str:
        """Register a plugin that is not installed: a script's, a notebook's. Its ids begin with ``local/``.

        What is built already stays as it is.

        Args:
            plugin: a module or object with hooks and ``rlkit_api``, as an entry point would name.
            name: of the registration, for :meth:`unregister`; the module's or class's unless given.

        Returns:
            The name.

        Raises:
            PluginError: the name is taken, or the plugin is refused, as an installed one would be.
        """
        name = name or str(getattr(plugin, "__name__", type(plugin).__name__))
        self.load()
        key = (RESERVED, name)
        if key in self._held:
            raise PluginError(
                f"a plugin is registered as {name!r} already: host.unregister({name!r}) first, or give another name="
            )
        with in_use(f"plugin {name!r}, while it was registered"):
            hooks, held = self._hooks_of(plugin, Origin(RESERVED, LOCAL.version, name))
        with self._lock:
            try:
                self._register(key, hooks, held)
            except BaseException:
                self._manager.discard(":".join(key))
                raise
            self._by_hand[name] = plugin
            self._registry = None
        return name

    def unregister(self, name: str) -> None:
        """Take back what :meth:`register` registered; what is built with it stays.

        Raises:
            PluginNotFoundError: nothing is registered by hand under that name.
        """
        with self._lock:
            if name not in self._by_hand:
                known = did_you_mean(name, self._by_hand)
                raise PluginNotFoundError(f"no plugin was registered by hand as {name!r}.{known}")
            del self._by_hand[name], self._held[RESERVED, name]
            self._manager.discard(f"{RESERVED}:{name}")
            self._registry = None

    @property
    def registered(self) -> Mapping[str, object]:
        """The plugins that were registered by hand, by name."""
        return types.MappingProxyType(self._by_hand)

    @contextmanager
    def temporary(self, *plugins: object) -> Iterator[PluginHost]:
        """Register plugins for a ``with`` block; whatever else is registered by hand in it goes at its end as well."""
        before = set(self._by_hand)
        try:
            for plugin in plugins:
                self.register(plugin)
            yield self
        finally:
            for name in set(self._by_hand) - before:
                self.unregister(name)

    def refresh(self) -> tuple[PluginState, ...]:
        """Look again at what is installed: new plugins are found, failed ones tried again, those gone are forgotten.

        For notebooks, after a ``pip install``. A loaded plugin stays as it was imported, whatever its files say now:
        another version of it needs another process. What is built already stays as it is.

        Returns:
            The states that are new or another's now.
        """
        importlib.invalidate_caches()
        snapshot = scan(env=self._env, refresh=True)
        before = set(self.states)
        with self._lock:
            found = {(e.distribution, e.name): e for e in snapshot.entry_points(GROUP_PLUGINS)}
            for key, state in list(self._states.items()):
                if key not in found or state.state == FAILED:
                    self._forget(key, state)
            self.snapshot = snapshot
            self._origins = lookup.OriginFinder(snapshot)
            self._registry, self._complete = None, False
        self.load()
        return tuple(s for s in self.states if s not in before)

    def _forget(self, key: Key, state: PluginState) -> None:
        """Forget a plugin; of one that failed, the modules too, so that it is read anew."""
        del self._states[key]
        self._held.pop(key, None)
        self._manager.discard(":".join(key))
        package = top_level(state.value)
        in_use = {top_level(s.value) for s in self._states.values() if s.state == LOADED}
        if state.state == FAILED and package not in in_use:
            for name in [n for n in sys.modules if n.partition(".")[0] == package]:
                del sys.modules[name]

    # ------------------------------------------------------------------ what was found

    @property
    def states(self) -> tuple[PluginState, ...]:
        """The state of every plugin, sorted by (distribution, entry point), those not loadable included."""
        states = list(self._states.values())
        for info in self.snapshot.distributions:
            for entry in info.entry_points:
                if entry.group == GROUP_PLUGINS and entry.state in (DISABLED, INCOMPATIBLE, SHADOWED):
                    states.append(PluginState.of(entry, entry.state, reason=info.reason))
            if info.state == INCOMPATIBLE and not any(e.group == GROUP_PLUGINS for e in info.entry_points):
                states.append(PluginState(info.name, info.version, "-", "", info.state, info.reason))
        return tuple(sorted(states, key=lambda s: (s.distribution, s.entry_point, s.state, s.version)))

    @property
    def registry(self) -> ComponentRegistry:
        """All components of loaded plugins. Loads plugins first."""
        self.load()
        if self._registry is None:
            unavailable = [s for s in self.states if s.state in (FAILED, INCOMPATIBLE, DISABLED)]
            registry = ComponentRegistry(self._records(Component), unavailable=unavailable, origin_of=self.origin_of)
            if not self._complete:
                return registry  # asked for by a plugin that is being loaded
            self._registry = registry
        return self._registry

    @property
    def module_apis(self) -> tuple[Registered[ModuleAPI], ...]:
        """The API mixins of loaded plugins with their drivers, sorted by id. Loads plugins first."""
        self.load()
        return tuple(sorted(self._records(ModuleAPI), key=lambda api: api.id))

    def services(self, kind: str | None = None) -> list[Registered[Service]]:
        """Return the services of a kind (or all) that plugins offer, sorted by kind and id. Loads plugins first.

        Raises:
            ValueError: there is no such kind.
        """
        if kind is not None and kind not in SERVICE_KINDS:
            known = f"{did_you_mean(kind, SERVICE_KINDS)} Kinds: {', '.join(SERVICE_KINDS)}"
            raise ValueError(f"no kind of service {kind!r}.{known}")
        self.load()
        return sorted((s for s in self._records(Service) if kind in (None, s.kind)), key=lambda s: (s.kind, s.id))

    def get_service(self, kind: str, name: str) -> Any:
        """Import and return the target of the service of that kind and name (or id); the core's win a short name.

        Raises:
            RLKitError: as :func:`~rlkit_core.plugins.lookup.find_record`, or its target cannot be imported.
            ValueError: there is no such kind.
        """
        return lookup.find_record(self.services(kind), kind, name, self.registry.unavailable).load()

    def _records(self, cls: type[R]) -> list[Registered[R]]:
        held = (r for records in self._held.values() for r in records)
        return [cast("Registered[R]", r) for r in held if isinstance(r.record, cls)]

    # ------------------------------------------------------------------ things asked for by name

    def get_algorithm_config_class(self, name: str) -> type[Any]:
        """Import and return the config class registered as algorithm ``name`` (or ``"distribution/name"``).

        Raises:
            RLKitError: as :func:`~rlkit_core.plugins.lookup.find` and :meth:`load_entry_point`, or it is no class.
        """
        return self._class(lookup.find(self.snapshot, GROUP_ALGORITHMS, name), "algorithm")

    def get_catalog(self, name: str) -> type[Any]:
        """Import and return the catalog class registered as ``name``; see :meth:`get_algorithm_config_class`."""
        return self._class(lookup.find(self.snapshot, GROUP_CATALOGS, name), "catalog")

    def get_command(self, name: str) -> Any:
        """Import and return what is registered as command ``name``; see :meth:`get_algorithm_config_class`."""
        return self.load_entry_point(lookup.find(self.snapshot, GROUP_COMMANDS, name))

    def load_entry_point(self, entry: EntryPointInfo) -> Any:
        """Import what an entry point names, after its distribution's own plugin (and nobody else's).

        Raises:
            PluginError: the import failed, or that plugin did; chained from the original exception.
        """
        asked_for = f"{lookup.NOUNS.get(entry.group, 'entry point')} {entry.name!r}"
        plugins = self.snapshot.entry_points(GROUP_PLUGINS)
        siblings = [e for e in plugins if e.distribution == entry.distribution]
        for sibling in [*(e for e in plugins if siblings and e.distribution == CORE), *siblings]:
            self._load(sibling)
        failed = [s for s in self.states if s.distribution == entry.distribution and s.state == FAILED]
        if failed:
            raise failed[0].error(asked_for)
        try:
            with quarantined(Origin(entry.distribution, entry.version)):
                return load_target(entry.value)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            raise PluginState.failure(entry, exc).error(asked_for) from exc

    def _class(self, entry: EntryPointInfo, noun: str) -> type[Any]:
        value = self.load_entry_point(entry)
        if not isinstance(value, type):
            raise PluginError(
                f"{noun} {entry.name!r}: {entry.value!r} of {entry.distribution} is {value!r}, not a class"
            )
        return value

    def origin_of(self, obj: object) -> Origin:
        """Return which installed distribution an object, class or module comes from; ``local`` if none."""
        return self._origins.find(obj)

    def require_snapshot(self, driver: Snapshot) -> None:
        """Check, in a worker process, that it uses the same plugins as the driver.

        Raises:
            PluginVersionError: they differ; the message lists how.
        """
        difference = driver.diff(self.snapshot)
        if difference:
            raise PluginVersionError(
                "the plugins of this worker differ from the driver's ('first' is the driver):\n"
                f"{difference}\nInstall the same versions and set the same RLKIT_PLUGINS* variables on both sides."
            )

    # ------------------------------------------------------------------ calling hooks

    def _calls(self, hook: str, kwargs: Mapping[str, Any]) -> Iterator[tuple[Origin, Callable[[], Any]]]:
        """Yield each plugin that implements a hook, with what calls it; loads plugins first."""
        self.load()
        for name in self._manager.implementers(hook):
            distribution, _, entry = name.partition(":")
            origin = Origin(distribution, self._states[distribution, entry].version, entry)
            yield origin, functools.partial(self._manager.ask, name, hook, kwargs)

    def notify(self, hook: str, **kwargs: object) -> None:
        """Tell observers; what one raises is logged once, counted in ``watchers.errors``, and stops nobody.

        Raises:
            PluginError: only with ``RLKIT_PLUGINS_STRICT=1``.
        """
        for origin, call in self._calls(hook, kwargs):
            self.watchers.call(origin, hook, call)

    def collect(self, hook: str, **kwargs: object) -> list[tuple[Origin, Any]]:
        """Ask every plugin and return ``(origin, item)`` for each item of each answer (None: no items).

        Raises:
            PluginError: a plugin raised; names it and is chained from its exception.
        """
        items: list[tuple[Origin, Any]] = []
        for origin, call in self._calls(hook, kwargs):
            try:
                result = call()
                if result is None:
                    continue
                single = isinstance(result, str | bytes | Mapping) or not isinstance(result, Iterable)
                items.extend((origin, item) for item in ([result] if single else result))
            except Exception as exc:
                who = f"{hook} of plugin {origin.distribution} {origin.version}"
                raise PluginError(f"{who} raised {describe(exc)}") from exc
        return items

    def migrate(self, component: str, state: object, from_version: str) -> Any:
        """Let the owner of ``component`` (an id, or a distribution) turn an older state into today's.

        Raises:
            PluginError: its ``rlkit_checkpoint_migrate`` raised.
        """
        owner = component.partition("/")[0]
        kwargs = {"component": component, "state": state, "from_version": from_version}
        calls = self._calls("rlkit_checkpoint_migrate", kwargs)
        for origin, call in ((origin, call) for origin, call in calls if origin.distribution == owner):
            try:
                migrated = call()
            except Exception as exc:
                what = f"could not migrate {component!r} from version {from_version}"
                raise PluginError(f"plugin {owner} {origin.version} {what}: {type(exc).__name__}: {exc}") from exc
            if migrated is not None:
                return migrated
        return state

    def _is_on(self, variable: str) -> bool:
        return self._env.get(variable, "") not in ("", "0")

    def _trace(self, text: str) -> None:
        print(f"[rlkit plugins] {text}", file=sys.stderr)


# ------------------------------------------------------------------ the host of this process

_default: PluginHost | None = None
_default_lock = threading.RLock()


def default_host() -> PluginHost:
    """Return the host of this process, made on first use."""
    global _default
    with _default_lock:
        if _default is None:
            _default = PluginHost()
        return _default


@contextmanager
def use_host(host: PluginHost | None) -> Iterator[PluginHost | None]:
    """Make ``host`` the default inside a ``with`` block; None: a fresh one is made from a new scan."""
    global _default
    with _default_lock:
        before, _default = _default, host
    try:
        yield host
    finally:
        with _default_lock:
            _default = before
