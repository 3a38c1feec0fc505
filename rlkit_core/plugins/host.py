"""The plugins of a process: what is installed, what became of it, and asking it things."""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rlkit_core.errors import PluginError, PluginNotFoundError, did_you_mean
from rlkit_core.plugins import lookup
from rlkit_core.plugins.discovery import (
    CORE,
    DISABLED,
    GROUP_ALGORITHMS,
    GROUP_CATALOGS,
    GROUP_COMMANDS,
    GROUP_PLUGINS,
    INCOMPATIBLE,
    SHADOWED,
    EntryPointInfo,
    Snapshot,
    canonical,
    scan,
)
from rlkit_core.plugins.guard import Watchers, describe, safe_text
from rlkit_core.plugins.installed.variables import is_on
from rlkit_core.plugins.loader import Loader, import_file, plugin_files
from rlkit_core.plugins.quarantine import learning_kept, one_after_another, quarantined
from rlkit_core.plugins.records import (
    SERVICE_KINDS,
    Component,
    ModuleAPI,
    Origin,
    Registered,
    Service,
    load_target,
)
from rlkit_core.plugins.registry import ComponentRegistry
from rlkit_core.plugins.states import FAILED, PluginState, report_once
from rlkit_core.settings.declared_elsewhere import settings_class

if TYPE_CHECKING:
    from rlkit_core.settings.base import Settings


class PluginHost:
    """The plugins of a process.

    Args:
        snapshot: what is installed; scanned (once per process) unless given.
        env: where ``RLKIT_PLUGINS*`` and ``RLKIT_TRACE_PLUGINS`` are read from; ``os.environ`` unless given.
    """

    def __init__(self, snapshot: Snapshot | None = None, env: Mapping[str, str] | None = None) -> None:
        self._env = os.environ if env is None else env
        self.snapshot = scan(env=self._env) if snapshot is None else snapshot
        self._loader = Loader(_trace if is_on(self._env, "RLKIT_TRACE_PLUGINS") else None)
        self._complete = False
        self._registry: tuple[int, ComponentRegistry] | None = None
        self._origins = lookup.OriginFinder(self.snapshot)
        self.watchers = Watchers(lambda: self.strict)

    # ------------------------------------------------------------------ loading

    @property
    def strict(self) -> bool:
        """Whether ``RLKIT_PLUGINS_STRICT=1`` asks that a failing plugin stops everything."""
        return is_on(self._env, "RLKIT_PLUGINS_STRICT")

    def load(self) -> None:
        """Load every enabled plugin that is not loaded yet; report each failure once per process.

        Threads may load at the same time: each imports for itself, as Python allows, and the first registers.

        Raises:
            PluginError: only with ``RLKIT_PLUGINS_STRICT=1``, chained from the plugin's own exception; or a file that
                ``RLKIT_PLUGIN_FILES`` names is no plugin.
        """
        if self._complete:
            return
        entries = self.snapshot.entry_points(GROUP_PLUGINS)
        with one_after_another():
            for entry in sorted(entries, key=lambda e: e.distribution != CORE):  # what it imports is looked at first
                self._loader.load(entry)
        if any((e.distribution, e.name) not in self._loader.states for e in entries):
            return  # asked for by a plugin that is being imported
        self._complete = True
        try:
            for state in self.states:
                if state.state in (FAILED, INCOMPATIBLE):
                    if self.strict:
                        raise state.error()
                    report_once(state)
            for file in plugin_files(self._env.get("RLKIT_PLUGIN_FILES", "")):
                self.register_file(file)
        except BaseException:
            self._complete = False  # whoever asks again is told again
            raise

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
        self._loader.register(plugin, name)
        return name

    def register_file(self, path: str | os.PathLike[str]) -> str:
        """Import a Python file and :meth:`register` it, once; ``rlkit --plugin FILE`` does so.

        Raises:
            PluginError: as of :meth:`register`, or there is no such file.
            Exception: whatever its code raises, with a note that names the file.
        """
        module = import_file(path)
        return module.__name__ if module.__name__ in self.registered else self.register(module)

    def unregister(self, name: str) -> None:
        """Take back what :meth:`register` registered; what is built with it stays.

        Raises:
            PluginNotFoundError: nothing is registered by hand under that name.
        """
        self._loader.unregister(name)

    @property
    def registered(self) -> Mapping[str, object]:
        """The plugins that were registered by hand, by name."""
        return self._loader.by_hand

    @contextmanager
    def temporary(self, *plugins: object) -> Iterator[PluginHost]:
        """Register plugins for a ``with`` block; whatever else is registered by hand in it goes at its end as well."""
        before = set(self.registered)
        try:
            for plugin in plugins:
                self.register(plugin)
            yield self
        finally:
            for name in set(self.registered) - before:
                self.unregister(name)

    def refresh(self) -> tuple[PluginState, ...]:
        """Look again at what is installed: new plugins are found, failed ones tried again, those gone are forgotten.

        For notebooks, after a ``pip install``. A loaded plugin stays as it was imported, whatever its files say now:
        another version of it needs another process. What is built already stays as it is.

        Returns:
            The states that are new or another's now.
        """
        importlib.invalidate_caches()
        before = set(self.states)
        self.snapshot = scan(env=self._env, refresh=True)
        found = {(e.distribution, e.name) for e in self.snapshot.entry_points(GROUP_PLUGINS)}
        self._loader.forget(lambda key, state: key in found and state.state != FAILED)
        self._origins = lookup.OriginFinder(self.snapshot)
        self._complete = False
        self.load()
        return tuple(s for s in self.states if s not in before)

    # ------------------------------------------------------------------ what was found

    @property
    def states(self) -> tuple[PluginState, ...]:
        """The state of every plugin, sorted by (distribution, entry point), those not loadable included."""
        states = list(self._loader.states.values())
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
        changes = self._loader.changes
        if self._registry is None or self._registry[0] != changes:
            unavailable = [s for s in self.states if s.state in (FAILED, INCOMPATIBLE, DISABLED)]
            registry = ComponentRegistry(
                self._loader.records(Component), unavailable=unavailable, origin_of=self.origin_of
            )
            self._registry = changes, registry
        return self._registry[1]

    @property
    def module_apis(self) -> tuple[Registered[ModuleAPI], ...]:
        """The API mixins of loaded plugins with their drivers, sorted by id. Loads plugins first."""
        self.load()
        return tuple(sorted(self._loader.records(ModuleAPI), key=lambda api: api.id))

    def services(self, kind: str | None = None) -> list[Registered[Service]]:
        """Return the services of a kind (or all) that plugins offer, sorted by kind and id. Loads plugins first.

        Raises:
            ValueError: there is no such kind.
        """
        if kind is not None and kind not in SERVICE_KINDS:
            known = f"{did_you_mean(kind, SERVICE_KINDS)} Kinds: {', '.join(SERVICE_KINDS)}"
            raise ValueError(f"no kind of service {kind!r}.{known}")
        self.load()
        return sorted(
            (s for s in self._loader.records(Service) if kind in (None, s.kind)), key=lambda s: (s.kind, s.id)
        )

    def get_service(self, kind: str, name: str) -> Any:
        """Import and return the target of the service of that kind and name (or id); the core's win a short name.

        Raises:
            RLKitError: as :func:`~rlkit_core.plugins.lookup.find_record`, or its target cannot be imported.
            ValueError: there is no such kind.
        """
        return self.find_service(kind, name).load()

    def find_service(self, kind: str, name: str) -> Registered[Service]:
        """Return the record of a service, which says whose it is; errors are as of :meth:`get_service`."""
        return lookup.find_record(self.services(kind), kind, name, self.registry.unavailable)

    def find_module_api(self, name: str) -> Registered[ModuleAPI]:
        """Return the record of the API mixin of that name (or id).

        Raises:
            RLKitError: as :func:`~rlkit_core.plugins.lookup.find_record`.
        """
        return lookup.find_record(self.module_apis, "module API", name, self.registry.unavailable)

    def hooks_of(self, distribution: str, entry_point: str) -> Mapping[str, Callable[..., Any]]:
        """Return the functions by which a loaded plugin implements hooks, by hook; nothing is loaded for it."""
        return self._loader.manager.implemented(f"{distribution}:{entry_point}")

    def deprecations_of(self, distribution: str, entry_point: str) -> list[str]:
        """Return what a loaded plugin implements or takes that a later plugin API will not have, as sentences."""
        return self._loader.manager.deprecations(self.hooks_of(distribution, entry_point))

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
        self._load_distribution(entry.distribution, asked_for)
        try:
            with quarantined(Origin(entry.distribution, entry.version)):
                return load_target(entry.value)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            raise PluginState.failure(entry, exc).error(asked_for) from exc

    def _load_distribution(self, distribution: str, asked_for: str) -> None:
        """Load the plugins of one distribution, and the core's; raise the error of one that failed."""
        plugins = self.snapshot.entry_points(GROUP_PLUGINS)
        siblings = [e for e in plugins if e.distribution == distribution]
        for sibling in [*(e for e in plugins if siblings and e.distribution == CORE), *siblings]:
            self._loader.load(sibling)
        failed = [s for s in self.states if s.distribution == distribution and s.state == FAILED]
        if failed:
            raise failed[0].error(asked_for)

    def settings_class(self, distribution: str) -> type[Settings]:
        """The settings that the plugins of a distribution declare as ``rlkit_settings``; loads these alone.

        Raises:
            PluginNotFoundError: no such plugin is installed (or registered by hand, for ``"local"``).
            PluginError: it failed to load, is disabled, declares none, or not as they are declared.
        """
        name, label = canonical(distribution), f"settings of plugin {distribution!r}"
        self._load_distribution(name, label)
        holders = self._loader.plugins_of(name)
        if not holders:
            info = self.snapshot.distribution(name)
            if info is not None and (info.reason or info.entry_points):
                raise PluginError(f"{label}: it is {info.state}: {info.reason or 'it has no plugin with hooks'}")
            known = sorted({e.distribution for e in self.snapshot.entry_points(GROUP_PLUGINS)} - {CORE})
            near = did_you_mean(name, known) or f" {lookup.install_hint('plugin', f'{name}/settings')}"
            raise PluginNotFoundError(f"{label}: no such plugin is installed.{near}")
        declared: dict[str, Any] = {}
        try:
            for holder in holders:
                declared.update(getattr(holder, "rlkit_settings", {}))
            made = settings_class(f"plugin {name!r}", declared)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            raise PluginError(f"plugin {name}: its rlkit_settings cannot be used: {describe(exc)}") from exc
        if not declared:
            raise PluginError(f"{label}: it declares none (rlkit_settings = {{...}} beside rlkit_api)")
        return made

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

    # ------------------------------------------------------------------ calling hooks

    def _calls(self, hook: str, kwargs: Mapping[str, Any]) -> Iterator[tuple[Origin, Callable[[], Any]]]:
        """Yield each plugin that implements a hook, with what calls it; loads plugins first."""
        self.load()
        for name in self._loader.manager.implementers(hook):
            yield self._loader.origin(name), functools.partial(self._loader.manager.ask, name, hook, kwargs)

    def notify(self, hook: str, **kwargs: object) -> None:
        """Tell observers; what one raises is logged once, counted in ``watchers.errors``, and stops nobody.

        What they return is ignored; what they do to generators and torch's settings is put back.

        Raises:
            PluginError: only with ``RLKIT_PLUGINS_STRICT=1``.
        """
        for origin, call in self._calls(hook, kwargs):
            with learning_kept():
                self.watchers.call(origin, hook, call)

    def is_heard(self, hook: str) -> bool:
        """Whether any plugin implements a hook. Loads plugins first."""
        self.load()
        return bool(self._loader.manager.implementers(hook))

    def ask(
        self, hook: str, distributions: Collection[str], kwargs: Callable[[], Mapping[str, object]]
    ) -> list[tuple[Origin, str]]:
        """Ask the plugins of some distributions for sentences: ``(origin, sentence)`` of each answer.

        Args:
            hook: whose answer is an iterable of sentences, one sentence, or None.
            distributions: who is asked; others are not.
            kwargs: gives each of them arguments of its own.

        Raises:
            PluginError: a plugin raised or returned something else; names it and is chained from its exception.
        """
        said: list[tuple[Origin, str]] = []
        self.load()
        for name in self._loader.manager.implementers(hook):
            origin = self._loader.origin(name)
            if origin.distribution not in distributions:
                continue
            who = f"{hook} of plugin {origin.distribution} {origin.version}"
            try:
                with learning_kept():
                    answer = self._loader.manager.ask(name, hook, kwargs())
                    answer = () if answer is None else (answer,) if isinstance(answer, str) else answer
                    sentences = list(itertools.islice(answer, 100)) if isinstance(answer, Iterable) else [answer]
            except KeyboardInterrupt:
                raise
            except BaseException as exc:
                raise PluginError(f"{who} raised {describe(exc)}") from exc
            wrong = next((one for one in sentences if not isinstance(one, str)), None)
            if wrong is not None or isinstance(answer, bytes | Mapping):
                seen = safe_text(answer if wrong is None else wrong, 80)
                raise PluginError(f"{who} returned {seen}, expected sentences (a list of str)")
            said += [(origin, safe_text(one)) for one in sentences]
        return said

    def migrate(self, component: str, part: str, state: object, from_version: str) -> Any:
        """Let the owner of ``component`` (a full id) turn its part of an older state into today's.

        Raises:
            PluginError: its ``rlkit_checkpoint_migrate`` raised.
        """
        owner = component.partition("/")[0]
        kwargs = {"component": component, "part": part, "state": state, "from_version": from_version}
        calls = self._calls("rlkit_checkpoint_migrate", kwargs)
        for origin, call in ((origin, call) for origin, call in calls if origin.distribution == owner):
            try:
                migrated = call()
            except KeyboardInterrupt:
                raise
            except BaseException as exc:
                what = f"could not migrate {component!r} ({part}) from version {from_version}"
                raise PluginError(f"plugin {owner} {origin.version} {what}: {describe(exc)}") from exc
            if migrated is not None:
                return migrated
        return state


def _trace(text: str) -> None:
    print(f"[rlkit plugins] {text}", file=sys.stderr, flush=True)


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
