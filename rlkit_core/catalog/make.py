"""Making the catalog of one module: which class assembles, and whose components come first."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import Any

import gymnasium as gym

from rlkit_core.catalog.catalog import ActorCriticCatalog, Catalog
from rlkit_core.catalog.scope import CURRENT, Scope, tier_of
from rlkit_core.errors import ConfigError
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.registry import CatalogTier
from rlkit_core.plugins.used.pinned import Pinned
from rlkit_core.plugins.using import code_of
from rlkit_core.settings.of_parts import says_more


def make_catalog(
    *,
    catalog_class: type[Catalog] | None,
    own_class: type[Catalog] | None,
    catalogs: Collection[str | type[Catalog]],
    components: Mapping[str, Any] | None,
    observation_space: gym.Space[Any] | None,
    action_space: gym.Space[Any] | None,
    model_config: Mapping[str, Any],
    pinned: Pinned | None = None,
) -> Catalog:
    """Make the catalog of one module.

    Args:
        catalog_class: the class that the spec names, or None.
        own_class: the algorithm's own class.
        catalogs: further ones, names or classes, in order; all contribute components, and the first that can stand in
            for ``catalog_class`` (else ``own_class``) assembles the networks: a subclass of it, or, as thin subclasses
            add nothing, of the first class above it that defines methods.
        components: components by slot and path.
        observation_space: as for the catalog; ``action_space`` and ``model_config`` too.
        pinned: choices that were made for this module before.

    Raises:
        ConfigError: a listed catalog is no catalog, or has nothing that this module can use.
        PluginNotFoundError: no plugin has a catalog of that name.
    """
    listed: list[tuple[str, type[Catalog]]] = []
    for entry in catalogs:
        cls = default_host().get_catalog(entry) if isinstance(entry, str) else entry
        if not isinstance(cls, type) or not issubclass(cls, Catalog):
            raise ConfigError(f"catalogs=[{entry!r}]: expected the name of a catalog or a Catalog subclass")
        listed.append((entry if isinstance(entry, str) else cls.__name__, cls))
    of_algorithm = own_class or Catalog
    named = catalog_class or of_algorithm
    contract = _contract(named)
    assembling = next((cls for _, cls in listed if issubclass(cls, contract)), named)
    for name, cls in listed:
        if cls is not assembling and not issubclass(assembling, cls) and _overrides(cls):
            _say_unused(name, cls, assembling)
    tiers: list[CatalogTier] = []
    for name, cls in [*listed, ("", named), ("", of_algorithm)]:
        tier = tier_of(cls, name or None)
        if not any(tier.components == known.components for known in tiers):
            tiers.append(tier)
    scope = Scope.for_class(assembling, choices=components, tiers=tiers)
    scope.algorithm, scope.pinned = of_algorithm.algorithm or named.algorithm, pinned
    token = CURRENT.set(scope)
    try:
        with code_of(assembling, f"catalog {assembling.__name__}, when it was made"):
            return assembling(
                observation_space=observation_space, action_space=action_space, model_config_dict=dict(model_config)
            )
    finally:
        CURRENT.reset(token)


def _contract(cls: type[Catalog]) -> type[Catalog]:
    """The first class upwards from ``cls`` that defines more than its name and components."""
    return next(base for base in cls.__mro__ if any(map(says_more, vars(base))))


def _overrides(cls: type[Catalog]) -> list[str]:
    """Names of catalog methods that ``cls`` or a base outside the core overrides."""
    return sorted(
        {
            name
            for base in cls.__mro__
            if base not in (Catalog, ActorCriticCatalog, object)
            for name in vars(base)
            if hasattr(Catalog, name) and says_more(name)
        }
    )


def _say_unused(name: str, cls: type[Catalog], assembling: type[Catalog]) -> None:
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
