"""What the process of one env does: it makes the env, and steps and resets it when it is asked to."""

from __future__ import annotations

import contextlib
import random
import signal
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from attrs import frozen
from gymnasium.vector.utils import CloudpickleWrapper, read_from_shared_memory

from rlkit_core.envs.checks.returned import FirstLooks, taken_apart
from rlkit_core.envs.faults.elsewhere import Failure
from rlkit_core.envs.make import spaces_of
from rlkit_core.envs.resume.own_state import get_own_state
from rlkit_core.envs.resume.recorded import Recorded
from rlkit_core.envs.resume.replay import UnlikeError, resume_env
from rlkit_core.envs.vector import MISFITS, action_splitter, row_writer
from rlkit_core.errors import EnvError

MAKE, RESET, STEP, RESUME, OWN_STATE, CLOSE = "make", "reset", "step", "resume", "own state", "close"
"""What can be asked for; a :class:`~rlkit_core.envs.faults.elsewhere.Failure` is the answer where it fails."""


class Stepped(NamedTuple):
    """The answer to a step; the observation is None where it lies in shared memory."""

    reward: float
    terminated: bool
    truncated: bool
    observation: Any
    info: Any


NO_STEP = Stepped(0.0, False, False, None, None)


@frozen(eq=False)
class Envs:
    """What all processes of a vector env know.

    Attributes:
        num_envs: N.
        observation_space, action_space: of one env.
        memory: for N observations, as ``gymnasium.vector.utils.create_shared_memory`` gives it; None: they are sent.
        infos: the infos of last steps are asked for.
    """

    num_envs: int
    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    memory: Any
    infos: bool

    def rows(self) -> Any:
        """Arrays ``[N, ...]`` of the memory, nested as the space is."""
        return read_from_shared_memory(self.observation_space, self.memory, n=self.num_envs)


class _MisfitError(Exception):
    """An observation does not fit; the cause says how."""


class EnvWorker:
    """One env in the process that it has for itself.

    Args:
        factory: makes the env.
        number: which of the envs it is.
        envs: what is common to all.
    """

    def __init__(self, factory: Callable[[], Any], number: int, envs: Envs) -> None:
        self._factory, self._number, self._envs = factory, number, envs
        self._write = row_writer(envs.observation_space)
        self._split = action_splitter(envs.action_space)
        self._rows = None if envs.memory is None else envs.rows()
        self._env: Any = None
        self._looks = FirstLooks(envs.observation_space, 1)
        self._env_step: Callable[[Any], Any] = self._step
        self._answers: dict[str, Callable[[Any], object]] = {
            MAKE: self._make,
            RESET: self._reset,
            STEP: self._step,
            RESUME: self._resume,
            OWN_STATE: lambda _: get_own_state(self._env),
        }

    def serve(self, pipe: Connection) -> None:
        """Answer until told to close, or until nobody is there any more."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                asked, content = pipe.recv()
                if asked == CLOSE:
                    break
                self._answer(pipe, self._answers[asked], content)
        self._close()

    def _answer(self, pipe: Connection, answer: Callable[[Any], object], content: object) -> None:
        try:
            pipe.send(answer(content))
        except _MisfitError as error:
            cause = error.__cause__
            assert isinstance(cause, Exception)
            pipe.send(Failure.of(cause, misfit=True, skipped=__file__))
        except Exception as error:  # the env's, or what it returned cannot be sent
            pipe.send(Failure.of(error, misfit=False, skipped=__file__))

    def _make(self, _: object) -> None:
        self._close()
        self._env = self._factory()
        if spaces_of(self._env) != (self._envs.observation_space, self._envs.action_space):
            raise EnvError(f"env {self._number} ({self._env}) has other spaces than the others")
        self._looks.begin(0)
        self._env_step = self._looks.step(self._env.step, partial(setattr, self, "_env_step"))

    def _reset(self, seed: int | None) -> Any:
        _seed_generators(seed)
        return self._shown(self._looks.reset(0, self._env.reset(seed=seed)))

    def _step(self, action: object) -> Stepped:
        result = self._env_step(action)
        try:
            observation, reward, terminated, truncated, info = result
            reward, terminated, truncated = float(reward), bool(terminated), bool(truncated)
        except MISFITS:
            observation, reward, terminated, truncated, info = taken_apart(result, self._envs.observation_space)
        if terminated or truncated:
            self._looks.end(0, observation)
        wanted = info if self._envs.infos and (terminated or truncated) else None
        return Stepped(reward, terminated, truncated, self._shown(observation), wanted)

    def _resume(self, episode: Recorded) -> tuple[Any, str | None]:
        try:
            space = self._envs.observation_space
            _seed_generators(episode.seed)
            return self._shown(resume_env(self._env, episode, space, self._write, self._split)), None
        except UnlikeError as error:
            return None, str(error)

    def _shown(self, observation: object) -> Any:
        """Put an observation where it is looked for: None, or itself to be sent."""
        if self._rows is None:
            return observation
        try:
            self._write(self._rows, self._number, observation)
        except MISFITS as error:
            raise _MisfitError from error
        return None

    def _close(self) -> None:
        env, self._env = self._env, None
        if env is not None:
            with contextlib.suppress(Exception):
                env.close()


def _seed_generators(seed: int | None) -> None:
    """Let an env that draws from ``random`` or ``np.random``, which are its own here, be as its episode's seed says."""
    if seed is not None:
        random.seed(seed)
        np.random.seed(seed % 2**32)


def run(pipe: Connection, others: Sequence[Connection], factory: CloudpickleWrapper, number: int, envs: Envs) -> None:
    """The process: what comes through ``pipe`` is answered until its other end is closed.

    Args:
        pipe: this process's end.
        others: ends that are not this process's, to be closed.
        factory, number, envs: see :class:`EnvWorker`.
    """
    for other in others:
        other.close()
    # Signals for the run are the run's business: it may go on for a while, with its envs.
    signal.set_wakeup_fd(-1)
    for name, action in (("SIGINT", signal.SIG_IGN), ("SIGHUP", signal.SIG_IGN), ("SIGTERM", signal.SIG_DFL)):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), action)
    EnvWorker(factory, number, envs).serve(pipe)
