"""Adding and removing modules while an algorithm trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rlkit_core.envs import EnvRunnerGroup
from rlkit_core.learner import LearnerGroup
from rlkit_core.learner.membership import config_with_module, config_without_module
from rlkit_core.rl_module import MultiRLModule, MultiRLModuleSpec, RLModuleSpec
from rlkit_core.rl_module.multi import validate_module_id


class ModuleChanges:
    """The part of an Algorithm that changes its set of modules; learners and runners follow."""

    config: Any
    learner_group: LearnerGroup
    env_runner_group: EnvRunnerGroup
    _evaluation_runners: EnvRunnerGroup | None

    def sync_weights(self) -> None:
        """Publish the learner's weights to the runners."""
        raise NotImplementedError

    def add_module(
        self,
        module_id: str,
        module_spec: RLModuleSpec,
        *,
        config_overrides: Mapping[str, Any] | None = None,
        new_agent_to_module_mapping_fn: Callable[..., str] | None = None,
        new_should_module_be_updated: Any = None,
        add_to_learners: bool = True,
        add_to_env_runners: bool = True,
        add_to_eval_env_runners: bool = True,
    ) -> MultiRLModuleSpec:
        """Add a module while training goes on.

        Args:
            module_id: its id, a new one.
            module_spec: what to build; the algorithm, the config and the env fill what it lacks.
            config_overrides: settings that differ for it.
            new_agent_to_module_mapping_fn: takes the place of ``policy_mapping_fn``.
            new_should_module_be_updated: takes the place of ``policies_to_train``.
            add_to_learners: whether it can be trained. A module that only runners have is in no checkpoint.
            add_to_env_runners: whether training's runners can act with it.
            add_to_eval_env_runners: whether evaluation's can.

        Returns:
            The spec of all modules.

        Raises:
            ValueError: the id is malformed or taken.
        """
        validate_module_id(module_id, error=True)
        runner_module = self._runner_module
        if module_id in runner_module:
            raise ValueError(f"add_module: there is a module {module_id!r} already; remove it first")
        spec = module_spec.copy()
        env_spaces = next(iter(self.env_runner_group.get_spaces().values()))
        if spec.observation_space is None:
            spec.observation_space = env_spaces[0]
        if spec.action_space is None:
            spec.action_space = env_spaces[1]
        changes = {"overrides": config_overrides, "to_train": new_should_module_be_updated}
        config = config_with_module(self.config, runner_module, module_id, spec, **changes)
        if new_agent_to_module_mapping_fn is not None:
            config = _mapped(config, new_agent_to_module_mapping_fn)
        if add_to_learners:
            self.learner_group.add_module(
                module_id=module_id,
                module_spec=spec,
                config_overrides=config_overrides,
                new_should_module_be_updated=new_should_module_be_updated,
            )
        groups = [self.env_runner_group] if add_to_env_runners else []
        groups += [self._evaluation_runners] if add_to_eval_env_runners and self._evaluation_runners else []
        complete: MultiRLModuleSpec = config.get_multi_rl_module_spec(spaces=self._spaces(), inference_only=False)
        self._apply(config, groups, {module_id: complete[module_id]}, removed=())
        return complete

    def remove_module(
        self,
        module_id: str,
        *,
        new_agent_to_module_mapping_fn: Callable[..., str] | None = None,
        new_should_module_be_updated: Any = None,
        remove_from_learners: bool = True,
        remove_from_env_runners: bool = True,
        remove_from_eval_env_runners: bool = True,
    ) -> MultiRLModuleSpec:
        """Remove a module everywhere; nothing may be mapped to it any more.

        Args:
            module_id: its id.
            new_agent_to_module_mapping_fn: takes the place of ``policy_mapping_fn``.
            new_should_module_be_updated: takes the place of ``policies_to_train``.
            remove_from_learners: False leaves it to the learners.
            remove_from_env_runners: False leaves it to training's runners.
            remove_from_eval_env_runners: False leaves it to evaluation's.

        Returns:
            The spec of the modules left.

        Raises:
            KeyError: there is no such module.
            ValueError: agents are still mapped to it.
        """
        runner_module = self._runner_module
        in_learners = module_id in self.learner_group.module_ids
        if module_id not in runner_module and not in_learners:
            runner_module[module_id]
        config = config_without_module(self.config, runner_module, module_id, to_train=new_should_module_be_updated)
        if new_agent_to_module_mapping_fn is not None:
            config = _mapped(config, new_agent_to_module_mapping_fn)
        if remove_from_env_runners and self.env_runner_group.modules.maps_to(config) == module_id:
            raise ValueError(
                f"remove_module({module_id!r}): agents are mapped to it; pass new_agent_to_module_mapping_fn="
            )
        if remove_from_learners and in_learners:
            self.learner_group.remove_module(module_id, new_should_module_be_updated=new_should_module_be_updated)
        groups = [self.env_runner_group] if remove_from_env_runners else []
        groups += [self._evaluation_runners] if remove_from_eval_env_runners and self._evaluation_runners else []
        self._apply(config, groups, {}, removed=(module_id,))
        return config.get_multi_rl_module_spec(  # type: ignore[no-any-return]
            spaces=self._spaces(), inference_only=False
        )

    @property
    def _runner_module(self) -> MultiRLModule:
        return self.env_runner_group.module

    def _spaces(self) -> dict[str, Any]:
        """Spaces of the modules there are, and of the env for all others."""
        found: dict[str, Any] = {"__env__": next(iter(self.env_runner_group.get_spaces().values()))}
        for module_id, module in self._runner_module.items():
            found[module_id] = (module.observation_space, module.action_space)
        return found

    def _apply(
        self,
        config: Any,
        groups: list[EnvRunnerGroup],
        added: Mapping[str, RLModuleSpec],
        removed: tuple[str, ...],
    ) -> None:
        """Give the runners of ``groups`` their new set of modules, all runners the config and the weights."""
        self.config = config
        for group in (self.env_runner_group, self._evaluation_runners):
            if group is None:
                continue
            specs = dict(group.module.current_specs())
            if group in groups:
                specs = {mid: spec for mid, spec in specs.items() if mid not in removed} | dict(added)
            group.set_modules(config, specs)
        self.sync_weights()

    def match_modules_to_learner(self) -> None:
        """Give runners and config the modules that the learner has, after it was restored from elsewhere."""
        specs = self.learner_group.get_module_specs()
        state = self.learner_group.get_weights(inference_only=True).state
        runner = self.env_runner_group.modules
        members = dict(runner.module.items())
        anew = runner.misfits(state)
        gone = [mid for mid in members if mid not in specs and mid != runner.maps_to(self.config)]
        new = [mid for mid, spec in specs.items() if mid not in members and not spec.learner_only]
        if not (anew or gone or new):
            return
        config = self.config
        overrides = self.learner_group.config.algorithm_config_overrides_per_module
        for module_id in (*gone, *anew):
            config = config_without_module(config, members, module_id, to_train=config.policies_to_train)
            del members[module_id]
            if module_id in anew:
                spec = specs[module_id]
                config = config_with_module(config, members, module_id, spec, overrides=overrides.get(module_id))
                members[module_id] = specs[module_id]
        for module_id in new:
            config = config_with_module(
                config, members, module_id, specs[module_id], overrides=overrides.get(module_id)
            )
            members[module_id] = specs[module_id]
        self.config = config
        specs |= {mid: runner.module.current_specs()[mid] for mid in members if mid not in specs}
        wanted = {mid: specs[mid] for mid in members}
        for group in (self.env_runner_group, self._evaluation_runners):
            if group is not None:
                group.set_modules(config, wanted, anew=anew)


def _mapped(config: Any, mapping_fn: Callable[..., str]) -> Any:
    config = config.copy(copy_frozen=False)
    config.multi_agent(policy_mapping_fn=mapping_fn)
    config.freeze()
    return config
