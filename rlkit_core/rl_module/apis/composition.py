"""API mixins by name: ``mixins=["acme-rnd/rnd"]`` puts the implementations of these APIs onto a module's class."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterable
from typing import Any, cast

from rlkit_core.errors import RLKitError, SpecError
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.records import ModuleAPI, Registered
from rlkit_core.rl_module.apis.mixin_class import mixin_of
from rlkit_core.settings import Declared
from rlkit_core.settings.of_parts import Part

_PARTS = "composed_of"


def composed(base: type[Any], mixins: Iterable[str]) -> type[Any]:
    """The class of a module with the implementations of named APIs before ``base``, the first one first of all.

    The same names on the same class give the same class. It says of itself what it is made of (:func:`parts_of`), and
    travels by that.

    Args:
        base: the module's class; one that is composed already is taken for what it is composed of, with all its mixins.
        mixins: full ids or short names of module APIs that are installed.

    Raises:
        RLKitError: there is no such API, or several of a short name.
        SpecError: an API without ``implementation``, or one that the class has already; an implementation that
            implements something else, leaves methods out or does not fit the class.
        PluginError: an implementation cannot be imported.
    """
    below, before = parts_of(base)
    names = (*mixins, *before)
    records = tuple(find_mixin(name) for name in names)
    cls: type[Any] = _composed(cast("Hashable", below), records) if records else below
    return cls


def parts_of(cls: type[Any]) -> tuple[type[Any], tuple[str, ...]]:
    """What a class is composed of: the class below, and full ids of the mixins; of any other class ``(cls, ())``."""
    parts: tuple[type[Any], tuple[str, ...]] = vars(cls).get(_PARTS, (cls, ()))
    return parts


def find_mixin(name: str) -> Registered[ModuleAPI]:
    """The record of a module API that has an implementation.

    Raises:
        RLKitError: there is none of that name.
        SpecError: it has no implementation.
    """
    record = default_host().find_module_api(name)
    if record.record.implementation is None:
        raise SpecError(
            f"mixins=[{name!r}]: {record.id!r} has no implementation to be mixed in. Write a module class that "
            f"inherits its mixin and give that as module_class, or ask {record.origin.distribution} for one: "
            "ModuleAPI(..., implementation=...)"
        )
    return record


@functools.lru_cache(maxsize=256)
def _composed(base: type[object], records: tuple[Registered[ModuleAPI], ...]) -> Any:
    host = default_host()
    implementations: list[type[Any]] = []
    for index, record in enumerate(records):
        mixin, implementation = mixin_of(record, host), record.load("implementation")
        where = f"mixins=[{record.id!r}] on {base.__name__}"
        if record in records[:index]:
            raise SpecError(f"{where}: it is listed twice")
        if mixin in base.__mro__:
            raise SpecError(
                f"{where}: {mixin.__name__} is among the bases of {base.__name__} already; leave one of them out"
            )
        if not issubclass(implementation, mixin):
            raise SpecError(f"{where}: its implementation {implementation.__name__} does not inherit {mixin.__name__}")
        implementations.append(implementation)
    ids = tuple(record.id for record in records)
    listed = " and ".join([*map(repr, ids), base.__name__])

    def __reduce_ex__(self: object, protocol: int) -> Any:  # noqa: N807
        """A module is copied and sent with its class as what that is composed of."""
        reduced = super(made, self).__reduce_ex__(protocol)
        return reduced if type(self) is not made else (_blank, (base, ids), *reduced[2:])

    name = "With".join([base.__name__, *(_camel(record.name) for record in records)])
    body = {"__module__": base.__module__, "__qualname__": name, "__doc__": base.__doc__, _PARTS: (base, ids)}
    try:
        metaclass: Any = type(base)
        made: Any = metaclass(name, (*implementations, base), {**body, "__reduce_ex__": __reduce_ex__})
    except TypeError as error:  # no order of bases, or metaclasses that contradict each other
        raise SpecError(f"{listed} cannot be one class: {error}") from error
    missing = set(getattr(made, "__abstractmethods__", ())) - set(getattr(base, "__abstractmethods__", ()))
    if missing:
        raise SpecError(f"{listed}: nobody writes {', '.join(f'{method}()' for method in sorted(missing))}")
    return made


def _camel(name: str) -> str:
    words = "".join(letter if letter.isalnum() else " " for letter in name).split()
    return "".join(word[:1].upper() + word[1:] for word in words)


def _blank(base: type[object], mixins: tuple[str, ...]) -> Any:
    cls: Any = composed(base, mixins)
    return cls.__new__(cls)


def with_settings(cls: type[Any], model_config: dict[str, Any]) -> dict[str, Any]:
    """The model config with what the mixins of a composed class declare: defaults filled in, values converted.

    Raises:
        ConfigError: a value is refused.
    """
    for part in mixin_parts(cls):
        if isinstance(part.settings, Declared) and part.settings:
            model_config = part.settings.filled(model_config)
    return model_config


def mixin_parts(cls: type[Any]) -> list[Part]:
    """What the mixins of a composed class declare; of any other class nothing."""
    records = map(find_mixin, parts_of(cls)[1])
    return [Part(record.id, record.record.settings) for record in records]


def mixin_problem(name: str) -> str | None:
    """Say why a name is that of no API that can be mixed in, or return None."""
    try:
        find_mixin(name)
    except RLKitError as error:
        return str(error)
    return None
