"""What to build, as data: specs, and the config objects that older module classes take in their place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from rlkit_core.checkpoint import register_json_type
from rlkit_core.columns import DEFAULT_MODULE_ID
from rlkit_core.errors import SpecError
from rlkit_core.models.default_config import DefaultModelConfig, is_of_a_slot
from rlkit_core.models.default_config import model_config_dict as plain_model_config
from rlkit_core.plugins.used.pinned import Pinned, by_module, for_next_module
from rlkit_core.plugins.using import code_of
from rlkit_core.rl_module.apis.composition import composed, parts_of
from rlkit_core.rl_module.config import BuiltModule, RLModuleConfig, Spec, a_class
from rlkit_core.rl_module.construction import CONSTRUCTOR_DEFAULTS, accepted_kwargs, takes_config_object
from rlkit_core.settings import mapping, setting
from rlkit_core.settings.of_parts import unknown_setting

if TYPE_CHECKING:
    import gymnasium as gym

T = TypeVar("T")


def _model_config(value: T) -> T:
    plain_model_config(value)
    return value


def _module_specs(value: object) -> RLModuleSpec | dict[str, RLModuleSpec]:
    if isinstance(value, RLModuleSpec):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"expected an RLModuleSpec or a dict module id -> RLModuleSpec, got {type(value).__name__}")
    for module_id, spec in value.items():
        if not isinstance(spec, RLModuleSpec):
            raise ValueError(f"module {module_id!r} has {type(spec).__name__}, expected RLModuleSpec")
    return dict(value)


def _names(value: str | Iterable[str]) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"expected ids of module APIs, such as 'acme-rnd/rnd', got {value!r}")
    return names


def _module_ids(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


@attrs.define(slots=False, eq=False)
class RLModuleSpec(Spec):
    """What one RLModule is built from; fields left out are filled from the algorithm, the env and the config.

    Example:
        >>> RLModuleSpec(model_config={"fcnet_hiddens": [64]}).set_fields()
        {'model_config': {'fcnet_hiddens': [64]}}
    """

    module_class: type[Any] | None = setting(help="The class to build.", converter=a_class)
    observation_space: gym.Space[Any] | None = setting(help="Space of one observation.")
    action_space: gym.Space[Any] | None = setting(help="Space of one action.")
    inference_only: bool = setting(False, help="Build without the parts that only training needs.")
    learner_only: bool = setting(False, help="Build on learners only; excludes inference_only.")
    model_config: Any = setting(
        help="A dict, a DefaultModelConfig (fields that were set count), an attrs or a dataclass instance.",
        converter=_model_config,
        aliases=("model_config_dict",),
    )
    catalog_class: type[Any] | None = setting(help="The Catalog that makes default components.", converter=a_class)
    catalogs: tuple[Any, ...] | None = setting(help="Further catalogs, names or classes.", converter=tuple)
    components: dict[str, Any] | None = setting(help="Components by slot and path.", converter=dict)
    mixins: tuple[str, ...] | None = setting(
        help="API mixins, by id, whose implementations are put onto module_class, the first one first of all.",
        converter=_names,
    )
    load_state_path: str | None = setting(help="A checkpoint whose state the built module takes over.")

    def build(self) -> Any:
        """Build the module.

        Raises:
            SpecError: ``module_class`` or ``observation_space`` is not set, or the two ``..._only`` flags exclude
                each other.
        """
        cls = self.class_to_build()
        if self.observation_space is None:
            raise SpecError(
                f"RLModuleSpec of {cls.__name__}: observation_space is not set. Pass it, or give the spec to a config "
                "with an environment, which fills it."
            )
        if self.inference_only and self.learner_only:
            raise SpecError(
                f"RLModuleSpec of {cls.__name__}: inference_only and learner_only are both True; a module that lives "
                "on learners only is trained there"
            )
        args, kwargs = self.ctor_args_and_kwargs(cls)
        with for_next_module(self.pinned_choices), code_of(cls, f"module class {cls.__name__}, when it was built"):
            module = cls(*args, **kwargs)
        known = self.__dict__.get("_known_settings")
        if known is not None and not self.inference_only:
            given = [name for name in plain_model_config(self.model_config) if not is_of_a_slot(name)]
            problem = unknown_setting(given, known, module.parts)
            if problem:
                raise SpecError(problem)
        if self.load_state_path is not None:
            module.restore_from_path(self.load_state_path)
        return module

    def class_to_build(self) -> type[Any]:
        """``module_class`` with the :attr:`mixins` on it.

        Raises:
            SpecError: ``module_class`` is not set, or a mixin does not fit it.
            RLKitError: there is no mixin of that name.
        """
        if self.module_class is None:
            raise SpecError(
                "RLModuleSpec: module_class is not set. Pass RLModuleSpec(module_class=MyModule), or give the spec to "
                "a config's rl_module(rl_module_spec=...), which fills it with the algorithm's own class."
            )
        return composed(self.module_class, self.mixins or ()) if self.mixins else self.module_class

    def is_of(self, module: object) -> bool:
        """Whether a module's class is the one that this spec builds."""
        return self.module_class is not None and self.class_to_build() is type(module)

    def knows_settings(self, names: Iterable[str]) -> RLModuleSpec:
        """A copy whose module's class reads these settings of ``model_config``, the built-in ones, and no others.

        So a name that no part of the module declares is refused when it is built.
        """
        new: RLModuleSpec = self.copy()
        new.__dict__["_known_settings"] = frozenset(
            (*DefaultModelConfig.known_settings(), "always_check_shapes", *names)
        )
        return new

    @property
    def pinned_choices(self) -> Pinned | None:
        """Choices of components that were made before; they travel with the spec, and are no part of what it says."""
        return self.__dict__.get("_pinned")

    def with_pinned(self, pinned: Pinned | None) -> RLModuleSpec:
        """A copy that builds of the components chosen before; None, or none at all, leaves it as it is."""
        new: RLModuleSpec = self.copy()
        if pinned:
            new.__dict__["_pinned"] = pinned
        return new

    def ctor_args_and_kwargs(self, module_class: type) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments that build such a module, in the form its class takes them.

        Raises:
            SpecError: the constructor lacks an argument that is set.
        """
        if takes_config_object(module_class):
            return (self.get_rl_module_config(),), {}
        return (), accepted_kwargs(module_class, self._ctor_kwargs(), CONSTRUCTOR_DEFAULTS)

    def _ctor_kwargs(self) -> dict[str, Any]:
        kwargs = {name: getattr(self, name) for name in CONSTRUCTOR_DEFAULTS}
        kwargs["model_config"] = plain_model_config(self.model_config)
        return {name: value for name, value in kwargs.items() if name not in ("catalogs", "components") or value}

    def get_rl_module_config(self) -> RLModuleConfig:
        """Return the same settings as the object that older module classes take."""
        kwargs = self._ctor_kwargs()
        return RLModuleConfig(model_config_dict=kwargs.pop("model_config"), **kwargs)

    @classmethod
    def from_module(cls, module: BuiltModule) -> RLModuleSpec:
        """Return the spec that builds a module like ``module``.

        Raises:
            SpecError: ``module`` is a MultiRLModule.
        """
        module = module.unwrapped()
        if isinstance(module, MultiRLModuleSpec.multi_rl_module_class):
            raise SpecError("RLModuleSpec.from_module: this is a MultiRLModule; use MultiRLModuleSpec.from_module")
        flags: dict[str, Any] = {name: True for name in ("inference_only", "learner_only") if getattr(module, name)}
        module_class, mixins = parts_of(type(module))
        return cls(
            module_class=module_class,
            mixins=mixins or None,
            observation_space=module.observation_space,
            action_space=module.action_space,
            model_config=dict(module.model_config),
            catalog_class=module.config.catalog_class,
            catalogs=module.config.catalogs or None,
            components=module.config.components or None,
            **flags,
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RLModuleSpec:
        """Read what :meth:`to_dict` gave; the older keys ``module_config`` and ``model_config_dict`` are read too."""
        data = dict(data)
        older = data.pop("module_config", None)
        if older is not None:
            data = dict(older) | data
        return super().from_dict(data)

    def update(self, other: RLModuleSpec, override: bool = True) -> None:
        """Take over fields that ``other`` has set; without ``override`` only those that are not set here.

        Raises:
            SpecError: ``other`` is no RLModuleSpec.
        """
        if not isinstance(other, RLModuleSpec):
            raise SpecError(f"RLModuleSpec.update: expected an RLModuleSpec, got {type(other).__name__}")
        for name, value in other.set_fields().items():
            if override or name not in self.set_by_user():
                setattr(self, name, dict(value) if isinstance(value, dict) else value)

    def as_multi_rl_module_spec(self) -> MultiRLModuleSpec:
        """Return a multi spec with this one as ``default_policy``."""
        return MultiRLModuleSpec(rl_module_specs={DEFAULT_MODULE_ID: self})

    as_multi_agent = as_multi_rl_module_spec


@attrs.define(slots=False, eq=False)
class MultiRLModuleSpec(Spec):
    """What a MultiRLModule is built from."""

    multi_rl_module_class: type[Any] = setting(
        attrs.Factory(lambda: MultiRLModuleSpec.multi_rl_module_class),
        help="The class to build; MultiRLModule unless said.",
        converter=a_class,
        aliases=("marl_module_class",),
    )
    observation_space: gym.Space[Any] | None = setting(help="Global space, for parts of the MultiRLModule itself.")
    action_space: gym.Space[Any] | None = setting(help="Global action space.")
    inference_only: bool | None = setting(help="Forced onto all sub-specs when True.")
    model_config: Any = setting(help="Global model config.", converter=_model_config)
    rl_module_specs: RLModuleSpec | dict[str, RLModuleSpec] | None = setting(
        help="Module id -> spec, or one spec for all ids.", converter=_module_specs, aliases=("module_specs",)
    )
    load_state_path: str | None = setting(help="A checkpoint of a MultiRLModule whose state the built one takes over.")
    modules_to_load: tuple[str, ...] | None = setting(
        help="Only these module ids are taken from load_state_path.", converter=_module_ids
    )

    def expand(self, module_ids: Iterable[str]) -> MultiRLModuleSpec:
        """Return a copy in which one spec for all ids has become a dict with a copy for each of ``module_ids``."""
        new: MultiRLModuleSpec = self.copy()
        if isinstance(self.rl_module_specs, RLModuleSpec):
            one = self.rl_module_specs
            new.rl_module_specs = {module_id: one.copy() for module_id in module_ids}
        return new

    def pinned_by(self, modules: Mapping[str, Any]) -> MultiRLModuleSpec:
        """A copy that builds of the components of ``modules``, by id, or of those in effect for its id."""
        new: MultiRLModuleSpec = self.copy()
        new.rl_module_specs = {
            mid: spec.with_pinned(modules[mid].pinned_choices if mid in modules else by_module().get(mid))
            for mid, spec in self.specs_by_id().items()
        }
        return new

    def specs_by_id(self) -> dict[str, RLModuleSpec]:
        """Return module id -> spec.

        Raises:
            SpecError: one spec for all ids has not been expanded.
        """
        specs = self.rl_module_specs
        if isinstance(specs, RLModuleSpec):
            raise SpecError(
                "MultiRLModuleSpec: rl_module_specs is one spec for all module ids, and the ids are not known yet. "
                'Give the spec to a config, or call spec.expand(["p0", "p1"]) first.'
            )
        return specs if specs is not None else {}

    def build(self, module_id: str | None = None) -> Any:
        """Build the MultiRLModule, or the one module of ``module_id``.

        Raises:
            SpecError: the one spec for all ids has not been expanded, or a sub-spec cannot be built.
            KeyError: there is no such module id.
        """
        specs = self.specs_by_id()
        if module_id is not None:
            if module_id not in specs:
                raise KeyError(f"no module {module_id!r} in this spec, which has {', '.join(specs) or 'none'}")
            return specs[module_id].build()
        cls = self.multi_rl_module_class
        of_the_whole = {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "inference_only": self.inference_only,
            "model_config": plain_model_config(self.model_config),
        }
        if takes_config_object(cls):
            lost = [name for name in of_the_whole if name in self.set_by_user() and name != "inference_only"]
            if lost:
                raise SpecError(
                    f"{cls.__name__}(config) takes specs of its members only, so {', '.join(lost)} of its spec cannot "
                    "reach it: let its constructor take **kwargs and pass them to super().__init__()"
                )
            module = cls(MultiRLModuleConfig(specs))
        else:
            kwargs = {**of_the_whole, "rl_module_specs": specs}
            module = cls(**accepted_kwargs(cls, kwargs, {**CONSTRUCTOR_DEFAULTS, "inference_only": None}))
        if self.load_state_path is not None:
            module.load_modules_from(self.load_state_path, self.modules_to_load)
        return module

    def add_modules(self, specs: Mapping[str, RLModuleSpec] | MultiRLModuleSpec, override: bool = True) -> None:
        """Add specs: one of a known id replaces it, or, without ``override``, only fills its unset fields."""
        added = specs.specs_by_id() if isinstance(specs, MultiRLModuleSpec) else specs
        present = self.specs_by_id()
        for module_id, spec in added.items():
            if module_id in present and not override:
                present[module_id].update(spec, override=False)
            else:
                present[module_id] = spec.copy()
        self.rl_module_specs = present
        if self.inference_only and any(not spec.inference_only for spec in added.values()):
            self.inference_only = False

    def remove_modules(self, module_ids: Iterable[str] | str) -> None:
        """Remove specs; ids that are not there are ignored."""
        present = self.specs_by_id()
        for module_id in [module_ids] if isinstance(module_ids, str) else module_ids:
            present.pop(module_id, None)
        self.rl_module_specs = present

    @classmethod
    def from_module(cls, module: BuiltModule) -> MultiRLModuleSpec:
        """Return the spec that builds a MultiRLModule like ``module``."""
        if not isinstance(module, MultiRLModuleSpec.multi_rl_module_class):
            raise SpecError(
                f"MultiRLModuleSpec.from_module: expected a MultiRLModule, got {type(module).__name__}; call "
                "module.as_multi_rl_module() first"
            )
        return cls(
            multi_rl_module_class=type(module),
            observation_space=module.observation_space,
            action_space=module.action_space,
            inference_only=module.inference_only or None,
            model_config=dict(module.model_config) or None,
            rl_module_specs=module.current_specs(),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; :meth:`from_dict` reads them back."""
        data = super().to_dict()
        specs = self.rl_module_specs
        if isinstance(specs, RLModuleSpec):
            data["rl_module_specs"] = {"__all__": specs.to_dict()}
        elif specs is not None:
            data["rl_module_specs"] = {"modules": {key: spec.to_dict() for key, spec in specs.items()}}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MultiRLModuleSpec:
        """Read what :meth:`to_dict` gave."""
        data = dict(data)
        specs = data.pop("rl_module_specs", None)
        spec = super().from_dict(data)
        if specs is not None and "__all__" in specs:
            spec.rl_module_specs = RLModuleSpec.from_dict(specs["__all__"])
        elif specs is not None:
            spec.rl_module_specs = {key: RLModuleSpec.from_dict(v) for key, v in specs["modules"].items()}
        return spec

    def update(self, other: RLModuleSpec | MultiRLModuleSpec, override: bool = False) -> None:
        """Merge another spec in.

        A single one fills (with ``override`` replaces) fields of every sub-spec; a multi spec's sub-specs are added as
        by :meth:`add_modules`, its own fields are merged the same way.
        """
        if isinstance(other, RLModuleSpec):
            specs = self.rl_module_specs
            for spec in [specs] if isinstance(specs, RLModuleSpec) else (specs or {}).values():
                spec.update(other, override=override)
            return
        if not isinstance(other, MultiRLModuleSpec):
            raise SpecError(f"MultiRLModuleSpec.update: expected a spec, got {type(other).__name__}")
        for name, value in other.set_fields().items():
            if name != "rl_module_specs" and (override or name not in self.set_by_user()):
                setattr(self, name, value)
        if isinstance(other.rl_module_specs, RLModuleSpec):
            self.update(other.rl_module_specs, override=override)
        elif other.rl_module_specs is not None:
            self.add_modules(other.rl_module_specs, override=override)

    def as_multi_rl_module_spec(self) -> MultiRLModuleSpec:
        """The spec itself."""
        return self

    as_multi_agent = as_multi_rl_module_spec

    def get_multi_rl_module_config(self) -> MultiRLModuleConfig:
        """Return the object that older MultiRLModule classes take."""
        return MultiRLModuleConfig(self.specs_by_id())

    get_marl_config = get_multi_rl_module_config
    get_rl_module_config = get_multi_rl_module_config

    def __contains__(self, module_id: object) -> bool:
        specs = self.rl_module_specs
        return isinstance(specs, dict) and module_id in specs

    def __getitem__(self, module_id: str) -> RLModuleSpec:
        return self.specs_by_id()[module_id]


@attrs.define
class MultiRLModuleConfig:
    """What older ``MultiRLModule`` classes take: module id -> :class:`~rlkit_core.RLModuleSpec`."""

    modules: dict[str, Any] = attrs.field(factory=dict, converter=mapping)

    def to_dict(self) -> dict[str, Any]:
        """Return a dict of JSON values; :meth:`from_dict` reads it back."""
        return {"modules": {module_id: spec.to_dict() for module_id, spec in self.modules.items()}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MultiRLModuleConfig:
        """Read what :meth:`to_dict` gave."""
        return cls({key: RLModuleSpec.from_dict(value) for key, value in data["modules"].items()})


def _set_fields(spec: Spec) -> dict[str, Any]:
    fields = spec.set_fields()
    if "model_config" in fields:
        fields["model_config"] = plain_model_config(fields["model_config"])
    return fields


register_json_type(RLModuleSpec, "rl_module_spec", _set_fields, lambda data: RLModuleSpec(**data))
register_json_type(MultiRLModuleSpec, "multi_rl_module_spec", _set_fields, lambda data: MultiRLModuleSpec(**data))
register_json_type(RLModuleConfig, "rl_module_config", _set_fields, lambda data: RLModuleConfig(**data))
register_json_type(MultiRLModuleConfig, "multi_rl_module_config", lambda config: config.modules, MultiRLModuleConfig)
