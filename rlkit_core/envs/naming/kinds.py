"""Which kind of env an object is, told from what it has, so that nothing which may be absent is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Kind = Literal["single", "vector", "dict", "parallel", "aec"]


def kind_of(env: object) -> Kind:
    """What an env is stepped like.

    ``"aec"`` and ``"parallel"`` are PettingZoo's two kinds, ``"dict"`` is RLlib's ``MultiAgentEnv`` (with an
    ``"__all__"`` among its flags), ``"vector"`` steps many envs at once (gymnasium's interface, or
    :class:`~rlkit_core.envs.vector.VectorEnv`), and everything else is taken for ``"single"``.
    """
    if hasattr(env, "num_envs") and (hasattr(env, "single_observation_space") or hasattr(env, "same_step_reset")):
        return "vector"
    if all(callable(getattr(env, name, None)) for name in ("agent_iter", "last", "observe")):
        return "aec"
    if any(base.__name__ == "MultiAgentEnv" for base in type(env).__mro__):
        return "dict"
    if not hasattr(env, "possible_agents"):
        return "single"
    if callable(getattr(env, "observation_space", None)) and callable(getattr(env, "action_space", None)):
        return "parallel"
    if callable(getattr(env, "get_observation_space", None)) or isinstance(
        getattr(env, "observation_spaces", None), Mapping
    ):
        return "dict"
    return "single"
