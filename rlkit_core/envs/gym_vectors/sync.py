"""gymnasium's SyncVectorEnv, whose envs can fail one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core.data.nested import own_copy
from rlkit_core.envs.checks.returned import FirstLooks, check_step
from rlkit_core.envs.faults.fault import Fault
from rlkit_core.envs.gym_vectors.classes import step_together
from rlkit_core.envs.resume.own_state import NoState
from rlkit_core.envs.vector import InlineVectorEnv, Rows, SeedSource, batch_writer
from rlkit_core.errors import EnvError
from rlkit_core.spaces import nested_map


class Remembered(NoState, gym.Wrapper[Any, Any, Any, Any]):
    """Remembers what its env did in the step in progress: nothing of it is lost where another one fails in it.

    Attributes:
        outcome: what the step returned, or raised; None where there was none.
        known: a reset returns this observation, without the env; None: it resets the env.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        if not isinstance(env, gym.Env):
            raise EnvError(
                f"env {env} is no gymnasium.Env, as gym_env_vectorize_mode='gymnasium_sync' needs; use 'auto'"
            )
        super().__init__(env)
        self._step = FirstLooks(env.observation_space, 1).step(env.step, partial(setattr, self, "_step"))
        self.outcome: Any = None
        self.known: Any = None

    def step(self, action: object) -> Any:
        """Step the env."""
        try:
            self.outcome = outcome = self._step(action)
            if outcome is None:
                check_step(outcome, self.observation_space)
        except Exception as error:
            self.outcome = error
            raise
        return outcome

    def step_once(self, action: object) -> Any:
        """Step the env, unless it has been stepped: then what that returned or raised."""
        if self.outcome is None:
            return self._step(action)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the env."""
        if self.known is not None:
            return self.known, {}
        return self.env.reset(seed=seed, options=options) if options else self.env.reset(seed=seed)


class SyncVectorEnv(InlineVectorEnv):
    """N envs that gymnasium's ``SyncVectorEnv`` steps, and that are reset in the step that ends their episode.

    Where that raises, the envs that it has not come to are stepped here, and each env's results are looked at by
    themselves.

    Args:
        factories: one function per env that makes it.
        next_seed, info_metrics: as for :class:`~rlkit_core.envs.vector.InlineVectorEnv`.

    Attributes:
        together: gymnasium's.
    """

    envs: list[Remembered]

    def __init__(
        self,
        factories: Sequence[Callable[[], Any]],
        next_seed: SeedSource | None = None,
        info_metrics: Sequence[str] = (),
    ) -> None:
        super().__init__([partial(_remembered, make) for make in factories], next_seed, info_metrics)
        disabled = gym.vector.AutoresetMode.DISABLED
        made = iter(self.envs)
        factories = [made.__next__] * self.num_envs
        self.together = gym.vector.SyncVectorEnv(factories, copy=False, autoreset_mode=disabled)
        self._write_all = batch_writer(self.observation_space)

    def _first_step(self, n: int) -> Callable[[Any], Any]:
        return self.envs[n].step_once

    def restart(self, n: int, seed: int, obs_out: Rows) -> Fault | None:
        """See :class:`~rlkit_core.envs.vector.VectorEnv`."""
        fault = super().restart(n, seed, obs_out)
        self.together.envs[n] = self.envs[n]
        return fault

    def step(
        self,
        actions: object,
        obs_out: Rows,
        rewards_out: np.ndarray[Any, Any],
        terminateds_out: np.ndarray[Any, Any],
        truncateds_out: np.ndarray[Any, Any],
    ) -> list[tuple[int, Any]]:
        """Step every env once; see :class:`~rlkit_core.envs.vector.VectorEnv`."""
        for env in self.envs:
            env.outcome = None
        rows = obs_out, rewards_out, terminateds_out, truncateds_out
        if not self._go_well(actions, *rows):
            return super().step(actions, *rows)
        dones = terminateds_out | truncateds_out
        if not dones.any():
            return []
        finals: list[tuple[int, Any]] = []
        for n in np.flatnonzero(dones).tolist():
            observation, _, terminated, _, info = self.envs[n].outcome
            fault = self._end(n, observation, terminated, info, obs_out, finals)
            if fault is not None:
                finals.append((n, fault))
        self._tell_of_resets(dones, obs_out)
        return finals

    def _go_well(self, actions: object, *rows: Rows) -> bool:
        """Let gymnasium step the envs and write the results; False where something was raised."""
        try:
            step_together(self.together, self._write_all, actions, *rows)
        except Exception:  # which says little of whose fault it is
            return False
        return True

    def _tell_of_resets(self, dones: np.ndarray[Any, Any], obs: Rows) -> None:
        """Let gymnasium know that the envs of these episodes have been reset, which it insists on."""
        for n in np.flatnonzero(dones).tolist():
            self.envs[n].known = own_copy(self.observation_space, nested_map(lambda rows: rows[n], obs))  # noqa: B023
        with suppress(Exception):  # what it then makes of all envs' observations is not looked at
            self.together.reset(options={"reset_mask": dones})
        for n in np.flatnonzero(dones).tolist():
            self.envs[n].known = None


def _remembered(factory: Callable[[], Any]) -> Remembered:
    return Remembered(factory())
