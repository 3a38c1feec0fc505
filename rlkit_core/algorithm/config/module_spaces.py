"""The spaces of each module: from what is given, from the agents of an env through the mapping, from the env itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlkit_core.algorithm.config.derived import DerivedSettings
from rlkit_core.errors import SpecError
from rlkit_core.rl_module.agent_mapping import (
    ALL_AGENTS,
    AgentEpisode,
    AgentID,
    DefaultMapping,
    MaybeSpaces,
    SpacePair,
    ask,
    spaces_by_module,
)
from rlkit_core.rl_module.spec import MultiRLModuleSpec

ENV_KEYS = (ALL_AGENTS, "__env_single__")
"""Keys of ``spaces`` that serve every module (the second, RLlib's, is the single env's and comes first)."""


class ModuleSpaces:
    """Looks up a module's spaces in everything that may know them, in order.

    Args:
        config: says which modules there are and who uses them; its env is made, and closed, where nothing else helps.
        env: an env or vector env, of one agent or several; or None.
        spaces: ``{module id: (observation space, action space)}``, or one such pair for all.
    """

    def __init__(self, config: DerivedSettings, env: object, spaces: Mapping[str, Any] | SpacePair | None) -> None:
        self._config = config
        self._env = env
        if spaces is not None and not isinstance(spaces, Mapping):
            spaces = {ALL_AGENTS: spaces}
        self._given: dict[str, Any] = dict(spaces or {})
        self._of_agents: dict[str, SpacePair] | None = None

    def of(self, module_id: str, multi: MultiRLModuleSpec) -> tuple[Any, Any]:
        """Observation and action space of a module.

        Args:
            module_id: the module.
            multi: the spec of all modules, whose own spaces are asked last.

        Raises:
            SpecError: nothing knows the observation space, or agents of one module differ.
            ConfigError: an agent has no module.
        """
        observation_space, action_space = self._look_up(module_id, multi)
        if observation_space is None and self._env is None and self._config.env is not None:
            from rlkit_core.envs.gym_vectors.make import make_example

            mode, wrappers = self._config.gym_env_vectorize_mode, self._config.wrappers
            self._env = made = make_example(self._config.env, self._config.env_config, mode, wrappers)
            self._of_agents = None
            try:
                observation_space, action_space = self._look_up(module_id, multi)
            finally:
                made.close()
        if observation_space is None:
            used = ", ".join(repr(mid) for mid in self._by_agents() if mid not in ENV_KEYS)
            why = f" (agents are mapped to {used}, and differ in spaces)" if used else ""
            raise SpecError(
                f"module {module_id!r}: its observation space is unknown{why}; give it in the RLModuleSpec, in "
                "environment(observation_space=..., action_space=...), as spaces=..., or name an env"
            )
        return observation_space, action_space

    def _look_up(self, module_id: str, multi: MultiRLModuleSpec) -> tuple[Any, Any]:
        by_agents = self._by_agents()
        candidates = [
            self._given.get(module_id),
            *(self._given.get(key) for key in reversed(ENV_KEYS)),
            by_agents.get(module_id) or by_agents.get(ALL_AGENTS),
            None if by_agents else _env_spaces(self._env),
            (self._config.observation_space, self._config.action_space),
            (multi.observation_space, multi.action_space),
        ]
        found = [pair for pair in candidates if pair]
        return (
            next((pair[0] for pair in found if pair[0] is not None), None),
            next((pair[1] for pair in found if pair[1] is not None), None),
        )

    def _by_agents(self) -> dict[str, SpacePair]:
        """Spaces of a multi-agent env's agents, by the module each agent is mapped to; empty for every other env."""
        if self._of_agents is None:
            agents = agent_spaces(self._env, instead=(self._config.observation_space, self._config.action_space))
            self._of_agents = modules_of(self._config, agents) if agents else {}
        return self._of_agents


def agent_spaces(env: object, *, instead: MaybeSpaces = (None, None)) -> dict[AgentID, SpacePair]:
    """Spaces of the agents that an env names before there is an episode; empty for an env of one agent.

    Args:
        env: the env.
        instead: spaces that a config has for all agents.

    Raises:
        EnvError: an agent has no spaces.
    """
    from rlkit_core.envs.multi_agent.make import is_multi_agent, make_agent_env

    if not is_multi_agent(env):  # gymnasium's wrappers hide agents; PettingZoo's may change their spaces
        env = getattr(env, "unwrapped", env)
    if not is_multi_agent(env):
        return {}
    adapted = make_agent_env(env)
    return {
        agent: (instead[0] or adapted.observation_space(agent), instead[1] or adapted.action_space(agent))
        for agent in adapted.possible_agents
    }


def modules_of(config: DerivedSettings, agents: Mapping[AgentID, SpacePair]) -> dict[str, SpacePair]:
    """Spaces of the modules that agents are mapped to, and ``"__env__"`` where all have the same.

    Raises:
        SpecError: two agents share a module, and differ in spaces.
        ConfigError: the mapping fails, or names no module.
    """
    mapping = config.policy_mapping_fn
    if isinstance(mapping, DefaultMapping):
        mapping.check(agents)
    made_for = {mid: (spec.observation_space, spec.action_space) for mid, spec in config.specs_of_modules.items()}
    acting = config.acting_ids
    return spaces_by_module(agents, lambda agent: ask(mapping, agent, AgentEpisode("", 0), acting), made_for)


def env_space(env: object, kind: str) -> Any:
    """The ``"observation"`` or ``"action"`` space of one env (of a vector env: its single one); None: it has none."""
    space = getattr(env, f"single_{kind}_space", None) or getattr(env, f"{kind}_space", None)
    return None if callable(space) else space


def _env_spaces(env: object) -> tuple[Any, Any] | None:
    return None if env is None else (env_space(env, "observation"), env_space(env, "action"))
