"""What a driver may have and take: methods by name, each with any subset of its keywords. Checked when it is bound."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final

from rlkit_core.errors import did_you_mean

LOSS = ("learner", "module_id", "module", "config", "batch", "fwd_out")
EVENTS: Final[dict[str, tuple[str, ...]]] = {
    "on_module_built": ("module",),
    "on_build": ("learner", "module_id", "module"),
    "on_remove": ("learner", "module_id"),
    "on_rollout": ("learner", "module_id", "module", "config", "rollout"),
    "before_update": ("learner", "module_id", "module", "batch"),
    "extra_loss": LOSS,
    "compute_loss": LOSS,
    "after_update": ("learner", "module_id", "module", "timesteps"),
    "get_state": (),
    "set_state": ("state",),
}
"""Every method of a driver with the keywords that it may take; all are optional."""

_AS_EVENTS = ("on_", "before_", "after_")
_ANY = 0.5
_NEAR = 0.8  # how like one of them a name must be to be taken for a misspelt one


def driver_problems(driver: type) -> list[str]:
    """Say what is wrong with a driver class: methods that would never be called, or not with these arguments.

    Its code is not run. Helpers of other names are its own business; one whose name is nearly an event's, or begins as
    those of events do, begins with an underscore.
    """
    found = []
    for name in dir(driver):
        if name in EVENTS:
            problem = _problem(driver, name)
            if problem:
                found.append(problem)
        elif not name.startswith("_"):
            as_an_event = name.startswith(_AS_EVENTS) and callable(getattr(driver, name))
            hint = did_you_mean(name, EVENTS, cutoff=_ANY if as_an_event else _NEAR)
            if hint or as_an_event:
                found.append(f"{name}() would never be called.{hint} (a helper's name may begin with an underscore)")
    return found


def with_its_keywords(event: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of a driver as something that can be called with all keywords of its event.

    It is the method itself where that takes all of them, which costs nothing.
    """
    parameters = _arguments(method)
    if parameters is None or any(p.kind is p.VAR_KEYWORD for p in parameters):
        return method
    taken = [name for name in EVENTS[event] if name in {p.name for p in parameters}]
    if len(taken) == len(EVENTS[event]):
        return method

    def call(**kwargs: object) -> Any:
        return method(**{name: kwargs[name] for name in taken})

    return call


def _problem(driver: type, event: str) -> str | None:
    static, method = inspect.getattr_static(driver, event), getattr(driver, event)
    if not callable(method):
        return f"{event} is {type(method).__name__}, expected a method"
    if event == "on_module_built" and isinstance(static, FunctionType):
        return "on_module_built must be a static method: @staticmethod above it, and no self"
    parameters = _arguments(method)
    if parameters is None:
        return None
    if isinstance(static, FunctionType):
        if not parameters or parameters[0].kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD):
            return f"{event}() takes no self"
        if parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
            parameters = parameters[1:]
    known = EVENTS[event]
    takes = f"It may take {', '.join(known)}, by name." if known else "It takes nothing."
    for one in parameters:
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            continue
        if one.kind is one.POSITIONAL_ONLY:
            return f"{event}() takes {one.name!r} by position only, and is called with keywords"
        if one.name not in known:
            return f"{event}() takes {one.name!r}, which is never given.{did_you_mean(one.name, known)} {takes}"
    return None


def _arguments(method: Callable[..., Any]) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(method).parameters.values())
    except (TypeError, ValueError):  # written in C
        return None
