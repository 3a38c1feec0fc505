"""Action distributions: parametrised by a network's output, sampled while acting, scored by losses.

Each class is also importable as ``Torch<Name>`` (``TorchCategorical`` is ``Categorical``), the spelling of
code written against RLlib.
"""

from __future__ import annotations

from rlkit_core.distributions.base import Distribution
from rlkit_core.distributions.categorical import Categorical
from rlkit_core.distributions.gaussian import DiagGaussian

TorchDistribution = Distribution
TorchCategorical = Categorical
TorchDiagGaussian = DiagGaussian

__all__ = [
    "Categorical",
    "DiagGaussian",
    "Distribution",
    "TorchCategorical",
    "TorchDiagGaussian",
    "TorchDistribution",
]
