"""The configuration objects that older module classes take as their one positional argument."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import define, field

from rlkit_core.rl_module.model_config import plain_model_config

if TYPE_CHECKING:
    import gymnasium as gym

    from rlkit_core.catalog import Catalog
    from rlkit_core.rl_module.spec import RLModuleSpec


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value or ())


def _dict(value: Any) -> dict[str, Any]:
    return dict(value or {})


@define(eq=False)
class RLModuleConfig:
    """Everything an :class:`~rlkit_core.RLModule` is built from, in one object.

    ``MyModule(RLModuleConfig(...))`` and ``MyModule(observation_space=..., ...)`` build the same module; a class
    whose constructor is ``__init__(self, config)`` is given this object by its spec.

    Args:
        observation_space: space of one observation, without a batch axis.
        action_space: space of one action.
        model_config_dict: the free-form model config; a ``DefaultModelConfig`` or a dataclass becomes a dict.
        catalog_class: the ``Catalog`` subclass that makes default components.
        inference_only: build without the parts that only training needs.
        learner_only: the module lives on learners only.
        catalogs: further catalogs, as names or classes.
        components: components by slot and path.
    """

    observation_space: gym.Space[Any] | None = None
    action_space: gym.Space[Any] | None = None
    model_config_dict: dict[str, Any] = field(factory=dict, converter=plain_model_config)
    catalog_class: type | None = None
    inference_only: bool = False
    learner_only: bool = False
    catalogs: tuple[Any, ...] = field(default=(), converter=_tuple)
    components: dict[str, Any] = field(factory=dict, converter=_dict)

    @property
    def model_config(self) -> dict[str, Any]:
        """The model config under its present name."""
        return self.model_config_dict

    def get_catalog(self) -> Catalog | None:
        """Return a new catalog for these spaces, or None when no ``catalog_class`` is set."""
        if self.catalog_class is None:
            return None
        from rlkit_core.catalog import make_catalog

        return make_catalog(
            catalog_class=self.catalog_class,
            own_class=None,
            catalogs=self.catalogs,
            components=self.components,
            observation_space=self.observation_space,
            action_space=self.action_space,
            model_config=self.model_config_dict,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a dict of JSON values; :meth:`from_dict` reads it back."""
        from rlkit_core.rl_module.spec import RLModuleSpec

        return RLModuleSpec(**self._fields()).to_dict()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RLModuleConfig:
        """Read what :meth:`to_dict` gave."""
        from rlkit_core.rl_module.spec import RLModuleSpec

        return RLModuleSpec.from_dict(data).get_rl_module_config()

    def _fields(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "inference_only": self.inference_only or None,
            "learner_only": self.learner_only or None,
            "model_config": self.model_config_dict,
            "catalog_class": self.catalog_class,
            "catalogs": self.catalogs or None,
            "components": self.components or None,
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RLModuleConfig):
            return NotImplemented
        return self.to_spec() == other.to_spec()

    __hash__ = None  # type: ignore[assignment]

    def to_spec(self) -> RLModuleSpec:
        """Return the same settings as a spec without a module class."""
        from rlkit_core.rl_module.spec import RLModuleSpec

        return RLModuleSpec(**self._fields())


@define
class MultiRLModuleConfig:
    """What older ``MultiRLModule`` classes take: a spec for each module id.

    Args:
        modules: module id -> :class:`~rlkit_core.RLModuleSpec`.
    """

    modules: dict[str, Any] = field(factory=dict, converter=_dict)

    def to_dict(self) -> dict[str, Any]:
        """Return a dict of JSON values; :meth:`from_dict` reads it back."""
        return {"modules": {module_id: spec.to_dict() for module_id, spec in self.modules.items()}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MultiRLModuleConfig:
        """Read what :meth:`to_dict` gave."""
        from rlkit_core.rl_module.spec import RLModuleSpec

        return cls({key: RLModuleSpec.from_dict(value) for key, value in data["modules"].items()})
