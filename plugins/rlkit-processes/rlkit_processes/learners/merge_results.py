"""Results of several learners as those of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rlkit_core.learner.metrics import Key, Reduce, put

_COMBINE: dict[Reduce, Callable[[list[float]], float]] = {
    "sum": sum,
    "lifetime_sum": sum,
    "min": min,
    "max": max,
    "last": lambda values: values[0],
}
#: The metric of a module that says how many steps a learner's means are over.
STEPS = "num_module_steps_trained"


def merge_results(results: Sequence[tuple[dict[str, Any], Mapping[Key, Reduce]]]) -> dict[str, Any]:
    """One result from ``(result, how each metric is reduced)`` of every learner.

    Sums are added, smallest and largest taken, means averaged by the steps that each learner trained on; of what is
    only noted (``last``) the first learner's counts. One result is returned as it is.
    """
    if len(results) == 1:
        return results[0][0]
    found: dict[Key, list[float]] = {}
    weights: dict[Key, list[float]] = {}
    kinds: dict[Key, Reduce] = {}
    for result, how in results:
        kinds = {**how, **kinds}
        for path, value in _flat(result):
            found.setdefault(path, []).append(value)
            weights.setdefault(path, []).append(result[path[0]].get(STEPS, 1.0) if len(path) > 1 else 1.0)
    merged: dict[str, Any] = {}
    for path, values in found.items():
        kind = kinds.get(path, "mean")
        put(merged, path, _mean(values, weights[path]) if kind == "mean" else _COMBINE[kind](values))
    return merged


def _mean(values: list[float], weights: list[float]) -> float:
    total = sum(weights)
    if total <= 0:
        return sum(values) / len(values)
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / total


def _flat(nested: Mapping[str, Any], path: Key = ()) -> Iterator[tuple[Key, float]]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flat(value, (*path, key))
        else:
            yield (*path, key), value
