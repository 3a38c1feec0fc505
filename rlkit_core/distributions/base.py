"""The contract of an action distribution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from rlkit_core.distributions.partial import make_partial
from rlkit_core.distributions.units import raw_action_layout, raw_actions_to_env
from rlkit_core.errors import ConfigError
from rlkit_core.spaces import leaves

if TYPE_CHECKING:
    import gymnasium as gym

Shape = tuple[int, ...]
Array = np.ndarray[Any, Any]


class Distribution(ABC):
    """A distribution over actions, built from the output of a ``pi`` head.

    A batch of distributions is one object: parameters are ``(B, D)`` or ``(B, T, D)`` tensors, and ``logp``,
    ``entropy`` and ``kl`` have the leading shape alone. Objects are made for every forward pass, so
    building one must be cheap: no validation, nothing computed before it is asked for.

    Raw actions (what ``sample`` returns and rollouts store) differ from what the environment takes: a
    ``Discrete`` action counts from 0, a ``Box`` action is flat and, where it is bounded, scaled to ``[-1,
    1]``. ``to_env`` translates.

    Subclasses implement ``draw`` (or ``sample``), ``logp``, ``from_logits``, ``required_input_dim`` and
    ``to_deterministic``; the rest has defaults. Those that draw by noise give ``noise_dim`` and ``fill_noise``.
    """

    __slots__ = ()

    #: True when ``mask_logits`` takes masks.
    supports_mask: ClassVar[bool] = False

    #: Keyword arguments bound by :meth:`get_partial_dist_cls`.
    bound_kwargs: ClassVar[Mapping[str, Any]] = {}

    # --- from networks -------------------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def from_logits(cls, logits: torch.Tensor, **kwargs: Any) -> Distribution:
        """Build from a head's output ``(..., required_input_dim)``."""

    @classmethod
    @abstractmethod
    def required_input_dim(
        cls, space: gym.Space[Any], model_config: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> int:
        """Size of the last axis that ``from_logits`` expects for an action ``space``."""

    @classmethod
    def get_partial_dist_cls(cls, **kwargs: Any) -> type[Distribution]:
        """Return a subclass with ``kwargs`` bound to ``from_logits`` and ``required_input_dim``.

        Equal arguments give the same class, and the class pickles between processes.

        Raises:
            ConfigError: an argument is already bound; or, later, a caller passes a bound one again.
        """
        return make_partial(cls, kwargs)

    @classmethod
    def for_space(
        cls,
        space: gym.Space[Any],
        model_config: Mapping[str, Any] | None = None,
        child: Callable[[Any, tuple[str, ...]], type[Distribution]] | None = None,
    ) -> type[Distribution]:
        """Return this class with all that it needs to know of an action space bound, ready for ``from_logits(logits)``.

        ``child`` is for those of Dict and Tuple spaces: it gives a sub-space's class from ``(sub_space, (key,))``.
        """
        return cls

    # --- drawing -------------------------------------------------------------------------------------------

    def sample(
        self, *, sample_shape: Shape | None = None, return_logp: bool = False, noise: torch.Tensor | None = None
    ) -> Any:
        """Draw actions, without gradients; ``(actions, logp)`` with ``return_logp``.

        Args:
            sample_shape: extra leading axes of independent draws.
            noise: a block ``(*batch, noise_dim)`` of what :meth:`noise` gave, which then decides the draw.
        """
        actions = self.draw(sample_shape, noise)
        return (actions, self.logp(actions)) if return_logp else actions

    def rsample(self, *, sample_shape: Shape | None = None, return_logp: bool = False) -> Any:
        """Draw with gradients flowing to the parameters.

        Raises:
            NotImplementedError: the distribution has no such draw.
        """
        actions, scored = self.draw_with_gradients(sample_shape)
        return (actions, self.logp(scored)) if return_logp else actions

    def draw(self, sample_shape: Shape | None, noise: torch.Tensor | None) -> Any:
        """Raw actions, without gradients: what differs from one kind's :meth:`sample` to another's."""
        raise NotImplementedError(f"{type(self).__name__} implements neither draw nor sample")

    def draw_with_gradients(self, sample_shape: Shape | None) -> tuple[Any, Any]:
        """What differs in :meth:`rsample`: actions with gradients, and the values that ``logp`` scores for them."""
        raise NotImplementedError(f"{type(self).__name__} has no reparametrised sample (rsample)")

    def sample_and_logp(self, *, sample_shape: Shape | None = None) -> tuple[Any, torch.Tensor]:
        """Return ``sample(return_logp=True)``."""
        pair: tuple[Any, torch.Tensor] = self.sample(sample_shape=sample_shape, return_logp=True)
        return pair

    def rsample_and_logp(self, *, sample_shape: Shape | None = None) -> tuple[Any, torch.Tensor]:
        """Return ``rsample(return_logp=True)``."""
        pair: tuple[Any, torch.Tensor] = self.rsample(sample_shape=sample_shape, return_logp=True)
        return pair

    @classmethod
    def noise_dim(cls, logits_dim: int) -> int | None:
        """Random numbers one draw needs when ``from_logits`` takes ``logits_dim`` values; None: no noise form."""
        return None

    @classmethod
    def noise(
        cls,
        shape: Shape,
        logits_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor | None:
        """Random numbers for ``shape`` draws at once, ``(*shape, noise_dim)``; None when there is no such form.

        A runner draws a whole rollout's noise in one call and hands its rows to ``sample(noise=...)``.
        """
        width = cls.noise_dim(logits_dim)
        if width is None:
            return None
        return cls.fill_noise(torch.empty((*shape, width), dtype=dtype, device=device), generator)

    @classmethod
    def fill_noise(cls, out: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Noise of the shape, dtype and device of ``out``, whose memory it may take."""
        raise NotImplementedError(f"{cls.__name__} has a noise_dim, and neither fill_noise nor noise")

    @classmethod
    def normal_noise(cls, logits_dim: int) -> list[int]:
        """Which of the ``noise_dim`` random numbers are standard normal, as those of continuous actions are.

        These may be drawn so that they hang together over time, see :mod:`rlkit_core.distributions.noise`.
        """
        return []

    def fresh_noise(self, parameter: torch.Tensor, sample_shape: Shape | None) -> torch.Tensor:
        """Noise for each element of ``parameter``, with ``sample_shape`` axes before it."""
        shape = parameter.shape if sample_shape is None else (*sample_shape, *parameter.shape)
        return self.fill_noise(torch.empty(shape, dtype=parameter.dtype, device=parameter.device))

    # --- scoring -------------------------------------------------------------------------------------------

    @abstractmethod
    def logp(self, value: Any) -> torch.Tensor:
        """Log-probability (density) of raw actions; the batch shape."""

    def entropy(self) -> torch.Tensor:
        """Entropy in nats; the batch shape."""
        raise NotImplementedError(f"{type(self).__name__} has no entropy in closed form")

    def kl(self, other: Any) -> torch.Tensor:
        """``KL(self || other)`` for another distribution of the same kind; the batch shape."""
        raise NotImplementedError(f"{type(self).__name__} has no KL divergence in closed form")

    @abstractmethod
    def to_deterministic(self) -> Distribution:
        """Return the distribution that always draws this one's mode."""

    @classmethod
    def mode_of(cls, logits: torch.Tensor) -> torch.Tensor:
        """What :meth:`to_deterministic` of a distribution of these ``logits`` draws.

        A class may have a quicker way. It counts until a subclass says otherwise what its distributions are made of, or
        what they draw.
        """
        mode: torch.Tensor = cls.from_logits(logits).to_deterministic().sample()
        return mode

    @classmethod
    def draw_rows(cls, inputs: Array, noise: Array | None) -> Array:
        """Raw actions ``[N, ...]`` for numpy ``inputs`` ``[N, D]``, for acting by numpy; a class need not have it.

        What ``from_logits(inputs).sample(noise=noise)`` draws, and where ``noise`` is None the mode. It counts until a
        subclass says otherwise what its distributions are made of, or what they draw.
        """
        raise NotImplementedError(f"{cls.__name__} does not draw from numpy arrays")

    @property
    def event_shape(self) -> Shape:
        """Shape of one raw action."""
        raise NotImplementedError(f"{type(self).__name__} does not say the shape of its actions (event_shape)")

    # --- around the environment ----------------------------------------------------------------------------

    @classmethod
    def to_env(cls, actions: Any, space: gym.Space[Any], *, normalize: bool = True, clip: bool = True) -> Any:
        """Translate raw actions (numpy, any leading batch axes) to what the environment takes.

        ``Discrete`` and ``MultiDiscrete`` add ``start``. Bounded elements of a ``Box`` are scaled from
        ``[-1, 1]`` to ``[low, high]`` (``normalize``), then clipped to the finite bounds (``clip``). Flat
        actions take the space's shape. Dict and Tuple spaces go leaf by leaf.
        """
        return raw_actions_to_env(actions, space, normalize=normalize, clip=clip)

    @classmethod
    def action_shape_dtype(cls, space: gym.Space[Any]) -> Any:
        """``(shape, numpy dtype)`` of one raw action; a dict or tuple of them for Dict and Tuple spaces."""
        return raw_action_layout(space)

    @classmethod
    def mask_logits(cls, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return ``logits`` under which actions with a false ``mask`` are never drawn.

        They get the dtype's lowest finite number, which keeps entropy, KL and their gradients finite; a row without any
        legal action is uniform.

        Args:
            logits: ``(..., required_input_dim)``.
            mask: one entry for each logit, true (non-zero) where the action is legal; those of several choices follow
                each other, or are a tuple of masks, and a bit with a false one stays 0.

        Raises:
            ConfigError: the distribution cannot be masked, or the mask has another size.
        """
        if not cls.supports_mask:
            raise ConfigError(
                f"{cls.__name__} cannot take an action mask: masks fit Discrete, MultiDiscrete and MultiBinary "
                "actions (and those leaves of Dict and Tuple actions). Remove 'action_mask' from the observation "
                "or use one of those action spaces."
            )
        mask = joined_mask(mask)
        legal = mask if mask.dtype is torch.bool else mask > 0
        if legal.shape[-1:] != logits.shape[-1:]:
            raise ConfigError(
                f"action mask: expected {logits.shape[-1]} entries (one for each logit), got shape {tuple(mask.shape)}"
            )
        return torch.where(legal, logits, torch.finfo(logits.dtype).min)


def joined_mask(mask: object) -> torch.Tensor:
    """A mask with one entry for each logit, ``(..., n)``, from that or from a tuple of masks of several choices.

    Raises:
        ConfigError: it is a dict.
    """
    if isinstance(mask, torch.Tensor):
        return mask
    parts = list(leaves(mask))
    if isinstance(mask, Mapping) or not parts or not all(isinstance(part, torch.Tensor) for part in parts):
        seen = f"a dict with {list(mask)}" if isinstance(mask, Mapping) else f"a {type(mask).__name__}"
        raise ConfigError(
            "action mask: expected one entry for each choice, or a tuple of masks for a MultiDiscrete action, got "
            f"{seen}; a dict of masks is for a Dict action"
        )
    return torch.cat(parts, -1)
