"""What keeps a resumed run from being equal to the one that went on, as far as it is known beforehand."""

from __future__ import annotations

from typing import Any, Protocol

import gymnasium as gym

from rlkit_core.envs.naming.kinds import kind_of
from rlkit_core.envs.resume.own_state import layers, tells_state

OUTLIVING = (gym.wrappers.NormalizeObservation, gym.wrappers.NormalizeReward)
"""gymnasium's wrappers that remember earlier episodes."""
OWN_VECTOR = "the env's own vector implementation resets its envs itself, so their episodes begin anew"

GLOBALLY_DRAWN = (
    "something drew from Python's random or numpy's np.random; if it was an env, its episodes cannot be replayed: let "
    "it draw from self.np_random"
)


class ResumeSettings(Protocol):
    """The settings that matter."""

    env_runner_cls: type[Any] | None
    gym_env_vectorize_mode: str
    replay: bool
    seed_resets: bool


def not_exact_by_config(config: ResumeSettings) -> list[str]:
    """Why, from a config alone."""
    reasons = []
    if config.env_runner_cls is not None:
        name = config.env_runner_cls.__name__
        return [f"env_runners(env_runner_cls={name}): where it goes on is up to its own get_state and set_state"]
    if config.gym_env_vectorize_mode in ("vector_entry_point", "envpool"):
        return [f"env_runners(gym_env_vectorize_mode={config.gym_env_vectorize_mode!r}): {OWN_VECTOR}"]
    if not config.replay:
        reasons.append("environment(replay=False): open episodes begin anew")
    if not config.seed_resets:
        reasons.append("debugging(seed_resets=False): envs go on with their own generators, open episodes begin anew")
    return reasons


def not_exact_by_env(env: object) -> list[str]:
    """Why, from an env with its wrappers."""
    if kind_of(env) == "vector":
        return [OWN_VECTOR]
    if tells_state(env):
        return []
    return [
        f"wrapper {type(layer).__name__} remembers earlier episodes and has no get_state and set_state: its env's open "
        "episode begins anew"
        for layer in layers(env)
        if isinstance(layer, OUTLIVING)
    ]
