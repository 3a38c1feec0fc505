"""Small PPO learners of every kind of step, and batches for them."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from rlkit_core import RLModuleSpec
from rlkit_ppo import PPOConfig, PPOTorchLearner, PPOTorchRLModule

BOX = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
SPACES = {
    "discrete": gym.spaces.Discrete(3),
    "box": gym.spaces.Box(-1.0, 1.0, (2,), np.float32),
    "multi": gym.spaces.MultiDiscrete([2, 3]),
    "dict": gym.spaces.Dict({"a": gym.spaces.Discrete(2), "b": gym.spaces.Box(-1.0, 1.0, (2,), np.float32)}),
}


def build(compile, action_space, *, learner_class=None, module_class=None, model_config=None, **training):
    config = (
        PPOConfig()
        .training(**{"lr": 0.01, "minibatch_size": 16, **training})
        .learners(compile=compile)
        .rl_module(model_config={"fcnet_hiddens": [8, 8], **(model_config or {})})
        .debugging(seed=4)
    )
    if learner_class is not None:
        config.learners(learner_class=learner_class)
    if module_class is not None:
        config.rl_module(rl_module_spec=RLModuleSpec(module_class=module_class))
    learner = config.build_learner(spaces={"default_policy": (BOX, action_space)})
    learner.build()
    return learner


def rows(learner, count=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    module = learner.module["default_policy"]
    dist_cls = module.get_train_action_dist_cls()
    obs = torch.randn(count, 4, generator=generator)
    with torch.no_grad():
        inputs = module.forward_train({"obs": obs})["action_dist_inputs"]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            actions = dist_cls.from_logits(inputs).sample()
    return {
        "default_policy": {
            "obs": obs,
            "actions": actions,
            "action_logp": torch.randn(count, generator=generator) * 0.2 - 1.0,
            "action_dist_inputs": inputs + 0.1 * torch.randn(inputs.shape, generator=generator),
            "advantages": torch.randn(count, generator=generator),
            "value_targets": torch.randn(count, generator=generator),
            "vf_preds": torch.randn(count, generator=generator),
        }
    }


def update(learner, batch, steps=0):
    return learner.update(
        batch,
        timesteps={"num_env_steps_sampled_lifetime": steps},
        num_epochs=2,
        minibatch_size=16,
        shuffle_batch_per_epoch=True,
    )


def assert_equal_weights(a, b):
    for name, value in a.module["default_policy"].get_state().items():
        assert np.array_equal(value, b.module["default_policy"].get_state()[name]), name


class Dropout(PPOTorchRLModule):
    def setup(self):
        super().setup()
        self.pi = nn.Sequential(nn.Dropout(0.3), self.pi)
        self.vf = nn.Sequential(nn.BatchNorm1d(8), self.vf)


class ReadsValues(PPOTorchLearner):
    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        loss = super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        return loss if loss.item() < 1e9 else loss * 0.0


class Separate(PPOTorchLearner):
    """Plain SGD on two groups of parameters: nothing is flat, and one group has a single parameter."""

    def configure_optimizers_for_module(self, module_id, config=None):
        parameters = self.get_parameters(self.module[module_id])
        for name, params in (("first", parameters[:1]), ("rest", parameters[1:])):
            self.register_optimizer(
                module_id=module_id,
                optimizer_name=name,
                optimizer=torch.optim.SGD(params, lr=0.1, momentum=0.9),
                params=params,
            )
