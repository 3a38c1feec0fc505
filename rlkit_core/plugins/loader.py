"""Loading plugins one by one, so that a broken one costs only itself.

A plugin is imported in a quarantine and outside the lock, then what it implements is registered, all or nothing. What
goes wrong is kept as its state, with the traceback.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

from attrs import evolve

from rlkit_core.errors import PluginError, PluginNotFoundError, did_you_mean
from rlkit_core.plugins import API_VERSION
from rlkit_core.plugins.discovery import RESERVED, EntryPointInfo, top_level
from rlkit_core.plugins.guard import in_use
from rlkit_core.plugins.manager import HookManager, Hooks, registered_twice
from rlkit_core.plugins.quarantine import quarantined
from rlkit_core.plugins.records import LOCAL, Origin, R, Record, Registered, load_target
from rlkit_core.plugins.states import FAILED, LOADED, PluginState
from rlkit_core.plugins.versions import check_api

Key = tuple[str, str]
"""Distribution and entry point, or ``"local"`` and the name of what was registered by hand."""
_Read = tuple[Hooks, list[Registered[Record]]]


class Loader:
    """The plugins of a host as they are imported and registered.

    Args:
        trace: is told what happens, in lines.
    """

    def __init__(self, trace: Callable[[str], None] | None = None) -> None:
        self.manager = HookManager(trace)
        self._trace = trace or (lambda text: None)
        self._lock = threading.RLock()  # held while something is registered, never while a plugin's code runs
        self._states: dict[Key, PluginState] = {}
        self._held: dict[Key, list[Registered[Record]]] = {}
        self._by_hand: dict[str, object] = {}
        self._importing: set[tuple[int, Key]] = set()
        self._changes = 0

    @property
    def changes(self) -> int:
        """How often something was registered or taken back: whoever keeps what was made of it compares this."""
        return self._changes

    @property
    def states(self) -> Mapping[Key, PluginState]:
        """The state of each installed plugin that was tried."""
        return types.MappingProxyType(self._states)

    @property
    def by_hand(self) -> Mapping[str, object]:
        """The plugins that were registered by hand, by name."""
        return types.MappingProxyType(self._by_hand)

    def records(self, cls: type[R]) -> list[Registered[R]]:
        """The records of a class that plugins hold."""
        with self._lock:
            held = [r for records in self._held.values() for r in records]
        return [cast("Registered[R]", r) for r in held if cls in type(r.record).__mro__]  # isinstance asks a Protocol

    def plugins_of(self, distribution: str) -> list[object]:
        """What was registered of a distribution: whatever its plugins name ``rlkit_...``, in order."""
        found = sorted((name, plugin) for name, plugin in self.manager.list_name_plugin() if plugin is not None)
        return [plugin for name, plugin in found if name.partition(":")[0] == distribution]

    def origin(self, name: str) -> Origin:
        """Whose hooks are registered as ``name`` (``"distribution:entry point"``)."""
        distribution, _, entry = name.partition(":")
        if distribution == RESERVED:
            return Origin(RESERVED, LOCAL.version, entry)
        return Origin(distribution, self._states[distribution, entry].version, entry)

    # -- installed plugins --------------------------------------------------------------------------------------------

    def load(self, entry: EntryPointInfo) -> None:
        """Load a plugin unless that was tried. One that is half imported, here or in another thread, is left for later.

        Threads may load at the same time: each imports for itself, as Python allows, and the first registers.
        """
        key = (entry.distribution, entry.name)
        me = (threading.get_ident(), key)
        if key in self._states or me in self._importing:  # a plugin may ask for the host while it is imported
            return
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
            return
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
                state = PluginState.failure(entry, exc, seconds=seconds)
            self._states[key] = state = evolve(state, changes=quarantine.changes)
            self._changes += 1
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
        return self._hooks_of(plugin, Origin(entry.distribution, entry.version, entry.name))

    def _hooks_of(self, plugin: object, origin: Origin) -> _Read:
        check_api(getattr(plugin, "rlkit_api", None), API_VERSION, origin.distribution)
        hooks = self.manager.read(plugin, f"{origin.distribution}:{origin.entry_point}")
        return hooks, self.manager.records(hooks, origin)

    def _register(self, key: Key, hooks: Hooks, held: list[Registered[Record]]) -> None:
        """Take up the hooks and records of a plugin, all or nothing; the lock is held."""
        beside = {(r.kind, r.name) for other, records in self._held.items() if other[0] == key[0] for r in records}
        twice = next((r for r in held if (r.kind, r.name) in beside), None)
        if twice is not None:
            raise registered_twice(twice)
        try:
            self.manager.add(hooks)
        except BaseException:
            self.manager.discard(hooks.name)  # whatever step it failed at
            raise
        self._held[key] = held

    def forget(self, keep: Callable[[Key, PluginState], bool]) -> None:
        """Forget the installed plugins that are not to be kept; one that failed with its modules, to be read anew."""
        with self._lock:
            for key, state in list(self._states.items()):
                if keep(key, state):
                    continue
                del self._states[key]
                self._held.pop(key, None)
                self.manager.discard(":".join(key))
                self._changes += 1
                used = {top_level(s.value) for s in self._states.values() if s.state == LOADED}
                package = top_level(state.value)
                if state.state == FAILED and package not in used:
                    for name in [n for n in sys.modules if n.partition(".")[0] == package]:
                        del sys.modules[name]

    # -- plugins registered by hand -----------------------------------------------------------------------------------

    def register(self, plugin: object, name: str) -> None:
        """Register a plugin that is not installed.

        Raises:
            PluginError: the name is taken, or the plugin is refused, as an installed one would be.
        """
        with in_use(f"plugin {name!r}, while it was registered"):
            hooks, held = self._hooks_of(plugin, Origin(RESERVED, LOCAL.version, name))
        with self._lock:
            if name in self._by_hand:
                first = f"host.unregister({name!r}) first, or give another name="
                raise PluginError(f"a plugin is registered as {name!r} already: {first}")
            self._register((RESERVED, name), hooks, held)
            self._by_hand[name] = plugin
            self._changes += 1

    def unregister(self, name: str) -> None:
        """Take back what :meth:`register` registered.

        Raises:
            PluginNotFoundError: nothing is registered by hand under that name.
        """
        with self._lock:
            if name not in self._by_hand:
                near = did_you_mean(name, self._by_hand)
                raise PluginNotFoundError(f"no plugin was registered by hand as {name!r}.{near}")
            del self._by_hand[name], self._held[RESERVED, name]
            self.manager.discard(f"{RESERVED}:{name}")
            self._changes += 1


def import_file(path: str | os.PathLike[str]) -> types.ModuleType:
    """Import a Python file as the module of its name; what it imports from its own folder is found as well.

    Raises:
        PluginError: there is no such file, or another module has its name.
        Exception: whatever its code raises, with a note that names the file.
    """
    file = Path(path).resolve()
    known = sys.modules.get(file.stem)
    if known is not None and getattr(known, "__file__", None) == str(file):
        return known
    if known is not None or file.suffix != ".py" or not file.is_file():
        why = f"a module {file.stem!r} is imported already: rename it" if known else "expected a Python file (NAME.py)"
        raise PluginError(f"plugin file {str(path)!r}: {why}")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    try:
        with in_use(f"plugin file {str(path)!r}"), quarantined(Origin(RESERVED, LOCAL.version, file.stem)):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[file.stem]
        raise
    return module


def plugin_files(variable: str) -> Iterator[str]:
    """The files that ``RLKIT_PLUGIN_FILES`` names, separated as a path is."""
    return (name for name in variable.split(os.pathsep) if name)
