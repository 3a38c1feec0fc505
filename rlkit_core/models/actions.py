"""Raw actions as inputs of a network: plain numbers as they are, choices as one-hot vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from gymnasium import spaces

from rlkit_core.distributions.units import size_of
from rlkit_core.errors import ConfigError
from rlkit_core.spaces import at_path, flat_leaves

if TYPE_CHECKING:
    import gymnasium as gym

ActionPart = tuple[tuple[str, ...], tuple[int, ...] | None, int]
"""Of a leaf of an action: its path, the numbers of choices (None: plain numbers), its width."""


def action_parts(action_space: gym.Space[Any], who: str) -> tuple[ActionPart, ...]:
    """One for each leaf of an action space; ``who`` needs them, as a message says.

    Raises:
        ConfigError: an action space of another kind.
    """
    parts: list[ActionPart] = []
    for path, leaf in flat_leaves(action_space):
        if isinstance(leaf, spaces.Discrete):
            parts.append((path, (int(leaf.n),), int(leaf.n)))
        elif isinstance(leaf, spaces.MultiDiscrete):
            nvec = tuple(int(n) for n in leaf.nvec.reshape(-1))
            parts.append((path, nvec, sum(nvec)))
        elif isinstance(leaf, spaces.Box | spaces.MultiBinary):
            parts.append((path, None, size_of(leaf)))
        else:
            raise ConfigError(f"{who}: cannot feed back actions of {leaf}")
    return tuple(parts)


def width_of(parts: tuple[ActionPart, ...]) -> int:
    """How many numbers an action becomes."""
    return sum(size for _, _, size in parts)


def actions_as_numbers(actions: Any, parts: tuple[ActionPart, ...], like: torch.Tensor) -> list[torch.Tensor]:
    """The leaves of raw actions, each ``(*leading, width)``; leading axes, dtype and device are those of ``like``.

    An integer of -1, no choice at all, becomes a vector of zeros.
    """
    return [_leaf(at_path(actions, path), nvec, size, like) for path, nvec, size in parts]


def _leaf(leaf: torch.Tensor, nvec: tuple[int, ...] | None, size: int, like: torch.Tensor) -> torch.Tensor:
    lead = like.shape[:-1]
    if nvec is None:
        return leaf.to(like.dtype).reshape(*lead, size)
    columns = leaf.reshape(*lead, len(nvec)).unbind(-1)
    hot = [column.unsqueeze(-1) == torch.arange(n, device=leaf.device) for column, n in zip(columns, nvec, strict=True)]
    return torch.cat(hot, -1).to(like.dtype)
