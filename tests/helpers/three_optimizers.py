"""An actor, a critic and a temperature with an optimizer each, on one module: losses as a dict."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from rlkit_core import Learner, MultiRLModuleSpec, RLModuleSpec, TorchRLModule
from rlkit_core.testing import BCConfigTest

OBS = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
ACT = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
NAMES = ("actor", "critic", "alpha")


class ThreeParts(TorchRLModule):
    """A trunk that actor and critic share (and the critic steps), a policy, a critic, a temperature."""

    def setup(self):
        self.trunk = nn.Linear(4, 8)
        self.pi = nn.Sequential(nn.Tanh(), nn.Linear(8, 2))
        self.qf = nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 1))
        self.log_alpha = nn.Parameter(torch.zeros(()))

    def q(self, features, actions):
        return self.qf(torch.cat((features, actions), -1)).squeeze(-1)

    def _forward(self, batch, **kwargs):
        features = self.trunk(batch["obs"])
        actions = torch.tanh(self.pi(features))
        return {"features": features, "actions": actions, "logits": actions}

    def losses(self, fwd_out, batch):
        """One forward for three losses; the actor's goes through the critic."""
        features, actions = fwd_out["features"], fwd_out["actions"]
        size = actions.square().sum(-1).mean()
        return {
            "actor": self.log_alpha.exp().detach() * size - self.q(features, actions).mean(),
            "critic": (self.q(features, batch["actions"]) - batch["targets"]).square().mean(),
            "alpha": self.log_alpha * (size.detach() - 0.5),
        }

    def parts(self):
        return {
            "actor": list(self.pi.parameters()),
            "critic": [*self.trunk.parameters(), *self.qf.parameters()],
            "alpha": [self.log_alpha],
        }


class ThreeOptimizers(Learner):
    """Steps the actor in every second update only, where ``learner_config_dict`` says ``delayed``."""

    def configure_optimizers_for_module(self, module_id, config=None):
        config = config or self.config_for(module_id)
        for name, params in self.module[module_id].parts().items():
            adam = torch.optim.Adam(params, fused=True)
            self.register_optimizer(
                module_id=module_id, optimizer_name=name, optimizer=adam, params=params, lr_or_lr_schedule=config.lr
            )

    def step_variant(self, module_id):
        return self.weights_seq_no % 2 if self.config.learner_config_dict.get("delayed") else None

    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        losses = self.module[module_id].losses(fwd_out, batch)
        for name, loss in losses.items():
            self.metrics.log_value((module_id, f"{name}_loss"), loss)
        if self.step_variant(module_id):
            del losses["actor"]
        return losses


def config_for(learner_class=ThreeOptimizers, ids=("default_policy",), module_class=ThreeParts, **training):
    specs = {mid: RLModuleSpec(module_class, OBS, ACT) for mid in ids}
    return (
        BCConfigTest()
        .learners(learner_class=learner_class)
        .training(**{"lr": 0.01, "grad_clip": 0.5, **training})
        .multi_agent(policies=ids)
        .rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs))
        .debugging(seed=5)
    )


def learner_for(learner_class=ThreeOptimizers, ids=("default_policy",), *, config=None, **training):
    learner = (config or config_for(learner_class, ids, **training)).build_learner()
    learner.build()
    return learner


def rows(seed=0, count=32):
    generator = torch.Generator().manual_seed(seed)
    obs = torch.randn(count, 4, generator=generator)
    actions = torch.rand(count, 2, generator=generator) * 2 - 1
    return {"obs": obs, "actions": actions, "targets": obs[:, 0] + actions[:, 1]}
