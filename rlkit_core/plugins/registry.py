"""Every component that is installed, and the rule by which one is chosen for a space.

Choosing is a pure function over records: it imports no component, depends on no order of installation, and
leaves a trace that says which candidates were looked at and why they were passed over.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from attrs import evolve, field, frozen

from rlkit_core.errors import AmbiguousComponentError, ConfigError, NoComponentError
from rlkit_core.plugins.choices import ComponentChoices, key_for
from rlkit_core.plugins.discovery import CORE
from rlkit_core.plugins.guard import describe
from rlkit_core.plugins.lookup import find_record
from rlkit_core.plugins.records import LOCAL, Component, ComponentRequest, Origin, Registered, load_target
from rlkit_core.plugins.states import PluginState
from rlkit_core.settings.converters import copy_containers

if TYPE_CHECKING:
    import gymnasium as gym


class ComponentRegistry:
    """All components of loaded plugins, sorted by (distribution, name).

    Args:
        components: what the plugins registered.
        unavailable: plugins that failed, are disabled or incompatible; asking for one of their components says so.
        origin_of: finds the distribution of a class that a config names directly; all are local unless given.
    """

    def __init__(
        self,
        components: Iterable[Registered[Component]] = (),
        *,
        unavailable: Iterable[PluginState] = (),
        origin_of: Callable[[Any], Origin] | None = None,
    ) -> None:
        self._components = tuple(sorted(components, key=lambda r: (r.id, r.record.kind)))
        self.unavailable = {u.distribution: u for u in unavailable}
        self.origin_of: Callable[[Any], Origin] = origin_of or (lambda obj: LOCAL)

    def components(self, kind: str | None = None) -> tuple[Registered[Component], ...]:
        """Return the components of a kind (or all), sorted by id."""
        return tuple(r for r in self._components if kind is None or r.record.kind == kind)

    def get(self, name: str, kind: str, *, extra: Iterable[Registered[Component]] = ()) -> Registered[Component]:
        """Return the component that a full id or short name means; see :func:`~rlkit_core.plugins.lookup.find_record`.

        ``extra`` are components of listed catalogs, which count as well.
        """
        records = (*self.components(kind), *(e for e in extra if e.kind == kind))
        return find_record(records, kind, name, self.unavailable)

    def adopt(self, value: object, kind: str, *, extra: Iterable[Registered[Component]] = ()) -> Registered[Component]:
        """Turn what a config may hold (id, short name, record or class) into a registered component.

        Raises:
            ConfigError: the value is none of these, or a record of another kind.
            RLKitError: as :meth:`get`.
        """
        extra = tuple(extra)
        if isinstance(value, str):
            return self.get(value, kind, extra=extra)
        if isinstance(value, Registered):
            value = value.record
        if isinstance(value, Component):
            if value.kind != kind:
                raise ConfigError(f"component {value.name!r} is of kind {value.kind!r}, a {kind} is wanted here")
            known = next((r for r in (*self._components, *extra) if r.record is value), None)
            target = value.target
            return known or Registered(value, LOCAL if isinstance(target, str) else self.origin_of(target))
        if isinstance(value, type):
            of_kind = (r for r in (*self._components, *extra) if r.kind == kind)
            from gymnasium import Space

            record = Component(value.__name__, kind, value, (Space,))  # type: ignore[arg-type]
            known = next((r for r in of_kind if _names(r.record.target, value)), None)
            return known or Registered(record, self.origin_of(value))
        raise ConfigError(f"{kind}: expected an id such as 'rlkit-core/mlp', a Component or a class; got {value!r}")


def _names(target: object, cls: type) -> bool:
    """Whether ``target`` is ``cls``; strings are only imported where they can be."""
    if not isinstance(target, str):
        return target is cls
    module, _, attribute = target.partition(":")
    if attribute != cls.__qualname__ or module.partition(".")[0] != cls.__module__.partition(".")[0]:
        return False
    try:
        return load_target(target) is cls
    except KeyboardInterrupt:
        raise
    except BaseException:  # its module may do anything; it is reported where the component is used
        return False


# --------------------------------------------------------------------------- choosing


@frozen
class CatalogTier:
    """The components of one catalog: a listed one, a spec's ``catalog_class``, or the algorithm's own."""

    name: str
    components: tuple[Registered[Component], ...] = field(default=(), converter=tuple)


@frozen
class Choice:
    """The component chosen for one place, and why.

    Attributes:
        rule: ``"config"``, ``"catalog NAME"``, ``"built-in"`` or ``"gap filler"``.
        considered: ``(id, why)`` of every candidate looked at, the chosen one included.
    """

    kind: str
    slot: str
    path: tuple[str, ...]
    component: Registered[Component]
    rule: str
    considered: tuple[tuple[str, str], ...] = ()

    @property
    def id(self) -> str:
        """The full id of the chosen component."""
        return self.component.id

    def to_dict(self) -> dict[str, Any]:
        """Return the choice as JSON-able data, as checkpoints keep it."""
        target = self.component.record.target
        return {
            "kind": self.kind,
            "slot": self.slot,
            "path": list(self.path),
            "id": self.id,
            "distribution": self.component.origin.distribution,
            "version": self.component.origin.version,
            "target": target if isinstance(target, str) else f"{target.__module__}:{target.__qualname__}",
            "rule": self.rule,
            "considered": [list(c) for c in self.considered],
        }


class _Candidate(NamedTuple):
    component: Registered[Component]
    rank: tuple[int, int, int]  # smaller is better: distance of the space class, no `when`, -priority


def choose(
    request: ComponentRequest,
    *,
    registry: ComponentRegistry,
    choices: ComponentChoices | None = None,
    tiers: Sequence[CatalogTier] = (),
    space_cls_of: Callable[[Any], type] = type,
    framework: str = "torch",
) -> Choice:
    """Choose the component for ``request``; the first rule that serves it decides.

    1. what the config names for this slot and path (its ``when`` is not asked);
    2. the catalogs of ``tiers``, in order;
    3. the core's built-ins;
    4. a gap filler: a component of a plugin that nothing above mentions, if one plugin alone claims the space.

    Inside one rule the nearest space class wins, then having a ``when`` that holds, then the higher priority.

    Raises:
        AmbiguousComponentError: equal claims inside one rule, or two plugins fill one gap; has the line to write.
        NoComponentError: nothing serves the space; lists the nearest misses and plugins that failed to load.
        PluginError: the config names a component of a plugin that is missing, failed or disabled.
    """
    choices = choices or ComponentChoices({})
    space_cls = space_cls_of(request.space)
    listed = tuple(c for tier in tiers for c in tier.components)
    considered: list[tuple[str, str]] = []

    def decide(component: Registered[Component], rule: str) -> Choice:
        considered.append((component.id, f"chosen: {rule}"))
        return Choice(request.kind, request.slot, request.path, component, rule, tuple(considered))

    named = choices.lookup(request.kind, request.slot, request.path)
    if named is not None:
        component = registry.adopt(named, request.kind, extra=listed)
        if _distance(space_cls, component.record.spaces) is None:
            key = key_for(request.kind, request.slot, request.path)
            raise NoComponentError(
                f"components[{key!r}] names {component.id!r}, which serves {_classes(component)}; "
                f"the space here is {space_cls.__name__}"
            )
        return decide(component, "config")

    built_in = [c for c in registry.components(request.kind) if c.origin.distribution == CORE]
    steps = [(f"catalog {tier.name}", tier.components) for tier in tiers] + [("built-in", tuple(built_in))]
    for rule, components in steps:
        claims = _claims(request, space_cls, components, framework, considered)
        if claims:
            return decide(_best(claims, request, considered), rule)

    seen = {c.id for c in (*listed, *built_in)}
    rest = [c for c in registry.components(request.kind) if c.id not in seen]
    claims = _claims(request, space_cls, rest, framework, considered)
    if len({c.component.origin.distribution for c in claims}) > 1:
        raise _ambiguous([c.component for c in claims], request, "claim it and nothing listed does")
    if claims:
        return decide(_best(claims, request, considered), "gap filler")
    raise _nothing_serves(request, space_cls, registry, considered)


def _claims(
    request: ComponentRequest,
    space_cls: type,
    components: Iterable[Registered[Component]],
    framework: str,
    considered: list[tuple[str, str]],
) -> list[_Candidate]:
    """Return the components that serve the request; note in ``considered`` why the others do not."""
    claims = []
    shown = _Shown(request)
    for registered in sorted(components, key=lambda r: r.id):
        component = registered.record
        if component.kind != request.kind:
            continue
        try:
            distance = _distance(space_cls, component.spaces)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # one plugin's faulty space class must not stop the others
            considered.append((registered.id, f"skipped: its spaces cannot be asked: {describe(exc)}"))
            continue
        if component.framework != framework:
            considered.append((registered.id, f"is for {component.framework}, not {framework}"))
        elif distance is None:
            considered.append((registered.id, f"serves {_classes(registered)}, not {space_cls.__name__}"))
        else:
            refusal = _refusal(registered, request, shown)
            if refusal:
                considered.append((registered.id, refusal))
            else:
                claims.append(_Candidate(registered, (distance, component.when is None, -component.priority)))
    return claims


class _Shown:
    """A request as conditions of plugins see it: a copy, so that they can change nothing; made when one is asked."""

    def __init__(self, request: ComponentRequest) -> None:
        self._request = request

    @functools.cached_property
    def copy(self) -> ComponentRequest:
        request = self._request
        settings = {name: copy_containers(value) for name, value in request.model_config.items()}
        return evolve(
            request,
            space=_copied(request.space),
            action_space=_copied(request.action_space),
            model_config=MappingProxyType(settings),
        )


def _copied(space: object) -> Any:
    try:
        return copy.deepcopy(space)
    except Exception:  # somebody's own class of space, which cannot be copied
        return space


def _refusal(registered: Registered[Component], request: ComponentRequest, shown: _Shown) -> str | None:
    when = registered.record.when
    if when is None:
        return None
    try:
        holds = when(request if registered.origin.distribution == CORE else shown.copy)
        return None if holds else "its condition (when) does not hold here"
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # one plugin's faulty condition must not stop the others
        return f"skipped: its condition (when) raised {describe(exc)}"


def _distance(space_cls: type, served: Sequence[type]) -> int | None:
    """Return how far up the MRO the nearest served class is; None if none is a base."""
    mro = space_cls.__mro__
    near = [mro.index(s) if s in mro else len(mro) for s in served if issubclass(space_cls, s)]
    return min(near, default=None)


def serves(component: Registered[Component], space_cls: type) -> bool:
    """Whether a component is for spaces of this class."""
    return _distance(space_cls, component.record.spaces) is not None


def _best(
    claims: list[_Candidate], request: ComponentRequest, considered: list[tuple[str, str]]
) -> Registered[Component]:
    claims = sorted(claims, key=lambda c: (c.rank, c.component.id))
    first = claims[0]
    equal = [c.component for c in claims if c.rank == first.rank]
    if len({c.id for c in equal}) > 1:
        raise _ambiguous(equal, request, "claim it with equal space class, condition and priority")
    reasons = ("serves a base class of the space", "has no condition (when)", "has a lower priority")
    for other in claims[1:]:
        if other.component.id != first.component.id:
            why = next(r for r, a, b in zip(reasons, other.rank, first.rank, strict=True) if a != b)
            considered.append((other.component.id, f"fits, but {why} compared with {first.component.id}"))
    return first.component


def _classes(registered: Registered[Component]) -> str:
    return ", ".join(s.__name__ for s in registered.record.spaces)


def _place(request: ComponentRequest) -> str:
    where = f" at {'.'.join(request.path)!r}" if request.path else ""
    return f"{request.kind} for slot {request.slot!r}{where}" if request.kind == "head" else f"{request.kind}{where}"


def _ambiguous(parties: Sequence[Registered[Component]], request: ComponentRequest, why: str) -> Exception:
    ids = sorted({c.id for c in parties})
    key = key_for(request.kind, request.slot, request.path)
    return AmbiguousComponentError(
        f"{_place(request)}: {' and '.join(map(repr, ids))} {why}. "
        f'Write which one: rl_module(components={{"{key}": "{ids[0]}"}})'
    )


def _nothing_serves(
    request: ComponentRequest, space_cls: type, registry: ComponentRegistry, considered: list[tuple[str, str]]
) -> NoComponentError:
    space = f"{space_cls.__name__} ({_short(request.space)})"
    lines = [f"no {_place(request)}: nothing installed serves the space {space}."]
    # Those that serve the class and were refused for another reason are the nearest misses: they come first.
    for name, why in sorted(dict(considered).items(), key=lambda c: c[1].startswith("serves "))[:8]:
        lines.append(f"  {name}: {why}")
    for gone in sorted(registry.unavailable.values(), key=lambda u: u.distribution):
        lines.append(f"  plugin {gone.distribution} is {gone.state} and may serve it: {gone.reason}")
    key = key_for(request.kind, request.slot, request.path)
    lines.append(f'Install a plugin for it, or name a class: rl_module(components={{"{key}": MyClass}})')
    return NoComponentError("\n".join(lines))


def _short(space: gym.Space[Any]) -> str:
    text = " ".join(repr(space).split())
    return text if len(text) <= 120 else text[:117] + "..."


__all__ = ["CatalogTier", "Choice", "ComponentChoices", "ComponentRegistry", "Origin", "choose", "key_for", "serves"]
