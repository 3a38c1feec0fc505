"""API mixins: what a module can do beyond acting, and the driver by which every Learner serves each of them."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from rlkit_core.errors import ModuleAPIError, PluginError
from rlkit_core.plugins.guard import in_use, notice
from rlkit_core.plugins.host import PluginHost, default_host
from rlkit_core.plugins.records import ModuleAPI, Registered
from rlkit_core.plugins.using import driver_name
from rlkit_core.rl_module.apis.driver_contract import driver_problems, with_its_keywords
from rlkit_core.rl_module.apis.mixin_class import mixin_of

if TYPE_CHECKING:
    from typing_extensions import TypeIs

T = TypeVar("T")


def drivers_for(module: Any, host: PluginHost | None = None) -> list[Registered[ModuleAPI]]:
    """Records of the APIs that ``module`` (an RLModule, or a wrapper) implements, in the order of their registration.

    A module implements an API whose mixin itself is in its class's MRO, whatever ``issubclass`` says.

    Args:
        module: an RLModule; wrappers are looked through.
        host: where APIs are registered; the process's own by default.
    """
    host = host or default_host()
    return list(_apis_of(cast("Hashable", type(module.unwrapped())), host, tuple(host.module_apis)))


def driver_class(record: Registered[ModuleAPI]) -> Any:
    """Import and return the driver class of a registered API, or None.

    Raises:
        PluginError: it cannot be imported, or has methods that would never be called, or not as they are written.
    """
    driver = record.load("driver")
    problems = driver_problems(driver) if driver is not None else []
    if problems:
        raise PluginError(f"driver {record.id!r} ({driver.__qualname__}): {'; '.join(problems)}")
    return driver


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


def implements(module: object, api: Callable[..., T]) -> TypeIs[T]:
    """Whether an API's mixin itself is among the bases of a module's class.

    ``isinstance`` would ask every class that anybody derives from the mixin, and their ``__subclasshook__``.
    """
    return any(base is api for base in type(module).__mro__)


def check_required_apis(module: Any, module_id: str, required: Sequence[type]) -> None:
    """Refuse a module that lacks an API its algorithm needs.

    Raises:
        ModuleAPIError: names the API, the methods to write and the class.
    """
    module = module.unwrapped()
    for api in required:
        if implements(module, api):
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
            with in_use(driver_name(record, "on_module_built")):
                with_its_keywords("on_module_built", hook)(module=module)


@functools.lru_cache(maxsize=512)
def _apis_of(
    module_class: Any, host: PluginHost, records: tuple[Registered[ModuleAPI], ...]
) -> tuple[Registered[ModuleAPI], ...]:
    bases = {id(base) for base in module_class.__mro__}
    names = {base.__name__ for base in module_class.__mro__}
    packages = {base.__module__.partition(".")[0] for base in module_class.__mro__}
    return tuple(
        record
        for record in records
        if not _is_a_strangers(record.record.mixin, names, packages) and id(_usable_mixin(record, host)) in bases
    )


def _is_a_strangers(mixin: type | str, names: set[str], packages: set[str]) -> bool:
    """Whether a mixin is none of the bases of these names and packages: its module is there, and not imported."""
    module, _, name = mixin.partition(":") if isinstance(mixin, str) else ("", "", "")
    package = module.rpartition(".")[0]
    if module in sys.modules or package not in sys.modules or module.partition(".")[0] in packages or name in names:
        return False
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # which is told where it is loaded
        return False


def _usable_mixin(record: Registered[ModuleAPI], host: PluginHost) -> type | None:
    """The mixin of a registered API; one that cannot be used is reported once and left out."""
    try:
        return mixin_of(record, host)
    except PluginError as error:
        notice(("mixin", record.id, str(error)), f"{error}; modules are built without it")
        return None
