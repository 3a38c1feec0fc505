"""API mixins: what a module can do beyond acting, and the driver by which every Learner serves each of them."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Hashable, Sequence
from typing import Any, cast

from rlkit_core.errors import ModuleAPIError, PluginError
from rlkit_core.plugins import PluginWarning
from rlkit_core.plugins.host import PluginHost, default_host


def drivers_for(module: Any, host: PluginHost | None = None) -> list[Any]:
    """Records of the APIs that ``module`` (an RLModule, or a wrapper) implements, in the order of their registration.

    Args:
        module: an RLModule; wrappers are looked through.
        host: where APIs are registered; the process's own by default.
    """
    return list(_apis_of(cast("Hashable", type(module.unwrapped())), host or default_host()))


def driver_class(record: Any) -> Any:
    """Import and return the driver class of a registered API, or None."""
    return record.load("driver")


def loss_replacement(module: Any, host: PluginHost | None = None) -> Any:
    """Return the one registered API whose driver replaces the loss of ``module``, or None.

    Raises:
        ModuleAPIError: two drivers would replace it, or ``loss_api`` names none of them.
    """
    module = module.unwrapped()
    replacing = [r for r in drivers_for(module, host) if hasattr(driver_class(r), "compute_loss")]
    wanted = module.loss_api
    name = type(module).__name__
    if wanted is not None:
        for record in replacing:
            if wanted in (record.name, record.id):
                return record
        known = ", ".join(record.name for record in replacing) or "none"
        raise ModuleAPIError(
            f"{name}.loss_api = {wanted!r}: no API of that name on this class replaces the loss (those that do: "
            f"{known})"
        )
    if len(replacing) > 1:
        names = " and ".join(f"{r.name!r} ({r.origin.distribution})" for r in replacing)
        raise ModuleAPIError(
            f"{name} implements {names}, and each replaces the loss: say which one counts by a class attribute, "
            f'loss_api = "{replacing[0].name}"'
        )
    return replacing[0] if replacing else None


def check_required_apis(module: Any, module_id: str, required: Sequence[type]) -> None:
    """Refuse a module that lacks an API its algorithm needs.

    Raises:
        ModuleAPIError: names the API, the methods to write and the class.
    """
    module = module.unwrapped()
    for api in required:
        if isinstance(module, api):
            continue
        methods = sorted(getattr(api, "__abstractmethods__", ())) or sorted(
            name for name in vars(api) if not name.startswith("_")
        )
        raise ModuleAPIError(
            f"module {module_id!r}: the algorithm needs {api.__name__}, which {type(module).__name__} does not "
            f"implement. Add {api.__name__} to its base classes and write "
            f"{', '.join(f'{method}()' for method in methods)}."
        )


def module_built(module: object) -> None:
    """Tell the drivers of its APIs that a module's outermost constructor has ended."""
    for record in drivers_for(module):
        hook = getattr(driver_class(record), "on_module_built", None)
        if hook is not None:
            hook(module)


@functools.lru_cache(maxsize=512)
def _apis_of(module_class: type, host: PluginHost) -> tuple[Any, ...]:
    mixins = [(record, _mixin(record)) for record in host.module_apis]
    return tuple(record for record, mixin in mixins if mixin is not None and issubclass(module_class, mixin))


def _mixin(record: Any) -> Any:
    """The mixin class of a registered API; one that cannot be used is reported once and left out."""
    try:
        return record.load("mixin")
    except PluginError as error:
        warnings.warn(f"{error}; modules are built without it", PluginWarning, stacklevel=2)
        return None
