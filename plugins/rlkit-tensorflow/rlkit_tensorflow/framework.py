"""The framework ``tf2``: what the core is given of it."""

from __future__ import annotations

from typing import Final

import rlkit_tensorflow.quiet  # noqa: F401
from rlkit_core.frameworks import AlgorithmParts, Framework
from rlkit_tensorflow import tf_distributions
from rlkit_tensorflow.behaviour_cloning import BCTfLearner, DiscreteBCTfModule, bc_spec
from rlkit_tensorflow.networks import build
from rlkit_tensorflow.sampler import TfActionSampler
from rlkit_tensorflow.tensors import from_numpy, to_numpy
from rlkit_tensorflow.tf_learner import TfLearner
from rlkit_tensorflow.tf_rl_module import TfRLModule

TF2: Final = Framework(
    name="tf2",
    module_base=TfRLModule,
    learner_base=TfLearner,
    to_numpy=to_numpy,
    from_numpy=from_numpy,
    sampler=TfActionSampler,
    build=build,
    distribution=tf_distributions.twin_of,
    algorithms={"rlkit_core.testing.bc_algorithm:BCConfigTest": AlgorithmParts(bc_spec, BCTfLearner)},
    names={
        "DiscreteBCTfModule": DiscreteBCTfModule,
        "TfLearner": TfLearner,
        "TfRLModule": TfRLModule,
        "tf_distributions": tf_distributions,
    },
)
