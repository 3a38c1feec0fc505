"""What a catalog works with: the config's choices, the catalogs listed, and the trace of what was chosen."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from attrs import define, field

from rlkit_core.errors import ConfigError, PluginError
from rlkit_core.models import MLPHeadConfig
from rlkit_core.plugins.choices import ENCODER_SLOT, key_for
from rlkit_core.plugins.discovery import CORE
from rlkit_core.plugins.guard import safe_text
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.records import Component, ComponentRequest, Registered
from rlkit_core.plugins.registry import CatalogTier, Choice, ComponentChoices, ComponentRegistry, choose
from rlkit_core.plugins.used.pinned import Pinned
from rlkit_core.plugins.using import component_in_use, owner
from rlkit_core.settings import Declared

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import gymnasium as gym


@define(eq=False)
class Scope:
    """One catalog's choices, tiers and trace; the class methods of catalogs read the current one."""

    choices: ComponentChoices
    tiers: tuple[CatalogTier, ...]
    registry: ComponentRegistry
    algorithm: str | None = None
    owner: Any = None
    action_space: Any = None
    model_config: Mapping[str, Any] = field(factory=dict)
    pinned: Pinned | None = None
    encoder_slot: str = ENCODER_SLOT
    trace: dict[tuple[str, str, tuple[str, ...]], Choice] = field(factory=dict)

    @classmethod
    def for_class(
        cls, catalog_class: type[Any], *, choices: Any = None, tiers: Iterable[CatalogTier] | None = None
    ) -> Scope:
        """A scope with the given choices, and the class's own components as the only tier unless tiers are given."""
        all_tiers = (tier_of(catalog_class),) if tiers is None else tuple(tiers)
        return cls(ComponentChoices.from_config(choices), all_tiers, default_host().registry)

    def choose(self, kind: Any, slot: str, path: tuple[str, ...], space: Any, model_config: Mapping[str, Any]) -> Any:
        """Choose a component, note it in the trace, import and return its class."""
        request = ComponentRequest(
            kind=kind,
            slot=slot,
            path=path,
            space=space,
            action_space=self.action_space,
            model_config=model_config,
            algorithm=self.algorithm,
        )
        among: dict[str, Any] = {"registry": self.registry, "choices": self.choices, "tiers": self.tiers}
        choice = self.pinned.find(request, **among) if self.pinned is not None else None
        choice = choice or choose(request, **among)
        self.trace[(kind, slot, path)] = choice
        try:
            return choice.component.load()
        except PluginError as error:
            where = f" at {'.'.join(path)!r}" if path else ""
            raise PluginError(f"chosen for {kind} {slot!r}{where} ({choice.rule}): {error}") from error.__cause__

    @contextlib.contextmanager
    def building_encoder(self, slot: str) -> Iterator[None]:
        """Choose encoders for a slot meanwhile."""
        before, self.encoder_slot = self.encoder_slot, slot
        try:
            yield
        finally:
            self.encoder_slot = before

    def encoder_config(self, space: gym.Space[Any], model_config: Mapping[str, Any]) -> Any:
        """Choose encoders for a space and all that is in it, and return the root's config; for ``encoder_slot``."""
        config = self._encoder(space, (), model_config)
        self._check_paths("encoder", self.encoder_slot)
        return config

    def _encoder(self, space: gym.Space[Any], path: tuple[str, ...], model_config: Mapping[str, Any]) -> Any:
        slot = self.encoder_slot
        target = self.choose("encoder", slot, path, space, model_config)
        component = self.trace["encoder", slot, path].component
        if not hasattr(target, "from_space"):
            raise ConfigError(
                f"encoder {target.__name__} has no from_space(space, model_config); write that class method, or build "
                "the encoder in your module's setup()"
            )

        def child(sub_space: Any, sub_path: Any) -> Any:
            return self._encoder(sub_space, path + _parts(sub_path), model_config)

        children = (child,) if takes_child(target.from_space) else ()
        with component_in_use(component, "from_space"):
            config = target.from_space(space, filled(component, model_config), *children)
        return _config_of(component, ("encoder", slot, path), config, "from_space()")

    def dist_cls(self, space: gym.Space[Any]) -> Any:
        """Choose distributions for an action space and all that is in it, and return the root's class."""
        cls = self._dist(space, ())
        self._check_paths("distribution", "pi")
        return cls

    def _dist(self, space: gym.Space[Any], path: tuple[str, ...]) -> Any:
        target = self.choose("distribution", "pi", path, space, self.model_config)
        if not hasattr(target, "for_space"):
            return target
        component = self.trace["distribution", "pi", path].component
        with component_in_use(component, "for_space"):
            settings = filled(component, self.model_config)
            cls = target.for_space(space, settings, lambda sub, key: self._dist(sub, path + _parts(key)))
        if not isinstance(cls, type):
            seen = safe_text(cls, 80)
            raise PluginError(f"{owner(component)}, for_space() returned {seen}, expected a Distribution subclass")
        return cls

    def distribution_in_use(self, method: str) -> AbstractContextManager[None]:
        """Around a class method of the distribution chosen for the action space: what it raises says whose it is."""
        choice = self.trace.get(("distribution", "pi", ()))
        return nullcontext() if choice is None else component_in_use(choice.component, method)

    def distribution_settings(self) -> Mapping[str, Any]:
        """The model config as the distribution of the action space sees it."""
        choice = self.trace.get(("distribution", "pi", ()))
        return self.model_config if choice is None else filled(choice.component, self.model_config)

    def head_config(
        self,
        slot: str,
        action_space: gym.Space[Any],
        input_dims: Sequence[int],
        output_dim: int,
        model_config: Mapping[str, Any],
    ) -> Any:
        """Choose a head and return its config."""
        if action_space is None:
            return MLPHeadConfig.from_dims(input_dims, output_dim, model_config)
        target = self.choose("head", slot, (), action_space, model_config)
        component = self.trace["head", slot, ()].component
        with component_in_use(component, "from_dims"):
            config = target.from_dims(input_dims, output_dim, filled(component, model_config))
        return _config_of(component, ("head", slot, ()), config, "from_dims()")

    def check_slots(self) -> None:
        """Refuse a slot in the config that nothing was chosen for; to be asked when everything has been built."""
        problem = self.choices.unused({(kind, slot) for kind, slot, _ in self.trace})
        if problem:
            raise ConfigError(problem)

    def _check_paths(self, kind: str, slot: str) -> None:
        """Refuse a path in the config that nothing was chosen for."""
        seen = [path for chosen_kind, in_slot, path in self.trace if (chosen_kind, in_slot) == (kind, slot)]
        for path in self.choices.paths(kind, slot):
            if path in seen:
                continue
            above = max((p for p in seen if path[: len(p)] == p), key=len, default=())
            choice = self.trace[kind, slot, above]
            where = repr(".".join(above)) if above else "the root"
            raise ConfigError(
                f"components[{key_for(kind, slot, path)!r}]: nothing is built there. {choice.id!r} at {where} "
                f"{'has no such part' if takes_child_of(choice) else 'asks for no component below it'}; paths here: "
                f"{', '.join('.'.join(p) for p in seen if p) or 'none but the root'}"
            )


CURRENT: ContextVar[Scope | None] = ContextVar("rlkit_catalog_scope", default=None)
#: Whether some module's ``setup()`` is running, during which the catalogs it touches stay current.
IN_SETUP: ContextVar[bool] = ContextVar("rlkit_catalog_in_setup", default=False)


def current_scope(catalog_class: type[Any]) -> Scope:
    """The scope of the catalog at work, or a fresh one without any choices for a class method called by itself."""
    scope = CURRENT.get()
    return scope if scope is not None else Scope.for_class(catalog_class)


@contextlib.contextmanager
def module_setup() -> Iterator[None]:
    """Around a module's ``setup()``: catalogs it touches become current, and none is afterwards."""
    scope_token, setup_token = CURRENT.set(None), IN_SETUP.set(True)
    try:
        yield
    finally:
        IN_SETUP.reset(setup_token)
        CURRENT.reset(scope_token)


def tier_of(catalog_class: type[Any], name: str | None = None) -> CatalogTier:
    """The components that a catalog class carries, with where they come from."""
    origin = default_host().origin_of(catalog_class)
    registered = tuple(Registered(component, origin) for component in catalog_class.components)
    return CatalogTier(name=name or catalog_class.__name__, components=registered)  # type: ignore[arg-type]


def filled(component: Registered[Component], model_config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The model config with what a component declares: defaults where it says nothing, values converted.

    Raises:
        ConfigError: a value is refused.
    """
    declared = component.record.settings
    return declared.filled(model_config) if isinstance(declared, Declared) and declared else model_config


def takes_child(from_space: Callable[..., Any]) -> bool:
    """Whether a ``from_space`` asks for components of sub-spaces."""
    return "child" in inspect.signature(from_space).parameters


def takes_child_of(choice: Choice) -> bool:
    """Whether the chosen component asks for components of sub-spaces."""
    target = choice.component.load()
    function = getattr(target, "from_space" if choice.kind == "encoder" else "for_space", None)
    return function is not None and takes_child(function)


def _config_of(
    component: Registered[Component], place: tuple[str, str, tuple[str, ...]], config: object, method: str
) -> Any:
    """What a component's class method returned, if it is a network's config, with a note of whose, and for what."""
    if not (callable(getattr(config, "build", None)) and hasattr(config, "output_dims")):
        seen = safe_text(config, 80)
        raise PluginError(
            f"{owner(component)}, {method} returned {seen}, expected a ModelConfig (with build() and output_dims)"
        )
    with contextlib.suppress(AttributeError, TypeError):  # it may have slots, and then goes without
        object.__setattr__(config, "place", place)
        if component.origin.distribution != CORE:
            object.__setattr__(config, "made_by", owner(component))
    return config


def _parts(path: tuple[str, ...]) -> tuple[str, ...]:
    return (path,) if isinstance(path, str) else tuple(str(part) for part in path)
