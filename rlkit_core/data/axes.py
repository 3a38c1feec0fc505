"""Which axes the fields of a rollout have, as metadata of the fields."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

import attrs

Combine = Callable[[list[Any]], Any]
"""One value for several rollouts side by side, from those of each."""


class Axes(Enum):
    """The first axes of a field's tensors."""

    STEPS = "[T, N, ...]"
    SEQUENCES = "[G, N, ...], one row for every ``seq_len`` steps"
    ENVS = "[N, ...], what comes after the last step"
    FINALS = "[K, ...], what comes after the K steps of ``final_index``"
    NONE = "not a tensor: said of the whole rollout"


_AXES, _JOIN = "rlkit.axes", "rlkit.join"


def axes(kind: Axes, *, join: Combine | None = None) -> dict[str, Any]:
    """Metadata of a field of :class:`~rlkit_core.data.Rollout`, or of a class made from it.

    Args:
        kind: the axes of its tensors. A field with :attr:`Axes.FINALS` has a default, which stands where K is 0.
        join: of a field without tensors, its value for several rollouts side by side; the first one's unless given.
    """
    return {_AXES: kind, _JOIN: join}


def axes_of(attribute: attrs.Attribute[Any]) -> Axes:
    """The axes that a field declares.

    Raises:
        TypeError: it declares none.
    """
    try:
        kind: Axes = attribute.metadata[_AXES]
    except KeyError:
        raise TypeError(
            f"field {attribute.name!r} of a rollout does not say which axes it has; declare it with "
            f"field(default=None, metadata=axes(Axes.STEPS)), or with another of {', '.join(Axes.__members__)}"
        ) from None
    return kind


def side_by_side(attribute: attrs.Attribute[Any]) -> Combine | None:
    """How a field without tensors is joined along N; None: it is the first rollout's."""
    combine: Combine | None = attribute.metadata[_JOIN]
    return combine
