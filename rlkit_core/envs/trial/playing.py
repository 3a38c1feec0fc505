"""Playing an env with random actions, with an eye on what it does to what it is given, and what it gives."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from attrs import define, field

from rlkit_core.data.nested import Nested, leaves
from rlkit_core.envs.checks.leaves import LeafChecks
from rlkit_core.envs.checks.returned import ReturnedError, check_reset, check_step
from rlkit_core.envs.vector import own_actions
from rlkit_core.findings import Finding, Level
from rlkit_core.spaces import flat_leaves, map_space

_RESET_FIX = "def reset(self, *, seed=None, options=None): super().reset(seed=seed); ...; return observation, {}"


@define(eq=False)
class Trace:
    """What an env did in some steps.

    Attributes:
        shown: a print of each observation, in order, resets included; with a step's reward and flags.
        rewards: of each step.
        lengths: of the episodes that ended.
        terminated, truncated: how many of them so.
        step_seconds, reset_seconds: what all of them took.
        resets: how many there were.
        largest: the largest absolute value of the float leaves of observations.
        findings: what was seen of single steps, by kind: the first of each.
        stopped: it could not go on.
    """

    shown: list[object] = field(factory=list)
    rewards: list[float] = field(factory=list)
    lengths: list[int] = field(factory=list)
    terminated: int = 0
    truncated: int = 0
    step_seconds: float = 0.0
    reset_seconds: float = 0.0
    resets: int = 0
    largest: float = 0.0
    findings: dict[str, Finding] = field(factory=dict)
    stopped: bool = False

    def find(self, kind: str, level: Level, what: str, fix: str) -> None:
        """Keep the first finding of a kind."""
        self.findings.setdefault(kind, Finding(kind, level, what, fix))


class Player:
    """Plays one env.

    Args:
        env: the env.
        space, actions: its spaces.
    """

    def __init__(self, env: gym.Env[Any, Any], space: gym.Space[Any], actions: gym.Space[Any]) -> None:
        self.env, self._space, self._actions = env, space, actions
        self._checks = LeafChecks(space)

    def play(
        self,
        steps: int,
        *,
        seed: int,
        action_seed: int = 0,
        scribble: bool = False,
        between: Callable[[], object] | None = None,
        watch: bool = False,
    ) -> Trace:
        """Take so many steps, from a reset with a seed.

        Args:
            steps: at most; fewer where it cannot go on.
            seed: of the first reset; the k-th has ``seed + k``.
            action_seed: of the actions.
            scribble: write over all that was given and returned, once it has been looked at.
            between: is called between any two steps.
            watch: look at what it does to actions, and to what it returned before.
        """
        trace = Trace()
        actions = copy.deepcopy(self._actions)
        actions.seed(action_seed)
        observation, length = self._reset(trace, seed), 0
        while len(trace.rewards) < steps and not trace.stopped:
            kept = copy.deepcopy(observation) if watch else None
            given = _choose(actions, self._space, observation)
            if scribble:
                _write_over(observation)
            sent = own_actions(given)
            begun = time.perf_counter()
            try:
                result = self.env.step(sent)
            except Exception as error:
                self._raised(trace, f"step {len(trace.rewards)}", f"step({given!r})", error)
                break
            trace.step_seconds += time.perf_counter() - begun
            if watch:
                self._watch(trace, given, sent, observation, kept)
            if scribble:
                _write_over(sent)
            if not self._take(trace, result):
                break
            observation, _, terminated, truncated, _ = result
            length += 1
            if terminated or truncated:
                trace.lengths.append(length)
                trace.terminated += bool(terminated)
                trace.truncated += bool(truncated)
                observation, length = self._reset(trace, seed + len(trace.lengths)), 0
            if between is not None:
                between()
        return trace

    def reset_unseeded(self, trace: Trace) -> object:
        """A print of what a reset without a seed shows."""
        return print_of(self._space, self._reset(trace, None))

    def _reset(self, trace: Trace, seed: int | None) -> Any:
        begun = time.perf_counter()
        try:
            result = self.env.reset(seed=seed)
            observation = check_reset(result, self._space)
        except ReturnedError as error:
            self._contract(trace, error)
            return None
        except Exception as error:
            self._raised(trace, "a reset", f"reset(seed={seed})", error)
            return None
        trace.reset_seconds += time.perf_counter() - begun
        trace.resets += 1
        self._look(trace, observation, "at a reset")
        trace.shown.append(print_of(self._space, observation))
        return observation

    def _take(self, trace: Trace, result: tuple[Any, ...]) -> bool:
        try:
            check_step(result, self._space)
        except ReturnedError as error:
            self._contract(trace, error)
            return False
        observation, reward, terminated, truncated, _ = result
        where = f"at step {len(trace.rewards)}"
        self._look(trace, observation, where)
        value = float(np.asarray(reward).item())
        if not np.isfinite(value):
            trace.find("finite", "error", f"the reward {value} {where}", "return finite rewards: look at divisions")
        trace.rewards.append(value)
        trace.shown.append((print_of(self._space, observation), value, bool(terminated), bool(truncated)))
        return True

    def _look(self, trace: Trace, observation: Nested, where: str) -> None:
        """Whether an observation is what its space says, and what the trainer asks for beyond that."""
        bad, _ = self._checks.problem(observation)
        if bad:
            trace.find("finite", "error", f"{bad} {where}", "replace such values, or end the episode before them")
        for path, leaf, value in _parts(self._space, observation):
            name = f" {path!r}" if path else ""
            if not isinstance(leaf, gym.spaces.Box):
                continue
            array = np.asarray(value, leaf.dtype)
            if np.issubdtype(leaf.dtype, np.floating) and array.size and np.isfinite(array).all():
                trace.largest = max(trace.largest, float(np.abs(array).max()))
            if not bool(((array >= leaf.low) & (array <= leaf.high) | np.isnan(array.astype(float))).all()):
                worst = array[(array < leaf.low) | (array > leaf.high)].reshape(-1)[0]
                what = f"an observation{name} outside of its Box {where}: {worst}"
                trace.find("bounds", "warning", what, "clip it, or declare the bounds that it has")
        extra = sorted(map(str, _extra_keys(self._space, observation)))
        if extra:
            what = f"observations have {', '.join(extra)}, which the space does not name: nobody sees it"
            fix = "declare it in observation_space (an action_mask too), or leave it out"
            trace.find("extra keys", "warning", what, fix)

    def _watch(self, trace: Trace, given: Nested, sent: Nested, before: Nested, kept: Nested) -> None:
        where = f"at step {len(trace.rewards)}"
        if not _same(given, sent):
            what = f"step() changed the action that it was given, {where}: {given!r} became {sent!r}"
            fix = "copy it first: action = np.array(action); rlkit gives each env a copy, other libraries do not"
            trace.find("action changed", "warning", what, fix)
        if not _same(before, kept):
            what = f"the observation returned before changed {where}: the env has one buffer for all"
            fix = "return self.buffer.copy(); rlkit copies at once, other libraries and wrappers keep what they get"
            trace.find("shared buffer", "warning", what, fix)

    def _contract(self, trace: Trace, error: ReturnedError) -> None:
        what, _, fix = str(error).rpartition("; ")
        trace.find("contract", "error", what or str(error), fix)
        trace.stopped = True

    def _raised(self, trace: Trace, where: str, call: str, error: Exception) -> None:
        unseeded = isinstance(error, TypeError) and "seed" in str(error)
        fix = _RESET_FIX if unseeded else "it must take every action of its action_space at every step"
        trace.find("raises", "error", f"{call} raised {type(error).__name__} at {where}: {error}", fix)
        trace.stopped = True


def print_of(space: gym.Space[Any], observation: Nested) -> object:
    """Something equal for equal observations only."""
    if observation is None:
        return None
    return tuple(
        np.asarray(value, leaf.dtype).tobytes() if leaf.dtype is not None and leaf.shape is not None else repr(value)
        for _, leaf, value in _parts(space, observation)
    )


def _parts(space: gym.Space[Any], observation: Nested) -> list[tuple[str, gym.Space[Any], Any]]:
    values: list[Any] = []
    map_space(lambda _, value: values.append(value), space, observation)
    return [(".".join(path), leaf, value) for (path, leaf), value in zip(flat_leaves(space), values, strict=True)]


def _extra_keys(space: gym.Space[Any], observation: Nested) -> Iterator[object]:
    if isinstance(space, gym.spaces.Dict):
        yield from (key for key in observation if key not in space.spaces)
        for key, child in space.spaces.items():
            yield from _extra_keys(child, observation[key])


def _choose(actions: gym.Space[Any], space: gym.Space[Any], observation: Nested) -> Any:
    """A random action, a legal one where the observation has a mask."""
    if isinstance(space, gym.spaces.Dict) and "action_mask" in space.spaces:
        mask = observation["action_mask"]
        if isinstance(actions, gym.spaces.Discrete):
            return actions.sample(mask=np.asarray(mask, np.int8))
        if isinstance(actions, gym.spaces.MultiDiscrete) and isinstance(mask, tuple):
            return actions.sample(mask=mask)
        if isinstance(actions, gym.spaces.MultiDiscrete) and actions.nvec.ndim == 1:
            parts = np.split(np.asarray(mask, np.int8), np.cumsum(actions.nvec)[:-1])
            return actions.sample(mask=tuple(parts))
    return actions.sample()


def _same(first: Nested, second: Nested) -> bool:
    return all(
        np.array_equal(a, b, equal_nan=getattr(a, "dtype", np.dtype(object)).kind == "f") if _is_array(a) else True
        for a, b in zip(leaves(first), leaves(second), strict=True)
    )


def _is_array(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype != object


def _write_over(value: Nested) -> None:
    for leaf in leaves(value):
        if isinstance(leaf, np.ndarray) and leaf.flags.writeable and leaf.dtype.kind in "biuf":
            leaf[...] = np.roll(leaf, 1) if leaf.size > 1 else 0
            leaf[...] = 1 - leaf if leaf.dtype.kind != "b" else ~leaf
