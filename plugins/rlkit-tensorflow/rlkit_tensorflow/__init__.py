"""RLModules, distributions and a learner that compute with TensorFlow: the framework ``tf2``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlkit_core.lazy import lazy_names

if TYPE_CHECKING:
    from rlkit_tensorflow.behaviour_cloning import BCTfLearner as BCTfLearner
    from rlkit_tensorflow.behaviour_cloning import DiscreteBCTfModule as DiscreteBCTfModule
    from rlkit_tensorflow.framework import TF2 as TF2
    from rlkit_tensorflow.tf_learner import TfLearner as TfLearner
    from rlkit_tensorflow.tf_rl_module import TfRLModule as TfRLModule
    from rlkit_tensorflow.variables import TfParameter as TfParameter
    from rlkit_tensorflow.variables import parameter_of as parameter_of

__all__ = ["TF2", "BCTfLearner", "DiscreteBCTfModule", "TfLearner", "TfParameter", "TfRLModule", "parameter_of"]

_HOMES = {
    "BCTfLearner": "rlkit_tensorflow.behaviour_cloning",
    "DiscreteBCTfModule": "rlkit_tensorflow.behaviour_cloning",
    "TF2": "rlkit_tensorflow.framework",
    "TfLearner": "rlkit_tensorflow.tf_learner",
    "TfParameter": "rlkit_tensorflow.variables",
    "TfRLModule": "rlkit_tensorflow.tf_rl_module",
    "parameter_of": "rlkit_tensorflow.variables",
}
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
