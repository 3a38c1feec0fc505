"""Bringing what an older version of a plugin wrote up to date: which part of a state is whose, and asking its owner."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen

from rlkit_core.checkpoint.saved_component import SavedComponent
from rlkit_core.errors import PluginError
from rlkit_core.plugins.discovery import CORE, FOUND
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.used.lock import requirement


@frozen
class Migration:
    """Asks the owners of what a checkpoint holds, where they have another version now than when it was saved.

    Attributes:
        class_ref: of what was saved.
        before: the version at the save, by distribution; only those that differ now.
        trace: the choices of components for the module that was saved; empty for anything else.
    """

    class_ref: str
    before: Mapping[str, str]
    trace: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(cls, snapshot: SavedComponent) -> Migration:
        """What there is to migrate in a snapshot, its components aside."""
        saved = dict(snapshot.lock.versions)
        own = snapshot.metadata.get("distribution")
        if isinstance(own, dict):
            saved.setdefault(str(own.get("name")), str(own.get("version")))
        here = {info.name: info.version for info in default_host().snapshot.distributions if info.state == FOUND}
        before = {name: old for name, old in saved.items() if name != CORE and here.get(name, old) != old}
        trace = snapshot.metadata.get("component_trace")
        rows = trace if isinstance(trace, list) else ()
        return cls(snapshot.class_ref, before, tuple(row for row in rows if isinstance(row, Mapping)))

    def __bool__(self) -> bool:
        return bool(self.before)

    def ask_classes(self, owner: type, part: str, state: dict[str, Any]) -> dict[str, Any]:
        """Let the plugins whose classes ``owner`` is made of migrate the state of it, base classes first."""
        for cls in reversed(owner.__mro__):
            distribution = default_host().origin_of(cls).distribution if cls is not object else CORE
            if distribution in self.before:
                state = self.ask(f"{distribution}/{cls.__qualname__}", part, state, what=self.class_ref)
        return state

    def ask(self, component: str, part: str, state: dict[str, Any], *, what: str | None = None) -> dict[str, Any]:
        """Let the owner of ``component`` (a full id) migrate its state; others are returned as they are.

        Raises:
            PluginError: its ``rlkit_checkpoint_migrate`` raised, or returned no mapping in place of one.
        """
        distribution = component.partition("/")[0]
        version = self.before.get(distribution)
        if version is None:
            return state
        host = default_host()
        info = host.snapshot.distribution(distribution)
        warnings.warn(
            f"the checkpoint's {what or component} was saved with {distribution} {version}, installed is "
            f"{info.version if info else None}; if it does not load: pip install {requirement(distribution, version)}",
            UserWarning,
            stacklevel=2,
        )
        migrated = host.migrate(component, part, state, version)
        if not isinstance(migrated, dict):
            raise PluginError(
                f"plugin {distribution}: rlkit_checkpoint_migrate({component!r}, {part!r}) returned "
                f"{type(migrated).__name__}, expected a dict as it was given"
            )
        return migrated

    def ask_parts(self, state: Mapping[str, Any], parts: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """Let owners migrate their parts of a module's flat state ``{name: array}``.

        Args:
            state: of the module.
            parts: ``(dotted prefix, component id)``, outer parts before those inside of them. Each owner is given its
                part with names relative to the prefix.
        """
        known = {str(row.get("id")) for row in self.trace}
        result = dict(state)
        for prefix, component in parts:
            if component not in known:
                continue  # another component than the one that was saved
            start = f"{prefix}." if prefix else ""
            own = {name[len(start) :]: value for name, value in result.items() if name.startswith(start)}
            migrated = self.ask(component, "module", own)
            if migrated is not own:
                result = {name: value for name, value in result.items() if not name.startswith(start)}
                result |= {f"{start}{name}": value for name, value in migrated.items()}
        return result
