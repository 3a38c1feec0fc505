"""Modules that come and go while an algorithm runs: on its learners, its runners and those of evaluation alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from rlkit_core.algorithm.config.config import AlgorithmConfig
from rlkit_core.algorithm.config.declared import check_agents
from rlkit_core.algorithm.config.module_spaces import agent_spaces, modules_of
from rlkit_core.algorithm.evaluation import Evaluation
from rlkit_core.columns import DEFAULT_AGENT_ID
from rlkit_core.envs import EnvRunnerGroup
from rlkit_core.envs.gym_vectors.make import make_example
from rlkit_core.errors import ConfigError, did_you_mean
from rlkit_core.learner import LearnerGroup
from rlkit_core.rl_module import RLModuleSpec
from rlkit_core.rl_module.agent_mapping import (
    ALL_AGENTS,
    AgentEpisode,
    AgentID,
    DefaultMapping,
    MappingFn,
    SpacePair,
    ask,
    spaces_by_module,
)
from rlkit_core.rl_module.module_set import ModuleSet, Spaces, ToTrain


class Agents:
    """The agents that an env knows before there is an episode; the env is made, and closed, when they are first asked.

    Of runners that step no env (``env_runner_cls``) there are none to know: they say whose rollouts they give.

    Args:
        config: names the env.
    """

    def __init__(self, config: AlgorithmConfig) -> None:
        self._env = None if config.env_runner_cls is not None else config.env
        self._how = config.env_config, config.gym_env_vectorize_mode, config.wrappers
        self._instead = config.observation_space, config.action_space
        self._spaces: dict[AgentID, SpacePair] | None = None

    @property
    def spaces(self) -> dict[AgentID, SpacePair]:
        """Observation and action space of each agent; empty where the env has one agent only."""
        if self._env is None:
            return {}
        if self._spaces is None:
            env = make_example(self._env, *self._how)
            try:
                self._spaces = agent_spaces(env, instead=self._instead)
            finally:
                env.close()
        return self._spaces

    def check(self, config: AlgorithmConfig) -> None:
        """Map every agent, before anything that takes long is started.

        Raises:
            ConfigError: an agent has no module, or the algorithm is for one agent.
            SpecError: agents of one module differ in their spaces.
        """
        if config.supports_multi_agent is False:
            check_agents(config, self.spaces)
        if self._env is not None and (config.is_multi_agent or config.stored("policy_mapping_fn") is not None):
            modules_of(config, self.spaces)

    def check_set(self, modules: ModuleSet) -> None:
        """:meth:`check` for modules that runners are to have; a single-agent env's agent is one."""
        spaces_by_module(self.spaces, modules.module_of, modules.spaces)
        if not self.spaces and self._env is not None:
            modules.module_of(DEFAULT_AGENT_ID)

    def spaces_of(self, module_id: str, modules: ModuleSet, mapping_fn: MappingFn | None) -> Spaces:
        """Spaces of the modules that agents will be mapped to once there is ``module_id`` too."""
        ids = (*modules.acting_ids, module_id)
        mapping = mapping_fn or modules.config.policy_mapping_fn
        if isinstance(mapping, DefaultMapping):
            mapping = DefaultMapping(ids)
        return dict(spaces_by_module(self.spaces, lambda agent: ask(mapping, agent, AgentEpisode("", 0), ids)))


class RunningModules:
    """The modules of learners, training's runners and evaluation's runners, changed in all of them or in none.

    Args:
        learners: the learner group.
        runners: training's.
        evaluation: has runners of its own, once there was one.
        agents: of the env.
    """

    def __init__(self, learners: LearnerGroup, runners: EnvRunnerGroup, evaluation: Evaluation, agents: Agents) -> None:
        self._learners, self._runners, self._evaluation, self._agents = learners, runners, evaluation, agents

    @property
    def env_spaces(self) -> Spaces:
        """Spaces by the id of a module that agents are mapped to, and under ``"__env__"`` where all have the same."""
        return dict(self._runners.get_spaces())

    def known(self, config: AlgorithmConfig) -> ModuleSet:
        """The modules that the config knows; learners and runners may each lack some."""
        return ModuleSet.from_config(config, self.env_spaces)

    def add(
        self,
        config: AlgorithmConfig,
        module_id: str,
        spec: RLModuleSpec,
        *,
        overrides: Mapping[str, Any] | None,
        settings: Mapping[str, Any],
        takes_part: tuple[bool, bool, bool],
    ) -> ModuleSet:
        """See ``Algorithm.add_module``.

        Args:
            config: the algorithm's.
            module_id: its id.
            spec: what to build.
            overrides: settings that differ for it.
            settings: ``to_train`` and ``mapping_fn``, or None for each.
            takes_part: whether the learners get it, training's runners, and evaluation's.

        Returns:
            The modules that the config is to know.
        """
        known, spaces = self.known(config), self.env_spaces
        if ALL_AGENTS not in spaces and None in (spec.observation_space, spec.action_space):
            spaces |= self._agents.spaces_of(module_id, known, settings["mapping_fn"])

        def with_it(modules: ModuleSet) -> ModuleSet:
            return modules.with_module(module_id, spec, overrides=overrides, spaces=spaces, **settings)

        before = known.without(module_id) if module_id in known else known
        return self._change(with_it(before), with_it, settings, takes_part)

    def remove(
        self,
        config: AlgorithmConfig,
        module_id: str,
        *,
        settings: Mapping[str, Any],
        takes_part: tuple[bool, bool, bool],
    ) -> ModuleSet:
        """See ``Algorithm.remove_module``; arguments and result as of :meth:`add`."""

        def without_it(modules: ModuleSet) -> ModuleSet:
            if module_id in modules:
                return modules.without(module_id, **settings)
            return modules.with_settings(**settings)

        known = self.known(config)
        if not any(module_id in group.module_set for group in (self._learners, self._runners)):
            known.without(module_id)
        return self._change(without_it(known), without_it, settings, takes_part)

    def change_settings(self, config: AlgorithmConfig, settings: Mapping[str, Any]) -> ModuleSet:
        """See ``Algorithm.change_modules``; arguments and result as of :meth:`add`."""

        def changed(modules: ModuleSet) -> ModuleSet:
            return modules.with_settings(**settings)

        return self._change(changed(self.known(config)), changed, settings, (True, True, True))

    def _change(
        self,
        known: ModuleSet,
        change: Callable[[ModuleSet], ModuleSet],
        settings: Mapping[str, Any],
        takes_part: tuple[bool, bool, bool],
    ) -> ModuleSet:
        """Give every group its new set.

        Args:
            known: the set that the config is to know.
            change: makes the new set of a group from the one it has.
            settings: all that changes in a group that does not take part.
            takes_part: whether the learners do, training's runners, and evaluation's.

        Returns:
            ``known``.

        Raises:
            Exception: what ``change`` raises, or ConfigError where agents are mapped to no module of their runners;
                nothing has changed then.
        """
        _check_ids(known, settings["to_train"])
        groups = (self._learners, self._runners, self._evaluation.runners)
        sets = [
            (group, change(group.module_set) if part else group.module_set.with_settings(**settings))
            for group, part in zip(groups, takes_part, strict=True)
            if group is not None
        ]
        for _, modules in sets[1:]:
            self._agents.check_set(modules)
        for group, modules in sets:
            group.set_modules(modules)
        return known

    def follow_learner(self, config: AlgorithmConfig) -> AlgorithmConfig:
        """Give runners the modules that the learners have, after those were restored from elsewhere.

        Returns:
            The config, knowing them.
        """
        theirs = self._learners.module_set
        for group in (self._runners, self._evaluation.runners):
            if group is None:
                continue
            modules = group.module_set.following(theirs, used=group.get_spaces())
            if modules is not group.module_set:
                group.set_modules(modules)
        return cast(AlgorithmConfig, self.known(config).following(theirs, used=self._runners.get_spaces()).config)


def _check_ids(modules: ModuleSet, to_train: ToTrain | None) -> None:
    """Refuse a new ``policies_to_train`` that names a module that is not there."""
    for module_id in to_train if to_train is not None and not callable(to_train) else ():
        if module_id not in modules:
            raise ConfigError(
                f"new_should_module_be_updated names module {module_id!r}; there are {', '.join(modules)}."
                f"{did_you_mean(module_id, modules)}"
            )
