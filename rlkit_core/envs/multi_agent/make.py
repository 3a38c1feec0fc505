"""From what a config names to an env whose agents can be stepped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlkit_core.envs.make import can_be_made, make_env, spaces_of
from rlkit_core.envs.multi_agent.adapters.aec import AECAgentEnv
from rlkit_core.envs.multi_agent.adapters.dicts import DictAgentEnv
from rlkit_core.envs.multi_agent.adapters.masks import MasksInObservations, masks_are_in_infos
from rlkit_core.envs.multi_agent.adapters.parallel import ParallelAgentEnv
from rlkit_core.envs.multi_agent.protocol import AgentEnv
from rlkit_core.envs.naming.kinds import kind_of
from rlkit_core.errors import EnvError


def is_multi_agent(env: object) -> bool:
    """Whether an env (the object, not its id or class) has agents: RLlib's dict style, PettingZoo's parallel or AEC."""
    return kind_of(env) not in ("single", "vector")


def make_agent_env(env: object, env_config: Mapping[str, Any] | None = None) -> AgentEnv:
    """Make an env, if need be, and adapt it to one protocol.

    An AEC env is reset once here, to see whether its infos hold action masks.

    Args:
        env: a multi-agent env, or what :func:`~rlkit_core.envs.make.make_env` makes one from.
        env_config: settings of the env, where it is still to be made.

    Raises:
        EnvError: it cannot be made, or has no agents.
    """
    name = env if isinstance(env, str) else None
    made = make_env(env, env_config) if can_be_made(env) else env
    kind = kind_of(made)
    if kind == "dict":
        return DictAgentEnv(made, name)
    if kind == "parallel":
        return ParallelAgentEnv(made, name)
    if kind == "aec":
        adapted = AECAgentEnv(made, name)
        return MasksInObservations(adapted) if masks_are_in_infos(adapted) else adapted
    raise EnvError(
        f"env {env!r} has no agents: expected a MultiAgentEnv, or a ParallelEnv or AECEnv of PettingZoo, "
        f"got {type(made).__name__}"
    )


def check_spaces(env: object) -> None:
    """Look at the spaces of a made env, of one agent or several.

    Raises:
        EnvError: one is missing, or no gymnasium space.
    """
    if not is_multi_agent(env):
        spaces_of(env)
        return
    adapted = make_agent_env(env)
    for agent in adapted.possible_agents:
        adapted.observation_space(agent), adapted.action_space(agent)
