"""What every observation has to be, leaf by leaf: finite, and a choice that there is; looked at over whole arrays."""

from __future__ import annotations

import math
import reprlib
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from attrs import frozen

from rlkit_core.data.nested import Nested, has_array
from rlkit_core.spaces import describe, flat_leaves, map_space

Array = np.ndarray[Any, Any]


class LeafCheck(Protocol):
    """What is asked of one leaf."""

    @property
    def finite(self) -> bool:
        """It is about NaN and infinity."""
        ...

    def holds(self, values: Array) -> bool:
        """Whether ``[..., *shape]`` are well; False also where only a sum, of them or of squares, has overflown."""
        ...

    def problem(self, value: Array) -> str:
        """What is wrong with one of them, ``[*shape]``; "" where nothing is."""
        ...


@frozen(eq=False)
class IsFinite:
    """Numbers are neither NaN nor infinite."""

    what: str
    wide: type[Any] | None = None  # what a sum of narrow numbers is taken in
    finite = True

    def holds(self, values: Array) -> bool:
        """See :class:`LeafCheck`."""
        if self.wide is not None:
            return math.isfinite(np.add.reduce(values, axis=None, dtype=self.wide))
        values = values.ravel()
        return math.isfinite(values.dot(values))  # the quickest look at a few numbers

    def problem(self, value: Array) -> str:
        """See :class:`LeafCheck`."""
        if np.isfinite(value).all():
            return ""
        return f"a non-finite {self.what} ({np.array2string(value, threshold=12)})"


@frozen(eq=False)
class IsAChoice:
    """Integers are among those of a Discrete, MultiDiscrete or MultiBinary space.

    Attributes:
        space: the space.
        start: the first of them, as the space has it; None where it is 0.
        counts: how many there are, unsigned.
    """

    what: str
    space: gym.Space[Any]
    start: Array | None
    counts: Array
    finite = False

    @classmethod
    def of(cls, what: str, space: gym.Space[Any]) -> IsAChoice | None:
        """For a space of choices; None for another."""
        start: Any = 0
        if isinstance(space, gym.spaces.Discrete):
            start, counts = space.start, space.n
        elif isinstance(space, gym.spaces.MultiDiscrete):
            start, counts = getattr(space, "start", 0), space.nvec
        elif isinstance(space, gym.spaces.MultiBinary):
            counts = 2
        else:
            return None
        dtype = np.dtype(space.dtype)
        unsigned = np.dtype(f"u{dtype.itemsize}")
        first = np.asarray(start, dtype) if np.any(start) else None
        return cls(what, space, first, np.asarray(counts).astype(unsigned))

    def holds(self, values: Array) -> bool:
        """See :class:`LeafCheck`."""
        if self.start is not None:
            values = values - self.start
        # What is below the first becomes a large number.
        largest = values.view(self.counts.dtype)
        if not self.counts.ndim:
            return bool(np.maximum.reduce(largest, axis=None) < self.counts)
        lead = tuple(range(values.ndim - self.counts.ndim))
        return bool((np.maximum.reduce(largest, axis=lead) < self.counts).all())

    def problem(self, value: Array) -> str:
        """See :class:`LeafCheck`."""
        if self.holds(value[None]):
            return ""
        article = "an" if self.what.startswith("o") else "a"
        return f"{article} {self.what} that is not in its space, {describe(self.space)}: {reprlib.repr(value)}"


class LeafChecks:
    """The checks of all leaves of a space.

    Args:
        space: of observations.
        what: what messages call one.

    Attributes:
        each: one for each leaf, in the space's order; None of those with nothing to be looked at.
    """

    def __init__(self, space: gym.Space[Any], what: str = "observation") -> None:
        self._space = space
        paths = ((".".join(path), leaf) for path, leaf in flat_leaves(space))
        self.each = [_check_of(f"{what} {path!r}" if path else what, leaf) for path, leaf in paths]

    def hold(self, observations: Nested) -> bool:
        """Whether all of them, ``[N, ...]``, are well; False also where only a sum of them has overflown."""
        values: list[Any] = []
        map_space(lambda _, value: values.append(value), self._space, observations)
        return all(check is None or check.holds(value) for check, value in zip(self.each, values, strict=True))

    def problem(self, observation: Nested) -> tuple[str, bool]:
        """What is wrong with one observation, "" if nothing is; and whether that is about NaN and infinity."""
        values: list[Any] = []  # in the space's order, which need not be the observation's
        map_space(lambda _, value: values.append(value), self._space, observation)
        for check, value in zip(self.each, values, strict=True):
            problem = "" if check is None else check.problem(np.asarray(value))
            if check is not None and problem:
                return problem, check.finite
        return "", False


def _check_of(what: str, space: gym.Space[Any]) -> LeafCheck | None:
    if not has_array(space):
        return None
    dtype = np.dtype(space.dtype)
    if dtype.kind == "f":
        return IsFinite(what, np.float32 if dtype.itemsize < 4 else None)
    return IsAChoice.of(what, space)
