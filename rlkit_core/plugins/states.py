"""What became of each plugin, and the one warning about those that cannot be used."""

from __future__ import annotations

import warnings

from attrs import field, frozen

from rlkit_core.errors import PluginError, PluginVersionError
from rlkit_core.plugins import PluginWarning
from rlkit_core.plugins.discovery import INCOMPATIBLE, EntryPointInfo

LOADED, FAILED = "loaded", "failed"


@frozen
class PluginState:
    """What became of one ``rlkit.plugins`` entry point.

    Attributes:
        state: ``"loaded"``, ``"failed"``, ``"disabled"``, ``"incompatible"`` or ``"shadowed"``.
        reason: why it is not loaded, in one line.
        remedy: what to do about it.
        traceback: of the failure, as text.
        seconds: how long importing and registering took.
    """

    distribution: str
    version: str
    entry_point: str
    value: str
    state: str
    reason: str | None = None
    remedy: str | None = None
    traceback: str | None = None
    seconds: float = 0.0
    exception: BaseException | None = field(default=None, eq=False, repr=False)

    def __str__(self) -> str:
        text = f"plugin {self.distribution} {self.version} ({self.entry_point}) {self.state}"
        return text + (f": {self.reason}" if self.reason else "")

    def error(self, asked_for: str | None = None) -> PluginError:
        """Return the error for somebody who asked for something of this plugin, chained from the plugin's own."""
        of_version = self.state == INCOMPATIBLE or isinstance(self.exception, PluginVersionError)
        text = f"{asked_for} cannot be used: {self}" if asked_for else str(self)
        error = (PluginVersionError if of_version else PluginError)(text + (f". {self.remedy}" if self.remedy else ""))
        error.__cause__ = self.exception
        return error


def state_from_metadata(entry: EntryPointInfo, reason: str | None) -> PluginState:
    """Return the state of a plugin that metadata alone rules out."""
    return PluginState(entry.distribution, entry.version, entry.name, entry.value, entry.state, reason)


_reported: set[tuple[str, str, str | None]] = set()


def report_once(state: PluginState) -> None:
    """Warn about a plugin that cannot be used; once per process, however many hosts there are."""
    key = (state.distribution, state.entry_point, state.reason)
    if key not in _reported:
        _reported.add(key)
        remedy = f" {state.remedy}." if state.remedy else ""
        warnings.warn(
            f"{state}.{remedy} Everything else works; 'rlkit doctor' shows the traceback.",
            PluginWarning,
            stacklevel=4,
        )
