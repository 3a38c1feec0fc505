"""The distributions under the module path that RLlib gives them; they live in ``rlkit_core.distributions``."""

from __future__ import annotations

from rlkit_core.distributions import (
    TorchBernoulli,
    TorchCategorical,
    TorchDeterministic,
    TorchDiagGaussian,
    TorchDistribution,
    TorchMultiCategorical,
    TorchMultiDistribution,
    TorchSquashedGaussian,
)

__all__ = [
    "TorchBernoulli",
    "TorchCategorical",
    "TorchDeterministic",
    "TorchDiagGaussian",
    "TorchDistribution",
    "TorchMultiCategorical",
    "TorchMultiDistribution",
    "TorchSquashedGaussian",
]
