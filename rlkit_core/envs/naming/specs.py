"""Envs that a spec of gymnasium describes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec


class MadeFromSpec:
    """What makes the env of a spec that is not the registered one of its id: with other arguments, limits, wrappers.

    Attributes:
        spec: the spec.
    """

    def __init__(self, spec: EnvSpec) -> None:
        self.spec = spec
        self.__name__ = self.__qualname__ = spec.id

    def __call__(self, **settings: object) -> gym.Env[Any, Any]:
        """Make the env; settings are added to the spec's own. It is stepped without gymnasium's checker, as ids are."""
        return gym.make(self.spec, **{"disable_env_checker": True, **settings})  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MadeFromSpec) and self.spec == other.spec

    def __hash__(self) -> int:
        return hash(self.spec.id)


def env_of_spec(spec: EnvSpec) -> str | Callable[..., Any]:
    """The id of a spec that is registered just so; of another one what makes its env."""
    return spec.id if gym.registry.get(spec.id) == spec else MadeFromSpec(spec)
