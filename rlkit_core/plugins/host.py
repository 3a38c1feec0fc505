"""Loading plugins so that a broken one costs only itself, and asking them things.

Entry points of group ``rlkit.plugins`` are loaded one by one in the order (distribution, name); what goes wrong with
one is kept as its state, with the traceback, and everything that plugin had registered is taken back.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from rlkit_core.errors import PluginError, PluginVersionError, did_you_mean
from rlkit_core.plugins import API_VERSION, lookup
from rlkit_core.plugins.discovery import (
    DISABLED,
    GROUP_ALGORITHMS,
    GROUP_CATALOGS,
    GROUP_COMMANDS,
    GROUP_PLUGINS,
    INCOMPATIBLE,
    SHADOWED,
    EntryPointInfo,
    Snapshot,
    scan,
)
from rlkit_core.plugins.manager import HookManager
from rlkit_core.plugins.records import (
    SERVICE_KINDS,
    Component,
    ModuleAPI,
    Origin,
    R,
    Record,
    Registered,
    Service,
    describe,
    load_target,
)
from rlkit_core.plugins.registry import ComponentRegistry
from rlkit_core.plugins.states import FAILED, LOADED, PluginState, report_once
from rlkit_core.plugins.versions import check_api

_log = logging.getLogger("rlkit.plugins")


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
        self._lock = threading.RLock()
        self._states: dict[tuple[str, str], PluginState] = {}
        self._held: dict[tuple[str, str], list[Registered[Record]]] = {}
        self._complete = False
        self._registry: ComponentRegistry | None = None
        self._origins = lookup.OriginFinder(self.snapshot)
        self.observer_errors: Counter[tuple[str, str]] = Counter()

    # ------------------------------------------------------------------ loading

    @property
    def strict(self) -> bool:
        """Whether ``RLKIT_PLUGINS_STRICT=1`` asks that a failing plugin stops everything."""
        return self._is_on("RLKIT_PLUGINS_STRICT")

    def load(self) -> None:
        """Load every enabled plugin that is not loaded yet; report each failure once per process.

        Raises:
            PluginError: only with ``RLKIT_PLUGINS_STRICT=1``, chained from the plugin's own exception.
        """
        if self._complete:
            return
        with self._lock:
            for entry in self.snapshot.entry_points(GROUP_PLUGINS):
                self._load(entry)
            self._complete = True
        for state in self.states:
            if state.state in (FAILED, INCOMPATIBLE):
                if self.strict:
                    self._complete = False
                    raise state.error()
                report_once(state)

    def _load(self, entry: EntryPointInfo) -> None:
        key = (entry.distribution, entry.name)
        if key in self._states:  # also while it is being loaded: a plugin may ask for the host at import
            return
        start = time.perf_counter()
        self._states[key] = PluginState.of(entry, "loading")
        try:
            self._held[key] = self._register(entry)
            state = PluginState.of(entry, LOADED, seconds=time.perf_counter() - start)
        except BaseException as exc:
            self._manager.discard(":".join(key))  # whatever step it failed at
            if isinstance(exc, KeyboardInterrupt):
                del self._states[key]
                raise
            state = PluginState.failure(entry, exc, seconds=time.perf_counter() - start)
        self._states[key] = state
        self._registry = None
        if self._traced:
            self._trace(f"load {':'.join(key)} = {entry.value}: {state.state}, {state.seconds * 1e3:.1f} ms")

    def _register(self, entry: EntryPointInfo) -> list[Registered[Record]]:
        plugin = load_target(entry.value)
        check_api(getattr(plugin, "rlkit_api", None), API_VERSION, entry.distribution)
        name = f"{entry.distribution}:{entry.name}"
        self._manager.add(plugin, name)
        origin = Origin(entry.distribution, entry.version, entry.name)
        beside = (held for (distribution, _), held in self._held.items() if distribution == entry.distribution)
        taken = {(r.kind, r.name) for held in beside for r in held}
        return self._manager.records(name, origin, taken)

    # ------------------------------------------------------------------ what was found

    @property
    def states(self) -> tuple[PluginState, ...]:
        """The state of every plugin, sorted by (distribution, entry point), those not loadable included."""
        states = [s for s in self._states.values() if s.state != "loading"]
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
        with self._lock:
            for sibling in self.snapshot.entry_points(GROUP_PLUGINS):
                if sibling.distribution == entry.distribution:
                    self._load(sibling)
        failed = [s for s in self._states.values() if s.distribution == entry.distribution and s.state == FAILED]
        if failed:
            raise failed[0].error(asked_for)
        try:
            return load_target(entry.value)
        except BaseException as exc:
            if isinstance(exc, KeyboardInterrupt):
                raise
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
        """Tell observers. What one raises is logged once, counted in ``observer_errors``, and stops nobody.

        Raises:
            PluginError: only with ``RLKIT_PLUGINS_STRICT=1``.
        """
        for origin, call in self._calls(hook, kwargs):
            try:
                call()
            except (Exception, SystemExit) as exc:
                if self.strict:
                    raise PluginError(f"{hook} of plugin {origin.distribution} raised {exc!r}") from exc
                key = (origin.distribution, hook)
                self.observer_errors[key] += 1
                if self.observer_errors[key] == 1:
                    text = "%s of plugin %s %s raised %r; the run goes on, its further errors are only counted"
                    _log.warning(text, hook, origin.distribution, origin.version, exc, exc_info=exc)

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
