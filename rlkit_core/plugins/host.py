"""Loading plugins so that a broken one costs only itself, and asking them things.

``PluginHost`` wraps a ``pluggy.PluginManager``. It loads the entry points of group ``rlkit.plugins`` one by one
in the order (distribution, name); what goes wrong with one is kept as its state, with the traceback, and
everything that plugin had registered is taken back.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import pluggy

from rlkit_core.errors import PluginError, PluginVersionError, did_you_mean
from rlkit_core.plugins import contributions, lookup
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
from rlkit_core.plugins.hookspecs import RLKitSpecs
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
)
from rlkit_core.plugins.registry import ComponentRegistry
from rlkit_core.plugins.states import FAILED, LOADED, PluginState, report_once, state_from_metadata

_log = logging.getLogger("rlkit.plugins")


class _Manager(pluggy.PluginManager):
    """A manager that looks at ``rlkit_*`` names only and needs no marker on them."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        if not name.startswith("rlkit_"):
            return None
        return super().parse_hookimpl_opts(plugin, name) or {}


class PluginHost:
    """The plugins of a process.

    Args:
        snapshot: what is installed; scanned (once per process) unless given.
        env: where ``RLKIT_PLUGINS*`` and ``RLKIT_TRACE_PLUGINS`` are read from; ``os.environ`` unless given.
    """

    def __init__(self, snapshot: Snapshot | None = None, env: Mapping[str, str] | None = None) -> None:
        self._env = os.environ if env is None else env
        self.snapshot = scan(env=self._env) if snapshot is None else snapshot
        self._manager = _Manager("rlkit")
        self._manager.add_hookspecs(RLKitSpecs)
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
        return self._env.get("RLKIT_PLUGINS_STRICT", "") not in ("", "0")

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
        described = (entry.distribution, entry.version, entry.name, entry.value)
        self._states[key] = PluginState(*described, "loading")
        try:
            taken = {(r.kind, r.name) for (dist, _), held in self._held.items() if dist == key[0] for r in held}
            self._held[key] = self._register(entry, taken)
            state, problem = LOADED, {}
        except KeyboardInterrupt:
            self._roll_back(key)
            del self._states[key]
            raise
        except BaseException as exc:
            self._roll_back(key)
            state, problem = FAILED, contributions.describe_failure(exc, entry)
        seconds = time.perf_counter() - start
        self._states[key] = PluginState(*described, state, seconds=seconds, **problem)
        self._registry = None
        self._trace(f"load {':'.join(key)} = {entry.value}: {state}, {seconds * 1e3:.1f} ms")

    def _register(self, entry: EntryPointInfo, taken: set[tuple[str, str]]) -> list[Registered[Record]]:
        plugin = contributions.import_value(entry.value)
        contributions.check_api(plugin, entry)
        # pluggy gets a plain namespace that holds the checked hooks and nothing else: it would otherwise read
        # every attribute of the plugin, and so import whatever a lazy module (PEP 562) offers.
        hooks = contributions.find_hooks(plugin)
        name = f"{entry.distribution}:{entry.name}"
        self._manager.register(contributions.namespace(name, hooks), name=name)
        origin = Origin(entry.distribution, entry.version, entry.name)
        return contributions.collect_records(
            {hook: impl for hook in hooks for impl in self._implementations(hook) if impl.plugin_name == name},
            origin,
            taken,
        )

    def _roll_back(self, key: tuple[str, str]) -> None:
        """Take back everything a plugin registered, whatever step it failed at."""
        name = ":".join(key)
        plugin = self._manager.get_plugin(name)
        if plugin is not None:
            self._manager.unregister(plugin, name)

    # ------------------------------------------------------------------ what was found

    @property
    def states(self) -> tuple[PluginState, ...]:
        """The state of every plugin, sorted by (distribution, entry point), those not loadable included."""
        states = [s for s in self._states.values() if s.state != "loading"]
        for info in self.snapshot.distributions:
            for entry in info.entry_points:
                if entry.group == GROUP_PLUGINS and entry.state in (DISABLED, INCOMPATIBLE, SHADOWED):
                    states.append(state_from_metadata(entry, info.reason))
            if info.state == INCOMPATIBLE and not any(e.group == GROUP_PLUGINS for e in info.entry_points):
                states.append(
                    state_from_metadata(EntryPointInfo("", "-", "", info.name, info.version, info.state), info.reason)
                )
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
        """Return the services of a kind (or all) that loaded plugins offer, sorted by kind and id.

        Loads plugins first.

        Raises:
            ValueError: there is no such kind.
        """
        if kind is not None and kind not in SERVICE_KINDS:
            known = f"{did_you_mean(kind, SERVICE_KINDS)} Kinds: {', '.join(SERVICE_KINDS)}"
            raise ValueError(f"no kind of service {kind!r}.{known}")
        self.load()
        services = [s for s in self._records(Service) if kind in (None, s.kind)]
        return sorted(services, key=lambda s: (s.kind, s.id))

    def get_service(self, kind: str, name: str) -> Any:
        """Import and return the target of the service of that kind and name (or id); the core's win a short name.

        Raises:
            AmbiguousComponentError: two plugins supply that name.
            PluginNotFoundError: none does; says what is installed and the line to install.
            PluginError: its plugin failed or its target cannot be imported.
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
            PluginNotFoundError: nothing installed registers it; says the nearest names or the pip command.
            PluginError: its plugin failed, is disabled, or two plugins register that name.
        """
        return self._class(lookup.find(self.snapshot, GROUP_ALGORITHMS, name), "algorithm")

    def get_catalog(self, name: str) -> type[Any]:
        """Import and return the catalog class registered as ``name`` (or ``"distribution/name"``).

        Raises:
            PluginNotFoundError, PluginError: as :meth:`get_algorithm_config_class`.
        """
        return self._class(lookup.find(self.snapshot, GROUP_CATALOGS, name), "catalog")

    def get_command(self, name: str) -> Any:
        """Import and return what is registered as command ``name``.

        Raises:
            PluginNotFoundError, PluginError: as :meth:`get_algorithm_config_class`.
        """
        return self.load_entry_point(lookup.find(self.snapshot, GROUP_COMMANDS, name))

    def algorithm_names(self) -> tuple[str, ...]:
        """Return the names of usable algorithms, sorted; metadata only."""
        return tuple(sorted({e.name for e in self.snapshot.entry_points(GROUP_ALGORITHMS)}))

    def catalog_names(self) -> tuple[str, ...]:
        """Return the names of usable catalogs, sorted; metadata only."""
        return tuple(sorted({e.name for e in self.snapshot.entry_points(GROUP_CATALOGS)}))

    def load_entry_point(self, entry: EntryPointInfo) -> Any:
        """Import what an entry point names, after its distribution's own plugin (and nobody else's).

        Raises:
            PluginError: the import failed, or that plugin did; chained from the original exception.
        """
        noun = lookup.NOUNS.get(entry.group, "entry point")
        asked_for = f"{noun} {entry.name!r}"
        with self._lock:
            for own in self.snapshot.entry_points(GROUP_PLUGINS):
                if own.distribution == entry.distribution:
                    self._load(own)
        failed = [s for s in self._states.values() if s.distribution == entry.distribution and s.state == FAILED]
        if failed:
            raise failed[0].error(asked_for)
        try:
            return contributions.import_value(entry.value)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            described = (entry.distribution, entry.version, entry.name, entry.value)
            state = PluginState(*described, FAILED, **contributions.describe_failure(exc, entry))
            raise state.error(asked_for) from exc

    def _class(self, entry: EntryPointInfo, noun: str) -> type[Any]:
        value = self.load_entry_point(entry)
        if not isinstance(value, type):
            raise PluginError(
                f"{noun} {entry.name!r}: {entry.value!r} of {entry.distribution} is {value!r}, not a class"
            )
        return value

    def origin_of(self, obj: Any) -> Origin:
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

    def _implementations(self, hook: str) -> list[Any]:
        """Return a hook's implementations: tryfirst, plain, trylast, each sorted by (distribution, name)."""
        caller = getattr(self._manager.hook, hook, None)
        if caller is None:
            raise ValueError(f"no hook {hook!r}.{did_you_mean(hook, sorted(vars(RLKitSpecs)))}")
        impls = caller.get_hookimpls()
        return sorted(impls, key=lambda i: (i.trylast - i.tryfirst, i.plugin_name.split(":", 1)))

    def _calls(self, hook: str, kwargs: Mapping[str, Any]) -> Iterator[tuple[Origin, Any]]:
        self.load()
        for impl in self._implementations(hook):
            distribution, _, entry = impl.plugin_name.partition(":")
            origin = Origin(distribution, self._states[distribution, entry].version, entry)
            yield origin, lambda impl=impl: self._call(impl, hook, kwargs)

    def _call(self, impl: Any, hook: str, kwargs: Mapping[str, Any]) -> Any:
        start = time.perf_counter()
        outcome = "raised"
        try:
            result = impl.function(*(kwargs[name] for name in impl.argnames))
            outcome = "done"
            return result
        finally:
            milliseconds = (time.perf_counter() - start) * 1e3
            self._trace(f"{hook} of {impl.plugin_name}: {outcome}, {milliseconds:.1f} ms")

    def notify(self, hook: str, **kwargs: Any) -> None:
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
                    _log.warning(
                        "%s of plugin %s %s raised %r; the run goes on, its further errors are only counted",
                        hook,
                        origin.distribution,
                        origin.version,
                        exc,
                        exc_info=exc,
                    )

    def collect(self, hook: str, **kwargs: Any) -> list[tuple[Origin, Any]]:
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

    def migrate(self, component: str, state: Any, from_version: str) -> Any:
        """Let the owner of ``component`` (an id, or a distribution) turn an older state into today's.

        Raises:
            PluginError: its ``rlkit_checkpoint_migrate`` raised.
        """
        owner = component.partition("/")[0]
        kwargs = {"component": component, "state": state, "from_version": from_version}
        for origin, call in self._calls("rlkit_checkpoint_migrate", kwargs):
            if origin.distribution != owner:
                continue
            try:
                migrated = call()
            except Exception as exc:
                raise PluginError(
                    f"plugin {owner} {origin.version} could not migrate {component!r} from version "
                    f"{from_version}: {type(exc).__name__}: {exc}"
                ) from exc
            if migrated is not None:
                return migrated
        return state

    def _trace(self, text: str) -> None:
        if self._env.get("RLKIT_TRACE_PLUGINS", "") not in ("", "0"):
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
