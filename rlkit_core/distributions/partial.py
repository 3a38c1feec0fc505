"""Distribution classes with arguments bound, which pickle between processes.

A class that is made at run time cannot be pickled by name. These carry a metaclass for which ``copyreg``
knows a recipe (base class and bound arguments), and are kept once per recipe, so a class that went through
pickle in the same process is the same object.
"""

from __future__ import annotations

import copyreg
import itertools
from abc import ABCMeta
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakValueDictionary

import numpy as np

from rlkit_core.errors import ConfigError

if TYPE_CHECKING:
    import gymnasium as gym


T = TypeVar("T")


class PartialMeta(ABCMeta):
    """Metaclass of classes made by :func:`make_partial`."""


class _Bound:
    """First base of a partial class: adds the bound arguments."""

    __slots__ = ()
    bound_kwargs: Mapping[str, Any] = {}

    @classmethod
    def from_logits(cls, logits: Any, **kwargs: object) -> Any:
        parent: Any = super()
        return parent.from_logits(logits, **_merged(cls.__name__, cls.bound_kwargs, kwargs))

    @classmethod
    def required_input_dim(cls, space: gym.Space[Any], model_config: Any = None, **kwargs: object) -> Any:
        parent: Any = super()
        return parent.required_input_dim(space, model_config, **_merged(cls.__name__, cls.bound_kwargs, kwargs))


class _Made:
    """Gives cloudpickle, which looks a class up by its qualified name, the live partial classes."""

    def __init__(self) -> None:
        self.by_name: WeakValueDictionary[str, type] = WeakValueDictionary()
        self.by_key: WeakValueDictionary[Any, type] = WeakValueDictionary()
        self.count = itertools.count()

    def __getattr__(self, name: str) -> type:
        try:
            return self.__dict__["by_name"][name]  # type: ignore[no-any-return]
        except KeyError:
            raise AttributeError(name) from None


made = _Made()


def _merged(name: str, bound: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    twice = sorted(set(bound) & set(new)) if new else []
    if twice:
        raise ConfigError(f"{name}: {', '.join(map(repr, twice))} already bound; pass only what is not")
    return {**bound, **new}


def _frozen(value: object) -> Any:
    """A hashable stand-in that is equal for equal values."""
    if isinstance(value, Mapping):
        return ("map", type(value), tuple((key, _frozen(item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return (type(value), tuple(_frozen(item) for item in value))
    if isinstance(value, np.ndarray):
        return ("array", value.shape, value.dtype.str, value.tobytes())
    hash(value)
    return (type(value), value)


def make_partial(base: type[T], kwargs: Mapping[str, Any]) -> type[T]:
    """Return the subclass of ``base`` with ``kwargs`` bound (the same class for equal arguments).

    Raises:
        ConfigError: an argument is bound already.
    """
    if "_partial_of" in base.__dict__:
        kwargs = _merged(base.__name__, base.__dict__["bound_kwargs"], kwargs)
        base = base.__dict__["_partial_of"]
    try:
        key = (base, _frozen(dict(sorted(kwargs.items()))))
    except TypeError:  # an unhashable argument: works, but is made anew each time
        key = None
    if key is not None and (known := made.by_key.get(key)) is not None:
        return cast("type[T]", known)
    unique = f"{base.__name__}_{next(made.count)}"
    namespace = {
        "__slots__": (),
        "__module__": __name__,
        "__qualname__": f"made.{unique}",
        "__doc__": base.__doc__,
        "bound_kwargs": dict(kwargs),
        "_partial_of": base,
    }
    cls: Any = PartialMeta(f"{base.__name__}Partial", (_Bound, base), namespace)
    made.by_name[unique] = cls
    if key is not None:
        made.by_key[key] = cls
    return cast("type[T]", cls)


def _reduce(cls: PartialMeta) -> Any:
    if "_partial_of" in cls.__dict__:
        return make_partial, (cls.__dict__["_partial_of"], dict(cls.__dict__["bound_kwargs"]))
    return cls.__qualname__  # an ordinary subclass that somebody wrote of a partial class


copyreg.pickle(PartialMeta, _reduce)
