"""The joint distribution of a Dict or Tuple action: independent children, one for each leaf."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from gymnasium import spaces

from rlkit_core.distributions.base import Distribution, Shape
from rlkit_core.distributions.units import in_env_units, map_sub_spaces
from rlkit_core.errors import ConfigError
from rlkit_core.spaces import at_path, leaves, nested_map

if TYPE_CHECKING:
    import gymnasium as gym

CLASSES = "child_distribution_cls_struct"
LENS = "input_lens"


class MultiDistribution(Distribution):
    """Independent distributions in the structure of the action space (nested dicts and tuples).

    Samples have the same structure. ``logp``, ``entropy`` and ``kl`` are sums over the children.

    Args:
        child_distribution_struct: dict or tuple (nested) of distributions of equal batch shape.
    """

    __slots__ = ("children", "struct")
    supports_mask = True

    def __init__(self, child_distribution_struct: Any) -> None:
        self.struct = child_distribution_struct
        self.children: list[Distribution] = list(leaves(child_distribution_struct))

    @classmethod
    def from_logits(
        cls,
        logits: torch.Tensor,
        child_distribution_cls_struct: Any = None,
        input_lens: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> MultiDistribution:
        """Build from ``(..., sum(input_lens))``, the children's logits one after the other.

        Args:
            logits: the head's output.
            child_distribution_cls_struct: the classes, in the structure of the action space.
            input_lens: how many logits each takes, in the structure's order (nested or flat).

        Raises:
            ConfigError: either is missing (bind them with ``for_space`` or ``get_partial_dist_cls``).
        """
        if child_distribution_cls_struct is None or input_lens is None:
            raise ConfigError(
                f"{cls.__name__}.from_logits needs {CLASSES} and {LENS}; bind them with for_space(space, ...) "
                "or get_partial_dist_cls(...)"
            )
        pieces = torch.split(logits, list(leaves(input_lens)), -1)
        children = (
            child.from_logits(piece) for child, piece in zip(leaves(child_distribution_cls_struct), pieces, strict=True)
        )
        return cls(_rebuilt(child_distribution_cls_struct, children))

    @classmethod
    def required_input_dim(
        cls,
        space: gym.Space[Any],
        model_config: Mapping[str, Any] | None = None,
        input_lens: Sequence[int] | None = None,
        **kwargs: object,
    ) -> int:
        """Return the sum of the children's sizes.

        Raises:
            ConfigError: nothing is bound that tells them.
        """
        if input_lens is None:
            raise ConfigError(f"{cls.__name__}.required_input_dim needs {LENS}; use for_space(space, ...)")
        return sum(leaves(input_lens))

    @classmethod
    def for_space(
        cls,
        space: gym.Space[Any],
        model_config: Mapping[str, Any] | None = None,
        child: Callable[[Any, tuple[str, ...]], type[Distribution]] | None = None,
    ) -> type[Distribution]:
        """Bind the classes and sizes of a Dict or Tuple space, whose entries' classes (bound, too) ``child`` gives.

        Raises:
            ConfigError: the space is of another kind, or there is no ``child``.
        """
        if CLASSES in cls.bound_kwargs:
            return cls
        if not isinstance(space, spaces.Dict | spaces.Tuple):
            raise ConfigError(f"{cls.__name__}: expected a Dict or Tuple action space, got {space}")
        if child is None:
            raise ConfigError(f"{cls.__name__}.for_space needs child(space, path) -> distribution class")
        ask = child
        whole: Any = space.spaces
        classes = map_sub_spaces(lambda _, sub, key: ask(sub, (key,)), whole, space)
        lens = map_sub_spaces(lambda class_, sub, _: class_.required_input_dim(sub, model_config), classes, space)
        return cls.get_partial_dist_cls(**{CLASSES: classes, LENS: tuple(int(n) for n in leaves(lens))})

    @property
    def event_shape(self) -> Shape:
        """Size of an action whose leaves are flattened into one vector."""
        return (sum(math.prod(child.event_shape) for child in self.children),)

    # --- noise ---------------------------------------------------------------------------------------------

    @classmethod
    def _parts(cls) -> list[tuple[type[Distribution], int]]:
        """Each child's class and the number of its logits; none where nothing is bound."""
        if CLASSES not in cls.bound_kwargs or LENS not in cls.bound_kwargs:
            return []
        return list(zip(leaves(cls.bound_kwargs[CLASSES]), leaves(cls.bound_kwargs[LENS]), strict=True))

    @classmethod
    def _noise_dims(cls) -> list[int] | None:
        """Noise each child takes, or None when one has no such form or nothing is bound."""
        known = [dim for class_, size in cls._parts() if (dim := class_.noise_dim(size)) is not None]
        return known if known and len(known) == len(cls._parts()) else None

    @classmethod
    def noise_dim(cls, logits_dim: int) -> int | None:
        """Sum of the children's; None unless all have one and the classes are bound."""
        dims = cls._noise_dims()
        return None if dims is None else sum(dims)

    @classmethod
    def normal_noise(cls, logits_dim: int) -> list[int]:
        """Those of the children that have some."""
        dims, found, start = cls._noise_dims() or [], [], 0
        for (class_, size), dim in zip(cls._parts(), dims, strict=False):
            found += [start + index for index in class_.normal_noise(size)]
            start += dim
        return found

    @classmethod
    def noise(cls, shape: Shape, logits_dim: int, **options: Any) -> torch.Tensor | None:
        """The children's noise, one after the other."""
        if cls._noise_dims() is None:
            return None
        parts = [class_.noise(shape, size, **options) for class_, size in cls._parts()]
        return torch.cat([part for part in parts if part is not None], -1)

    # --- drawing and scoring -------------------------------------------------------------------------------

    def sample(
        self, *, sample_shape: Shape | None = None, return_logp: bool = False, noise: torch.Tensor | None = None
    ) -> Any:
        """Draw from every child; the structure of the action space."""
        if noise is None:
            drawn = [c.sample(sample_shape=sample_shape, return_logp=return_logp) for c in self.children]
        else:
            rows = torch.split(noise, self._noise_dims() or [], -1)
            drawn = [
                c.sample(sample_shape=sample_shape, return_logp=return_logp, noise=row)
                for c, row in zip(self.children, rows, strict=True)
            ]
        return self._collect(drawn, return_logp)

    def rsample(self, *, sample_shape: Shape | None = None, return_logp: bool = False) -> Any:
        """Draw from every child with gradients."""
        drawn = [c.rsample(sample_shape=sample_shape, return_logp=return_logp) for c in self.children]
        return self._collect(drawn, return_logp)

    def _collect(self, drawn: list[Any], with_logp: bool) -> Any:
        if not with_logp:
            return _rebuilt(self.struct, drawn)
        return _rebuilt(self.struct, (value for value, _ in drawn)), _sum(logp for _, logp in drawn)

    def logp(self, value: object) -> torch.Tensor:
        """Log-probability of a structure of actions, or of their flat concatenation ``(..., width)``."""
        if isinstance(value, torch.Tensor):
            value = self._unflatten(value)
        return _sum(child.logp(item) for child, item in zip(self.children, _aligned(self.struct, value), strict=True))

    def _unflatten(self, flat: torch.Tensor) -> Any:
        shapes = [child.event_shape for child in self.children]
        pieces = torch.split(flat, [math.prod(shape) for shape in shapes], -1)
        values = (piece if shape else piece.squeeze(-1) for shape, piece in zip(shapes, pieces, strict=True))
        return _rebuilt(self.struct, values)

    def entropy(self) -> torch.Tensor:
        """Sum of the children's entropies."""
        return _sum(child.entropy() for child in self.children)

    def kl(self, other: MultiDistribution) -> torch.Tensor:
        """Sum of the children's ``KL(self || other)``."""
        return _sum(mine.kl(theirs) for mine, theirs in zip(self.children, other.children, strict=True))

    def to_deterministic(self) -> MultiDistribution:
        """The same structure of the children's deterministic forms."""
        return MultiDistribution(_rebuilt(self.struct, (c.to_deterministic() for c in self.children)))

    # --- around the environment ----------------------------------------------------------------------------

    @classmethod
    def to_env(cls, actions: object, space: gym.Space[Any], *, normalize: bool = True, clip: bool = True) -> Any:
        """Let every child's class translate its leaf."""

        def walk(classes: Any, struct: object, at: Any) -> Any:
            if isinstance(classes, type):
                return in_env_units(classes, normalize=normalize, clip=clip)(struct, at)
            return map_sub_spaces(lambda item, sub, key: walk(at_path(classes, (key,)), item, sub), struct, at)

        return walk(cls.bound_kwargs.get(CLASSES, Distribution), actions, space)

    @classmethod
    def action_shape_dtype(cls, space: gym.Space[Any]) -> Any:
        """Structure of the children's ``(shape, dtype)``."""

        def walk(classes: Any, at: Any) -> Any:
            if isinstance(classes, type):
                return classes.action_shape_dtype(at)  # type: ignore[attr-defined]
            return map_sub_spaces(lambda _, sub, key: walk(at_path(classes, (key,)), sub), at.spaces, at)

        return walk(cls.bound_kwargs.get(CLASSES, Distribution), space)

    @classmethod
    def mask_logits(cls, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Mask leaf by leaf with the structure of the action; an absent or empty entry leaves a leaf free.

        Raises:
            ConfigError: a mask for a leaf that cannot be masked, or nothing is bound.
        """
        if CLASSES not in cls.bound_kwargs:
            raise ConfigError(f"{cls.__name__}.mask_logits needs the bound class; use for_space(space, ...)")
        classes, lens = cls.bound_kwargs[CLASSES], cls.bound_kwargs[LENS]
        pieces = torch.split(logits, list(leaves(lens)), -1)
        masks = _aligned(classes, mask, optional=True)
        return torch.cat(
            [
                piece if _is_empty(part) else class_.mask_logits(piece, part)
                for class_, piece, part in zip(leaves(classes), pieces, masks, strict=True)
            ],
            -1,
        )


def _rebuilt(struct: object, values: Iterable[Any]) -> Any:
    """A structure with other leaves, given one after the other."""
    rest = iter(values)
    return nested_map(lambda _: next(rest), struct)


def _aligned(struct: object, value: Any, *, optional: bool = False) -> list[Any]:
    """The parts of ``value`` that belong to the leaves of ``struct``; None for absent ones if ``optional``."""
    if isinstance(struct, Mapping):
        if optional:
            value = value or {}
            return [x for k, sub in struct.items() for x in _aligned(sub, value.get(k), optional=True)]
        return [x for k, sub in struct.items() for x in _aligned(sub, value[k])]
    if isinstance(struct, list | tuple):
        if optional and value is None:
            value = (None,) * len(struct)
        pairs = zip(struct, value, strict=True)
        return [x for sub, item in pairs for x in _aligned(sub, item, optional=optional)]
    return [value]


def _is_empty(mask: torch.Tensor) -> bool:
    if mask is None or (isinstance(mask, Mapping | tuple | list) and not mask):
        return True
    return isinstance(mask, torch.Tensor) and mask.numel() == 0


def _sum(parts: Iterable[torch.Tensor]) -> torch.Tensor:
    return functools.reduce(torch.add, parts)
