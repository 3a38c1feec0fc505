"""What a catalog works with: the config's choices, the catalogs listed, and the trace of what was chosen."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from attrs import define, field

from rlkit_core.errors import ConfigError, PluginError
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.records import ComponentRequest, Registered
from rlkit_core.plugins.registry import CatalogTier, Choice, ComponentChoices, ComponentRegistry, choose

if TYPE_CHECKING:
    from rlkit_core.catalog import Catalog


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
    trace: dict[tuple[str, str, tuple[str, ...]], Choice] = field(factory=dict)

    @classmethod
    def for_class(
        cls, catalog_class: type[Any], *, choices: Any = None, tiers: Iterable[CatalogTier] | None = None
    ) -> Scope:
        """A scope with the given choices, and the class's own components as the only tier unless tiers are given."""
        if not isinstance(choices, ComponentChoices):
            choices = ComponentChoices.from_config(choices)
        own = (tier_of(catalog_class),) if tiers is None else tuple(tiers)
        return cls(choices=choices, tiers=own, registry=default_host().registry)

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
        choice = choose(request, registry=self.registry, choices=self.choices, tiers=self.tiers)
        self.trace[(kind, slot, path)] = choice
        try:
            return choice.component.load()
        except Exception as error:
            raise PluginError(
                f"component {choice.id!r}, chosen for {kind} {slot!r} ({choice.rule}), cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from error

    def encoder_config(self, space: Any, model_config: Mapping[str, Any]) -> Any:
        """Choose encoders for a space and all that is in it, and return the root's config."""
        config = self._encoder(space, (), model_config)
        self._check_paths("encoder", space)
        return config

    def _encoder(self, space: Any, path: tuple[str, ...], model_config: Mapping[str, Any]) -> Any:
        target = self.choose("encoder", "encoder", path, space, model_config)
        if not hasattr(target, "from_space"):
            raise ConfigError(
                f"encoder {target.__name__} has no from_space(space, model_config); write that class method, or build "
                "the encoder in your module's setup()"
            )
        if not takes_child(target.from_space):
            return target.from_space(space, model_config)

        def child(sub_space: Any, sub_path: Any) -> Any:
            return self._encoder(sub_space, path + _parts(sub_path), model_config)

        return target.from_space(space, model_config, child)

    def dist_cls(self, space: Any) -> Any:
        """Choose distributions for an action space and all that is in it, and return the root's class."""
        cls = self._dist(space, ())
        self._check_paths("distribution", space)
        return cls

    def _dist(self, space: Any, path: tuple[str, ...]) -> Any:
        target = self.choose("distribution", "pi", path, space, self.model_config)
        if not hasattr(target, "for_space"):
            return target
        return target.for_space(space, self.model_config, lambda sub, key: self._dist(sub, path + _parts(key)))

    def head_config(
        self, slot: str, action_space: Any, input_dims: Any, output_dim: int, model_config: Mapping[str, Any]
    ) -> Any:
        """Choose a head and return its config."""
        if action_space is None:
            from rlkit_core.models import MLPHeadConfig

            return MLPHeadConfig.from_dims(input_dims, output_dim, model_config)
        target = self.choose("head", slot, (), action_space, model_config)
        return target.from_dims(input_dims, output_dim, model_config)

    def _check_paths(self, kind: str, space: Any) -> None:
        """Refuse a path in the config that nothing was chosen for."""
        seen = [path for found, _, path in self.trace if found == kind]
        for path in self.choices.paths(kind):
            if path in seen:
                continue
            above = max((p for p in seen if path[: len(p)] == p), key=len, default=())
            choice = next(c for (k, _, p), c in self.trace.items() if k == kind and p == above)
            where = repr(".".join(above)) if above else "the root"
            raise ConfigError(
                f"components[{kind + ':' + '.'.join(path)!r}]: nothing is built there. {choice.id!r} at {where} "
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


def make_catalog(
    *,
    catalog_class: type[Any] | None,
    own_class: type[Any] | None,
    catalogs: Collection[Any],
    components: Mapping[str, Any] | None,
    observation_space: Any,
    action_space: Any,
    model_config: Mapping[str, Any],
) -> Catalog:
    """Make the catalog of one module.

    Args:
        catalog_class: the class that the spec names, or None.
        own_class: the algorithm's own class.
        catalogs: further ones, names or classes, in order; all contribute components, and the first that can stand in
            for ``catalog_class`` (else ``own_class``) assembles the networks: a subclass of it, or, as thin subclasses
            add nothing, of the first class above it that defines methods.
        components: components by slot and path.
        observation_space: space of one observation.
        action_space: space of one action.
        model_config: settings above the defaults.

    Raises:
        ConfigError: a listed catalog is no catalog, or has nothing that this module can use.
        PluginNotFoundError: no plugin has a catalog of that name.
    """
    from rlkit_core.catalog import Catalog

    listed: list[tuple[str, type[Any]]] = []
    for entry in catalogs:
        found = default_host().get_catalog(entry) if isinstance(entry, str) else entry
        if not isinstance(found, type) or not issubclass(found, Catalog):
            raise ConfigError(f"catalogs=[{entry!r}]: expected the name of a catalog or a Catalog subclass")
        listed.append((entry if isinstance(entry, str) else found.__name__, found))
    own = own_class or Catalog
    named = catalog_class or own
    contract = _contract(named)
    assembling = next((cls for _, cls in listed if issubclass(cls, contract)), named)
    for name, cls in listed:
        if cls is not assembling and not issubclass(assembling, cls) and _overrides(cls):
            _say_unused(name, cls, assembling)
    tiers: list[CatalogTier] = []
    for name, cls in [*listed, ("", named), ("", own)]:
        tier = tier_of(cls, name or None)
        if not any(tier.components == known.components for known in tiers):
            tiers.append(tier)
    scope = Scope.for_class(assembling, choices=components, tiers=tiers)
    scope.algorithm = own.algorithm or named.algorithm
    token = CURRENT.set(scope)
    try:
        made: Catalog = assembling(
            observation_space=observation_space,
            action_space=action_space,
            model_config_dict=dict(model_config),
        )
    finally:
        CURRENT.reset(token)
    return made


def _contract(cls: type[Any]) -> type[Any]:
    """The first class upwards from ``cls`` that defines more than its name and components."""
    thin = ("components", "algorithm")
    return next(
        base for base in cls.__mro__ if any(name not in thin and not name.startswith("__") for name in vars(base))
    )


def _overrides(cls: type[Any]) -> list[str]:
    """Names of catalog methods that ``cls`` or a base outside the core overrides."""
    from rlkit_core.catalog import ActorCriticCatalog, Catalog

    return sorted(
        {
            name
            for base in cls.__mro__
            if base not in (Catalog, ActorCriticCatalog, object)
            for name in vars(base)
            if hasattr(Catalog, name) and name not in ("components", "algorithm") and not name.startswith("__")
        }
    )


def _say_unused(name: str, cls: type[Any], assembling: type[Any]) -> None:
    text = (
        f"catalog {name!r} overrides {', '.join(_overrides(cls))}, but {assembling.__name__} assembles this module: "
        "it is no subclass of that, so these overrides are not used"
    )
    if not cls.components:
        raise ConfigError(
            f"{text}, and it carries no components. Make it a subclass of {assembling.__name__}, or name it as "
            "catalog_class."
        )
    warnings.warn(text, UserWarning, stacklevel=3)


def takes_child(from_space: Any) -> bool:
    """Whether a ``from_space`` asks for components of sub-spaces."""
    return "child" in inspect.signature(from_space).parameters


def takes_child_of(choice: Choice) -> bool:
    """Whether the chosen component asks for components of sub-spaces."""
    target = choice.component.load()
    function = getattr(target, "from_space" if choice.kind == "encoder" else "for_space", None)
    return function is not None and takes_child(function)


def _parts(path: Any) -> tuple[str, ...]:
    return (path,) if isinstance(path, str) else tuple(str(part) for part in path)
