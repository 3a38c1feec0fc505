"""What plugins hand to the core: plain, immutable records.

A record is data. Its ``target`` may be a ``"package.module:Attribute"`` string, which is imported only when
the component is chosen, so that listing and choosing import no plugin code beyond the module with the hooks.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from attrs import field, frozen, validators

from rlkit_core.errors import PluginError

Kind = Literal["encoder", "head", "distribution"]
Slot = Literal["encoder", "pi", "vf", "af"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


def _check_name(instance: Any, attribute: Any, value: str) -> None:
    if not isinstance(value, str) or not _NAME.match(value):
        raise ValueError(
            f"{type(instance).__name__} name {value!r}: use letters, digits, '.', '_' and '-', "
            "starting with a letter or digit (it becomes part of the id 'distribution/name')"
        )


def _as_tuple(spaces: Iterable[Any]) -> tuple[type, ...]:
    return tuple(spaces)


def load_target(target: Any) -> Any:
    """Import ``"package.module:Attribute"``; anything that is no string is returned as it is.

    Raises:
        ValueError: the string has no ``:``.
        ImportError, AttributeError: the module or the attribute does not exist.
    """
    if not isinstance(target, str):
        return target
    module_name, sep, attribute = target.partition(":")
    if not sep or not module_name or not attribute:
        raise ValueError(f"target {target!r}: expected 'package.module:Attribute'")
    value: Any = importlib.import_module(module_name)
    for part in attribute.split("."):
        value = getattr(value, part)
    return value


@frozen
class ComponentRequest:
    """What a component is wanted for; passed to a component's ``when``.

    Attributes:
        kind: ``"encoder"``, ``"head"`` or ``"distribution"``.
        slot: where it goes: ``encoder``, or the head's name (``pi``, ``vf``, ``af``); a distribution's is
            ``pi``.
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
class Component:
    """An encoder, head or distribution that a plugin offers.

    Args:
        name: unique inside its distribution; the id is ``"distribution/name"``.
        kind: ``"encoder"``, ``"head"`` or ``"distribution"``.
        target: the class, or ``"package.module:Class"`` (imported only when chosen).
        spaces: gymnasium space classes it serves (subclasses included; an exact class is more specific).
        when: narrows it further; called with a :class:`ComponentRequest`.
        priority: the last tie-breaker among equally specific components.
        framework: ``"torch"`` unless a plugin adds another.
    """

    name: str = field(validator=_check_name)
    kind: Kind = field(validator=validators.in_(("encoder", "head", "distribution")))
    target: Any = field()
    spaces: tuple[type, ...] = field(converter=_as_tuple)
    when: Callable[[ComponentRequest], bool] | None = None
    priority: int = 0
    framework: str = "torch"

    def load(self) -> Any:
        """Import and return the target class."""
        return load_target(self.target)


@frozen
class ModuleAPI:
    """An API mixin for RLModules and, if it has one, the driver by which every Learner serves it.

    Args:
        name: unique inside its distribution.
        mixin: a plain class or ABC without ``__init__`` (not a Protocol).
        driver: a class, one instance per Learner; see ``docs`` ("API mixins") for its optional methods.
    """

    name: str = field(validator=_check_name)
    mixin: Any = field()
    driver: Any = None


@frozen
class ExecutorRecord:
    """An execution backend: where runners and learners run.

    Args:
        name: as written in ``config.execution(executor=...)``.
        target: an ``Executor`` class or ``"package.module:Class"``.
    """

    name: str = field(validator=_check_name)
    target: Any = field()

    def load(self) -> Any:
        """Import and return the target class."""
        return load_target(self.target)


@frozen
class Origin:
    """Who supplies something: a distribution with its version, and the entry point it came through."""

    distribution: str
    version: str
    entry_point: str | None = None


LOCAL = Origin("local", "0")
"""The origin of what no installed distribution supplies: a script's own classes."""


@frozen
class RegisteredComponent:
    """A component record together with its origin."""

    component: Component
    origin: Origin

    @property
    def id(self) -> str:
        """The full id, ``"distribution/name"``."""
        return f"{self.origin.distribution}/{self.component.name}"

    def load(self) -> Any:
        """Import and return the component's class.

        Raises:
            PluginError: the target cannot be imported; chained from the original exception.
        """
        try:
            return self.component.load()
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            raise PluginError(
                f"{self.component.kind} {self.id!r}: its target {self.component.target!r} cannot be imported "
                f"({type(exc).__name__}: {exc}). Reinstall or update {self.origin.distribution}."
            ) from exc
