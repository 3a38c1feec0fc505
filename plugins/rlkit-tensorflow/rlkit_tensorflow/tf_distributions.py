"""Action distributions that compute with TensorFlow.

Each is the core's distribution of that name: spaces, units and the layout of noise are inherited, the arithmetic is
TensorFlow's. Parameters and actions are tensors of TensorFlow; noise that is given may be any array. Eager code draws
random numbers from torch's generator, which the seed of a run decides; in a ``tf.function`` they are TensorFlow's.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import torch

from rlkit_core import distributions as core
from rlkit_core.distributions.gaussian import HALF_LOG_2PI, HALF_LOG_2PI_E
from rlkit_core.errors import ConfigError
from rlkit_core.spaces import leaves, nested_map
from rlkit_tensorflow.tensors import as_tensor

Distribution = core.Distribution
Shape = tuple[int, ...]

__all__ = [
    "Categorical",
    "Deterministic",
    "DiagGaussian",
    "Distribution",
    "MultiCategorical",
    "MultiDistribution",
    "TfCategorical",
    "TfDeterministic",
    "TfDiagGaussian",
    "TfMultiCategorical",
    "TfMultiDistribution",
]


def _noise_shape(parameter: Any, sample_shape: Shape | None) -> Any:
    shape = tf.shape(parameter)
    return shape if sample_shape is None else tf.concat([tf.constant(sample_shape, tf.int32), shape], 0)


def _drawn(dist_cls: type[Distribution], parameter: Any, sample_shape: Shape | None) -> Any:
    """The noise of one of the core's distributions for each element of ``parameter``."""
    empty = torch.empty((*(sample_shape or ()), *parameter.shape), dtype=getattr(torch, parameter.dtype.name))
    return as_tensor(dist_cls.fill_noise(empty))


def _masked(name: str, logits: Any, mask: Any) -> Any:
    """``logits`` with the lowest finite number where ``mask`` is false; a tuple of masks is joined."""
    if isinstance(mask, Mapping):
        raise ConfigError(f"{name}: a dict of masks is for a Dict action; expected one entry for each choice")
    parts = [tf.cast(as_tensor(part), tf.bool) for part in (leaves(mask) if isinstance(mask, tuple) else [mask])]
    legal = parts[0] if len(parts) == 1 else tf.concat(parts, -1)
    if legal.shape[-1] != logits.shape[-1]:
        raise ConfigError(
            f"action mask: expected {logits.shape[-1]} entries (one for each logit), got shape {tuple(legal.shape)}"
        )
    return tf.where(legal, logits, logits.dtype.min)


class Categorical(core.Categorical):
    """One of ``n`` actions, an int64 index counted from 0.

    Args:
        logits: unnormalised log-probabilities ``(..., n)``.
        probs: probabilities ``(..., n)``, instead of logits; rows need not sum to one.
        temperature: divides the logits; below 1 sharpens, above 1 flattens.

    Raises:
        ConfigError: both or neither of logits and probs; temperature not positive.
    """

    __slots__ = ()
    logits: Any
    cached_log_probs: Any

    def __init__(self, logits: Any = None, probs: Any = None, temperature: float = 1.0) -> None:
        if (logits is None) == (probs is None):
            raise ConfigError("Categorical: pass exactly one of logits and probs")
        if not temperature > 0.0:
            raise ConfigError(f"Categorical: temperature must be positive, got {temperature!r}")
        logits = tf.math.log(as_tensor(probs)) if logits is None else as_tensor(logits)
        self.logits = logits if temperature == 1.0 else logits / temperature
        self.cached_log_probs = None

    @classmethod
    def from_logits(cls, logits: Any, **kwargs: Any) -> Categorical:
        """Build from logits ``(..., n)``; ``temperature`` may be given."""
        return cls(logits, **kwargs)

    @property
    def log_probs(self) -> Any:
        """Normalised log-probabilities ``(..., n)``, computed once."""
        if self.cached_log_probs is None:
            self.cached_log_probs = tf.nn.log_softmax(self.logits, -1)
        return self.cached_log_probs

    @property
    def probs(self) -> Any:
        """Probabilities ``(..., n)``."""
        return tf.exp(self.log_probs)

    def fresh_noise(self, parameter: Any, sample_shape: Shape | None) -> Any:
        """Gumbel noise for each element of ``parameter``, with ``sample_shape`` axes before it."""
        if tf.executing_eagerly():
            return _drawn(core.Categorical, parameter, sample_shape)
        exponential = -tf.math.log1p(-tf.random.uniform(_noise_shape(parameter, sample_shape), dtype=parameter.dtype))
        return -tf.math.log(tf.maximum(exponential, np.finfo(parameter.dtype.as_numpy_dtype).tiny))

    def draw(self, sample_shape: Shape | None, noise: Any) -> Any:
        """Draw int64 actions of the batch shape, with ``sample_shape`` axes before it."""
        noise = self.fresh_noise(self.logits, sample_shape) if noise is None else as_tensor(noise)
        return tf.argmax(tf.stop_gradient(self.logits) + noise, -1, output_type=tf.int64)

    def draw_with_gradients(self, sample_shape: Shape | None) -> tuple[Any, Any]:
        """Draw one-hot actions ``(..., n)`` with straight-through gradients to the probabilities."""
        actions, probs = self.draw(sample_shape, None), self.probs
        hard = tf.one_hot(actions, probs.shape[-1], dtype=probs.dtype)
        return hard + (probs - tf.stop_gradient(probs)), actions

    def logp(self, value: Any) -> Any:
        """Log-probability of indices; extra leading axes of ``value`` are independent draws."""
        log_probs = self.log_probs
        index = tf.cast(as_tensor(value), tf.int64)
        chosen = tf.one_hot(index, log_probs.shape[-1], on_value=True, off_value=False, dtype=tf.bool)
        return tf.reduce_sum(tf.where(chosen, log_probs, tf.zeros((), log_probs.dtype)), -1)

    def entropy(self) -> Any:
        """Entropy in nats; the batch shape."""
        log_probs = self.log_probs
        return -tf.reduce_sum(tf.exp(log_probs) * _finite(log_probs), -1)

    def kl(self, other: Any) -> Any:
        """``KL(self || other)``; the batch shape."""
        return tf.reduce_sum(tf.exp(self.log_probs) * (_finite(self.log_probs) - _finite(other.log_probs)), -1)

    @classmethod
    def mode_of(cls, logits: Any) -> Any:
        """The most probable action."""
        return tf.argmax(as_tensor(logits), -1, output_type=tf.int64)

    def to_deterministic(self) -> Deterministic:
        """Always the most probable action."""
        return Deterministic(self.mode_of(self.logits), event_dims=0)

    @classmethod
    def mask_logits(cls, logits: Any, mask: Any) -> Any:
        """As the core's :meth:`Distribution.mask_logits`."""
        return _masked(cls.__name__, as_tensor(logits), mask)


def _finite(log_probs: Any) -> Any:
    return tf.maximum(log_probs, log_probs.dtype.min)  # 0 * -inf must count as 0


class DiagGaussian(core.DiagGaussian):
    """Independent normal variables; a raw action is their vector.

    Args:
        loc: means ``(..., k)``.
        scale: standard deviations, a tensor that broadcasts to ``loc`` or a number.
        log_scale: their logarithm, where it is known already (``scale`` may then be None).
    """

    __slots__ = ()
    loc: Any
    log_scale: Any

    def __init__(self, loc: Any, scale: Any = 1.0, *, log_scale: Any = None) -> None:
        self.loc = as_tensor(loc)
        if log_scale is None:
            scale = tf.cast(as_tensor(1.0 if scale is None else scale), self.loc.dtype)
            log_scale = tf.math.log(tf.broadcast_to(scale, tf.shape(self.loc)))
        self.log_scale = as_tensor(log_scale)

    @classmethod
    def from_logits(cls, logits: Any, **kwargs: object) -> DiagGaussian:
        """Build from ``(..., 2k)``: means, then log standard deviations."""
        loc, log_scale = tf.split(as_tensor(logits), 2, -1)
        return cls(loc, None, log_scale=log_scale)

    @property
    def scale(self) -> Any:
        """Standard deviations ``(..., k)``."""
        return tf.exp(self.log_scale)

    def fresh_noise(self, parameter: Any, sample_shape: Shape | None) -> Any:
        """Standard normal noise for each element of ``parameter``, with ``sample_shape`` axes before it."""
        if tf.executing_eagerly():
            return _drawn(core.DiagGaussian, parameter, sample_shape)
        return tf.random.normal(_noise_shape(parameter, sample_shape), dtype=parameter.dtype)

    def draw(self, sample_shape: Shape | None, noise: Any) -> Any:
        """Draw ``(..., k)``: ``loc + scale * noise``, without gradients."""
        noise = self.fresh_noise(self.loc, sample_shape) if noise is None else as_tensor(noise)
        return tf.stop_gradient(self.loc + self.scale * noise)

    def draw_with_gradients(self, sample_shape: Shape | None) -> tuple[Any, Any]:
        """Draw ``loc + scale * noise`` with gradients to both."""
        actions = self.loc + self.scale * self.fresh_noise(self.loc, sample_shape)
        return actions, actions

    def logp(self, value: Any) -> Any:
        """Log-density, summed over the last axis."""
        z = (tf.cast(as_tensor(value), self.loc.dtype) - self.loc) * tf.exp(-self.log_scale)
        return tf.reduce_sum(z * z * -0.5 - self.log_scale, -1) - HALF_LOG_2PI * self.loc.shape[-1]

    def entropy(self) -> Any:
        """Differential entropy in nats; the batch shape."""
        return tf.reduce_sum(self.log_scale, -1) + HALF_LOG_2PI_E * self.loc.shape[-1]

    def kl(self, other: Any) -> Any:
        """``KL(self || other)``; the batch shape."""
        delta = self.log_scale - other.log_scale
        z = (self.loc - other.loc) * tf.exp(-other.log_scale)
        return tf.reduce_sum((tf.exp(2.0 * delta) + z * z - 1.0) * 0.5 - delta, -1)

    @classmethod
    def mode_of(cls, logits: Any) -> Any:
        """The mean."""
        return tf.split(as_tensor(logits), 2, -1)[0]

    def to_deterministic(self) -> Deterministic:
        """Always the mean."""
        return Deterministic(self.loc)


class Deterministic(core.Deterministic):
    """All mass at ``loc``: what ``to_deterministic`` returns, and a distribution for deterministic policies.

    Args:
        loc: the actions.
        event_dims: how many trailing axes make one action (0 for Discrete indices, 1 otherwise).
    """

    __slots__ = ()
    loc: Any

    def __init__(self, loc: Any, *, event_dims: int = 1) -> None:
        super().__init__(as_tensor(loc), event_dims=event_dims)

    @classmethod
    def from_logits(cls, logits: Any, **kwargs: object) -> Deterministic:
        """Take the head's output as the action."""
        return cls(logits)

    @property
    def event_shape(self) -> Shape:
        """The last ``event_dims`` axes of ``loc``."""
        return tuple(self.loc.shape[len(self.loc.shape) - self.event_dims :])

    def draw(self, sample_shape: Shape | None, noise: Any) -> Any:
        """Return ``loc``, repeated over ``sample_shape``."""
        value = tf.stop_gradient(self.loc)
        return value if sample_shape is None else tf.broadcast_to(value, _noise_shape(value, sample_shape))

    def logp(self, value: Any) -> Any:
        """Zeros of the batch shape (the log of a probability of one)."""
        shape = as_tensor(value).shape
        dtype = self.loc.dtype if self.loc.dtype.is_floating else tf.float32
        return tf.zeros(shape[: len(shape) - self.event_dims], dtype)


class MultiCategorical(core.MultiCategorical):
    """``K`` independent choices; a raw action is int64 ``(..., K)``.

    Args:
        categoricals: the components, of equal batch shape.

    Attributes:
        table: all of them as one, ``(..., K, n)``, shorter ones padded with logits of minus infinity.
        input_lens: the numbers of choices.
    """

    __slots__ = ()
    table: Any

    def __init__(self, categoricals: Sequence[Any]) -> None:
        lens = tuple(int(c.logits.shape[-1]) for c in categoricals)
        flat = tf.concat([c.logits for c in categoricals], -1)
        self.table, self.input_lens = Categorical(_by_component(flat, lens, -math.inf)), lens

    @classmethod
    def from_logits(
        cls, logits: Any, input_lens: Sequence[int] | None = None, temperature: float = 1.0, **kwargs: Any
    ) -> MultiCategorical:
        """Build from ``(..., sum(input_lens))``: the components' logits one after the other.

        Raises:
            ConfigError: no ``input_lens`` (bind them with ``for_space`` or ``get_partial_dist_cls``).
        """
        if input_lens is None:
            raise ConfigError(f"{cls.__name__}.from_logits needs input_lens; bind them with for_space(space)")
        pieces = tf.split(as_tensor(logits), list(input_lens), -1)
        return cls([Categorical(piece, temperature=temperature) for piece in pieces])

    def draw(self, sample_shape: Shape | None, noise: Any) -> Any:
        """Draw int64 ``(..., K)``."""
        if noise is not None:
            noise = _by_component(as_tensor(noise), self.input_lens, 0.0)
        return self.table.draw(sample_shape, noise)

    def draw_with_gradients(self, sample_shape: Shape | None) -> tuple[Any, Any]:
        """Draw one-hot vectors, one after the other ``(..., sum(input_lens))``, straight-through."""
        one_hot, actions = self.table.draw_with_gradients(sample_shape)
        return tf.concat([one_hot[..., k, :n] for k, n in enumerate(self.input_lens)], -1), actions

    def logp(self, value: Any) -> Any:
        """Log-probability of ``(..., K)`` indices, summed over components."""
        return tf.reduce_sum(self.table.logp(value), -1)

    def entropy(self) -> Any:
        """Sum of the components' entropies."""
        return tf.reduce_sum(self.table.entropy(), -1)

    def kl(self, other: Any) -> Any:
        """Sum of the components' ``KL(self || other)``."""
        return tf.reduce_sum(self.table.kl(other.table), -1)

    def to_deterministic(self) -> Deterministic:
        """Each component's most probable choice."""
        return Deterministic(Categorical.mode_of(self.table.logits))

    @classmethod
    def mask_logits(cls, logits: Any, mask: Any) -> Any:
        """As the core's :meth:`Distribution.mask_logits`."""
        return _masked(cls.__name__, as_tensor(logits), mask)


def _by_component(flat: Any, lens: tuple[int, ...], fill: float) -> Any:
    """``(..., sum(lens))`` to ``(..., K, max(lens))``, short rows filled up."""
    longest = max(lens)
    rows = []
    for piece, n in zip(tf.split(flat, list(lens), -1), lens, strict=True):
        padding = [[0, 0]] * (len(piece.shape) - 1) + [[0, longest - n]]
        rows.append(tf.pad(piece, padding, constant_values=tf.constant(fill, flat.dtype)))
    return tf.stack(rows, -2)


class MultiDistribution(core.MultiDistribution):
    """Independent distributions for the leaves of a Dict or Tuple action.

    Args:
        child_distribution_struct: dict or tuple (nested) of distributions of equal batch shape.
    """

    __slots__ = ()

    @classmethod
    def from_logits(
        cls,
        logits: Any,
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
                f"{cls.__name__}.from_logits needs child_distribution_cls_struct and input_lens; bind them with "
                "for_space(space, ...) or get_partial_dist_cls(...)"
            )
        pieces = iter(tf.split(as_tensor(logits), list(leaves(input_lens)), -1))
        return cls(nested_map(lambda child: child.from_logits(next(pieces)), child_distribution_cls_struct))

    def sample(self, *, sample_shape: Shape | None = None, return_logp: bool = False, noise: Any = None) -> Any:
        """Draw from every child; the structure of the action space."""
        rows: Iterator[Any] = iter([None] * len(self.children))
        if noise is not None:
            dims = [type(child).noise_dim(_width(child)) for child in self.children]
            rows = iter(tf.split(as_tensor(noise), dims, -1))
        actions = nested_map(lambda child: child.sample(sample_shape=sample_shape, noise=next(rows)), self.struct)
        return (actions, self.logp(actions)) if return_logp else actions

    def rsample(self, *, sample_shape: Shape | None = None, return_logp: bool = False) -> Any:
        """Draw from every child with gradients."""
        pairs = [child.rsample(sample_shape=sample_shape, return_logp=True) for child in self.children]
        values = iter([value for value, _ in pairs])
        actions = nested_map(lambda _: next(values), self.struct)
        return (actions, _sum(logp for _, logp in pairs)) if return_logp else actions

    def logp(self, value: Any) -> Any:
        """Log-probability of a structure of actions, or of their flat concatenation ``(..., width)``."""
        if not isinstance(value, Mapping | tuple | list):
            value = self._apart(as_tensor(value))
        return _sum(child.logp(item) for child, item in zip(self.children, _aligned(self.struct, value), strict=True))

    def _apart(self, flat: Any) -> Any:
        shapes = [child.event_shape for child in self.children]
        pieces = tf.split(flat, [math.prod(shape) for shape in shapes], -1)
        values = iter([piece if shape else piece[..., 0] for shape, piece in zip(shapes, pieces, strict=True)])
        return nested_map(lambda _: next(values), self.struct)

    def entropy(self) -> Any:
        """Sum of the children's entropies."""
        return _sum(child.entropy() for child in self.children)

    def kl(self, other: Any) -> Any:
        """Sum of the children's ``KL(self || other)``."""
        return _sum(mine.kl(theirs) for mine, theirs in zip(self.children, other.children, strict=True))

    def to_deterministic(self) -> MultiDistribution:
        """The same structure of the children's deterministic forms."""
        return MultiDistribution(nested_map(lambda child: child.to_deterministic(), self.struct))

    @classmethod
    def mask_logits(cls, logits: Any, mask: Any) -> Any:
        """Refuse: masks of the leaves of Dict and Tuple actions are not written for TensorFlow."""
        raise ConfigError(f"{cls.__name__} cannot take an action mask in TensorFlow; mask in a module of your own")


def _width(child: Any) -> int:
    """How many logits a child was made of."""
    if isinstance(child, DiagGaussian):
        return 2 * int(child.loc.shape[-1])
    return sum(child.input_lens) if isinstance(child, MultiCategorical) else int(child.logits.shape[-1])


def _aligned(struct: Any, value: Any) -> list[Any]:
    """The parts of ``value`` that belong to the leaves of ``struct``."""
    if isinstance(struct, Mapping):
        return [x for key, sub in struct.items() for x in _aligned(sub, value[key])]
    if isinstance(struct, list | tuple):
        return [x for sub, item in zip(struct, value, strict=True) for x in _aligned(sub, item)]
    return [value]


def _sum(parts: Iterable[Any]) -> Any:
    return functools.reduce(tf.add, parts)


TfCategorical, TfDeterministic, TfDiagGaussian = Categorical, Deterministic, DiagGaussian
TfMultiCategorical, TfMultiDistribution = MultiCategorical, MultiDistribution

_TWINS: dict[type, type] = {
    core.Categorical: Categorical,
    core.Deterministic: Deterministic,
    core.DiagGaussian: DiagGaussian,
    core.MultiCategorical: MultiCategorical,
    core.MultiDistribution: MultiDistribution,
}


def twin_of(dist_cls: type) -> type:
    """The class here that computes what one of the core's does, with the same arguments bound.

    Raises:
        ConfigError: there is none.
    """
    bound = dict(getattr(dist_cls, "bound_kwargs", {}))
    original = next((cls for cls in dist_cls.__mro__ if cls in _TWINS), None)
    if original is None or dist_cls not in (original, original.get_partial_dist_cls(**bound) if bound else original):  # type: ignore[attr-defined]
        names = ", ".join(cls.__name__ for cls in _TWINS)
        raise ConfigError(f"distribution {dist_cls.__name__}: TensorFlow has {names}; set action_dist_cls in setup()")
    if "child_distribution_cls_struct" in bound:
        bound["child_distribution_cls_struct"] = nested_map(twin_of, bound["child_distribution_cls_struct"])
    twin: Any = _TWINS[original]
    made: type = twin.get_partial_dist_cls(**bound) if bound else twin
    return made
