"""From what a config names to an env whose agents can be stepped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlkit_core.envs.kinds import kind_of
from rlkit_core.envs.make import make_env
from rlkit_core.envs.multi_agent.dict_env import DictAgentEnv
from rlkit_core.envs.multi_agent.parallel import ParallelAgentEnv
from rlkit_core.envs.multi_agent.protocol import AgentEnv
from rlkit_core.errors import EnvError

_ADAPTERS = {"dict": DictAgentEnv, "parallel": ParallelAgentEnv}


def is_multi_agent(env: object) -> bool:
    """Whether an env (the object, not its id or class) has agents: RLlib's dict style, PettingZoo's parallel or AEC."""
    return kind_of(env) != "single"


def make_agent_env(env: object, env_config: Mapping[str, Any] | None = None) -> AgentEnv:
    """Make an env, if need be, and adapt it to one protocol.

    Args:
        env: a multi-agent env, or what :func:`~rlkit_core.envs.make.make_env` makes one from.
        env_config: settings of the env, where it is still to be made.

    Raises:
        EnvError: it cannot be made, or has no agents.
    """
    made, name = env, None
    if isinstance(env, (str, type)) or (callable(env) and not hasattr(env, "step")):
        made = make_env(env, env_config)
        name = env if isinstance(env, str) else None
    kind = kind_of(made)
    if kind == "single":
        raise EnvError(
            f"env {env!r} has no agents: expected a MultiAgentEnv, or PettingZoo's ParallelEnv or AECEnv, "
            f"got {type(made).__name__}"
        )
    return _ADAPTERS[kind](made, name)
