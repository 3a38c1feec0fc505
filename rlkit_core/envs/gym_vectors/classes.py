"""gymnasium's vector envs behind the protocol of :class:`~rlkit_core.envs.vector.VectorEnv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core.data.nested import own_copy
from rlkit_core.envs.events import metrics_in_rows
from rlkit_core.envs.faults.fault import Fault
from rlkit_core.envs.gym_vectors.resumable import EPISODES, PROBLEM
from rlkit_core.envs.resume.promise import OWN_VECTOR
from rlkit_core.envs.resume.recorded import Recorded
from rlkit_core.envs.vector import Rows, SeedSource, batch_writer
from rlkit_core.errors import EnvError
from rlkit_core.spaces import nested_map

_NO_GYM_ENV = "envs of gymnasium's vector classes that are no gymnasium.Env cannot be replayed"


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

    def reset(self, seeds: Sequence[int | None], obs_out: Rows) -> list[Fault]:
        """Reset every env; those that take one seed for all get the first."""
        try:
            observations, _ = self.envs.reset(seed=list(seeds))  # type: ignore[arg-type]
        except (TypeError, ValueError, gym.error.Error):
            observations, _ = self.envs.reset(seed=seeds[0])
        self._write(obs_out, observations)
        return []

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
        observations, rewards, terminateds, truncateds, infos = self.envs.step(actions)
        self._write(obs_out, observations)
        rewards_out[:] = rewards
        terminateds_out[:] = terminateds
        truncateds_out[:] = truncateds
        if self._metrics:
            for n in np.flatnonzero(truncateds_out | terminateds_out):
                self.ended_infos.append(metrics_in_rows(infos, self._metrics, int(n), f"env {n} of {self.envs}"))
        if not self.same_step_reset:
            return []
        cut = np.flatnonzero(truncateds_out & ~terminateds_out)
        return [(int(n), _final_row(infos["final_obs"], int(n))) for n in cut]

    def close(self) -> None:
        """Close the vector env."""
        self.envs.close()


class MaskedVectorEnv:
    """A gymnasium ``VectorEnv`` whose autoreset is disabled: envs whose episode ends are reset in that step, by a mask.

    So each reset can have a seed, and rows are those of :class:`~rlkit_core.envs.vector.InlineVectorEnv`.

    Args:
        envs: made of :class:`~rlkit_core.envs.gym_vectors.resumable.Resumable` envs, where they are to be replayed.
        next_seed: as for :class:`~rlkit_core.envs.vector.InlineVectorEnv`.
        info_metrics: names of numbers in ``info`` that are kept where an episode ends.
    """

    same_step_reset = resets_one = True
    restarts_one = False

    def __init__(
        self,
        envs: gym.vector.SyncVectorEnv | gym.vector.AsyncVectorEnv,
        next_seed: SeedSource | None = None,
        info_metrics: Sequence[str] = (),
    ) -> None:
        self.envs = envs
        self.ended_infos: list[dict[str, float]] = []
        self._metrics = tuple(info_metrics)
        self.num_envs = envs.num_envs
        self.observation_space: gym.Space[Any] = envs.single_observation_space
        self.action_space: gym.Space[Any] = envs.single_action_space
        self.replays = all(envs.call("is_resumable"))
        self._next_seed = next_seed
        self._write = batch_writer(self.observation_space)
        self._began: list[int | None] = [None] * self.num_envs

    def reset(self, seeds: Sequence[int | None], obs_out: Rows) -> list[Fault]:
        """Reset env n with ``seeds[n]``."""
        self._began = list(seeds)
        observations, _ = self.envs.reset(seed=list(seeds))
        self._write(obs_out, observations)
        return []

    def restart(self, n: int, seed: int, obs_out: Rows) -> Fault | None:
        """Not yet."""
        raise NotImplementedError

    def reset_some(self, seeds: Mapping[int, int | None], obs_out: Rows) -> list[Fault]:
        """Reset env n with ``seeds[n]``; the rows of the others are written once more."""
        mask = np.zeros(self.num_envs, np.bool_)
        mask[list(seeds)] = True
        for n, seed in seeds.items():
            self._began[n] = seed
        wanted = [seeds.get(n) for n in range(self.num_envs)]
        observations, _ = self.envs.reset(seed=wanted, options={"reset_mask": mask})
        self._write(obs_out, observations)
        return []

    def step(
        self,
        actions: object,
        obs_out: Rows,
        rewards_out: np.ndarray[Any, Any],
        terminateds_out: np.ndarray[Any, Any],
        truncateds_out: np.ndarray[Any, Any],
    ) -> list[tuple[int, Any]]:
        """Step the vector env once; see :class:`~rlkit_core.envs.vector.VectorEnv`."""
        observations, rewards, terminateds, truncateds, infos = self.envs.step(actions)
        rewards_out[:] = rewards
        terminateds_out[:] = terminateds
        truncateds_out[:] = truncateds
        dones = terminateds_out | truncateds_out
        self._write(obs_out, observations)
        if not dones.any():
            return []
        ended = np.flatnonzero(dones).tolist()
        for n in ended if self._metrics else ():
            self.ended_infos.append(metrics_in_rows(infos, self._metrics, n, f"env {n} of {self.envs}"))
        cut = np.flatnonzero(truncateds_out & ~terminateds_out).tolist()
        finals = [(n, own_copy(self.observation_space, nested_map(lambda rows: rows[n], obs_out))) for n in cut]  # noqa: B023
        self.reset_some({n: None if self._next_seed is None else self._next_seed(n) for n in ended}, obs_out)
        return finals

    def episode_seeds(self) -> list[int | None]:
        """See :class:`~rlkit_core.envs.vector.VectorEnv`."""
        return list(self._began)

    def own_states(self) -> list[list[Any] | None]:
        """See :class:`~rlkit_core.envs.vector.VectorEnv`."""
        return list(self.envs.call("own_state"))

    def not_exact(self) -> list[str]:
        """See :class:`~rlkit_core.envs.vector.VectorEnv`."""
        return list(self.envs.call("not_exact")[0]) if self.replays else [_NO_GYM_ENV]

    def resume(self, episodes: Sequence[Recorded | str], obs_out: Rows) -> list[str | None]:
        """See :class:`~rlkit_core.envs.vector.VectorEnv`; all envs are replayed side by side."""
        seeds = [None if isinstance(one, str) else one.seed for one in episodes]
        there = {n: one for n, one in enumerate(episodes) if isinstance(one, Recorded)}
        observations, infos = self.envs.reset(seed=[0 if s is None else s for s in seeds], options={EPISODES: there})
        self._write(obs_out, observations)
        self._began = seeds
        said = infos.get(PROBLEM, [""] * self.num_envs)
        return [one if isinstance(one, str) else (str(said[n]) or None) for n, one in enumerate(episodes)]

    def close(self) -> None:
        """Close the vector env."""
        self.envs.close()


def _final_row(final_obs: object, n: int) -> Any:
    """Row n of gymnasium's ``infos["final_obs"]``: an object array of observations, or arrays nested as the space."""
    if isinstance(final_obs, np.ndarray) and final_obs.dtype == object:
        return final_obs[n]
    return nested_map(lambda rows: np.array(rows[n]), final_obs)
