"""From a config to the specs of its modules: which modules there are, and what each is built from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlkit_core.algorithm.config.derived import DerivedSettings, specs_by_id
from rlkit_core.errors import SpecError
from rlkit_core.models.default_config import model_config_dict as plain_model_config
from rlkit_core.rl_module.spec import MultiRLModuleSpec, RLModuleSpec

ENV_KEYS = ("__env__", "__env_single__")
"""Keys of ``spaces`` that serve every module (the second, RLlib's, is the single env's and comes first)."""


def merged_spec(config: DerivedSettings) -> RLModuleSpec | MultiRLModuleSpec:
    """The user's spec completed from the algorithm's default, still without the env's spaces.

    One spec (the user's or the default) gives an ``RLModuleSpec``; a ``MultiRLModuleSpec`` stays one, with a
    spec for every module id.
    """
    given = config.stored("rl_module_spec")
    if isinstance(given, MultiRLModuleSpec):
        return _merged_multi(config)
    return _merged_single(config, given, config)


def multi_spec(
    config: DerivedSettings,
    *,
    env: object,
    spaces: Any,
    inference_only: bool | None,
) -> MultiRLModuleSpec:
    """See ``AlgorithmConfig.get_multi_rl_module_spec``."""
    multi = _merged_multi(config)
    found = _Spaces(config, env, spaces)
    complete: dict[str, RLModuleSpec] = {}
    for module_id, spec in specs_by_id(multi).items():
        if inference_only and spec.learner_only:
            continue
        if spec.observation_space is None or spec.action_space is None:
            observation_space, action_space = found.of(module_id, multi)
            if spec.observation_space is None:
                spec.observation_space = observation_space
            if spec.action_space is None:
                spec.action_space = action_space
        if inference_only is not None:
            spec.inference_only = inference_only
        complete[module_id] = spec
    multi.rl_module_specs = complete
    if inference_only is not None:
        multi.inference_only = inference_only
    return multi


def _merged_multi(config: DerivedSettings) -> MultiRLModuleSpec:
    given = config.stored("rl_module_spec")
    one: RLModuleSpec | None = None
    named: dict[str, RLModuleSpec] = {}
    if isinstance(given, MultiRLModuleSpec):
        multi: MultiRLModuleSpec = given.copy()
        named = specs_by_id(given)
        if isinstance(given.rl_module_specs, RLModuleSpec):
            one = given.rl_module_specs
    else:
        multi = MultiRLModuleSpec()
        one = given
    ids = dict.fromkeys([*config.policy_ids, *named])
    multi.rl_module_specs = {
        module_id: _merged_single(config, named.get(module_id, one), config.get_config_for_module(module_id))
        for module_id in ids
    }
    return multi


def _merged_single(config: DerivedSettings, given: RLModuleSpec | None, own_config: DerivedSettings) -> RLModuleSpec:
    """One module's spec: the given one's fields, and the algorithm's where they are missing.

    Args:
        config: the config, which knows the default spec.
        given: the user's spec, or None.
        own_config: the config of this module (with its overrides), which knows its model config.
    """
    spec: RLModuleSpec = given.copy() if given is not None else RLModuleSpec()
    written = plain_model_config(spec.model_config)
    below: dict[str, Any] = {}
    if spec.module_class is None or spec.catalog_class is None:
        default = _default_spec(config, needed=spec.module_class is None)
        if default is not None:
            below = plain_model_config(default.model_config)
            spec.module_class = spec.module_class or default.module_class
            if getattr(spec.module_class, "default_catalog_class", None) is None:
                spec.catalog_class = spec.catalog_class or default.catalog_class
    spec.model_config = below | own_config.model_config | written
    if own_config.catalogs and not spec.catalogs:
        spec.catalogs = tuple(own_config.catalogs)
    if own_config.components:
        spec.components = {**own_config.components, **dict(spec.components or {})}
    return spec


def _default_spec(config: DerivedSettings, *, needed: bool) -> RLModuleSpec | None:
    try:
        default = config.get_default_rl_module_spec()
    except NotImplementedError:
        if needed:
            raise
        return None
    if isinstance(default, MultiRLModuleSpec):
        raise SpecError(
            f"{type(config).__name__}.get_default_rl_module_spec() gave a MultiRLModuleSpec; give an RLModuleSpec"
        )
    return default


class _Spaces:
    """Looks up a module's spaces in everything that may know them, in order."""

    def __init__(
        self,
        config: DerivedSettings,
        env: Any,
        spaces: Any,
    ) -> None:
        self.config = config
        self.env = env
        if spaces is not None and not isinstance(spaces, Mapping):
            spaces = {ENV_KEYS[0]: tuple(spaces)}
        self.spaces: dict[str, Any] = dict(spaces or {})
        self._agents: dict[str, tuple[Any, Any]] | None = None

    def of(self, module_id: str, multi: MultiRLModuleSpec) -> tuple[Any, Any]:
        """Observation and action space of a module.

        Raises:
            SpecError: nothing knows the observation space.
        """
        from rlkit_core.envs.make import make_env

        candidates = [self.spaces.get(module_id)]
        candidates += [self.spaces.get(key) for key in reversed(ENV_KEYS)]
        candidates.append(self._agent_spaces().get(module_id))
        candidates.append(_env_spaces(self.env))
        candidates.append((self.config.observation_space, self.config.action_space))
        candidates.append((multi.observation_space, None))
        observation_space = next((pair[0] for pair in candidates if pair and pair[0] is not None), None)
        action_space = next((pair[1] for pair in candidates if pair and pair[1] is not None), None)
        if observation_space is None and self.env is None and self.config.env is not None:
            self.env = make_env(self.config.env, self.config.env_config)
            self.env.close()
            return self.of(module_id, multi)
        if observation_space is None:
            raise SpecError(
                f"module {module_id!r}: its observation space is unknown; give it in the RLModuleSpec, in "
                "environment(observation_space=..., action_space=...), as spaces=..., or name an env"
            )
        return observation_space, action_space

    def _agent_spaces(self) -> dict[str, tuple[Any, Any]]:
        """Spaces of a multi-agent env's agents, by the module each agent is mapped to."""
        if self._agents is not None:
            return self._agents
        self._agents = {}
        env = getattr(self.env, "unwrapped", self.env)
        observation_spaces = getattr(env, "observation_spaces", None)
        action_spaces = getattr(env, "action_spaces", None)
        if not observation_spaces or not action_spaces:
            return self._agents
        users: dict[str, Any] = {}
        for agent in getattr(env, "possible_agents", None) or list(observation_spaces):
            module_id = self.config.policy_mapping_fn(agent, None)
            pair = (observation_spaces[agent], action_spaces[agent])
            if module_id in self._agents and self._agents[module_id] != pair:
                raise SpecError(
                    f"agents {users[module_id]!r} and {agent!r} share module {module_id!r} but have different spaces: "
                    f"{self._agents[module_id]} and {pair}; map them to modules of their own"
                )
            users.setdefault(module_id, agent)
            self._agents[module_id] = pair
        return self._agents


def _env_spaces(env: object) -> tuple[Any, Any] | None:
    """Spaces of one env; a vector env tells its single ones."""
    if env is None:
        return None
    observation_space = getattr(env, "single_observation_space", None) or getattr(env, "observation_space", None)
    action_space = getattr(env, "single_action_space", None) or getattr(env, "action_space", None)
    return (
        None if callable(observation_space) else observation_space,
        None if callable(action_space) else action_space,
    )
