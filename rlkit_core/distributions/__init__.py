"""Action distributions: parametrised by a network's output, sampled while acting, scored by losses.

Each class is also importable as ``Torch<Name>`` (``TorchCategorical`` is ``Categorical``), the spelling of code
written against RLlib.
"""

from __future__ import annotations

from rlkit_core.distributions.base import Distribution
from rlkit_core.distributions.bernoulli import Bernoulli
from rlkit_core.distributions.categorical import Categorical
from rlkit_core.distributions.deterministic import Deterministic
from rlkit_core.distributions.gaussian import DiagGaussian
from rlkit_core.distributions.multi import MultiDistribution
from rlkit_core.distributions.multi_categorical import MultiCategorical
from rlkit_core.distributions.squashed import SquashedGaussian

TorchBernoulli = Bernoulli
TorchCategorical = Categorical
TorchDeterministic = Deterministic
TorchDiagGaussian = DiagGaussian
TorchDistribution = Distribution
TorchMultiCategorical = MultiCategorical
TorchMultiDistribution = MultiDistribution
TorchSquashedGaussian = SquashedGaussian

__all__ = [
    "Bernoulli",
    "Categorical",
    "Deterministic",
    "DiagGaussian",
    "Distribution",
    "MultiCategorical",
    "MultiDistribution",
    "SquashedGaussian",
    "TorchBernoulli",
    "TorchCategorical",
    "TorchDeterministic",
    "TorchDiagGaussian",
    "TorchDistribution",
    "TorchMultiCategorical",
    "TorchMultiDistribution",
    "TorchSquashedGaussian",
]
