"""Behaviour cloning with TensorFlow: the module and the learner of ``rlkit_core.testing``'s algorithm."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from rlkit_core.columns import Columns
from rlkit_core.rl_module import RLModuleSpec
from rlkit_tensorflow.tf_distributions import Categorical
from rlkit_tensorflow.tf_learner import TfLearner
from rlkit_tensorflow.tf_rl_module import TfRLModule


class DiscreteBCTfModule(TfRLModule):
    """An MLP with one hidden layer and a live categorical distribution, for flat observations and Discrete actions.

    ``model_config["fcnet_hiddens"][0]`` is the layer's width.
    """

    def setup(self) -> None:
        """Build the policy."""
        space: Any = self.observation_space
        actions: Any = self.action_space
        width = self.model_config["fcnet_hiddens"][0]
        self.input_dim = int(space.shape[0])
        self.policy = keras.Sequential(
            [keras.layers.Dense(width, activation="relu"), keras.layers.Dense(int(actions.n))]
        )

    def _forward(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        return {Columns.ACTION_DIST: Categorical(logits=self.policy(batch[Columns.OBS]))}


class BCTfLearner(TfLearner):
    """The loss of behaviour cloning: minus the mean log-probability of the actions in the batch."""

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        """``-E[log pi(a | s)]``."""
        dist = fwd_out.get(Columns.ACTION_DIST)
        if dist is None:
            dist_cls = self.module[module_id].get_train_action_dist_cls()
            dist = dist_cls.from_logits(fwd_out[Columns.ACTION_DIST_INPUTS])
        return -tf.reduce_mean(dist.logp(batch[Columns.ACTIONS]))


def bc_spec() -> RLModuleSpec:
    """:class:`DiscreteBCTfModule`, 32 wide."""
    return RLModuleSpec(module_class=DiscreteBCTfModule, model_config={"fcnet_hiddens": [32]})
