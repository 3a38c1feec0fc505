"""Code of a plugin that a config uses: what it raises carries its name, which is looked up only then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import Any

from rlkit_core.errors import RLKitError
from rlkit_core.plugins.discovery import CORE, RESERVED
from rlkit_core.plugins.guard import in_use
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.records import LOCAL, ModuleAPI, Origin, Record, Registered

_KITS = (CORE, RESERVED)  # the core's errors speak for themselves, and so do a script's


def owner(registered: Registered[Record]) -> str:
    """Return whose a component is, as messages name it: ``"plugin acme 1.0, encoder 'acme/gcn'"``."""
    what = f"{registered.kind.replace('_', ' ')} {registered.id!r}"
    origin = registered.origin
    return what if origin.distribution == RESERVED else f"plugin {origin.distribution} {origin.version}, {what}"


def component_in_use(registered: Registered[Record], method: str) -> AbstractContextManager[None]:
    """Around a method of a component: what it raises says whose it is. The core's own speak for themselves."""
    if registered.origin.distribution == CORE:
        return nullcontext()
    return in_use(f"{owner(registered)}, {method}()")


def driver_name(api: Registered[ModuleAPI], method: str) -> str:
    """Return a driver's method as messages name it."""
    return f"plugin {api.origin.distribution} {api.origin.version}, driver {api.id!r}, {method}()"


@contextmanager
def code_of(obj: object, what: str) -> Iterator[None]:
    """Around a call of a class or function that may be a plugin's; what it raises gets a note that says so.

    Errors of the core's own that were raised in the core, inside of such a call, go on as they are.

    Args:
        obj: the class or function; of a class, the first in its MRO that is not the core's says whose it is.
        what: of it, as messages name it: ``"module class GCNModule, setup"``.

    Raises:
        PluginError: a plugin's code raised SystemExit or another exception that is no ``Exception``.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        origin = _origin(obj)
        told = any(note.startswith("raised by plugin ") for note in getattr(error, "__notes__", ()))
        if told or origin.distribution in _KITS or (isinstance(error, RLKitError) and _is_of_core(error.__traceback__)):
            raise
        with in_use(f"plugin {origin.distribution} {origin.version}, {what}"):
            raise


def _origin(obj: object) -> Origin:
    find = default_host().origin_of
    classes: tuple[Any, ...] = obj.__mro__ if isinstance(obj, type) else (obj,)
    origins = (find(one) for one in classes if one is not object)
    return next((origin for origin in origins if origin.distribution != CORE), LOCAL)


def _is_of_core(traceback: TracebackType | None) -> bool:
    """Whether the innermost frame is the core's."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    name = traceback.tb_frame.f_globals.get("__name__") if traceback is not None else None
    return isinstance(name, str) and name.partition(".")[0] == "rlkit_core"
