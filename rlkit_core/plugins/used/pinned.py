"""Choices that were made before: what a worker and a restored checkpoint build, without choosing again.

A gap filler or a second owner of a short name, installed meanwhile, changes nothing then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from attrs import evolve, field, frozen

from rlkit_core.errors import NoComponentError, PluginNotFoundError
from rlkit_core.plugins.choices import ComponentChoices
from rlkit_core.plugins.discovery import canonical
from rlkit_core.plugins.records import Component, ComponentRequest, Registered
from rlkit_core.plugins.registry import CatalogTier, Choice, ComponentRegistry, serves
from rlkit_core.plugins.used.lock import requirement

_NAMED = ("kind", "slot", "id", "distribution", "version", "rule")


@frozen
class _Before:
    """One choice: the component itself where it is known, else its id and the distribution that had it."""

    id: str
    distribution: str
    version: str
    rule: str
    considered: tuple[tuple[str, str], ...]
    component: Registered[Component] | None = None


@frozen
class Pinned:
    """The choices of one module by place; a place without one is chosen for as ever.

    Of choices made in this process it keeps the components themselves, so it can be pickled for another one.
    """

    _by_place: Mapping[tuple[str, str, tuple[str, ...]], _Before] = field(factory=dict, alias="by_place")

    @classmethod
    def of(cls, choices: Iterable[Choice]) -> Pinned:
        """The choices that were made here."""
        return cls({(c.kind, c.slot, c.path): _of_choice(c) for c in choices})

    @classmethod
    def from_trace(cls, trace: object) -> Pinned:
        """The choices that a checkpoint tells of; what is no choice is passed over."""
        rows = [row for row in (trace if isinstance(trace, list) else ()) if isinstance(row, Mapping)]
        rows = [row for row in rows if all(isinstance(row.get(name), str) for name in _NAMED)]
        return cls({(r["kind"], r["slot"], tuple(map(str, _list_of(r, "path")))): _of_row(r) for r in rows})

    def __bool__(self) -> bool:
        return bool(self._by_place)

    def find(
        self,
        request: ComponentRequest,
        *,
        registry: ComponentRegistry,
        choices: ComponentChoices,
        tiers: Sequence[CatalogTier],
        space_cls_of: Callable[[Any], type] = type,
    ) -> Choice | None:
        """The choice for this place, or None: there was none, the config names another one now, or the space differs.

        Raises:
            PluginNotFoundError, NoComponentError: nothing installed has it; with the line to install.
            PluginError: its plugin failed or is disabled.
        """
        before = self._by_place.get((request.kind, request.slot, request.path))
        named = choices.lookup(request.kind, request.slot, request.path)
        if before is None or (before.rule == "config") != (named is not None) or not _means(named, before.id):
            return None
        component = before.component or _component(before, request.kind, registry, tiers)
        if component is None or not serves(component, space_cls_of(request.space)):
            return None
        place = (request.kind, request.slot, request.path)
        return Choice(*place, component, before.rule, before.considered)


def _of_choice(choice: Choice) -> _Before:
    # Its condition has been asked; it may be a function that cannot travel.
    component = evolve(choice.component, record=evolve(choice.component.record, when=None))
    origin = component.origin
    return _Before(choice.id, origin.distribution, origin.version, choice.rule, choice.considered, component)


def _list_of(row: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = row.get(name)
    return value if isinstance(value, list | tuple) else ()


def _of_row(row: Mapping[str, Any]) -> _Before:
    considered = [c for c in _list_of(row, "considered") if isinstance(c, list | tuple) and len(c) == 2]
    told = tuple((str(name), str(why)) for name, why in considered)
    return _Before(row["id"], row["distribution"], row["version"], row["rule"], told)


def _means(named: object, component_id: str) -> bool:
    """Whether what a config names, if it names anything, is this component: in full or by its short name."""
    ids = (component_id, component_id.rpartition("/")[2])
    return named is None or (isinstance(named, str) and canonical(named) in map(canonical, ids))


def _component(
    before: _Before, kind: str, registry: ComponentRegistry, tiers: Sequence[CatalogTier]
) -> Registered[Component] | None:
    listed = [c for tier in tiers for c in tier.components if c.kind == kind and c.id == before.id]
    if before.rule.startswith("catalog "):
        own = [c for tier in tiers if before.rule == f"catalog {tier.name}" for c in tier.components if c in listed]
        return next(iter([*own, *listed]), None)  # None: the config lists other catalogs now
    try:
        return registry.get(before.id, kind, extra=listed)
    except (PluginNotFoundError, NoComponentError) as error:
        if before.distribution == "local":
            return None
        kind_of_error = type(error)
        raise kind_of_error(
            f"{kind} {before.id!r} of {before.distribution} {before.version} was chosen here before, and this "
            f"installation has no such {kind}: pip install {requirement(before.distribution, before.version)}"
        ) from error


# --------------------------------------------------------------------------- in effect

#: Of the module that is being built next.
_NEXT: ContextVar[Pinned | None] = ContextVar("rlkit_pinned_next", default=None)
#: Of modules by id, while something with several of them is built.
_BY_MODULE: ContextVar[Mapping[str, Pinned]] = ContextVar("rlkit_pinned_by_module", default=MappingProxyType({}))


def take() -> Pinned | None:
    """The choices for the module whose constructor runs; modules that it makes in its turn find none."""
    pinned = _NEXT.get()
    _NEXT.set(None)
    return pinned


def by_module() -> Mapping[str, Pinned]:
    """The choices in effect, by module id."""
    return _BY_MODULE.get()


@contextmanager
def for_next_module(pinned: Pinned | None) -> Iterator[None]:
    """Let the module that is built inside be made of these."""
    token = _NEXT.set(pinned)
    try:
        yield
    finally:
        _NEXT.reset(token)


@contextmanager
def for_modules(pinned: Mapping[str, Pinned]) -> Iterator[None]:
    """Let modules that are built inside be made of these, each by its id; others choose."""
    token = _BY_MODULE.set({**_BY_MODULE.get(), **{mid: one for mid, one in pinned.items() if one}})
    try:
        yield
    finally:
        _BY_MODULE.reset(token)
