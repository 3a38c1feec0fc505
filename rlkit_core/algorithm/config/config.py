"""``AlgorithmConfig``: the settings of a run, and what is made from them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import attrs

from rlkit_core.algorithm.config import module_specs, to_json
from rlkit_core.algorithm.config.checks import (
    core_problems,
    model_config_problems,
    only_problems,
    plugin_problems,
    settings_without_effect,
)
from rlkit_core.algorithm.config.converters import EnvSpec
from rlkit_core.algorithm.config.declared import Declaring, declared_problems
from rlkit_core.algorithm.config.generic import GenericSettings, apply_generic
from rlkit_core.algorithm.config.presets import apply_preset, take_rllib_defaults
from rlkit_core.columns import DEFAULT_MODULE_ID
from rlkit_core.errors import ConfigError
from rlkit_core.from_rllib import CONFIGS
from rlkit_core.plugins.using import code_of
from rlkit_core.rl_module.construction import accepted_names

if TYPE_CHECKING:
    from rlkit_core.learner import Learner, LearnerGroup
    from rlkit_core.plugins.used.lock import Lock
    from rlkit_core.rl_module import MultiRLModuleSpec, RLModuleSpec
    from rlkit_core.seeding import SeedTree

ConfigT = TypeVar("ConfigT", bound="AlgorithmConfig")
_LOG = logging.getLogger(__name__)


@attrs.define(slots=False)
class AlgorithmConfig(Declaring):
    """Settings of an algorithm; a subclass adds its own, one field line each.

    Every fluent method takes the settings of its section by name, leaves the others alone and returns the config::

        config = PPOConfig().environment("CartPole-v1").training(lr=3e-4).debugging(seed=1)
        algo = config.build()

    Unknown names raise ``UnknownSettingError`` (a KeyError and an AttributeError too) with a suggestion, bad values
    ``ConfigError``. :meth:`validate` checks how settings fit together and reports every problem at once.

    A subclass looks like this::

        @attrs.define
        class ToyConfig(AlgorithmConfig):
            algo_class = Toy                       # or "package.module:Toy", and so the classes below
            default_learner_class = "my_toy.learner:ToyLearner"
            default_module_class = "my_toy.module:ToyModule"
            beta: float = setting(0.5, section="training", help="How bold.", converter=number(ge=0))
            lr: float = redeclare(AlgorithmConfig, "lr", 3e-4)

    The constructor's ``algo_class=`` is the ``Algorithm`` subclass that :meth:`build` makes, if not the class's own.

    What the algorithm can take, it declares in :class:`~rlkit_core.algorithm.config.declared.Declarations`.

    Attributes:
        shared_settings: names of its own ``training()`` settings that are the same for all modules of a run.
    """

    shared_settings: ClassVar[frozenset[str]] = frozenset()
    refused_overrides: ClassVar[Mapping[str, str]] = CONFIGS

    def problems(self) -> Iterator[str]:
        """What is wrong with the settings as they stand together. Subclasses yield theirs after ``super()``'s."""
        yield from only_problems(self)
        yield from core_problems(self)
        yield from declared_problems(self)
        yield from model_config_problems(self, self._model_config_auto_includes)

    def without_effect(self) -> Iterator[str]:
        """What was set and changes nothing, with what it takes. Subclasses yield theirs after ``super()``'s."""
        yield from settings_without_effect(self)

    # Modules

    @property
    def rl_module_spec(self) -> Any:
        """The user's spec, completed from the algorithm's; a copy, without spaces unless the user gave them."""
        return module_specs.merged_spec(self)

    def get_rl_module_spec(
        self, env: object = None, spaces: Any = None, inference_only: bool | None = None
    ) -> RLModuleSpec:
        """The complete spec of the one module of a single-agent run; see :meth:`get_multi_rl_module_spec`."""
        multi = self.get_multi_rl_module_spec(env=env, spaces=spaces, inference_only=inference_only)
        ids = self.policy_ids
        spec: RLModuleSpec = multi[ids[0] if DEFAULT_MODULE_ID not in ids else DEFAULT_MODULE_ID]
        return spec

    def get_multi_rl_module_spec(
        self, *, env: object = None, spaces: Any = None, inference_only: bool | None = None
    ) -> MultiRLModuleSpec:
        """The complete spec of all modules; the user's own specs are never changed.

        A module's model config is the algorithm's, then ``rl_module(model_config=)``, then its spec's own. Missing
        classes come from the algorithm; missing spaces from ``spaces``, the env's agents, the env, and the config.

        Args:
            env: an env or vector env to read spaces from.
            spaces: ``{module id: (observation space, action space)}``; the key ``"__env__"`` serves all modules.
            inference_only: True builds without training-only parts, and without learner-only modules.

        Raises:
            SpecError: spaces of a module are unknown or contradict each other.
        """
        return module_specs.multi_spec(self, env=env, spaces=spaces, inference_only=inference_only)

    # Checking and building

    def validate(self) -> None:
        """Check how the settings fit together and ask installed plugins; report everything at once.

        Raises:
            ConfigError: with all problems found.
        """
        found = [*self.problems(), *plugin_problems(self)]
        for text in self.without_effect():
            _LOG.warning("%s: %s", type(self).__name__, text)
        if len(found) == 1:
            raise ConfigError(f"{type(self).__name__}: {found[0]}")
        if found:
            raise ConfigError(f"{type(self).__name__} has {len(found)} problems:\n  - " + "\n  - ".join(found))
        object.__setattr__(self, "_validated", True)

    def _value_error(self, message: str) -> None:
        """Report one problem at once (RLlib's way; :meth:`problems` collects them instead)."""
        raise ConfigError(f"{type(self).__name__}: {message}")

    def prepared(self: ConfigT, env: EnvSpec = None) -> ConfigT:
        """A validated, frozen copy: what an ``Algorithm`` works with. One that is that already is its own."""
        if self.is_frozen and self._validated and env is None:
            return self
        config = self.copy(copy_frozen=False)
        if env is not None:
            config.environment(env)
        size = config.minibatch_size
        if size and size > config.train_batch_size_per_learner and "minibatch_size" not in config.set_by_user():
            object.__setattr__(config, "minibatch_size", None)  # a default that is larger than the batch takes it whole
        config.validate()
        if config.log_level is not None:
            logging.getLogger("rlkit_core").setLevel(config.log_level)
        config.freeze()
        return config

    def prepared_to_evaluate(self: ConfigT, env: EnvSpec = None, *, sampled: bool = False) -> ConfigT:
        """:meth:`prepared`, but without the processes and GPUs that only training needs; ``sampled`` explores.

        It is validated before those are left out: a batch that fits two runners need not fit one that never samples it.
        """
        config = self.prepared(env).copy(copy_frozen=False)
        config.env_runners(num_env_runners=0).learners(num_learners=0, num_gpus_per_learner=0)
        if sampled:
            config.evaluation(evaluation_config={**config.evaluation_config, "explore": True})
        object.__setattr__(config, "_validated", True)
        config.freeze()
        return config

    def build_algo(self, env: EnvSpec = None, use_copy: bool = True) -> Any:
        """Make the algorithm.

        Args:
            env: takes the place of ``environment(env=...)``.
            use_copy: accepted for RLlib's sake; the algorithm always works with a frozen copy.

        Raises:
            ConfigError: there is no ``algo_class``, or :meth:`validate` found problems.
        """
        if self.algo_class is None:
            raise ConfigError(
                f"{type(self).__name__} builds no algorithm: use an algorithm's config, or "
                f"{type(self).__name__}(algo_class=...)"
            )
        return self.algo_class(self._with_parts_of_its_algorithm().prepared(env))

    def _with_parts_of_its_algorithm(self) -> AlgorithmConfig:
        """Itself, or, where it is no config of its algorithm's kind, a default one of that with what was set here."""
        if self.given_algo_class is None or type(self) is not AlgorithmConfig:
            return self
        own: AlgorithmConfig = self.algo_class.get_default_config()
        own.change(self.set_fields())
        return own

    def build(self, env: EnvSpec = None, use_copy: bool = True) -> Any:
        """The same as :meth:`build_algo`."""
        return self.build_algo(env, use_copy)

    def build_learner(self, *, env: object = None, spaces: Any = None) -> Learner:
        """Make a Learner, and build it, for the modules of this config."""
        spec = self.get_multi_rl_module_spec(env=env, spaces=spaces, inference_only=False)
        learner_class = self.learner_class
        with code_of(learner_class, f"learner class {learner_class.__name__}, when it was made"):
            learner: Learner = learner_class(config=self, module_spec=spec)
            learner.build()
        return learner

    def build_learner_group(
        self,
        *,
        env: object = None,
        spaces: Any = None,
        rl_module_spec: RLModuleSpec | MultiRLModuleSpec | None = None,
        placement_group: None = None,
        module_spec: MultiRLModuleSpec | None = None,
        seeds: SeedTree | None = None,
        used: Callable[[], Lock] | None = None,
    ) -> LearnerGroup:
        """Make a LearnerGroup for the modules of this config; an algorithm makes its own by this.

        An override takes whichever of the arguments it names.

        Args:
            env: as for :meth:`get_multi_rl_module_spec`, and so are ``spaces``.
            spaces: see there.
            rl_module_spec: takes the place of the config's own spec.
            placement_group: must be None; the executor places learners.
            module_spec: the complete spec of all modules, where it is known.
            seeds: node of the seed tree; of the config's seed unless given.
            used: see :class:`~rlkit_core.LearnerGroup`.
        """
        from rlkit_core.learner import LearnerGroup

        if placement_group is not None:
            raise ConfigError("build_learner_group(placement_group=...) belongs to Ray; leave it out")
        config = self
        if rl_module_spec is not None:
            config = self.copy(copy_frozen=False)
            config.rl_module(rl_module_spec=rl_module_spec)
        spec = module_spec or config.get_multi_rl_module_spec(env=env, spaces=spaces, inference_only=False)
        return LearnerGroup(config=config, module_spec=spec, seeds=seeds, used=used)

    def make_learner_group(self, **arguments: object) -> LearnerGroup:
        """What :meth:`build_learner_group` makes, called with those of the arguments that it takes."""
        accepted = accepted_names(self.build_learner_group)
        given: dict[str, Any] = {n: value for n, value in arguments.items() if accepted is None or n in accepted}
        return self.build_learner_group(**given)

    # Presets and JSON

    def apply_preset(self, env_id: str | None = None) -> bool:
        """Set what the algorithm's data file holds for an environment (the config's own unless given), if it has any.

        What the user has set is left alone. Returns whether there is a preset.
        """
        return apply_preset(self, env_id if env_id is not None else self.env)

    def apply_generic(self) -> list[GenericSettings]:
        """Set what the algorithm's data file holds for spaces like those of the config's env, which is made for that.

        ``rlkit train`` does so where no preset serves the env. What the user has set is left alone. Returns what was
        chosen, and why; nothing where the algorithm has no such file.

        Raises:
            ConfigError, EnvError: there is no env, or it cannot be made.
        """
        return apply_generic(self)

    def rllib_defaults(self: ConfigT) -> ConfigT:
        """Take RLlib's figures where an algorithm's defaults are others, but for what was set. Returns the config.

        They, and why they are others here, are in the file ``rllib_defaults.json`` beside the algorithm's config class.
        """
        take_rllib_defaults(self)
        return self

    def to_json(self) -> str:
        """The config as a JSON text; functions are recorded as "to be passed at load".

        Raises:
            ConfigError: a value that JSON cannot hold (a live module in ``model_config``, say), naming it.
        """
        return to_json.dumps(self)

    @classmethod
    def from_json(cls, text: str, **passed: object) -> Any:
        """The config that :meth:`to_json` wrote, of the class it had.

        Args:
            text: the JSON text.
            **passed: settings that take the place of what is recorded, functions above all.

        Raises:
            ConfigError: damaged text or another class than ``cls`` (or a subclass).
        """
        return to_json.loads(text, cls, passed)
