"""Which kind of env an object is, told from what it has, so that nothing which may be absent is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from rlkit_core.errors import EnvError

Kind = Literal["single", "vector", "dict", "parallel", "aec"]
_IN_WORDS: Mapping[Kind, str] = {
    "single": "one env with one agent",
    "vector": "a vector env, which steps several at once",
    "dict": "an env of several agents (a MultiAgentEnv)",
    "parallel": "an env of several agents (PettingZoo's ParallelEnv)",
    "aec": "an env of several agents (PettingZoo's AECEnv)",
}


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


def check_single(env: object, what_for: str, *, vector: bool = False) -> None:
    """Refuse what is not stepped as one env with one agent, where nothing else will do.

    Args:
        env: a made env.
        what_for: what wants it, as the message begins: ``"make_multi_agent('Two-v0') copies"``.
        vector: a vector env will do as well.

    Raises:
        EnvError: it is of another kind, which is said.
    """
    kind = kind_of(env)
    if kind != "single" and not (vector and kind == "vector"):
        raise EnvError(f"{what_for} {_IN_WORDS['single']}, and {env} is {_IN_WORDS[kind]}")
