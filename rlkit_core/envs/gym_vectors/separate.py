"""Envs in processes of their own, all stepped at once: one that fails, hangs or dies is made anew by itself."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import create_shared_memory

from rlkit_core.data.nested import has_array, own_copy
from rlkit_core.envs.events import metrics_in
from rlkit_core.envs.faults.elsewhere import Failure
from rlkit_core.envs.faults.fault import Fault
from rlkit_core.envs.faults.own_type import told
from rlkit_core.envs.faults.telling import Beginnings, misfit, raised
from rlkit_core.envs.gym_vectors import worker
from rlkit_core.envs.gym_vectors.processes import EnvProcesses
from rlkit_core.envs.gym_vectors.worker import NO_STEP, Envs, Stepped
from rlkit_core.envs.make import spaces_of
from rlkit_core.envs.resume.promise import not_exact_by_env
from rlkit_core.envs.resume.recorded import Recorded
from rlkit_core.envs.vector import (
    MISFITS,
    Rows,
    SeedSource,
    action_splitter,
    batch_writer,
    row_writer,
)
from rlkit_core.errors import EnvError
from rlkit_core.spaces import flat_leaves, nested_map

_FAILURES = (Failure, ChildProcessError, TimeoutError)


class SeparateVectorEnv:
    """N envs in a process each, with observations in shared memory; reset in the step that ends their episode.

    Rows are those of :class:`~rlkit_core.envs.vector.InlineVectorEnv`, to the last bit.

    Args:
        factories: one function per env that makes it, called in its process.
        example: an env that one of them has made, in this process; what is asked of it are spaces and wrappers.
        next_seed: as for :class:`~rlkit_core.envs.vector.InlineVectorEnv`.
        info_metrics: names of numbers in ``info`` that are kept where an episode ends.
        timeout_s: seconds after which a step, a reset or the making of an env counts as failed, and its process is
            killed; None: it is waited for as long as it takes.

    Raises:
        EnvError: an env cannot be made, or the envs' spaces differ.
    """

    same_step_reset = replays = resets_one = restarts_one = True

    def __init__(
        self,
        factories: Sequence[Callable[[], Any]],
        example: object,
        next_seed: SeedSource | None = None,
        info_metrics: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> None:
        self.num_envs = len(factories)
        self.observation_space, self.action_space = spaces_of(example)
        self.ended_infos: list[dict[str, float]] = []
        self._metrics = tuple(info_metrics)
        self._next_seed = next_seed
        self._name, self._not_exact = str(example), not_exact_by_env(example)
        self._split = action_splitter(self.action_space)
        self._write_row, self._write = row_writer(self.observation_space), batch_writer(self.observation_space)
        self._began = Beginnings(self.num_envs)
        memory = _memory(self.observation_space, self.num_envs)
        envs = Envs(self.num_envs, self.observation_space, self.action_space, memory, bool(self._metrics))
        self._shared: Rows = None if memory is None else envs.rows()
        self._each: list[Rows] = []
        if memory is not None:
            self._each = [nested_map(lambda rows, n=n: rows[n, ...], self._shared) for n in range(self.num_envs)]
        self.processes = EnvProcesses(factories, envs, timeout_s)
        made = self.processes.ask_all(worker.MAKE, [None] * self.num_envs)
        for n, answer in enumerate(made):
            if isinstance(answer, _FAILURES):
                self.close()
                raise self._error(n, answer, "when it was made")

    # -- resets ---------------------------------------------------------------------------------------------------

    def reset(self, seeds: Sequence[int | None], obs_out: Rows) -> list[Fault]:
        """Reset env n with ``seeds[n]``."""
        return self.reset_some(dict(enumerate(seeds)), obs_out)

    def reset_some(self, seeds: Mapping[int, int | None], obs_out: Rows) -> list[Fault]:
        """Reset env n with ``seeds[n]``, all at once."""
        for n, seed in seeds.items():
            self._began.begin(n, seed)
        faults = []
        answers = self.processes.ask(worker.RESET, seeds)
        for n, seed in seeds.items():
            error = self._show(n, answers[n], obs_out, f"at a reset with seed {seed}")
            if error is not None:
                faults.append(Fault(n, error, at_reset=True))
        return faults

    def restart(self, n: int, seed: int, obs_out: Rows) -> Fault | None:
        """See :class:`~rlkit_core.envs.vector.VectorEnv`; in its process, where that is there and it goes well."""
        if not self.processes.is_there(n):
            self.processes.begin(n)
        answer = self.processes.ask(worker.MAKE, {n: None})[n]
        if isinstance(answer, _FAILURES):
            fault = Fault(n, self._error(n, answer, "when it was made anew"), at_reset=True)
        else:
            faults = self.reset_some({n: seed}, obs_out)
            if not faults:
                return None
            fault = faults[0]
        self.processes.end(n)  # perhaps it is better off in another one
        return fault

    # -- steps ----------------------------------------------------------------------------------------------------

    def step(
        self,
        actions: object,
        obs_out: Rows,
        rewards_out: np.ndarray[Any, Any],
        terminateds_out: np.ndarray[Any, Any],
        truncateds_out: np.ndarray[Any, Any],
    ) -> list[tuple[int, Any]]:
        """Step every env once; see :class:`~rlkit_core.envs.vector.VectorEnv`."""
        split = self._split(actions)
        answers = self.processes.ask_all(worker.STEP, split)
        found: list[tuple[int, Any]] = []
        for n, answer in enumerate(answers):
            if type(answer) is not Stepped:
                found.append((n, Fault(n, self._error(n, answer, self._began.at_step(n, split[n])))))
                answers[n] = NO_STEP
        rewards_out[:], terminateds_out[:], truncateds_out[:], seen, infos = zip(*answers, strict=True)
        if self._shared is not None:
            self._write(obs_out, self._shared)
        else:
            failed = {n for n, _ in found}
            for n in range(self.num_envs):
                if n not in failed and (error := self._take(n, seen[n], obs_out)) is not None:
                    found.append((n, Fault(n, error)))
        dones = terminateds_out | truncateds_out
        if dones.any():
            self._end(dones, truncateds_out & ~terminateds_out, infos, obs_out, found)
        return found

    def _end(
        self, dones: Rows, cut: Rows, infos: Sequence[object], obs_out: Rows, found: list[tuple[int, Any]]
    ) -> None:
        """Episodes have ended: keep what is asked for of their last steps, and reset their envs."""
        failed = {n for n, _ in found}
        ended = [n for n in np.flatnonzero(dones).tolist() if n not in failed]
        for n in ended:
            if self._metrics:
                self.ended_infos.append(metrics_in(infos[n], self._metrics, f"env {n} ({self._name})"))
            if cut[n]:
                row = nested_map(lambda rows: rows[n], obs_out)  # noqa: B023
                found.append((n, own_copy(self.observation_space, row)))
        seeds = {n: None if self._next_seed is None else self._next_seed(n) for n in ended}
        found += [(fault.env, fault) for fault in self.reset_some(seeds, obs_out)]

    def _show(self, n: int, answer: object, obs_out: Rows, when: str) -> EnvError | None:
        """Write the observation of one env from its answer; what was wrong."""
        if isinstance(answer, _FAILURES):
            return self._error(n, answer, when)
        if self._shared is None:
            return self._take(n, answer, obs_out)
        self._write_row(obs_out, n, self._each[n])
        return None

    def _take(self, n: int, observation: object, obs_out: Rows) -> EnvError | None:
        """Write an observation that was sent."""
        try:
            self._write_row(obs_out, n, observation)
        except MISFITS as error:
            return misfit(n, self._name, self.observation_space, error)
        return None

    def _error(self, n: int, answer: object, when: str) -> EnvError:
        if isinstance(answer, Failure):
            error = answer.exception()
            return (
                misfit(n, self._name, self.observation_space, error)
                if answer.misfit
                else raised(n, self._name, when, error, answer.message)
            )
        assert isinstance(answer, (ChildProcessError, TimeoutError))
        hint = ""
        if isinstance(answer, TimeoutError):
            hint = "; it was killed, see fault_tolerance(sub_environment_timeout_s=...)"
        return told(f"env {n} ({self._name}) did not answer {when}: {answer}{hint}", answer)

    # -- open episodes --------------------------------------------------------------------------------------------

    def episode_seeds(self) -> list[int | None]:
        """See :class:`~rlkit_core.envs.vector.VectorEnv`."""
        return self._began.seeds()

    def own_states(self) -> list[list[Any] | None]:
        """See :class:`~rlkit_core.envs.vector.VectorEnv`."""
        states: list[list[Any] | None] = []
        for n, answer in enumerate(self.processes.ask_all(worker.OWN_STATE, [None] * self.num_envs)):
            if isinstance(answer, Failure):
                raise self._error(n, answer, "in get_state()")
            states.append(None if isinstance(answer, _FAILURES) else answer)  # its next step tells of it
        return states

    def not_exact(self) -> list[str]:
        """See :class:`~rlkit_core.envs.vector.VectorEnv`."""
        return list(self._not_exact)

    def resume(self, episodes: Sequence[Recorded | str], obs_out: Rows) -> list[str | None]:
        """See :class:`~rlkit_core.envs.vector.VectorEnv`; all envs are replayed side by side."""
        there = {n: one for n, one in enumerate(episodes) if isinstance(one, Recorded)}
        times = 1 + max((one.length for one in there.values()), default=0)
        answers = self.processes.ask(worker.RESUME, there, times=times)
        problems: list[str | None] = []
        for n, episode in enumerate(episodes):
            if isinstance(episode, str):
                problems.append(episode)
                continue
            answer = answers[n]
            observation, problem = (None, None) if isinstance(answer, _FAILURES) else answer
            if problem is None:
                error = self._show(n, answer if isinstance(answer, _FAILURES) else observation, obs_out, "in a replay")
                problem = None if error is None else str(error)
            if problem is None:
                self._began.resumed(n, episode.seed)
            problems.append(problem)
        return problems

    def close(self) -> None:
        """Close every env, and end its process."""
        self.processes.close()


def _memory(space: gym.Space[Any], num_envs: int) -> Any:
    """Shared memory for N observations; None where they have no fixed arrays, or gymnasium does not know the space."""
    if not all(has_array(leaf) for _, leaf in flat_leaves(space)):
        return None
    try:
        return create_shared_memory(space, num_envs, multiprocessing.get_context())  # type: ignore[arg-type]
    except gym.error.CustomSpaceError:
        return None
