"""What ``reset()`` and ``step()`` of one env return, looked at closely where an env does so for the first time.

Once an env's first reset, its first step and its first end of an episode are well, nothing is looked at any more: what
it costs is paid there.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core.envs.checks.misfits import misfit
from rlkit_core.errors import EnvError

Step = Callable[[Any], Any]

_FLAGS = ("terminated", "truncated")


class ReturnedError(EnvError):
    """What an env returned is not what it should be.

    Attributes:
        at_first: it was the first of its kind that came of this env.
    """

    at_first = False


class NoChoiceError(ReturnedError):
    """An observation is no choice of its space; found out over whole arrays, it says of which step."""


def check_reset(result: object, space: gym.Space[Any]) -> Any:
    """The observation of what ``reset()`` returned.

    Raises:
        ReturnedError: it is no pair of an observation that fits the space and a dict.
    """
    if not isinstance(result, tuple) or len(result) != 2 or not (result[1] is None or isinstance(result[1], Mapping)):
        raise ReturnedError(
            f"reset() should return (observation, info), info a dict, and gave {_shape_of(result)}; "
            "return observation, {}"
        )
    check_observation(result[0], space)
    return result[0]


def check_observation(observation: object, space: gym.Space[Any], what: str = "its observation") -> None:
    """Raises ReturnedError: an observation does not fit its space."""
    problem = misfit(space, observation)
    if problem is not None:
        raise ReturnedError(f"{what} does not fit its observation_space: it {problem}")


def check_step(result: object, space: gym.Space[Any]) -> bool:
    """Look at what ``step()`` returned.

    Returns:
        Whether its reward and its flags are plain numbers, and not arrays of one.

    Raises:
        ReturnedError: it is not ``(observation, reward, terminated, truncated, info)`` with an observation that fits
            the space, a number, two bools and a dict.
    """
    if not isinstance(result, tuple) or len(result) != 5:
        fix = "return observation, reward, terminated, truncated, info"
        if isinstance(result, tuple) and len(result) == 4:
            fix = "its 'done' is two flags since gym 0.26: terminated, and truncated for a limit of time"
        raise ReturnedError(
            "step() should return (observation, reward, terminated, truncated, info), and gave "
            f"{_shape_of(result)}; {fix}"
        )
    observation, reward, terminated, truncated, info = result
    check_observation(observation, space)
    plain = [_is_plain(reward, "its reward", "biuf", "a number", "float(reward)")]
    for name, flag in zip(_FLAGS, (terminated, truncated), strict=True):
        plain.append(_is_plain(flag, name, "b", "True or False", f"bool({name})"))
    if not (info is None or isinstance(info, Mapping)):
        raise ReturnedError(f"its info should be a dict, and is {_seen(info)}; return {{}} where there is nothing")
    return all(plain)


def _is_plain(value: object, what: str, kinds: str, wanted: str, fix: str) -> bool:
    """Whether a scalar is none that ``numpy`` has to be asked to take apart."""
    try:
        array = np.asarray(value)
    except Exception as error:
        raise ReturnedError(f"{what} should be {wanted}, and is {_seen(value)}: {error}; return {fix}") from error
    if array.size != 1:
        raise ReturnedError(f"{what} should be {wanted}, and is {_seen(value)}; a vector env goes by another way")
    if array.dtype.kind not in kinds:
        raise ReturnedError(f"{what} should be {wanted}, and is {_seen(value)}; return {fix}")
    return array.ndim == 0 and isinstance(value, (int, float, np.generic, np.ndarray))


class FirstLooks:
    """Looks closely at what N envs return, each until it has shown that it returns what it should.

    Args:
        space: of one env's observations.
        num_envs: N.
    """

    def __init__(self, space: gym.Space[Any], num_envs: int) -> None:
        self._space = space
        self._resets, self._ends = [0] * num_envs, [False] * num_envs

    def begin(self, n: int) -> None:
        """Env n is another one now."""
        self._resets[n], self._ends[n] = 0, False

    def reset(self, n: int, result: tuple[Any, Any]) -> Any:
        """The observation of what ``reset()`` of env n returned; its first two are looked at."""
        if self._resets[n] < 2:
            with _at_first():
                check_reset(result, self._space)
            self._resets[n] += 1
        return result[0]

    def end(self, n: int, observation: object) -> None:
        """An episode of env n has ended with an observation; the first one is looked at."""
        if not self._ends[n]:
            with _at_first():
                check_observation(observation, self._space, "the last observation of an episode")
            self._ends[n] = True

    def step(self, step: Step, seen: Callable[[Step], None]) -> Step:
        """A step in the place of an env's own that looks at what comes.

        Args:
            step: the env's own.
            seen: is told, after the first that was well, what to call from then on: ``step``, or, where it gives
                arrays of one number for its reward or flags, what makes plain ones of them.
        """

        def first(action: object) -> Any:
            result = step(action)
            with _at_first():
                plain = check_step(result, self._space)
            if plain:
                seen(step)
                return result
            seen(of_arrays)
            return _plainly(result)

        def of_arrays(action: object) -> Any:
            return _plainly(step(action))

        return first


@contextmanager
def _at_first() -> Iterator[None]:
    try:
        yield
    except ReturnedError as error:
        error.at_first = True
        raise


def taken_apart(result: object, space: gym.Space[Any]) -> Any:
    """What a step returned, with plain numbers in the place of arrays of one.

    Raises:
        ReturnedError: see :func:`check_step`.
    """
    check_step(result, space)
    assert isinstance(result, tuple)
    return _plainly(result)


def _plainly(result: tuple[Any, ...]) -> Any:
    observation, reward, terminated, truncated, info = result
    return observation, np.asarray(reward).item(), np.asarray(terminated).item(), np.asarray(truncated).item(), info


def check_one_object_each(envs: object) -> None:
    """Raises EnvError: two envs, or what they wrap, are the same object."""
    known: dict[int, int] = {}
    for n, env in enumerate(envs if isinstance(envs, (list, tuple)) else [envs]):
        other = known.setdefault(id(inmost(env)), n)
        if other != n:
            raise EnvError(
                f"envs {other} and {n} ({env}) are one and the same object, so that their episodes would be mixed up; "
                "the function that makes an env has to make a new one each time it is called: not lambda: env, but "
                "lambda: MyEnv()"
            )


def inmost(env: object) -> object:
    """The env inside of its wrappers."""
    try:
        return getattr(env, "unwrapped", env)
    except Exception:  # a property of somebody's
        return env


def _shape_of(result: object) -> str:
    if isinstance(result, tuple):
        return f"a tuple of {len(result)}: ({', '.join(_seen(part) for part in result[:6])})"
    return _seen(result)


def _seen(value: object) -> str:
    shape = getattr(value, "shape", None)
    if isinstance(value, np.ndarray) or (shape is not None and not isinstance(value, np.generic)):
        return f"an array of shape {shape}"
    return f"a {type(value).__name__}: {reprlib.repr(value)}"
