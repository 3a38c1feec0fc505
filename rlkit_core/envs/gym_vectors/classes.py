"""gymnasium's vector envs behind the protocol of :class:`~rlkit_core.envs.vector.VectorEnv`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core.data.nested import own_copy
from rlkit_core.envs.events import metrics_in_rows
from rlkit_core.envs.faults.fault import Fault
from rlkit_core.envs.faults.own_type import told
from rlkit_core.envs.resume.promise import OWN_VECTOR
from rlkit_core.envs.resume.recorded import Recorded
from rlkit_core.envs.vector import Rows, batch_writer, own_actions
from rlkit_core.errors import EnvError
from rlkit_core.spaces import nested_map


def step_together(
    envs: gym.vector.VectorEnv[Any, Any, Any],
    write: Callable[[Rows, Any], None],
    actions: object,
    obs_out: Rows,
    rewards_out: np.ndarray[Any, Any],
    terminateds_out: np.ndarray[Any, Any],
    truncateds_out: np.ndarray[Any, Any],
) -> Mapping[str, Any]:
    """Step one of gymnasium's vector envs and write the results, observations with ``write``; its infos."""
    observations, rewards, terminateds, truncateds, infos = envs.step(own_actions(actions))  # which they may change
    write(obs_out, observations)
    rewards_out[:] = rewards
    terminateds_out[:] = terminateds
    truncateds_out[:] = truncateds
    return infos


class GymVectorEnv:
    """A gymnasium ``VectorEnv`` that resets by itself, in either way; where its episodes begin nobody can say.

    Args:
        envs: the vector env; its ``metadata["autoreset_mode"]`` says how it resets.
        info_metrics: names of numbers in ``info`` that are kept where an episode ends.

    Raises:
        EnvError: its autoreset is disabled.
    """

    replays = resets_one = restarts_one = False

    def __init__(self, envs: gym.vector.VectorEnv[Any, Any, Any], info_metrics: Sequence[str] = ()) -> None:
        mode = envs.metadata.get("autoreset_mode", gym.vector.AutoresetMode.NEXT_STEP)
        if mode == gym.vector.AutoresetMode.DISABLED:
            raise EnvError(f"vector env {envs}: autoreset is disabled; use next-step or same-step autoreset")
        self.envs = envs
        self.ended_infos: list[dict[str, float]] = []
        self._metrics = tuple(info_metrics)
        self.num_envs = envs.num_envs
        self.observation_space = envs.single_observation_space
        self.action_space = envs.single_action_space
        self.same_step_reset = mode == gym.vector.AutoresetMode.SAME_STEP
        self._write = batch_writer(self.observation_space)
        self._seeds: Sequence[int | None] = []

    def reset(self, seeds: Sequence[int | None], obs_out: Rows) -> list[Fault]:
        """Reset every env; those that take one seed for all get the first."""
        self._seeds = list(seeds)
        try:
            observations = self._reset(list(seeds))
        except (TypeError, ValueError, gym.error.Error):
            self._seeds = seeds[:1]
            try:
                observations = self._reset(seeds[0])
            except Exception as error:
                raise self._raised(f"at a reset with seed {seeds[0]}", error) from error
        except Exception as error:
            raise self._raised(f"at a reset with seeds {self._seeds}", error) from error
        self._write(obs_out, observations)
        return []

    def _reset(self, seed: int | list[int | None] | None) -> Rows:
        return self.envs.reset(seed=seed)[0]  # type: ignore[arg-type]

    def episode_seeds(self) -> list[int | None]:
        """There are none."""
        return [None] * self.num_envs

    def own_states(self) -> list[list[Any] | None]:
        """There are none."""
        return [None] * self.num_envs

    def not_exact(self) -> list[str]:
        """Its episodes begin anew."""
        return [OWN_VECTOR]

    def resume(self, episodes: Sequence[Recorded | str], obs_out: Rows) -> list[str | None]:
        """Say that this cannot be done."""
        return [OWN_VECTOR] * self.num_envs

    def reset_some(self, seeds: Mapping[int, int | None], obs_out: Rows) -> list[Fault]:
        """Reset all: single ones cannot be."""
        return self.reset([seeds.get(n) for n in range(self.num_envs)], obs_out)

    def restart(self, n: int, seed: int, obs_out: Rows) -> Fault | None:
        """Never called: single ones cannot be made anew."""
        raise NotImplementedError(f"env {n} of an env's own vector implementation cannot be made anew by itself")

    def step(
        self,
        actions: object,
        obs_out: Rows,
        rewards_out: np.ndarray[Any, Any],
        terminateds_out: np.ndarray[Any, Any],
        truncateds_out: np.ndarray[Any, Any],
    ) -> list[tuple[int, Any]]:
        """Step the vector env once; see :class:`VectorEnv`."""
        rows = obs_out, rewards_out, terminateds_out, truncateds_out
        try:
            infos = step_together(self.envs, self._write, actions, *rows)
        except Exception as error:
            when = f"at a step with actions {actions!r}, after the reset with seeds {list(self._seeds)}"
            raise self._raised(when, error) from error
        if self._metrics:
            for n in np.flatnonzero(truncateds_out | terminateds_out):
                self.ended_infos.append(metrics_in_rows(infos, self._metrics, int(n), f"env {n} of {self.envs}"))
        if not self.same_step_reset:
            return []
        cut = np.flatnonzero(truncateds_out & ~terminateds_out)
        return [(int(n), _final_row(self.observation_space, infos["final_obs"], int(n))) for n in cut]

    def _raised(self, when: str, error: Exception) -> EnvError:
        return told(f"vector env {self.envs} raised {type(error).__name__} {when}: {error}", error)

    def close(self) -> None:
        """Close the vector env."""
        self.envs.close()


def _final_row(space: gym.Space[Any], final_obs: object, n: int) -> Any:
    """A copy of row n of gymnasium's ``infos["final_obs"]``: an object array, or arrays nested as the space."""
    if isinstance(final_obs, np.ndarray) and final_obs.dtype == object:
        return own_copy(space, final_obs[n])
    return own_copy(space, nested_map(lambda rows: rows[n], final_obs))
