"""Stepping N environments at once, straight into the rows of a rollout.

:class:`InlineVectorEnv` is the default: a thin loop in this process that resets in the same step. For a handful of
ordinary envs nothing is faster. :class:`GymVectorEnv` adapts gymnasium's own vector classes and an env's
``vector_entry_point``, in either autoreset mode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch

from rlkit_core.data.nested import has_array, own_copy, storage
from rlkit_core.envs.events import metrics_in, metrics_in_rows
from rlkit_core.envs.make import make_env, register_namespace, spaces_of
from rlkit_core.errors import ConfigError, EnvError
from rlkit_core.spaces import nested_map, sub_spaces

Rows = Any
"""One batch of observations: an array ``[N, ...]``, or dicts and tuples of them."""

RowWriter = Callable[[Rows, int, Any], None]
SeedSource = Callable[[int], "int | None"]

OWN_MODES = ("auto", "sync")
"""Ways to step envs with our own loop, in the runner's process."""
VECTORIZE_MODES = (*OWN_MODES, "async", "gymnasium_sync", "vector_entry_point")


class VectorEnv(Protocol):
    """What a runner steps.

    Attributes:
        num_envs: N.
        observation_space: of one env.
        action_space: of one env.
        same_step_reset: True when the row after an episode's end already holds the next episode's first observation
            (the final one is returned by :meth:`step`); False when it holds the final observation and the step after it
            is the reset, which is no experience.
        ended_infos: where it looks for metrics in infos, those of each episode that has ended, in the order of steps
            and envs; whoever reads them empties the list.
    """

    num_envs: int
    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    same_step_reset: bool
    ended_infos: list[dict[str, float]]

    def reset(self, seeds: Sequence[int | None], obs_out: Rows) -> None:
        """Reset all envs, the n-th with ``seeds[n]``, and write their observations into ``obs_out``."""
        ...

    def step(
        self,
        actions: object,
        obs_out: Rows,
        rewards_out: np.ndarray[Any, Any],
        terminateds_out: np.ndarray[Any, Any],
        truncateds_out: np.ndarray[Any, Any],
    ) -> list[tuple[int, Any]]:
        """Step all envs with ``actions`` (env units, nested as the space is, leading axis N) and write the results.

        Returns:
            ``[(n, final_observation), ...]`` of the envs that were truncated and reset in this step.
        """
        ...

    def close(self) -> None:
        """Free what the envs hold."""
        ...


def row_writer(space: gym.Space[Any]) -> RowWriter:
    """A function ``write(rows, n, observation)`` made for ``space``: no look-ups are left for the step."""
    children = sub_spaces(space)
    if children is not None:
        writers = [(key, row_writer(child)) for key, child in children]

        def write_parts(rows: Rows, n: int, observation: Any) -> None:
            for key, write in writers:
                write(rows[key], n, observation[key])

        return write_parts

    if not has_array(space):

        def write_object(rows: Rows, n: int, observation: Any) -> None:
            rows[n] = own_copy(space, observation)

        return write_object

    def write_leaf(rows: Rows, n: int, observation: Any) -> None:
        rows[n] = observation

    return write_leaf


def batch_writer(space: gym.Space[Any]) -> Callable[[Rows, Any], None]:
    """A function ``write(rows, observations)`` for the batched observations of a gymnasium vector env."""
    children = sub_spaces(space)
    if children is not None:
        writers = [(key, batch_writer(child)) for key, child in children]

        def write_parts(rows: Rows, observations: Any) -> None:
            for key, write in writers:
                write(rows[key], observations[key])

        return write_parts
    if has_array(space):
        return np.copyto

    def write_objects(rows: Rows, observations: Any) -> None:
        for n, observation in enumerate(observations):
            rows[n] = own_copy(space, observation)

    return write_objects


def stack_observations(space: gym.Space[Any], observations: list[Any]) -> Any:
    """One batch of tensors (arrays of objects where a leaf has no array) from several observations; None of none."""
    if not observations:
        return None
    rows = storage(space, (len(observations),))
    write = row_writer(space)
    for index, observation in enumerate(observations):
        write(rows, index, observation)
    return nested_map(lambda a: a if a.dtype == object else torch.from_numpy(a), rows)


def action_splitter(space: gym.Space[Any]) -> Callable[[Any], Sequence[Any]]:
    """A function that turns batched actions into a list of N actions, each as the env's own space has it."""
    if isinstance(space, gym.spaces.Dict):
        children = {key: action_splitter(child) for key, child in space.spaces.items()}

        def split_dict(actions: Any) -> Sequence[Any]:
            columns = [split(actions[key]) for key, split in children.items()]
            return [dict(zip(children, row, strict=True)) for row in zip(*columns, strict=True)]

        return split_dict
    if isinstance(space, gym.spaces.Tuple):
        parts = [action_splitter(child) for child in space.spaces]

        def split_tuple(actions: Any) -> Sequence[Any]:
            return list(zip(*(split(actions[i]) for i, split in enumerate(parts)), strict=True))

        return split_tuple
    return list


class InlineVectorEnv:
    """N envs stepped one after the other in this process, reset in the step that ends their episode.

    Args:
        factories: one function per env that makes it.
        next_seed: called with n when env n starts a further episode; its seed, or None to let the env go on with its
            own generator.
        info_metrics: names of numbers in ``info`` that are kept where an episode ends.

    Raises:
        EnvError: an env cannot be made, or the envs' spaces differ.
    """

    same_step_reset = True

    def __init__(
        self,
        factories: Sequence[Callable[[], Any]],
        next_seed: SeedSource | None = None,
        info_metrics: Sequence[str] = (),
    ) -> None:
        self.ended_infos: list[dict[str, float]] = []
        self._metrics = tuple(info_metrics)
        self.envs = [factory() for factory in factories]
        self.num_envs = len(self.envs)
        self.observation_space, self.action_space = spaces_of(self.envs[0])
        for env in self.envs[1:]:
            if spaces_of(env) != (self.observation_space, self.action_space):
                raise EnvError(f"envs of one runner must have equal spaces: {self.envs[0]} and {env} differ")
        self._next_seed = next_seed
        self._write = row_writer(self.observation_space)
        composed = isinstance(self.observation_space, (gym.spaces.Dict, gym.spaces.Tuple))
        self._plain = not composed and has_array(self.observation_space)
        self._split = action_splitter(self.action_space)
        self._steps = [env.step for env in self.envs]
        self._began: list[tuple[int | None, int]] = [(None, 0)] * self.num_envs  # last seed, episodes begun since

    def reset(self, seeds: Sequence[int | None], obs_out: Rows) -> None:
        """Reset env n with ``seeds[n]``."""
        for n, seed in enumerate(seeds):
            self._write_row(obs_out, n, self._reset_one(n, seed))

    def step(
        self,
        actions: object,
        obs_out: Rows,
        rewards_out: np.ndarray[Any, Any],
        terminateds_out: np.ndarray[Any, Any],
        truncateds_out: np.ndarray[Any, Any],
    ) -> list[tuple[int, Any]]:
        """Step every env once; see :class:`VectorEnv`."""
        finals: list[tuple[int, Any]] = []
        plain = self._plain  # the common case goes without two calls
        for n, (step, action) in enumerate(zip(self._steps, self._split(actions), strict=True)):
            try:
                observation, rewards_out[n], terminated, truncated, info = step(action)
            except Exception as error:
                seed, episode = self._began[n]
                raise EnvError(
                    f"env {n} ({self.envs[n]}) raised {type(error).__name__} at a step with action {action!r}, in "
                    f"episode {episode} after the reset with seed {seed}: {error}"
                ) from error
            terminateds_out[n] = terminated
            truncateds_out[n] = truncated
            if terminated or truncated:
                if self._metrics:
                    self.ended_infos.append(metrics_in(info, self._metrics, f"env {n} ({self.envs[n]})"))
                if not terminated:
                    # Copied: an env may reuse its observation array when it is reset.
                    finals.append((n, own_copy(self.observation_space, observation)))
                observation = self._reset_one(n, self._next_seed(n) if self._next_seed is not None else None)
            if plain:
                try:
                    obs_out[n] = observation
                except (ValueError, TypeError) as error:
                    raise self._misfit(n, error) from error
            else:
                self._write_row(obs_out, n, observation)
        return finals

    def _reset_one(self, n: int, seed: int | None) -> Any:
        last, episode = self._began[n]
        self._began[n] = (last, episode + 1) if seed is None else (seed, 1)
        try:
            return self.envs[n].reset(seed=seed)[0]
        except Exception as error:
            raise EnvError(
                f"env {n} ({self.envs[n]}) raised {type(error).__name__} at a reset with seed {seed}: {error}"
            ) from error

    def _write_row(self, obs_out: Rows, n: int, observation: object) -> None:
        try:
            self._write(obs_out, n, observation)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise self._misfit(n, error) from error

    def _misfit(self, n: int, error: Exception) -> EnvError:
        return EnvError(
            f"env {n} ({self.envs[n]}): its observation does not fit its observation_space "
            f"{self.observation_space}: {error}"
        )

    def close(self) -> None:
        """Close every env."""
        for env in self.envs:
            env.close()


class GymVectorEnv:
    """A gymnasium ``VectorEnv``, in either autoreset mode.

    Args:
        envs: the vector env; its ``metadata["autoreset_mode"]`` says how it resets.
        info_metrics: names of numbers in ``info`` that are kept where an episode ends.

    Raises:
        EnvError: its autoreset is disabled.
    """

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

    def reset(self, seeds: Sequence[int | None], obs_out: Rows) -> None:
        """Reset every env; envs with a vector entry point take one seed, the first."""
        try:
            observations, _ = self.envs.reset(seed=list(seeds))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            observations, _ = self.envs.reset(seed=seeds[0])
        self._write(obs_out, observations)

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


def _final_row(final_obs: object, n: int) -> Any:
    """Row n of gymnasium's ``infos["final_obs"]``: an object array of observations, or arrays nested as the space."""
    if isinstance(final_obs, np.ndarray) and final_obs.dtype == object:
        return final_obs[n]
    return nested_map(lambda rows: np.array(rows[n]), final_obs)


def make_vector_env(
    env: Any,
    env_config: dict[str, Any] | None,
    num_envs: int,
    *,
    mode: str = "auto",
    check: bool = False,
    next_seed: SeedSource | None = None,
    info_metrics: Sequence[str] = (),
    created: Callable[[object], None] | None = None,
    first: gym.Env[Any, Any] | None = None,
) -> VectorEnv:
    """Make ``num_envs`` copies of an env, stepped as ``mode`` says.

    Args:
        env: as for :func:`~rlkit_core.envs.make.make_env`.
        env_config: settings of the env.
        num_envs: N.
        mode: ``"auto"`` and ``"sync"``: :class:`InlineVectorEnv`. ``"async"``: gymnasium's ``AsyncVectorEnv``, one
            process per env. ``"gymnasium_sync"``: its ``SyncVectorEnv``. ``"vector_entry_point"``: the env's own
            vector class.
        check: keep gymnasium's passive env checker (ids only).
        next_seed: as for :class:`InlineVectorEnv`, which alone honours it.
        info_metrics: names of numbers in ``info`` that are kept where an episode ends.
        created: called with each env when it is made, where it is made (``"async"``: in the env's own process;
            ``"vector_entry_point"``: once, with the vector env).
        first: one of the envs, where it has been made already; closed where the mode makes its own.

    Raises:
        ConfigError: there is no such mode, or it needs a registered id.
        EnvError: the env cannot be made.
    """

    def factory() -> Any:
        made = make_env(env, env_config, **({"disable_env_checker": not check} if isinstance(env, str) else {}))
        if created is not None:
            created(made)
        return made

    if mode in OWN_MODES:
        made = [] if first is None else [lambda: first]
        return InlineVectorEnv([*made, *[factory] * (num_envs - len(made))], next_seed, info_metrics)
    if first is not None:
        first.close()
    if mode == "async":
        return GymVectorEnv(gym.vector.AsyncVectorEnv([factory] * num_envs, shared_memory=True), info_metrics)
    if mode == "gymnasium_sync":
        return GymVectorEnv(gym.vector.SyncVectorEnv([factory] * num_envs), info_metrics)
    if mode == "vector_entry_point":
        if not isinstance(env, str):
            raise ConfigError("gym_env_vectorize_mode='vector_entry_point' needs a registered env id")
        register_namespace(env)
        try:
            envs = gym.make_vec(env, num_envs=num_envs, vectorization_mode="vector_entry_point", **(env_config or {}))
        except gym.error.Error as error:
            raise EnvError(f"env {env!r} has no vector entry point; use gym_env_vectorize_mode='auto'") from error
        if created is not None:
            created(envs)
        return GymVectorEnv(envs, info_metrics)
    raise ConfigError(f"gym_env_vectorize_mode={mode!r}: expected one of {', '.join(VECTORIZE_MODES)}")
