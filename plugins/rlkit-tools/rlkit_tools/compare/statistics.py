"""Interquartile means and what is known of them from a few runs.

Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (2021).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES, LEVEL = 2000, 0.95


def interquartile_mean(scores: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the middle half along the last axis, ``(..., N)`` to ``(...)``: ``N // 4`` are cut at both ends."""
    ordered = np.sort(np.asarray(scores, np.float64), axis=-1)
    cut = ordered.shape[-1] // 4
    return np.asarray(ordered[..., cut : ordered.shape[-1] - cut].mean(-1))


def interval(scores: Sequence[float], *, seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the interquartile mean of N runs; NaN of a single one."""
    if len(scores) < 2:
        return math.nan, math.nan
    values = np.asarray(scores, np.float64)
    drawn = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    tail = 100.0 * (1.0 - LEVEL) / 2.0
    low, high = np.percentile(interquartile_mean(values[drawn]), [tail, 100.0 - tail])
    return float(low), float(high)
