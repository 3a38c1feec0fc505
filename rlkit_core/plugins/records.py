"""What plugins hand to the core: plain, immutable records.

A record is data. Its ``target`` may be a ``"package.module:Attribute"`` string, which is imported only when
the component is chosen, so that listing and choosing import no plugin code beyond the module with the hooks.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from attrs import Attribute, field, frozen, validators

from rlkit_core.errors import PluginError, did_you_mean
from rlkit_core.plugins.discovery import CORE
from rlkit_core.plugins.guard import LOCAL as LOCAL
from rlkit_core.plugins.guard import Origin as Origin
from rlkit_core.plugins.guard import describe
from rlkit_core.plugins.quarantine import quarantined
from rlkit_core.settings.of_parts import Declared

Kind = Literal["encoder", "head", "distribution"]
Slot = Literal["encoder", "pi", "vf", "af", "qf"]

SERVICE_KINDS = ("executor", "learner_group", "step_engine", "writer", "env_wrapper", "callbacks", "framework")
"""What a :class:`Service` can be; a config names each of them somewhere."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*\Z")


def _check_name(instance: object, attribute: Attribute[Any], value: str) -> None:
    if not isinstance(value, str) or not _NAME.match(value):
        raise ValueError(
            f"{type(instance).__name__} name {value!r}: use letters, digits, '.', '_' and '-', "
            "starting with a letter or digit (it becomes part of the id 'distribution/name')"
        )


def _expected(what: str, fits: Callable[[Any], bool]) -> Callable[[Record, Attribute[Any], object], None]:
    """Return a validator that says which record has what in place of ``what``."""

    def check(instance: Record, attribute: Attribute[Any], value: object) -> None:
        if not fits(value):
            raise ValueError(f"{instance.name!r}: {attribute.name} {value!r}, expected {what}")

    return check


def _check_mixin(instance: ModuleAPI, attribute: Attribute[Any], value: object) -> None:
    problem = None if isinstance(value, str) else instance.problem("mixin", value)
    if problem:
        raise ValueError(f"{instance.name!r}: {problem}")


def _check_service_kind(instance: Service, attribute: Attribute[Any], value: str) -> None:
    if value not in SERVICE_KINDS:
        near = did_you_mean(str(value), SERVICE_KINDS)
        kinds = ", ".join(SERVICE_KINDS)
        raise ValueError(f"{instance.name!r}: kind {value!r} is no kind of service.{near} Kinds: {kinds}")


def _as_tuple(spaces: Iterable[type]) -> tuple[type, ...]:
    return tuple(spaces)


_a_target = _expected(
    "a class or 'package.module:Class'",
    lambda value: isinstance(value, type) or (isinstance(value, str) and _TARGET.match(value) is not None),
)


def _is_space_class(value: object) -> bool:
    """Whether it is a class of gymnasium's spaces, told by name, as these records import no gymnasium."""
    return isinstance(value, type) and any(
        base.__name__ == "Space" and base.__module__.startswith("gymnasium.spaces") for base in value.__mro__
    )


_some_spaces = _expected(
    "one or more gymnasium space classes (gymnasium.Space serves any)",
    lambda value: bool(value) and all(_is_space_class(space) for space in value),
)
_a_condition = _expected("a function of one request or None", lambda value: value is None or callable(value))


def _declared(settings: Mapping[str, Any] | None) -> Declared | None:
    try:
        return settings if settings is None or isinstance(settings, Declared) else Declared(settings)
    except TypeError as error:
        raise ValueError(f"settings: {error}") from error


_an_integer = _expected("an integer", lambda value: isinstance(value, int))


def load_target(target: object) -> Any:
    """Import ``"package.module"`` or ``"package.module:Attribute"``; anything that is no string is returned as it is.

    Raises:
        ImportError, AttributeError: it does not exist; and whatever its import raises.
    """
    if not isinstance(target, str):
        return target
    module, _, attribute = target.partition("[")[0].partition(":")
    value: Any = importlib.import_module(module.strip())
    for part in filter(None, attribute.strip().split(".")):
        value = getattr(value, part)
    return value


def _is_imported(target: object) -> bool:
    """Whether loading a target runs no code: it is no string, or names what an imported module holds."""
    if not isinstance(target, str):
        return True
    module, _, attribute = target.partition(":")
    return attribute.partition(".")[0] in vars(sys.modules.get(module, object))


class Record(Protocol):
    """What every record has: a name, a kind, and the parts that are imported when it is used."""

    @property
    def name(self) -> str:
        """Unique among the records of this kind inside its distribution."""

    @property
    def kind(self) -> str:
        """What it is, as messages name it: ``"encoder"``, ``"module API"``, ``"executor"`` ..."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The attributes that hold a class, or ``"package.module:Class"``, or None."""

    def problem(self, part: str, value: object) -> str | None:
        """Say why what ``part`` loads to cannot serve, or return None; what is asked of nothing serves."""
        return None


@frozen
class ComponentRequest:
    """What a component is wanted for; passed to a component's ``when``.

    Attributes:
        kind: ``"encoder"``, ``"head"`` or ``"distribution"``.
        slot: where it goes: ``encoder``, or the head's name (``pi``, ``vf``, ``af``, ``qf``), which is also that of an
            encoder of its own; a distribution's is ``pi``.
        path: keys from the root of the observation (or action) space to this leaf; ``()`` is the root, a
            Tuple index is its decimal string.
        space: the space at ``path``. A head's and a distribution's is the action space.
        action_space: the module's action space.
        model_config: the effective model config (defaults with what was set above them).
        algorithm: the algorithm's registered name, or None.
    """

    kind: Kind
    slot: str
    path: tuple[str, ...] = ()
    space: Any = None
    action_space: Any = None
    model_config: Mapping[str, Any] = field(factory=dict)
    algorithm: str | None = None


@frozen
class Component(Record):
    """An encoder, head or distribution that a plugin offers.

    Args:
        name: unique inside its distribution; the id is ``"distribution/name"``.
        kind: ``"encoder"``, ``"head"`` or ``"distribution"``.
        target: the class, or ``"package.module:Class"`` (imported only when chosen).
        spaces: gymnasium space classes it serves (subclasses included; an exact class is more specific).
        when: narrows it further; called with a :class:`ComponentRequest`.
        priority: the last tie-breaker among equally specific components.
        framework: ``"torch"`` unless a plugin adds another.
        settings: what it reads from ``model_config`` beside the built-in settings, ``{"heads": setting(4, help=...,
            converter=integer(ge=1))}``: it gets defaults and converted values. None: undeclared, it may read anything.

    Raises:
        ValueError: a value is not as described.
    """

    name: str = field(validator=_check_name)
    kind: Kind = field(validator=validators.in_(("encoder", "head", "distribution")))
    target: type | str = field(validator=_a_target)
    spaces: tuple[type, ...] = field(converter=_as_tuple, validator=_some_spaces)
    when: Callable[[ComponentRequest], bool] | None = field(default=None, validator=_a_condition)
    priority: int = field(default=0, validator=_an_integer)
    framework: str = "torch"
    settings: Mapping[str, Any] | None = field(default=None, converter=_declared, eq=False, repr=False)
    parts: ClassVar[tuple[str, ...]] = ("target",)


@frozen
class ModuleAPI(Record):
    """An API mixin for RLModules and, if it has one, the driver by which every Learner serves it.

    Args:
        name: unique inside its distribution.
        mixin: a plain class or ABC of this distribution, without ``__init__`` and ``__subclasshook__`` (not a
            Protocol), or ``"package.module:Class"``.
        driver: a class, one instance per Learner; see ``docs`` ("API mixins") for its optional methods.
        implementation: the mixin's methods written, a subclass of it without ``__init__`` whose methods call
            ``super()``: what ``rl_module(mixins=["distribution/name"])`` puts onto a module's class.
        settings: what the implementation reads from ``model_config``, as of :class:`Component`.

    Raises:
        ValueError: a value is not as described.
    """

    name: str = field(validator=_check_name)
    mixin: type | str = field(validator=[_check_mixin, _a_target])
    driver: type | str | None = None
    implementation: type | str | None = field(default=None, validator=validators.optional(_a_target))
    settings: Mapping[str, Any] | None = field(default=None, converter=_declared, eq=False, repr=False)
    kind: ClassVar[str] = "module API"
    parts: ClassVar[tuple[str, ...]] = ("mixin", "driver", "implementation")

    def problem(self, part: str, value: object) -> str | None:
        """Say why a class cannot be this API's mixin or driver, or return None."""
        if part == "driver":
            fits = value is None or isinstance(value, type)
            return None if fits else f"its driver is {value!r}, expected a class"
        if part == "implementation" and value is None:
            return None
        noun = "mixin" if part == "mixin" else "mixin's implementation"
        if not isinstance(value, type):
            return f"the {noun} is {value!r}, expected a class"
        if getattr(value, "_is_protocol", False):
            return f"a {noun} cannot be a typing.Protocol; use a plain class or an ABC"
        if any("__init__" in vars(base) for base in value.__mro__ if base is not object):
            return f"a {noun} must not have an __init__; use the module's setup() or a driver"
        if any("__subclasshook__" in vars(base) for base in value.__mro__ if base is not object):
            return f"a {noun} must not have a __subclasshook__; a module implements it by inheriting it"
        return None


@frozen
class Service(Record):
    """Something a config names that is no part of a module: an executor, a step engine, a result writer ...

    Args:
        kind: one of :data:`SERVICE_KINDS`.
        name: as a config writes it, unique among its kind inside its distribution.
        target: the class, or ``"package.module:Class"`` (imported only when named).
        settings: what it reads from its part of a config, by name; None: undeclared. Those of an executor, of its
            plugin's ``rlkit_settings``, are arguments of it and may be given to ``config.execution()``.

    Raises:
        ValueError: a value is not as described; an unknown kind comes with the nearest known one.
    """

    kind: str = field(validator=_check_service_kind)
    name: str = field(validator=_check_name)
    target: type | str = field(validator=_a_target)
    settings: Mapping[str, Any] | None = field(
        default=None, validator=validators.optional(validators.instance_of(dict))
    )
    parts: ClassVar[tuple[str, ...]] = ("target",)


R = TypeVar("R", bound=Record, covariant=True)


@frozen
class Registered(Generic[R]):
    """A record together with its origin."""

    record: R
    origin: Origin

    @property
    def kind(self) -> str:
        """The record's kind."""
        return self.record.kind

    @property
    def name(self) -> str:
        """The record's name."""
        return self.record.name

    @property
    def id(self) -> str:
        """The full id, ``"distribution/name"``."""
        return f"{self.origin.distribution}/{self.record.name}"

    def load(self, part: str = "target") -> Any:
        """Import and return what one of the record's ``parts`` names (None where it names nothing).

        Raises:
            PluginError: it cannot be imported (chained from the original exception), or cannot serve.
        """
        target = getattr(self.record, part)
        label = f"{self.kind.replace('_', ' ')} {self.id!r}"
        try:
            own = self.origin.distribution == CORE
            with nullcontext() if own or _is_imported(target) else quarantined(self.origin):
                value = load_target(target)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            raise PluginError(
                f"{label}: its {part} {target!r} cannot be imported ({describe(exc)}). "
                f"Reinstall or update {self.origin.distribution}."
            ) from exc
        problem = self.record.problem(part, value)
        if problem:
            raise PluginError(f"{label}: {problem}")
        return value
