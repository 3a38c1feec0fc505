"""What follows from the settings: effective values, modules and who uses them, what an algorithm overrides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import attrs

from rlkit_core.algorithm.config.converters import plugin_settings
from rlkit_core.algorithm.config.fault_settings import FaultSettings
from rlkit_core.algorithm.config.policies import PolicySpec
from rlkit_core.columns import DEFAULT_MODULE_ID
from rlkit_core.envs.wrapping.entries import for_evaluation
from rlkit_core.errors import ConfigError, PluginError
from rlkit_core.execution.by_name import service_name
from rlkit_core.frameworks import TORCH, AlgorithmParts, get_framework
from rlkit_core.from_rllib import refuse_overrides
from rlkit_core.plugins.discovery import canonical
from rlkit_core.plugins.guard import describe
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.records import load_target
from rlkit_core.plugins.using import import_by_name
from rlkit_core.rl_module.agent_mapping import DefaultMapping

if TYPE_CHECKING:
    from rlkit_core.rl_module import MultiRLModuleSpec, RLModuleSpec

DerivedT = TypeVar("DerivedT", bound="DerivedSettings")
_LEARNER_NEEDED = "has no learner: name it in default_learner_class, or set learners(learner_class=...)"


@attrs.define(slots=False)
class DerivedSettings(FaultSettings):
    """The settings and what follows from them; ``AlgorithmConfig`` adds checking and building."""

    _algo_class: type | str | None = None

    default_algo_class: ClassVar[type | str | None] = None
    default_learner_class: ClassVar[type | str | None] = None
    default_module_class: ClassVar[type | str | None] = None
    default_catalog_class: ClassVar[type | str | None] = None

    def __init__(self, algo_class: type | str | None = None, **settings: Any) -> None:
        self._algo_class = algo_class
        self._validated = False
        self._module_configs: dict[str, Any] = {}
        super().__init__(**settings)

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        refuse_overrides(cls)
        own = cls.__dict__.get("algo_class")
        if own is not None and not isinstance(own, property):
            cls.default_algo_class = own
            del cls.algo_class

    @classmethod
    def _hint(cls, name: str, section: str | None) -> str:
        from rlkit_core.models.default_config import DefaultModelConfig, is_of_a_slot

        if name in DefaultModelConfig.known_settings() or is_of_a_slot(name):
            return f" It is a setting of the networks: rl_module(model_config={{{name!r}: ...}})."
        return super()._hint(name, section)

    @property
    def given_algo_class(self) -> type | str | None:
        """The ``algo_class`` that the constructor was given, or None where it is the class's own."""
        return self._algo_class

    def change(self: DerivedT, settings: Mapping[str, Any], *, section: str | None = None) -> DerivedT:
        """As :meth:`SectionedSettings.change`; what was derived or validated before counts no longer.

        What the executor declares for itself becomes a setting of its plugin.
        """
        if section == "execution":
            settings = self._take_executors_own(settings)
        super().change(settings, section=section)
        if settings:
            self._validated = False
            self._module_configs.clear()
        return self

    def _take_executors_own(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        others = {name: value for name, value in settings.items() if name not in self.known_settings()}
        if others:
            executor = default_host().find_service("executor", service_name(settings.get("executor", self.executor)))
            if executor.record.settings:
                self.plugin(executor.origin.distribution, **others)
                return {name: value for name, value in settings.items() if name not in others}
        return settings

    def plugin(
        self: DerivedT,
        distribution: str | None = None,
        *,
        plugin_config: Mapping[str, Mapping[str, Any]] | None = None,
        **settings: object,
    ) -> DerivedT:
        """Set what a plugin declares for itself (its ``rlkit_settings``), and let the config use that plugin.

        Args:
            distribution: the plugin's distribution, ``"acme-rnd"``.
            plugin_config: in place of these, all settings of all plugins, by distribution and name.
            **settings: by name; those set before stay.

        Raises:
            PluginNotFoundError: it is not installed.
            UnknownSettingError: it has no such setting (a KeyError too).
            ConfigError: it refuses a value.
        """
        if distribution is None:
            if settings:
                raise ConfigError(f"plugin({', '.join(settings)}): whose? plugin('acme-rnd', ...)")
            return self if plugin_config is None else self.change({"plugin_config": plugin_config})
        name = canonical(distribution)
        given = {**self.plugin_config.get(name, {}), **settings}
        return self.change({"plugin_config": {**self.plugin_config, name: given}})

    def plugin_settings(self, distribution: str) -> Any:
        """The settings of a plugin: each is an attribute, those not set have the plugin's defaults. A copy.

        Raises:
            PluginNotFoundError: it is not installed.
        """
        return plugin_settings(distribution, self.plugin_config.get(canonical(distribution), {}))

    # What follows from settings

    @property
    def algo_class(self) -> Any:
        """The ``Algorithm`` subclass, or None.

        Raises:
            PluginError: what it names is not there.
        """
        return self._named("algo_class", self._algo_class or self.default_algo_class)

    def _named(self, attribute: str, target: type | str | None) -> Any:
        """The class that is named in an attribute, imported if need be."""
        if isinstance(target, str):
            import_by_name(target.partition(":")[0])
        try:
            return load_target(target)
        except AttributeError as error:  # which a property must not raise: it would look like a missing setting
            raise PluginError(f"{type(self).__name__}.{attribute} is {target!r}: {describe(error)}") from error

    @property
    def framework_str(self) -> str:
        """``"torch"``, or the name of the framework that a plugin brings."""
        return self._framework

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        """The algorithm's own model settings, below everything a user writes. Subclasses extend it with ``|``."""
        own = {"normalize_actions": self.normalize_actions, "clip_actions": self.clip_actions}
        return {name: value for name, value in own.items() if value is not True}

    @property
    def settings_of_its_module(self) -> tuple[str, ...]:
        """Names that the algorithm's own module reads from ``model_config``, beside the built-in ones."""
        return tuple(self._model_config_auto_includes)

    @property
    def model_config(self) -> dict[str, Any]:
        """The algorithm's model settings with the user's above them; a new dict, values keep their identity."""
        return self._model_config_auto_includes | self._model_config

    @property
    def learner_class(self) -> Any:
        """The Learner class in force."""
        if self._learner_class is not None:
            return self._learner_class
        parts = self._parts_in_framework()
        return self.get_default_learner_class() if parts is None else parts.learner_class

    def _parts_in_framework(self) -> AlgorithmParts | None:
        """What another framework than torch has for this algorithm."""
        return None if self._framework == TORCH else get_framework(self._framework).parts_for(type(self))

    def own_rl_module_spec(self) -> RLModuleSpec | MultiRLModuleSpec:
        """The algorithm's module: that of the framework, where it has one for it, else the algorithm's default."""
        parts = self._parts_in_framework()
        spec: RLModuleSpec | MultiRLModuleSpec
        spec = self.get_default_rl_module_spec() if parts is None else parts.rl_module_spec()
        return spec

    @property
    def train_batch_size_per_learner(self) -> int:
        """Env steps per update and learner."""
        if self._train_batch_size_per_learner is not None:
            return self._train_batch_size_per_learner
        return max(1, self.train_batch_size // max(1, self.num_learners))

    @property
    def total_train_batch_size(self) -> int:
        """Env steps per update, over all learners."""
        return self.train_batch_size_per_learner * max(1, self.num_learners)

    def get_rollout_fragment_length(self, worker_index: int = 0) -> int:
        """Steps that each env of a runner takes in one sample.

        ``"auto"`` splits the train batch over all envs; where it does not divide, runners of lower index take
        one step more, so that a sample is never smaller than the batch by more than the rounding of one
        runner. (Runners of one group all take the first one's length, so that their rollouts can be joined.)
        ``worker_index`` 0 is the runner in this process, 1 the first in a process of its own.
        """
        if isinstance(self.rollout_fragment_length, int):
            return self.rollout_fragment_length
        envs = self.num_envs_per_env_runner
        steps, rest = divmod(self.total_train_batch_size, envs * max(1, self.num_env_runners))
        first_env = max(0, worker_index - 1) * envs
        return max(1, steps + (first_env < rest))

    @property
    def policy_ids(self) -> list[str]:
        """Ids of the modules that agents can be mapped to.

        ``policies`` where set, otherwise the ids of a ``MultiRLModuleSpec`` with specs by id, otherwise
        ``default_policy``.
        """
        if self.policies is not None:
            return list(self.policies)
        return list(specs_by_id(self._rl_module_spec)) or [DEFAULT_MODULE_ID]

    @property
    def policy_specs(self) -> dict[str, RLModuleSpec]:
        """What ``policies`` says of networks and spaces, by module id; empty where it is ids only."""
        given = self.policies if isinstance(self.policies, Mapping) else {}
        return {
            module_id: spec.as_rl_module_spec() if isinstance(spec, PolicySpec) else spec
            for module_id, spec in given.items()
            if spec is not None
        }

    @property
    def policy_mapping_fn(self) -> Callable[..., str]:
        """``(agent_id, episode, **kwargs) -> module id``; :class:`DefaultMapping` over the modules unless set."""
        if self._policy_mapping_fn is not None:
            return self._policy_mapping_fn
        policies = self.policy_ids
        return DefaultMapping(tuple(mid for mid in self.acting_ids if mid in policies))

    @property
    def specs_of_modules(self) -> dict[str, RLModuleSpec]:
        """What is written of single modules, as it is written: in a ``MultiRLModuleSpec``, or else in ``policies``."""
        return {**self.policy_specs, **specs_by_id(self._rl_module_spec)}

    @property
    def acting_ids(self) -> list[str]:
        """Ids of the modules that can act: ``policy_ids`` and those of other specs, but none for learners only."""
        specs = self.specs_of_modules
        ids = dict.fromkeys([*self.policy_ids, *specs])
        return [mid for mid in ids if mid not in specs or not specs[mid].learner_only]

    @property
    def is_multi_agent(self) -> bool:
        """Whether there is any module but the one ``default_policy``, or the env is known to have several agents."""
        bases = self.env.__mro__ if isinstance(self.env, type) else ()
        return self.policy_ids != [DEFAULT_MODULE_ID] or any(base.__name__ == "MultiAgentEnv" for base in bases)

    @property
    def algorithm_config_overrides_per_module(self) -> dict[str, dict[str, Any]]:
        """Settings that differ for a module: those of its ``PolicySpec``, and above them those set here."""
        given = self.policies if isinstance(self.policies, Mapping) else {}
        merged = {mid: dict(spec.config) for mid, spec in given.items() if isinstance(spec, PolicySpec) and spec.config}
        for module_id, settings in self._algorithm_config_overrides_per_module.items():
            merged[module_id] = {**merged.get(module_id, {}), **settings}
        return merged

    def get_config_for_module(self: DerivedT, module_id: str) -> DerivedT:
        """The config as it is for one module: this very object where nothing differs, else a frozen copy (kept)."""
        if module_id not in self._module_configs:
            changes = self.algorithm_config_overrides_per_module.get(module_id)
            kept = self.copy(copy_frozen=False).update_from_dict(changes) if changes else None
            if kept is not None:
                kept.freeze()
            self._module_configs[module_id] = kept
        own = self._module_configs[module_id]
        return self if own is None else own

    def get_evaluation_config_object(self: DerivedT) -> DerivedT:
        """The config as it is while evaluating: ``evaluation_config`` applied, not exploring unless that says so.

        Where there is an env, it is that which is played, whatever runners train with; without the wrappers that are
        for training only.
        """
        config = self.copy(copy_frozen=False)
        own = {"explore": False} if self.env is None else {"explore": False, "env_runner_cls": None}
        config.update_from_dict({**own, **self.evaluation_config})
        if config.wrappers:
            config.update_from_dict({"wrappers": for_evaluation(config.wrappers)})
        config.freeze()
        return config

    def without_callbacks(self: DerivedT) -> DerivedT:
        """The config as actors elsewhere get it: callbacks run in the driver, and may hold what cannot be sent."""
        names = [name for name, item in type(self).known_settings().items() if item.section == "callbacks"]
        if not any(getattr(self, name) for name in names):
            return self
        config = self.copy(copy_frozen=False).change({name: [] for name in names})
        config.freeze()
        return config

    # What an algorithm overrides

    @classmethod
    def has_default(cls, what: str) -> bool:
        """Whether an algorithm says what its ``"learner"`` or ``"module"`` is, by attribute or by method."""
        method = {"learner": "get_default_learner_class", "module": "get_default_rl_module_spec"}[what]
        named = getattr(cls, f"default_{what}_class") is not None
        return named or getattr(cls, method) is not getattr(DerivedSettings, method)

    def get_default_learner_class(self) -> Any:
        """The algorithm's Learner class: ``default_learner_class``, unless overridden."""
        if self.default_learner_class is None:
            raise NotImplementedError(f"{type(self).__name__} {_LEARNER_NEEDED}")
        return self._named("default_learner_class", self.default_learner_class)

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """The algorithm's module, an ``RLModuleSpec``: of ``default_module_class`` and ``default_catalog_class``."""
        if self.default_module_class is None:
            raise NotImplementedError(
                f"{type(self).__name__} has no module: name it in default_module_class, override "
                "get_default_rl_module_spec(), or give rl_module(rl_module_spec=...)"
            )
        from rlkit_core.rl_module import RLModuleSpec

        catalog = self._named("default_catalog_class", self.default_catalog_class)
        return RLModuleSpec(
            module_class=self._named("default_module_class", self.default_module_class), catalog_class=catalog
        )


def specs_by_id(spec: RLModuleSpec | MultiRLModuleSpec | None) -> dict[str, RLModuleSpec]:
    """The specs of a ``MultiRLModuleSpec`` that has one for each id; empty for everything else."""
    specs = getattr(spec, "rl_module_specs", None)
    return dict(specs) if isinstance(specs, Mapping) else {}
