"""RLModule: the framework-neutral base of everything that acts and learns."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import gymnasium as gym

from rlkit_core.catalog import Catalog, for_framework, make_catalog
from rlkit_core.catalog.scope import module_setup
from rlkit_core.checkpoint import Checkpointable
from rlkit_core.checkpoint.migration import Migration
from rlkit_core.columns import COMPONENT_LEARNER, COMPONENT_LEARNER_GROUP, COMPONENT_RL_MODULE
from rlkit_core.errors import CheckpointError, ConfigError, RLKitError, did_you_mean
from rlkit_core.from_rllib import PARTS_OF_CHECKPOINTS
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.registry import Choice
from rlkit_core.plugins.used.lock import Lock, Used, used_catalogs
from rlkit_core.plugins.used.pinned import Pinned, take
from rlkit_core.rl_module.apis import drivers_for, implements, module_built
from rlkit_core.rl_module.apis.composition import composed, mixin_parts, parts_of, with_settings
from rlkit_core.rl_module.apis.inference_only import InferenceOnlyAPI, strip
from rlkit_core.rl_module.config import BuiltModule, RLModuleConfig
from rlkit_core.rl_module.construction import CONSTRUCTOR_DEFAULTS, outermost
from rlkit_core.rl_module.deploy import ComputeActions
from rlkit_core.rl_module.spec import RLModuleSpec
from rlkit_core.rl_module.state import component_parts
from rlkit_core.settings.of_parts import Part

if TYPE_CHECKING:
    import gymnasium as gym

    from rlkit_core.rl_module.multi import MultiRLModule


class RLModule(ComputeActions, BuiltModule, Checkpointable):
    """A policy with everything it needs to act and to be trained.

    Subclasses make their networks in :meth:`setup` and say what they compute in :meth:`_forward` (all phases) or
    in ``_forward_exploration``, ``_forward_inference``, ``_forward_train``. The public ``forward_*`` methods are
    for callers and are not overridden.

    Acting forwards return a dict with ``"actions"`` (used as they are), ``"action_dist_inputs"`` (a distribution
    is made of them and sampled; its deterministic form in inference), both, or a live ``"action_dist"``.

    Args:
        config: an :class:`RLModuleConfig` in place of all keyword arguments, which are its fields; None and -1 mean
            "not given".
        action_space: None is allowed as long as nothing needs it.
        model_config: dict, ``DefaultModelConfig``, attrs or dataclass instance; kept as a plain dict whose values
            keep their identity.

    Raises:
        TypeError: an unknown keyword argument, or ``config`` is of another type.
        RuntimeError: the base constructor ran twice, or not at all.
    """

    framework: str | None = None
    STATE_FILE_NAME = "module_state"
    refused_overrides = PARTS_OF_CHECKPOINTS
    migrates_as = "module"
    lies_in: ClassVar[tuple[str, ...]] = (COMPONENT_LEARNER_GROUP, COMPONENT_LEARNER, COMPONENT_RL_MODULE, "*")
    #: The catalog used when a spec names none; an algorithm's module class sets its own.
    default_catalog_class: ClassVar[type | None] = None
    #: Name of the API whose driver gives the loss, where two APIs on the class would replace it.
    loss_api: ClassVar[str | None] = None

    learner_only: bool

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = outermost(cls.__dict__["__init__"])  # type: ignore[method-assign]

    @outermost
    def __init__(
        self,
        config: RLModuleConfig | int | None = None,
        *,
        observation_space: gym.Space[Any] | None = None,
        action_space: gym.Space[Any] | None = None,
        inference_only: bool | None = None,
        learner_only: bool | None = False,
        model_config: object = None,
        catalog_class: type | None = None,
        catalogs: Collection[Any] | None = None,
        components: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if self.__dict__.get("_is_setup"):
            raise RuntimeError(
                f"{type(self).__name__}: RLModule.__init__ ran twice on one object. With several base classes call "
                "super().__init__() once, and list TorchRLModule before plain mixins."
            )
        if "model_config_dict" in kwargs and model_config is None:
            model_config = kwargs.pop("model_config_dict")
        if kwargs:
            name = next(iter(kwargs))
            raise TypeError(
                f"{type(self).__name__}() got an unexpected keyword argument {name!r}."
                f"{did_you_mean(name, CONSTRUCTOR_DEFAULTS)} Settings of your own belong in model_config."
            )
        if isinstance(config, RLModuleConfig):
            view = config
        elif config is None or config == -1:
            view = RLModuleConfig(
                observation_space=observation_space,
                action_space=action_space,
                model_config_dict=cast("dict[str, Any]", model_config),  # which makes a dict of it
                catalog_class=catalog_class,
                inference_only=bool(inference_only),
                learner_only=bool(learner_only),
                catalogs=tuple(catalogs or ()),
                components=dict(components or {}),
            )
        else:
            raise TypeError(
                f"{type(self).__name__}(config): expected an RLModuleConfig, got {type(config).__name__}; pass spaces "
                "as observation_space= and action_space="
            )
        self.config = view
        self.observation_space = view.observation_space
        self.action_space = view.action_space
        self.inference_only = view.inference_only
        self.learner_only = view.learner_only
        self.model_config = with_settings(type(self), view.model_config_dict)
        self._is_setup = True
        self._checks: set[str] = set()
        self.__dict__["_pinned"] = take()
        with module_setup():
            self.setup()

    def _construction_done(self) -> None:
        """Runs once, when the outermost constructor ends: API drivers, then the last preparations."""
        if not self.__dict__.get("_is_setup"):
            raise RuntimeError(
                f"{type(self).__name__}.__init__ never called super().__init__(); pass it the arguments of RLModule"
            )
        catalog = self.__dict__.get("_catalog")
        if isinstance(catalog, Catalog) and not self.inference_only:
            catalog.check_slots()
        module_built(self)
        self._prepare()

    def non_inference_attributes(self) -> tuple[str, ...]:
        """Attribute paths that an inference-only copy of this module lacks; none where this is one itself."""
        if self.inference_only or not implements(self, InferenceOnlyAPI):
            return ()
        return tuple(self.get_non_inference_attributes())

    @property
    def stripped_attributes(self) -> tuple[str, ...]:
        """Attribute paths that were deleted, for :meth:`set_state` to ignore."""
        return tuple(self.__dict__.get("_stripped", ()))

    def strip_to_inference_only(self, attributes: Collection[str]) -> None:
        """Delete the dotted ``attributes`` (those that exist) and remember them."""
        self.__dict__["_stripped"] = tuple(attributes)
        strip(self, attributes)

    # -- what subclasses fill in -------------------------------------------------------------------------------

    def setup(self) -> None:
        """Make all networks and other components; runs once, after the attributes are set."""

    # -- catalog -----------------------------------------------------------------------------------------------

    @property
    def catalog(self) -> Catalog | None:
        """The catalog, made on first access, which raises its error if it cannot be made; None without a class."""
        activate = getattr(self._catalog, "activate", None)
        if activate is not None:
            activate()
        return self._catalog  # type: ignore[no-any-return]

    @catalog.setter
    def catalog(self, value: object) -> None:
        self.__dict__["_catalog"] = value

    @functools.cached_property
    def _catalog(self) -> Any:
        if self.config.catalog_class is None and self.default_catalog_class is None and not self.config.catalogs:
            return None
        return self._guarded(
            make_catalog,
            catalog_class=self.config.catalog_class,
            own_class=self.default_catalog_class,
            catalogs=self.config.catalogs,
            components=self.config.components,
            observation_space=self.observation_space,
            action_space=self.action_space,
            model_config=self.model_config,
            pinned=self.__dict__.get("_pinned"),
        )

    @functools.cached_property
    def action_dist_cls(self) -> Any:
        """The catalog's action distribution class, made on first access; None without a catalog."""
        catalog = self.catalog
        return (
            None
            if catalog is None
            else self._guarded(for_framework, method=catalog.get_action_dist_cls, framework=self.framework)
        )

    def plain_action_dist_cls(self, discrete: Any, continuous: Any) -> Any:
        """Of a framework's two distributions, for Discrete and for Box actions, the one for this action space.

        Raises:
            ConfigError: it is another space.
        """
        if isinstance(self.action_space, gym.spaces.Discrete):
            return discrete
        if isinstance(self.action_space, gym.spaces.Box):
            return continuous
        raise ConfigError(
            f"{type(self).__name__} has no catalog and no default distribution for action space "
            f"{self.action_space!r}: set self.action_dist_cls in setup(), or override "
            "get_exploration_action_dist_cls, get_inference_action_dist_cls and get_train_action_dist_cls"
        )

    def _guarded(self, function: Callable[..., Any], **kwargs: object) -> Any:
        """Call; an AttributeError becomes another type, as nn.Module hides those that a property raises."""
        try:
            return function(**kwargs)
        except AttributeError as error:
            raise RLKitError(f"the catalog of {type(self).__name__} failed: AttributeError: {error}") from error

    @property
    def parts(self) -> list[Part]:
        """What has a say in which settings ``model_config`` may have, beside the module's class."""
        catalog = self.__dict__.get("_catalog")
        return [*(catalog.parts if isinstance(catalog, Catalog) else ()), *mixin_parts(type(self))]

    def distribution_settings(self) -> Mapping[str, Any]:
        """The model config as the action distribution reads it: with the defaults of what that declares."""
        catalog = self.__dict__.get("_catalog")
        return catalog.distribution_settings() if isinstance(catalog, Catalog) else self.model_config

    def component_trace(self) -> list[dict[str, Any]]:
        """Why each component was chosen, as JSON values; empty when the catalog was never used."""
        return [choice.to_dict() for choice in self._choices()]

    def _choices(self) -> list[Choice]:
        return list(getattr(self.__dict__.get("_catalog"), "trace", ()))

    @property
    def pinned_choices(self) -> Pinned:
        """The choices made for this module, for another one that is to be made of the same components."""
        return Pinned.of(self._choices())

    def what_is_used(self) -> Lock:
        """As of any component, with the catalog and the drivers of its APIs."""
        host = default_host()
        drivers = [api for api in drivers_for(self) if api.record.driver is not None]
        lock = super().what_is_used() | Lock(Used.of("driver", api.name, api.origin) for api in drivers)
        lock |= Lock(used_catalogs(self.config.catalogs, host.snapshot, host.origin_of))
        catalog = self.__dict__.get("_catalog")
        if catalog is None:
            return lock
        return lock | Used.class_and_bases("catalog", type(catalog), host.origin_of)

    def migrate_parts(self, state: dict[str, Any], migration: Migration) -> dict[str, Any]:
        """Let the plugins of its components bring their parts of an older state up to date."""
        return migration.ask_parts(state, component_parts(self, migration.trace)) if migration.trace else state

    # -- state -------------------------------------------------------------------------------------------------

    def named_parameters(self) -> Iterable[tuple[str, Any]]:
        """``(name, parameter)`` of all that can be trained; none in a module that only follows rules."""
        return ()

    def parameters(self) -> Iterable[Any]:
        """All that can be trained."""
        return [parameter for _, parameter in self.named_parameters()]

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        inference_only: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Return the state: a flat dict name -> array; the base has none."""
        return {}

    def set_state(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Take over what :meth:`get_state` gave; the base ignores it."""

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments that rebuild this module, in the form its class takes them, and names of its ``mixins``."""
        spec = RLModuleSpec.from_module(self)
        args, kwargs = spec.ctor_args_and_kwargs(type(self))
        return args, {**kwargs, "mixins": list(spec.mixins)} if spec.mixins else kwargs

    @classmethod
    def stored_class(cls) -> type:
        """The class below the mixins that were named."""
        return parts_of(cls)[0]

    @classmethod
    def rebuilt(cls, args: Sequence[Any], kwargs: dict[str, Any]) -> RLModule:
        """A module of what :meth:`get_ctor_args_and_kwargs` gave."""
        mixins = kwargs.pop("mixins", ())
        module: RLModule = composed(cls, mixins)(*args, **kwargs)
        return module

    def _ctor_to_json(self) -> Any:
        try:
            return super()._ctor_to_json()
        except CheckpointError:
            # A parent's setup() built this module, perhaps around live networks, and builds it again at load.
            if self.__dict__.get("_state_only"):
                return None
            raise

    # -- views -------------------------------------------------------------------------------------------------

    def as_multi_rl_module(self) -> MultiRLModule:
        """Return a ``MultiRLModule`` that holds this very module as ``default_policy``."""
        from rlkit_core.columns import DEFAULT_MODULE_ID
        from rlkit_core.rl_module.multi import MultiRLModule

        multi = MultiRLModule(rl_module_specs={})
        multi.add_module(DEFAULT_MODULE_ID, self)
        return multi
