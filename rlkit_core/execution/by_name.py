"""The executor that a config names."""

from __future__ import annotations

from rlkit_core.errors import PluginError
from rlkit_core.execution.protocol import Executor
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.using import code_of


def service_name(name: str) -> str:
    """What ``config.execution(executor=name)`` means for actors that run beside this process."""
    return "process" if name == "auto" else name


def make_executor(name: str) -> Executor:
    """Make the executor that ``config.execution(executor=name)`` means; ``"auto"`` is ``"process"``.

    Raises:
        PluginNotFoundError: nothing installed supplies it; says the line to install.
        PluginError: it is broken, or does not say what it can do.
    """
    make = default_host().get_service("executor", service_name(name))
    with code_of(make, f"executor {name!r}, when it was made"):
        executor = make()
    missing = [one for one in ("in_process", "concurrent", "threads") if not hasattr(executor, one)]
    if missing:
        raise PluginError(
            f"executor {name!r} ({type(executor).__qualname__}) does not say what it can do: it has no attribute "
            f"{', '.join(missing)}; see rlkit_core.execution.protocol.Executor"
        )
    return executor  # type: ignore[no-any-return]
