"""The executor that a config names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from rlkit_core.errors import PluginError
from rlkit_core.execution.protocol import Executor
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.using import code_of


def service_name(name: str) -> str:
    """What ``config.execution(executor=name)`` means for actors that run beside this process."""
    return "process" if name == "auto" else name


def make_executor(
    name: str, *, role: str = "runner", plugin_config: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> Executor:
    """Make the executor that ``config.execution(executor=name)`` means; ``"auto"`` is ``"process"``.

    One whose service declares settings is called with these by name, and with ``role``.

    Args:
        name: a service of kind ``executor``.
        role: what its actors are: ``"runner"``, ``"learner"`` or ``"evaluation"``.
        plugin_config: settings of plugins, by distribution.

    Raises:
        ConfigError: it refuses a setting.
        PluginNotFoundError: nothing installed supplies it; says the line to install.
        PluginError: it is broken, or does not say what it can do.
    """
    found = default_host().find_service("executor", service_name(name))
    make, own = found.load(), {}
    if found.record.settings:
        distribution = found.origin.distribution
        values = default_host().settings_class(distribution)().change(plugin_config.get(distribution, {}))
        own = {"role": role, **{one: getattr(values, one) for one in found.record.settings}}
    with code_of(make, f"executor {name!r}, when it was made"):
        executor = make(**own)
    missing = [one for one in ("in_process", "concurrent", "threads") if not hasattr(executor, one)]
    if missing:
        raise PluginError(
            f"executor {name!r} ({type(executor).__qualname__}) does not say what it can do: it has no attribute "
            f"{', '.join(missing)}; see rlkit_core.execution.protocol.Executor"
        )
    return executor  # type: ignore[no-any-return]
