"""How modules are constructed: the end of the outermost constructor, and which constructor form a class has."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from rlkit_core.errors import SpecError

F = TypeVar("F", bound=Callable[..., Any])

CONSTRUCTOR_DEFAULTS: Final[Mapping[str, object]] = {
    "observation_space": None,
    "action_space": None,
    "inference_only": False,
    "learner_only": False,
    "model_config": {},
    "catalog_class": None,
    "catalogs": (),
    "components": {},
}
"""What a module's constructor takes by name, and what is passed where nothing is known."""

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def outermost(init: F) -> F:
    """Wrap ``__init__`` so that the outermost one calls ``self._construction_done()`` when it returns."""

    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        depth = self.__dict__.get("_ctor_depth", 0)
        self.__dict__["_ctor_depth"] = depth + 1
        try:
            init(self, *args, **kwargs)
        finally:
            self.__dict__["_ctor_depth"] = depth
        if depth == 0:
            del self.__dict__["_ctor_depth"]
            self._construction_done()

    return __init__  # type: ignore[return-value]


def takes_config_object(module_class: type) -> bool:
    """Whether the constructor of ``module_class`` wants one ``RLModuleConfig`` instead of keyword arguments."""
    parameters = list(inspect.signature(module_class).parameters.values())
    if not parameters:
        return False
    first = parameters[0]
    if first.kind is first.VAR_POSITIONAL:
        return len(parameters) == 1
    return first.kind in _POSITIONAL and first.default is first.empty and first.name not in CONSTRUCTOR_DEFAULTS


def accepted_kwargs(module_class: type, kwargs: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Keep those of ``kwargs`` that the constructor takes.

    Raises:
        SpecError: an argument that it does not take has a value other than its default.
    """
    parameters = inspect.signature(module_class).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return dict(kwargs)
    lost = [
        name
        for name, value in kwargs.items()
        if name not in parameters and value is not defaults.get(name) and value != defaults.get(name)
    ]
    if lost:
        raise SpecError(
            f"{module_class.__name__} takes no {', '.join(lost)}: its spec sets "
            f"{'it' if len(lost) == 1 else 'them'}, its constructor has only ({', '.join(parameters)}). Add "
            "**kwargs to the constructor and pass them to super().__init__(), or leave the field unset."
        )
    return {name: value for name, value in kwargs.items() if name in parameters}


def ignores_kwargs(function: F) -> F:
    """Mark a method that takes ``**kwargs`` for its subclasses' sake and uses none of them."""
    function.ignores_kwargs = True  # type: ignore[attr-defined]
    return function


def named_arguments(function: Callable[..., Any]) -> frozenset[str]:
    """Names of the arguments that ``function`` takes by name; what ``**kwargs`` would take is not among them."""
    parameters = inspect.signature(function).parameters.values()
    return frozenset(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))


def accepted_names(function: Callable[..., Any]) -> frozenset[str] | None:
    """Names of the keyword arguments ``function`` accepts; None when it takes any (``**kwargs``)."""
    if getattr(function, "ignores_kwargs", False):
        return frozenset()
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return frozenset(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
