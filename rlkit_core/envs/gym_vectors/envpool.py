"""Envs of the package envpool, which steps many of them at once in threads of its own."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym

from rlkit_core.errors import EnvError, did_you_mean


class EnvPool(gym.vector.VectorEnv[Any, Any, Any]):
    """A pool of N envs, with the interface of gymnasium's vector envs.

    It is made anew at each reset with seeds, since that is when envpool takes them. An env is reset in the step after
    its episode's end.

    Args:
        env_id: as envpool has it (``"Pong-v5"``, ``"CartPole-v1"``); a namespace that it does not know is left out.
        num_envs: N.
        settings: further arguments of ``envpool.make``.

    Raises:
        EnvError: envpool is not installed, or knows no such env or setting.
    """

    metadata = {"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP}

    def __init__(self, env_id: str, num_envs: int, settings: Mapping[str, Any] | None = None) -> None:
        self.num_envs, self._settings = num_envs, dict(settings or {})
        self._envpool = _package(env_id)
        self._id = self._known(env_id)
        self._pool: Any = None
        try:
            spec = self._envpool.make_spec(self._id, num_envs=num_envs, **self._settings)
        except Exception as error:
            raise EnvError(f"envpool cannot make {self._id!r} with env_config={self._settings!r}: {error}") from error
        self.single_observation_space: gym.Space[Any] = spec.gymnasium_observation_space
        self.single_action_space: gym.Space[Any] = spec.gymnasium_action_space

    def _known(self, env_id: str) -> str:
        known = set(self._envpool.list_all_envs())
        for name in (env_id, env_id.rpartition("/")[2]):
            if name in known:
                return name
        raise EnvError(f"envpool has no env {env_id!r}.{did_you_mean(env_id, known)}")

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all envs, with a seed for each or one for all; the pool is made anew for one."""
        if seed is not None or self._pool is None:
            self.close()
            seeds = {} if seed is None else {"seed": seed}
            self._pool = self._envpool.make(
                self._id, env_type="gymnasium", num_envs=self.num_envs, **{**self._settings, **seeds}
            )
        return self._pool.reset()  # type: ignore[no-any-return]

    def step(self, actions: object) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all envs."""
        return self._pool.step(actions)  # type: ignore[no-any-return]

    def close(self, **kwargs: object) -> None:
        """Let the pool go, with its threads."""
        pool, self._pool = self._pool, None
        if pool is not None:
            with contextlib.suppress(Exception):
                pool.close()

    def __str__(self) -> str:
        return f"EnvPool({self._id})"


def _package(env_id: str) -> Any:
    try:
        return importlib.import_module("envpool")
    except ImportError as error:
        raise EnvError(
            f"env {env_id!r}: gym_env_vectorize_mode='envpool' needs the package envpool: "
            f"pip install 'rlkit-core[envpool]' ({error})"
        ) from error
