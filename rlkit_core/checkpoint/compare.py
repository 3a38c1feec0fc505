"""Whether two checkpoints hold the same, bit for bit, component by component."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from attrs import frozen

from rlkit_core.checkpoint.saved_component import SavedComponent
from rlkit_core.checkpoint.tree import EncodedTree

CLOCKS = frozenset({"saved_at", "started_at", "plugin_seconds", "seconds", "timers"})
"""Keys of what a clock wrote, which differs from one time to the next."""


@frozen
class Difference:
    """Something that two checkpoints do not have alike.

    Attributes:
        component: path of the component, ``""`` for the outermost one.
        name: of an array, or the path of keys to a value.
        text: what differs, and by how much.
    """

    component: str
    name: str
    text: str


def differences(one: SavedComponent, other: SavedComponent, component: str = "") -> Iterator[Difference]:
    """Yield what differs, outer components first: the two sides in the texts are in this order.

    What was written by a clock is left out, and so are versions and hashes.
    """
    if one.class_ref != other.class_ref:
        yield Difference(component, "class", f"{one.class_ref} and {other.class_ref}")
    yield from _of_values(one.ctor, other.ctor, component, "arguments")
    yield from differences_of_trees(one.tree, other.tree, component)
    for index, (a, b) in enumerate(zip(one.tree.segments, other.tree.segments, strict=False)):
        if a.sha256 != b.sha256:  # how many there are is in the document
            yield Difference(component, f"segment {index}", f"files of {a.size:,} and {b.size:,} bytes differ")
    for name in [*one.components, *(name for name in other.components if name not in one.components)]:
        inside = f"{component}/{name}" if component else name
        if name not in one.components or name not in other.components:
            yield Difference(inside, "component", f"only the {'first' if name in one.components else 'second'} has it")
        else:
            yield from differences(one.components[name], other.components[name], inside)


def differences_of_trees(one: EncodedTree, other: EncodedTree, component: str) -> Iterator[Difference]:
    """The same of two state trees of a component, but for what is in their segments."""
    yield from _of_values(one.document, other.document, component, "")
    yield from _of_arrays(one.tensors, other.tensors, component)


def components_of(snapshot: SavedComponent, component: str = "") -> Iterator[tuple[str, SavedComponent]]:
    """Every component with its path, outer ones first."""
    yield component, snapshot
    for name, part in snapshot.components.items():
        yield from components_of(part, f"{component}/{name}" if component else name)


def count_arrays(snapshot: SavedComponent) -> dict[str, int]:
    """How many arrays each component that has any holds, by its path."""
    found = {"": len(snapshot.tree.tensors)}
    for name, part in snapshot.components.items():
        found.update({f"{name}/{path}".rstrip("/"): count for path, count in count_arrays(part).items()})
    return {path: count for path, count in found.items() if count}


def _of_arrays(
    one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor], component: str
) -> Iterator[Difference]:
    for name in [*one, *(name for name in other if name not in one)]:
        if name not in one or name not in other:
            yield Difference(component, name, f"only the {'first' if name in one else 'second'} has this array")
            continue
        a, b = one[name], other[name]
        if a.dtype != b.dtype or a.shape != b.shape:
            yield Difference(component, name, f"{_described(a)} and {_described(b)}")
        elif not torch.equal(_bytes(a), _bytes(b)):
            yield Difference(component, name, _by_how_much(a, b))


def _bytes(array: torch.Tensor) -> torch.Tensor:
    """The bits, in which NaNs are equal to themselves and the two zeros differ."""
    return array.contiguous().reshape(-1).view(torch.uint8)


def _described(array: torch.Tensor) -> str:
    return f"{str(array.dtype).removeprefix('torch.')} of shape {tuple(array.shape)}"


def _by_how_much(a: torch.Tensor, b: torch.Tensor) -> str:
    differs = (_bytes(a) != _bytes(b)).reshape(a.numel(), -1).any(dim=1)
    count = f"{int(differs.sum()):,} of {a.numel():,} numbers differ"
    if a.dtype == torch.bool or a.is_complex():
        return count
    gap = (a.double() - b.double()).abs().reshape(-1)[differs]
    finite = gap[torch.isfinite(gap)]
    if finite.numel() == 0:
        return f"{count}, some are not finite"
    return f"{count}, by up to {float(finite.max()):.3g}"


def _of_values(one: object, other: object, component: str, path: str) -> Iterator[Difference]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            inside = f"{path}/{key}" if path else str(key)
            if key in CLOCKS:
                continue
            if key not in one or key not in other:
                yield Difference(component, inside, f"only the {'first' if key in one else 'second'} has it")
            else:
                yield from _of_values(one[key], other[key], component, inside)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from _of_values(*pair, component, f"{path}/{index}")
    elif type(one) is not type(other) or one != other:
        yield Difference(component, path or "state", f"{_short(one)} and {_short(other)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
