"""A running number over what envs have shown: two episodes with the same one went alike, but for a chance of 2**-64.

It is a polynomial modulo 2**64 over the bits of observations and rewards, so that it is computed over whole arrays, and
does not depend on how steps are cut into rollouts.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit_core.data.nested import Nested, leaves, map_leaves

Array = NDArray[Any]
Digests = NDArray[np.uint64]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_SHOWN = np.uint64(0xD6E8FEB86659FD93)
_EARNED = np.uint64(0xA0761D6478BD642F)


def _mixed(numbers: Digests) -> Digests:
    """Odd numbers that look random, the same on every machine."""
    x = numbers * _STEP
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Digests = (x ^ (x >> np.uint64(31))) | np.uint64(1)
    return mixed


_weights: Digests = np.empty(0, np.uint64)


def _weights_for(words: int) -> Digests:
    global _weights
    if len(_weights) < words:
        _weights = _mixed(np.arange(1, max(64, 2 * words) + 1, dtype=np.uint64))
    return _weights[:words]


def shown(observations: Nested) -> Digests:
    """A number for each observation.

    Args:
        observations: arrays ``[K, N, ...]``, nested or not.

    Returns:
        ``[K, N]`` uint64.
    """
    total: Digests | None = None
    for index, leaf in enumerate(leaves(observations)):
        one = _of_objects(leaf) if leaf.dtype == object else _of_numbers(leaf)
        one *= _mixed(np.array([index + 1], np.uint64))
        total = one if total is None else total + one
    assert total is not None
    return total


def _of_numbers(leaf: Array) -> Digests:
    lead = leaf.shape[:2]
    size = leaf.itemsize * int(np.prod(leaf.shape[2:], dtype=np.int64))
    if not size or not leaf.size:
        return np.zeros(lead, np.uint64)
    word = next(width for width in (8, 4, 2, 1) if not size % width)
    words = np.ascontiguousarray(leaf).reshape(*lead, -1).view(f"u{word}")
    result: Digests = words @ _weights_for(size // word)
    return result


def _of_objects(leaf: Array) -> Digests:
    numbers = [int.from_bytes(_object_digest(one), "little") for one in leaf.ravel()]
    return np.array(numbers, np.uint64).reshape(leaf.shape)


def _object_digest(value: object) -> bytes:
    """Of what has no fixed array: text, numbers, arrays, and tuples, lists and dicts of them."""
    hasher = hashlib.blake2b(digest_size=8)
    if isinstance(value, dict):
        parts = [part for key, one in value.items() for part in (repr(key).encode(), _object_digest(one))]
    elif isinstance(value, (tuple, list)):
        parts = [_object_digest(one) for one in value]
    elif isinstance(value, (np.ndarray, np.generic)):
        parts = [str((value.dtype.str, value.shape)).encode(), np.ascontiguousarray(value).tobytes()]
    else:
        parts = [repr(value).encode()]
    hasher.update(type(value).__name__.encode())
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return hasher.digest()


class RunningDigests:
    """The number of each env's open episode, over its observations and rewards so far.

    Args:
        num_envs: N.

    Attributes:
        values: ``[N]`` uint64.
    """

    def __init__(self, num_envs: int) -> None:
        self.values: Digests = np.zeros(num_envs, np.uint64)
        self._powers: Digests = np.ones(1, np.uint64)

    def begin(self, observations: Nested) -> None:
        """Begin with the first observations of an episode in each env, ``[N, ...]``."""
        self.values = shown(map_leaves(lambda leaf: leaf[None], observations))[0] * _SHOWN

    def add(self, observations: Nested, rewards: Array, dones: Array) -> tuple[Array, Array] | None:
        """Take in K steps; where an episode ended, what was seen after that step is the first of the next.

        Args:
            observations: ``[K, N, ...]``, after each step.
            rewards: ``[K, N]`` float32.
            dones: ``[K, N]`` bool.

        Returns:
            ``[N]`` bool, an episode of the env ended; and ``[N]``, how many of these steps belong to the open one. None
            where no episode ended at all.
        """
        steps = len(rewards)
        terms = shown(observations) * _SHOWN
        earned = np.ascontiguousarray(rewards).view(np.uint32) * _EARNED
        powers = self._powers_of(steps)
        after = powers[:steps][::-1, None]
        if not dones.any():
            terms += earned
            self.values = self.values * powers[steps] + (terms * after).sum(0, dtype=np.uint64)
            return None
        terms += np.where(dones, np.uint64(0), earned)
        ended: Array = np.logical_or.reduce(dones, axis=0)
        since = np.where(ended, np.argmax(dones[::-1], axis=0), steps)
        counts = np.arange(steps)[:, None] >= steps - 1 - since
        before = np.where(ended, np.uint64(0), self.values * powers[steps])
        self.values = before + np.where(counts, terms * after, np.uint64(0)).sum(0, dtype=np.uint64)
        return ended, since

    def _powers_of(self, steps: int) -> Digests:
        """``_STEP ** 0, ..., _STEP ** steps``."""
        if len(self._powers) <= steps:
            powers = np.full(max(64, steps) + 1, _STEP, np.uint64)
            powers[0] = 1
            self._powers = np.cumprod(powers, dtype=np.uint64)
        return self._powers
