"""Which class a module API's mixin is, and whether it is its record's to name."""

from __future__ import annotations

import sys

from rlkit_core.errors import PluginError
from rlkit_core.plugins.discovery import CORE, RESERVED
from rlkit_core.plugins.host import PluginHost
from rlkit_core.plugins.records import ModuleAPI, Registered


def mixin_of(record: Registered[ModuleAPI], host: PluginHost) -> type:
    """Import and return the mixin class of a registered API.

    Raises:
        PluginError: it cannot be imported, or cannot serve; it is not of the distribution that registered it.
    """
    mixin: type = record.load("mixin")
    problem = _foreign(mixin, record, host)
    if problem:
        raise PluginError(f"{record.kind} {record.id!r}: {problem}")
    return mixin


def _foreign(mixin: type, record: Registered[ModuleAPI], host: PluginHost) -> str | None:
    """Say why a mixin is not its record's to name: with somebody else's it would serve modules that never asked."""
    name, own = f"{mixin.__module__}.{mixin.__qualname__}", record.origin.distribution
    if mixin.__module__.partition(".")[0] in sys.stdlib_module_names - {"__main__"}:
        return f"its mixin {name} is Python's own; write a class of your own, which modules can choose to inherit"
    if own == CORE:
        return None
    whose = host.origin_of(mixin).distribution
    if whose == own or (own == RESERVED and whose != CORE) or (whose == RESERVED and mixin.__module__ != "__main__"):
        return None
    return f"its mixin {name} is of {whose}; a record names a mixin of its own distribution, {own}"
