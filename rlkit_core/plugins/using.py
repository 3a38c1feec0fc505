"""Code of a plugin that a config uses: what it raises carries its name, which is looked up only then."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType, ModuleType, TracebackType
from typing import Any, ParamSpec, TypeVar

from rlkit_core.errors import RLKitError
from rlkit_core.plugins.discovery import CORE, RESERVED
from rlkit_core.plugins.guard import in_use
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.quarantine import quarantined
from rlkit_core.plugins.records import LOCAL, ModuleAPI, Origin, Record, Registered

P = ParamSpec("P")
T = TypeVar("T")

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


def import_by_name(module: str) -> ModuleType:
    """Import a module that something names which a plugin may have written: a checkpoint, a message, a setting.

    What a plugin's module does to the process is put back, as everywhere; what it raises says whose it is.

    Raises:
        PluginError: it raised SystemExit or another exception that is no ``Exception``.
    """
    origin = LOCAL if module in sys.modules else default_host().origin_of(module)
    if origin.distribution in _KITS:
        return importlib.import_module(module)  # waits where another thread is still importing it
    who = f"plugin {origin.distribution} {origin.version}, when {module} was imported"
    with in_use(who), quarantined(origin):
        return importlib.import_module(module)


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
        if (
            _is_told(error)
            or origin.distribution in _KITS
            or (isinstance(error, RLKitError) and _is_of_core(error.__traceback__))
        ):
            raise
        with in_use(f"plugin {origin.distribution} {origin.version}, {what}"):
            raise


def names_plugins(function: Callable[P, T]) -> Callable[P, T]:
    """Let what a plugin's code raises inside of a verb (an update, a sample, an action) say whose it is.

    For code that is called too often, or at too many places, for :func:`code_of`: nothing is done until something is
    raised. Then the innermost frame decides that is no library's: a plugin's is named, with component and method.
    The core's own errors, and those of a script, speak for themselves.

    Raises:
        PluginError: a plugin's code raised SystemExit or another exception that is no ``Exception``.
    """

    @functools.wraps(function)
    def named(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            who = None if _is_told(error) else _raised_by(error.__traceback__)
            if who is None:
                raise
            with in_use(who):
                raise

    return named


def _is_told(error: BaseException) -> bool:
    """Whether an error says already which plugin raised it."""
    texts = getattr(error, "__notes__", None) or [arg for arg in error.args if isinstance(arg, str)]
    return any("raised by plugin " in text for text in texts if isinstance(text, str))


def _raised_by(traceback: TracebackType | None) -> str | None:
    """Return the plugin, component and method that the innermost frame belongs to that is no library's; None: none."""
    frames = []
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    host = default_host()
    plugins = {distribution for distribution, _, group, *_ in host.snapshot.usable() if group.startswith("rlkit.")}
    for frame in reversed(frames):
        module = str(frame.f_globals.get("__name__"))
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names and top != "__main__":
            continue
        origin = host.origin_of(sys.modules.get(module, frame.f_code))
        if top == "rlkit_core" or origin.distribution in _KITS:
            return None
        if origin.distribution in plugins:
            return f"plugin {origin.distribution} {origin.version}, {_method(frame)}"
    return None


def _method(frame: FrameType) -> str:
    """Return what a frame runs: a component's id, or the class, and the method; a function with its module."""
    name = frame.f_code.co_name
    first = frame.f_code.co_varnames[0] if frame.f_code.co_argcount else ""
    bound = frame.f_locals.get(first) if first in ("self", "cls") else None
    if bound is None:
        return f"{frame.f_globals.get('__name__')}.{name}()"
    cls = bound if isinstance(bound, type) else type(bound)
    for registered in default_host().registry.components():
        if any(one is registered.record.target for one in cls.__mro__):
            return f"{registered.kind} {registered.id!r}, {name}()"
    return f"{cls.__name__}.{name}()"


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
