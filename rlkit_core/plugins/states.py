"""What became of each plugin, and the one warning about those that cannot be used."""

from __future__ import annotations

import sys

from attrs import evolve, field, frozen

from rlkit_core.errors import PluginError, PluginVersionError
from rlkit_core.plugins.discovery import INCOMPATIBLE, EntryPointInfo, scan, top_level
from rlkit_core.plugins.guard import describe, notice, safe_traceback
from rlkit_core.plugins.installed.modules import is_installed, module_of_file
from rlkit_core.plugins.quarantine import Changes

LOADED, FAILED = "loaded", "failed"


@frozen
class PluginState:
    """What became of one ``rlkit.plugins`` entry point.

    Attributes:
        state: ``"loaded"``, ``"failed"``, ``"disabled"``, ``"incompatible"`` or ``"shadowed"``.
        reason: why it is not loaded, in one line; ``remedy`` is what to do about it.
        traceback: of the failure, as text.
        seconds: how long importing and registering took.
        changes: what it did to the process meanwhile.
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
    changes: Changes = field(factory=Changes)
    exception: BaseException | None = field(default=None, eq=False, repr=False)

    @classmethod
    def of(cls, entry: EntryPointInfo, state: str, *, reason: str | None = None, seconds: float = 0.0) -> PluginState:
        """Return the state of the plugin behind an entry point."""
        described = (entry.distribution, entry.version, entry.name, entry.value)
        return cls(*described, state, reason=reason, seconds=seconds)

    @classmethod
    def failure(cls, entry: EntryPointInfo, exc: BaseException, *, seconds: float = 0.0) -> PluginState:
        """Return the state of a plugin that raised while it was imported or registered, with what to do about it."""
        return evolve(
            cls.of(entry, FAILED, reason=describe(exc), seconds=seconds),
            remedy=f"{_remedy(exc, entry)}, or hide it with RLKIT_PLUGINS_DISABLE={entry.distribution}",
            traceback=safe_traceback(exc),
            exception=exc,
        )

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


def _remedy(exc: BaseException, entry: EntryPointInfo) -> str:
    name = entry.distribution
    if isinstance(exc, PluginVersionError) and exc.remedy:
        return exc.remedy
    culprit = _culprit(exc, entry)
    if isinstance(exc, ModuleNotFoundError) and exc.name and exc.name.partition(".")[0] != top_level(entry.value):
        missing = exc.name.partition(".")[0]
        if missing != exc.name and is_installed(missing):
            who = culprit or "it"
            return f"install versions that fit together: {who} imports {exc.name!r}, which {missing!r} does not have"
        return f"install {missing!r}, which {culprit or 'it'} imports"
    if culprit:
        return f"mend {culprit} first, whose import fails"
    if isinstance(exc, SystemExit):
        return f"it tried to end Python while it was imported; update it (pip install -U {name})"
    if isinstance(exc, ImportError | AttributeError):
        return f"reinstall it (pip install --force-reinstall {name})"
    return f"update it (pip install -U {name})"


def _culprit(exc: BaseException, entry: EntryPointInfo) -> str | None:
    """Name what else was being imported when a plugin failed: another plugin, or else the innermost package."""
    modules = []
    trace = exc.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "<module>":
            modules.append(str(trace.tb_frame.f_globals.get("__name__", "")))
        trace = trace.tb_next
    if isinstance(exc, SyntaxError) and exc.filename:
        modules.append(module_of_file(exc.filename))
    culprit = None
    for module in modules:
        package = module.partition(".")[0]
        if package in ("", "rlkit_core", top_level(entry.value)) or package in sys.stdlib_module_names:
            continue
        owner = scan().owner(module)
        if owner is None and not (culprit or "").startswith("plugin"):
            culprit = repr(package)
        elif owner is not None and owner.name != entry.distribution:
            culprit = f"plugin {owner.name}"
    return culprit


def report_once(state: PluginState) -> None:
    """Warn about a plugin that cannot be used; once per process, however many hosts there are."""
    remedy = f" {state.remedy}." if state.remedy else ""
    text = f"{state}.{remedy} Everything else works; 'rlkit doctor' shows the traceback."
    notice((state.distribution, state.entry_point, state.reason), text)
