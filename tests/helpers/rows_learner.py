"""A learner that groups of learners are tested with; checkpoints name it by this module."""

from __future__ import annotations

import time

import torch

from rlkit_core import Columns
from rlkit_core.learner import masked_mean
from rlkit_core.testing import BCTorchLearner


class RowsLearner(BCTorchLearner):
    """Behaviour cloning that minds a mask, and logs the observation's first number of every row.

    What is more: an observation above 50 has no finite loss, updates take ``pause`` seconds longer, and with
    ``alone`` a step leaves the other learners out.
    """

    pause, alone = 0.0, False

    def before_gradient_based_update(self, *, timesteps):
        time.sleep(self.pause)

    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        self.log_rows(module_id, "first", batch["obs"][..., 0])
        logp = fwd_out["action_dist"].log_prob(batch["actions"])
        logp = torch.where(batch["obs"].amax() > 50, torch.nan, logp)
        return -masked_mean(logp, batch.get(Columns.LOSS_MASK))

    def average_gradients(self, gradients_dict):
        return gradients_dict if self.alone else super().average_gradients(gradients_dict)
