"""Noisy networks: linear layers whose weights have learned noise, so that exploration is learned.

Fortunato et al., "Noisy Networks for Exploration", https://arxiv.org/abs/1706.10295, with factorised Gaussian noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import attrs
import torch
import torch.nn.functional as F
from attrs import define
from torch import Tensor, nn

from rlkit_core.models import MLPHead, MLPHeadConfig


class NoisyLinear(nn.Module):
    """``y = (mu_w + sigma_w * e_w) x + mu_b + sigma_b * e_b`` with ``e_w = f(e_out) f(e_in)^T``, ``e_b = f(e_out)``.

    Equations 9 to 11 of the paper, ``f(e) = sign(e) sqrt(|e|)``. Every call draws new noise, from torch's generator,
    and uses it for all rows; without noise it is the linear layer of the means.

    Args:
        linear: gives shape, bias and initial means (torch's own initialisation is the paper's).
        sigma0: the deviations start at ``sigma0 / sqrt(inputs)``.

    Attributes:
        noisy: whether calls add noise; None, as long as nobody says: in training mode.
    """

    def __init__(self, linear: nn.Linear, sigma0: float = 0.5) -> None:
        super().__init__()
        start = sigma0 / math.sqrt(linear.in_features)
        self.weight_mu = nn.Parameter(linear.weight.detach().clone())
        self.weight_sigma = nn.Parameter(torch.full_like(self.weight_mu, start))
        self.bias_mu: nn.Parameter | None = None
        self.bias_sigma: nn.Parameter | None = None
        if linear.bias is not None:
            self.bias_mu = nn.Parameter(linear.bias.detach().clone())
            self.bias_sigma = nn.Parameter(torch.full_like(self.bias_mu, start))
        self.noisy: bool | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., inputs)`` to ``(..., outputs)``."""
        mean = F.linear(x, self.weight_mu, self.bias_mu)
        if not (self.training if self.noisy is None else self.noisy):
            return mean
        outputs, inputs = self.weight_mu.shape
        noise = torch.randn(inputs + outputs, dtype=x.dtype, device=x.device)
        noise = noise.sign() * noise.abs().sqrt()
        noise_in, noise_out = noise[:inputs], noise[inputs:]
        # (sigma * f(e_out) f(e_in)^T) x = f(e_out) * (sigma (f(e_in) * x)): no noisy weight matrix is made.
        return mean + noise_out * F.linear(x * noise_in, self.weight_sigma, self.bias_sigma)


@define(slots=False, kw_only=True)
class NoisyMLPHeadConfig(MLPHeadConfig):
    """An MLP of :class:`NoisyLinear` layers; fields as in ``MLPHeadConfig``.

    Args:
        sigma0: first scale of the noise.
    """

    sigma0: float = 0.5

    @classmethod
    def from_dims(cls, input_dims: Any, output_dim: int, model_config: Mapping[str, Any]) -> NoisyMLPHeadConfig:
        """Config from the ``head_*`` settings and ``sigma0``."""
        config = super().from_dims(input_dims, output_dim, model_config)
        return cast("NoisyMLPHeadConfig", attrs.evolve(config, sigma0=float(model_config["sigma0"])))

    def build(self, framework: str = "torch") -> MLPHead:
        """Return a new :class:`NoisyMLPHead`."""
        self._validate(framework)
        return NoisyMLPHead(self)


class NoisyMLPHead(MLPHead):
    """``(..., D)`` to ``(..., output_layer_dim)`` through noisy layers."""

    def __init__(self, config: NoisyMLPHeadConfig) -> None:
        super().__init__(config)
        plan = []
        for index, (layer, norm, activation) in enumerate(self.net.plan):
            noisy: Any = NoisyLinear(layer, config.sigma0)
            self.net.layers[index] = noisy
            plan.append((noisy, norm, activation))
        self.plan = self.net.plan = tuple(plan)


def noisy_layers(*networks: nn.Module | None) -> list[NoisyLinear]:
    """All noisy layers of some networks, for :func:`set_noise`."""
    return [part for net in networks if net is not None for part in net.modules() if isinstance(part, NoisyLinear)]


def set_noise(layers: list[NoisyLinear], on: bool) -> None:
    """Turn the noise of layers on or off."""
    for layer in layers:
        layer.noisy = on
