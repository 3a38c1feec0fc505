"""The common ground of specs, whose fields know whether they were set, and the config object of older modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from rlkit_core.catalog import Catalog, make_catalog
from rlkit_core.checkpoint import from_jsonable, register_json_type, to_jsonable
from rlkit_core.checkpoint.trust import class_named, class_ref, resolve_class
from rlkit_core.errors import SpecError
from rlkit_core.models.default_config import model_config_dict as plain_model_config
from rlkit_core.plugins.records import Component
from rlkit_core.rl_module.forwards import ModuleForwards
from rlkit_core.settings import Settings, setting
from rlkit_core.spaces import space_from_json, space_to_json

if TYPE_CHECKING:
    import gymnasium as gym

_CLASSES = frozenset(("module_class", "multi_rl_module_class", "catalog_class"))
_SPACES = frozenset(("observation_space", "action_space"))
SpecT = TypeVar("SpecT", bound="Spec")


def a_class(value: object) -> type[Any]:
    """Converter: a class, or ``"package.module:Class"``."""
    if isinstance(value, str):
        return class_named(value)
    if not isinstance(value, type):
        raise ValueError(f"expected a class, got an instance of {type(value).__name__}")
    return value


def _encoded(name: str, value: Any) -> Any:
    if value is None or name == "rl_module_specs":
        return None
    if name in _CLASSES:
        return class_ref(value)
    if name in _SPACES:
        return space_to_json(value)
    if name == "mixins":
        return list(value)
    return to_jsonable(plain_model_config(value) if name == "model_config" else value)


def _decoded(name: str, value: object) -> Any:
    """Read what :func:`_encoded` gave; classes, spaces and other objects themselves pass through."""
    if isinstance(value, str) and name in _CLASSES:
        return resolve_class(value)
    if isinstance(value, Mapping) and name in _SPACES:
        return space_from_json(dict(value))
    return from_jsonable(value) if isinstance(value, (dict, list)) else value


@attrs.define(slots=False)
class Spec(Settings):
    """Fields that know whether they were set.

    None is never stored: it means "not set" for every field. That is what merging goes by, so that ``False``, ``0`` and
    ``{}`` count when someone wrote them.
    """

    none_is_unset = True
    setting_error = SpecError

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def _note(cls, name: str, meant: str) -> None:
        """Older names of fields are as good as the present ones."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: classes as import paths, spaces as dicts; None for fields that are not set.

        Raises:
            CheckpointError: the model config holds something JSON lacks, a live network say.
        """
        fields = self.set_fields()
        return {name: _encoded(name, fields.get(name)) for name in self.known_settings()}

    def copy(self: SpecT) -> SpecT:
        """Copy one level deep: dicts are new, the values in them (networks, say) are the same objects."""
        twin = object.__new__(type(self))
        state = self.__getstate__()
        twin.__setstate__(
            {name: value.copy() if type(value) in (dict, set) else value for name, value in state.items()}
        )
        return twin

    def stored_values(self) -> dict[str, Any]:
        """Every field with its value, the model config as a plain dict."""
        values = {name: self.stored(name) for name in self.known_settings()}
        return {name: plain_model_config(value) if name == "model_config" else value for name, value in values.items()}

    @classmethod
    def from_dict(cls: type[SpecT], data: Mapping[str, Any]) -> SpecT:
        """Read what :meth:`to_dict` gave; None is a field that is not set, whichever it is.

        Raises:
            CheckpointError: a class is not trusted or cannot be found.
        """
        return cls(**{name: _decoded(name, value) for name, value in data.items() if value is not None})


@attrs.define(slots=False, eq=False)
class RLModuleConfig(Spec):
    """Everything an :class:`~rlkit_core.RLModule` is built from, in one object.

    ``MyModule(RLModuleConfig(...))`` and ``MyModule(observation_space=..., ...)`` build the same module; a class
    whose constructor is ``__init__(self, config)`` is given this object by its spec.
    """

    observation_space: gym.Space[Any] | None = setting(help="Space of one observation.")
    action_space: gym.Space[Any] | None = setting(help="Space of one action.")
    model_config_dict: dict[str, Any] = setting(
        {}, help="The free-form model config.", converter=plain_model_config, aliases=("model_config",)
    )
    catalog_class: type[Any] | None = setting(help="The Catalog that makes default components.", converter=a_class)
    inference_only: bool = setting(False, help="Build without the parts that only training needs.")
    learner_only: bool = setting(False, help="The module lives on learners only.")
    catalogs: tuple[Any, ...] = setting((), help="Further catalogs, names or classes.", converter=tuple)
    components: dict[str, Any] = setting({}, help="Components by slot and path.", converter=dict)

    @property
    def model_config(self) -> dict[str, Any]:
        """The model config under its present name."""
        return self.model_config_dict

    def get_catalog(self) -> Catalog | None:
        """Return a new catalog for these spaces, or None when no ``catalog_class`` is set."""
        if self.catalog_class is None:
            return None
        return make_catalog(
            catalog_class=self.catalog_class,
            own_class=None,
            catalogs=self.catalogs,
            components=self.components,
            observation_space=self.observation_space,
            action_space=self.action_space,
            model_config=self.model_config_dict,
        )


class BuiltModule(ModuleForwards):
    """A module that knows what it was built from."""

    config: RLModuleConfig


def _component_data(record: Component) -> dict[str, Any]:
    """A record without its declared settings, which are code."""
    return attrs.asdict(record, recurse=False, filter=lambda field, _: field.name != "settings")


register_json_type(Component, "component", _component_data, lambda data: Component(**data))
