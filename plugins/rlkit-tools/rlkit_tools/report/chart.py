"""Curves as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import numpy as np
from attrs import frozen

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 300, 60, 24, 10, 42
COLOURS = 8
"""How many there are; the style of the page has them as ``s0``, ``s1``, and so on."""


@frozen
class Series:
    """One line with a band: arrays ``(N,)``. ``low`` and ``high`` are NaN where there is no band.

    ``number`` says which colour it has.
    """

    name: str
    number: int
    steps: Any
    middle: Any
    low: Any
    high: Any


def chart(series: Sequence[Series], label: str, target: float | None = None) -> str:
    """Curves over env steps, with a legend below.

    Args:
        series: at least one, each with at least one point.
        label: of the values.
        target: drawn as a dashed line.
    """
    steps = np.concatenate([one.steps for one in series])
    values = np.concatenate([part for one in series for part in (one.middle, one.low, one.high)])
    values = np.append(values[np.isfinite(values)], [] if target is None else [target])
    x_ticks, y_ticks = ticks(0.0, float(steps.max())), ticks(float(values.min()), float(values.max()))
    left, right, low, high = x_ticks[0], x_ticks[-1], y_ticks[0], y_ticks[-1]

    def x(value: float) -> float:
        return round(LEFT + (value - left) / (right - left) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    def points(steps: Any, values: Any) -> str:
        return " ".join(f"{x(a)},{y(b)}" for a, b in zip(steps, values, strict=True))

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)} over environment steps">']
    for tick in y_ticks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick)}" y2="{y(tick)}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4}" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        parts.append(f'<text x="{x(tick)}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{short(tick)}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 6}" text-anchor="middle">environment steps</text>')
    if target is not None:
        parts.append(f'<line class="target" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(target)}" y2="{y(target)}"/>')
    for one in series:
        colour = f"s{one.number % COLOURS}"
        if np.isfinite(one.low).all():
            outline = points([*one.steps, *one.steps[::-1]], [*one.high, *one.low[::-1]])
            parts.append(f'<polygon class="band {colour}" points="{outline}"/>')
        line = points(one.steps, one.middle)
        line = line if len(one.steps) > 1 else f"{line} {line}"  # a dot
        parts.append(f'<polyline class="{colour}" points="{line}"/>')
    return "".join([*parts, "</svg>", *_legend(series, target)])


def _legend(series: Sequence[Series], target: float | None) -> Iterator[str]:
    yield '<p class="legend">'
    for one in series:
        yield f'<span><i class="s{one.number % COLOURS}"></i>{escape(one.name)}</span> '
    yield "</p>" if target is None else f'<span><i class="target"></i>target {target:g}</span></p>'


def ticks(low: float, high: float) -> list[float]:
    """Round numbers, some five, from below ``low`` to above ``high``.

    >>> ticks(0.0, 4096.0)
    [0.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0]
    """
    span = (high - low) or abs(high) or 1.0
    size = 10.0 ** math.floor(math.log10(span / 4.0))
    step = next(size * factor for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if size * factor * 5.0 >= span)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(step * number, 10) for number in range(first, max(last, first + 1) + 1)]


def short(value: float) -> str:
    """``20k``, ``1.5M``."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
