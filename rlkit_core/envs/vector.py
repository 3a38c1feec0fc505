"""Stepping N environments at once, straight into the rows of a rollout.

:class:`InlineVectorEnv` is the default: a thin loop in this process that resets in the same step. For a handful of
ordinary envs nothing is faster. Others are in :mod:`~rlkit_core.envs.gym_vectors`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch

from rlkit_core.data.nested import Nested, has_array, own_copy, storage
from rlkit_core.envs.checks.returned import FirstLooks, ReturnedError, check_one_object_each, taken_apart
from rlkit_core.envs.events import metrics_in
from rlkit_core.envs.faults.fault import Fault
from rlkit_core.envs.faults.telling import Beginnings, misfit, raised
from rlkit_core.envs.make import spaces_of
from rlkit_core.envs.resume.own_state import get_own_state
from rlkit_core.envs.resume.promise import not_exact_by_env
from rlkit_core.envs.resume.recorded import Recorded
from rlkit_core.envs.resume.replay import UnlikeError, resume_env
from rlkit_core.errors import EnvError
from rlkit_core.spaces import nested_map, sub_spaces

Rows = Any
"""One batch of observations: an array ``[N, ...]``, or dicts and tuples of them."""

RowWriter = Callable[[Rows, int, Any], None]
SeedSource = Callable[[int], "int | None"]


_NO_RESULT = object()
MISFITS = (ValueError, TypeError, KeyError, IndexError)
"""What is raised where an observation does not fit its space."""


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
        replays: its envs can be brought into open episodes.
        resets_one: its envs can be reset one by one.
        restarts_one: an env that fails is told of, and can be made anew by itself; otherwise what it raises is raised.
    """

    num_envs: int
    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    same_step_reset: bool
    ended_infos: list[dict[str, float]]
    replays: bool
    resets_one: bool
    restarts_one: bool

    def reset(self, seeds: Sequence[int | None], obs_out: Rows) -> list[Fault]:
        """Reset all envs, the n-th with ``seeds[n]``, and write their observations into ``obs_out``.

        Returns:
            Those that failed.
        """
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
            ``[(n, final_observation), ...]`` of the envs that were truncated and reset in this step, and ``(n, Fault)``
            of those that failed, of which nothing in this step's rows counts.
        """
        ...

    def restart(self, n: int, seed: int, obs_out: Rows) -> Fault | None:
        """Make env n anew and reset it; what failed then, None where nothing did. Only where :attr:`restarts_one`."""
        ...

    def episode_seeds(self) -> list[int | None]:
        """Seeds that the open episodes began with, None of those that began without one."""
        ...

    def own_states(self) -> list[list[Any] | None]:
        """What each env tells of its own state, for those that are not to be replayed; None of the others."""
        ...

    def resume(self, episodes: Sequence[Recorded | str], obs_out: Rows) -> list[str | None]:
        """Bring envs into open episodes and write what they show; something else where they told their own state.

        Args:
            episodes: one for each env; text where there is none.
            obs_out: rows to write into.

        Returns:
            For each env why it is not where it was, and has to be reset; None where it is.
        """
        ...

    def reset_some(self, seeds: Mapping[int, int | None], obs_out: Rows) -> list[Fault]:
        """Reset some envs, with ``{n: seed}``; those that failed."""
        ...

    def not_exact(self) -> list[str]:
        """What is known beforehand to keep an env from coming to where it was."""
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
    """A function that turns batched actions into a list of N actions, each as the env's own space has it.

    They share no memory with what they were made of: an env may change the action that it is given.
    """
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
    if isinstance(space, gym.spaces.Discrete):
        return list  # of numbers, which nobody can change
    if space.shape == ():
        return lambda actions: [np.array(action) for action in actions]
    return lambda actions: list(own_actions(actions))


def own_actions(actions: Nested) -> Nested:
    """Actions, of one env or several, that share no memory with ``actions``."""
    if isinstance(actions, np.ndarray):
        return actions.copy()

    def own(leaf: object) -> object:
        if isinstance(leaf, np.ndarray):
            return leaf.copy()
        return leaf if isinstance(leaf, np.generic) else copy.deepcopy(leaf)

    return nested_map(own, actions)


class InlineVectorEnv:
    """N envs stepped one after the other in this process, reset in the step that ends their episode.

    Args:
        factories: one function per env that makes it.
        next_seed: called with n when env n starts a further episode; its seed, or None to let the env go on with its
            own generator.
        info_metrics: names of numbers in ``info`` that are kept where an episode ends.
        anew: for each env, what makes another in its place where it failed; its own factory unless given.

    Raises:
        EnvError: an env cannot be made, or the envs' spaces differ.
    """

    same_step_reset = replays = resets_one = restarts_one = True

    def __init__(
        self,
        factories: Sequence[Callable[[], Any]],
        next_seed: SeedSource | None = None,
        info_metrics: Sequence[str] = (),
        anew: Sequence[Callable[[], Any]] | None = None,
    ) -> None:
        self._factories = list(factories if anew is None else anew)
        self.ended_infos: list[dict[str, float]] = []
        self._metrics = tuple(info_metrics)
        self.envs = [factory() for factory in factories]
        check_one_object_each(self.envs)
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
        self._began = Beginnings(self.num_envs)
        self._looks = FirstLooks(self.observation_space, self.num_envs)
        self._steps: list[Callable[[Any], Any]] = []
        self._steps += [self._first_step(n) for n in range(self.num_envs)]

    def _first_step(self, n: int) -> Callable[[Any], Any]:
        """What steps env n as long as it has not been stepped."""
        return self._looks.step(self.envs[n].step, partial(self._steps.__setitem__, n))

    def reset(self, seeds: Sequence[int | None], obs_out: Rows) -> list[Fault]:
        """Reset env n with ``seeds[n]``."""
        return self.reset_some(dict(enumerate(seeds)), obs_out)

    def reset_some(self, seeds: Mapping[int, int | None], obs_out: Rows) -> list[Fault]:
        """Reset env n with ``seeds[n]``."""
        faults: list[Fault] = []
        for n, seed in seeds.items():
            try:
                self._write_row(obs_out, n, self._reset_one(n, seed))
            except EnvError as error:
                faults.append(Fault(n, error, at_reset=True))
        return faults

    def restart(self, n: int, seed: int, obs_out: Rows) -> Fault | None:
        """See :class:`VectorEnv`."""
        with suppress(Exception):
            self.envs[n].close()
        try:
            self.envs[n] = env = self._factories[n]()
            if spaces_of(env) != (self.observation_space, self.action_space):
                raise EnvError(f"env {n} ({env}) has other spaces than before, now that it was made anew")
            check_one_object_each(self.envs)
            self._looks.begin(n)
            self._steps[n] = self._first_step(n)
        except Exception as error:
            again = error if isinstance(error, EnvError) else raised(n, self.envs[n], "when it was made anew", error)
            return Fault(n, again, at_reset=True)
        faults = self.reset_some({n: seed}, obs_out)
        return faults[0] if faults else None

    def episode_seeds(self) -> list[int | None]:
        """See :class:`VectorEnv`."""
        return self._began.seeds()

    def own_states(self) -> list[list[Any] | None]:
        """See :class:`VectorEnv`."""
        return [get_own_state(env) for env in self.envs]

    def not_exact(self) -> list[str]:
        """See :class:`VectorEnv`."""
        return not_exact_by_env(self.envs[0])

    def resume(self, episodes: Sequence[Recorded | str], obs_out: Rows) -> list[str | None]:
        """See :class:`VectorEnv`."""
        problems: list[str | None] = []
        for n, episode in enumerate(episodes):
            if isinstance(episode, str):
                problems.append(episode)
                continue
            try:
                observation = resume_env(self.envs[n], episode, self.observation_space, self._write, self._split)
            except UnlikeError as error:
                problems.append(str(error))
                continue
            self._began.resumed(n, episode.seed)
            self._write_row(obs_out, n, observation)
            problems.append(None)
        return problems

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
            result: Any = _NO_RESULT
            try:
                result = step(action)
                observation, rewards_out[n], terminated, truncated, info = result
                terminateds_out[n] = terminated
                truncateds_out[n] = truncated
            except Exception:
                try:
                    if result is _NO_RESULT:
                        raise
                    result = taken_apart(result, self.observation_space)
                    observation, rewards_out[n], terminateds_out[n], truncateds_out[n], info = result
                    terminated, truncated = result[2:4]
                except Exception as again:
                    finals.append((n, Fault(n, raised(n, self.envs[n], self._began.at_step(n, action), again))))
                    continue
            if terminated or truncated:
                fault = self._end(n, observation, terminated, info, obs_out, finals)
                if fault is not None:
                    finals.append((n, fault))
                continue
            try:
                if plain:
                    obs_out[n] = observation
                else:
                    self._write(obs_out, n, observation)
            except MISFITS as error:
                finals.append((n, Fault(n, self._misfit(n, error))))
        return finals

    def _end(
        self,
        n: int,
        observation: object,
        terminated: object,
        info: object,
        obs_out: Rows,
        finals: list[tuple[int, Any]],
    ) -> Fault | None:
        """An episode has ended: keep what is asked for of its last step, and reset the env; what failed."""
        try:
            self._looks.end(n, observation)
            self._write_row(obs_out, n, observation)  # it is written over, but has to fit all the same
        except ReturnedError as error:
            return Fault(n, raised(n, self.envs[n], "", error))
        except EnvError as error:
            return Fault(n, error)
        if self._metrics:
            self.ended_infos.append(metrics_in(info, self._metrics, f"env {n} ({self.envs[n]})"))
        if not terminated:
            # Copied: an env may reuse its observation array when it is reset.
            finals.append((n, own_copy(self.observation_space, observation)))
        faults = self.reset_some({n: self._next_seed(n) if self._next_seed is not None else None}, obs_out)
        return faults[0] if faults else None

    def _reset_one(self, n: int, seed: int | None) -> Any:
        self._began.begin(n, seed)
        try:
            return self._looks.reset(n, self.envs[n].reset(seed=seed))
        except Exception as error:
            raise raised(n, self.envs[n], f"at a reset with seed {seed}", error) from error

    def _write_row(self, obs_out: Rows, n: int, observation: object) -> None:
        try:
            self._write(obs_out, n, observation)
        except MISFITS as error:
            raise self._misfit(n, error) from error

    def _misfit(self, n: int, error: Exception) -> EnvError:
        return misfit(n, self.envs[n], self.observation_space, error)

    def close(self) -> None:
        """Close every env."""
        for env in self.envs:
            env.close()
