"""The loss of PPO against the paper's equations, written out with torch.distributions."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_ppo import PPOConfig

ROWS = 64
BOX = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)


def make(action_space, **training):
    config = PPOConfig().training(**training).debugging(seed=3)
    learner = config.build_learner(spaces={"default_policy": (BOX, action_space)})
    learner.build()
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    discrete = isinstance(action_space, gym.spaces.Discrete)
    batch = {
        "obs": draw(ROWS, 3),
        "actions": torch.randint(0, 4, (ROWS,), generator=generator) if discrete else draw(ROWS, 2),
        "action_logp": draw(ROWS) * 0.3 - 1.2,
        "action_dist_inputs": draw(ROWS, 4) * 0.1,
        "advantages": draw(ROWS),
        "value_targets": draw(ROWS) * 3.0,
        "vf_preds": draw(ROWS),
    }
    return learner, batch


def expected_loss(learner, batch, discrete, config):
    module = learner.module["default_policy"]
    logits = module.forward_train({"obs": batch["obs"]})["action_dist_inputs"]

    def dist_of(inputs):
        if discrete:
            return torch.distributions.Categorical(logits=inputs)
        mean, log_std = inputs.chunk(2, -1)
        return torch.distributions.Independent(torch.distributions.Normal(mean, log_std.exp()), 1)

    dist = dist_of(logits)
    ratio = torch.exp(dist.log_prob(batch["actions"]) - batch["action_logp"])
    adv = batch["advantages"]
    if config.normalize_advantages == "minibatch":
        adv = (adv - adv.mean()) / adv.std(correction=0)
    policy = torch.min(ratio * adv, ratio.clamp(1 - config.clip_param, 1 + config.clip_param) * adv).mean()
    values = module.compute_values({"obs": batch["obs"]})
    squared = (values - batch["value_targets"]) ** 2
    if config.value_clip is not None:
        near = batch["vf_preds"] + (values - batch["vf_preds"]).clamp(-config.value_clip, config.value_clip)
        squared = torch.max(squared, (near - batch["value_targets"]) ** 2)
    if config.vf_clip_param is not None:
        squared = squared.clamp(max=config.vf_clip_param)
    loss = -policy - config.entropy_coeff * dist.entropy().mean()
    if config.use_critic:
        loss = loss + config.vf_loss_coeff * squared.mean()
    if config.use_kl_loss:
        old = dist_of(batch["action_dist_inputs"])
        kl = torch.distributions.kl_divergence(old, dist).mean()
        loss = loss + config.kl_coeff * kl
    return loss


@pytest.mark.parametrize("discrete", [True, False])
@pytest.mark.parametrize(
    "training",
    [
        {},
        {"entropy_coeff": 0.3},
        {"use_kl_loss": True, "kl_coeff": 0.7},
        {"vf_clip_param": 2.0},
        {"value_clip": 0.2},
        {"use_critic": False},
        {"clip_param": 0.05, "vf_loss_coeff": 2.0},
        {"normalize_advantages": "minibatch"},
    ],
    ids=lambda training: "-".join(training) or "defaults",
)
def test_loss_and_gradients_equal_the_equations(discrete, training):
    action_space = gym.spaces.Discrete(4) if discrete else gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    learner, batch = make(action_space, **training)
    parameters = [p for p in learner.module.parameters() if p.requires_grad]
    fwd_out = learner.module.forward_train({"default_policy": batch})
    loss = learner.compute_losses(fwd_out=fwd_out, batch={"default_policy": batch})["default_policy"]
    expected = expected_loss(learner, batch, discrete, learner.config)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    ours = torch.autograd.grad(loss, parameters, allow_unused=True)
    theirs = torch.autograd.grad(expected, parameters, allow_unused=True)
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine is None) == (other is None)
        if mine is not None:
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("kl", "factor"), [(0.05, 1.5), (0.001, 0.5), (0.012, 1.0)])
def test_the_kl_weight_follows_its_target(kl, factor):
    learner, _ = make(gym.spaces.Discrete(4), use_kl_loss=True, kl_coeff=0.2, kl_target=0.01)
    learner.metrics.log_value(("default_policy", "mean_kl_loss"), kl)
    learner.after_gradient_based_update(timesteps={})
    assert learner.metrics.reduce()["default_policy"]["curr_kl_coeff"] == pytest.approx(0.2 * factor)


def test_entropy_schedule_follows_the_sampled_steps():
    learner, batch = make(gym.spaces.Discrete(4), entropy_coeff=[[0, 0.1], [100, 0.0]])
    seen = []
    for steps in (0, 50, 200):
        result = learner.update({"default_policy": batch}, timesteps={"num_env_steps_sampled_lifetime": steps})
        seen.append(result["default_policy"]["curr_entropy_coeff"])
    assert seen == pytest.approx([0.1, 0.05, 0.0])
