"""APPO's loss and gradients against its equations, with torch.distributions and V-trace one step at a time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from oracle_envs import Ragged

from rlkit_appo import APPOConfig

sys.path.insert(0, str(Path(__file__).parents[2] / "rlkit-impala" / "tests"))
from impala_oracle import perturbed, stepwise, vtrace_by_steps

pytestmark = pytest.mark.usefixtures("next_step_resets")

GAMMA = 0.9


def algorithm(mode="sync", model_config=None, **training):
    return (
        APPOConfig()
        .environment(Ragged)
        .env_runners(num_envs_per_env_runner=3, rollout_fragment_length=20, gym_env_vectorize_mode=mode)
        .training(train_batch_size=60, gamma=GAMMA, **training)
        .rl_module(
            model_config={
                "fcnet_hiddens": [6],
                "lstm_cell_size": 4,
                "max_seq_len": 6,
                "vf_share_layers": True,
                **(model_config or {}),
            }
        )
        .debugging(seed=2)
        .build_algo()
    )


def loss_of(learner, batch):
    fwd_out = learner.module.forward_train({"default_policy": batch})
    return learner.compute_losses(fwd_out=fwd_out, batch={"default_policy": batch})["default_policy"]


def expected_loss(module, rollout, config):
    def new(batch):
        out = module.forward_train(batch)
        values = module.compute_values(batch, embeddings=out["embeddings"])
        return out["action_dist_inputs"], values, out.get("state_out")

    def target(batch):
        logits = module.forward_target(batch)["target_network_action_dist_inputs"]
        state = module._old_encoder(batch).get("state_out")
        return logits, torch.zeros(logits.shape[:-1]), state

    logits, values, following, cuts = stepwise(module, rollout, new)
    target_logits, *_ = stepwise(module, rollout, target)
    valid = torch.ones_like(cuts) if rollout.loss_mask is None else rollout.loss_mask
    dist = torch.distributions.Categorical(logits=logits)
    old = torch.distributions.Categorical(logits=target_logits)
    actions, mu = rollout["actions"], rollout["action_logp"]
    target_logp = old.log_prob(actions)
    vs, advantages = vtrace_by_steps(
        (target_logp - mu).exp(),
        rollout["rewards"],
        values.detach(),
        following,
        GAMMA * (~rollout["terminateds"]),
        cuts,
        config.vtrace_clip_rho_threshold,
        config.vtrace_clip_pg_rho_threshold,
    )
    is_ratio = (mu - target_logp).exp().clamp(0, config.target_worker_clipping)
    ratio = is_ratio * (dist.log_prob(actions) - mu).exp()
    clipped = ratio.clamp(1 - config.clip_param, 1 + config.clip_param)
    loss = -torch.min(ratio * advantages, clipped * advantages)[valid].mean()
    loss = loss + config.vf_loss_coeff * 0.5 * (values - vs)[valid].square().mean()
    loss = loss - config.entropy_coeff * dist.entropy()[valid].mean()
    if config.use_kl_loss:
        kl = torch.distributions.kl_divergence(old, dist)[valid].mean()
        loss = loss + config.kl_coeff * kl
    return loss, is_ratio[valid]


@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync"])
@pytest.mark.parametrize("model", [{}, {"use_lstm": True}], ids=["plain", "lstm"])
@pytest.mark.parametrize(
    "training",
    [
        {"clip_param": 0.05, "entropy_coeff": 0.3},
        {"target_worker_clipping": 0.9, "use_kl_loss": True, "kl_coeff": 0.7},
    ],
    ids=["surrogate", "kl"],
)
def test_loss_and_gradients_equal_the_equations_step_by_step(mode, model, training):
    with algorithm(mode, model, **training) as algo:
        algo.env_runner_group.sample()
        rollout = algo.env_runner_group.sample()["default_policy"]
        learner = algo.learner_group.learner
        module = learner.module["default_policy"]
        perturbed(module, 0.1)
        perturbed(module._old_pi, 0.2)
        batch = learner.build_train_batch("default_policy", rollout)
        module.train()
        loss = loss_of(learner, batch)
        expected, is_ratio = expected_loss(module, rollout, algo.config)
        parameters = [p for p in module.parameters() if p.requires_grad]
        ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
        logged = learner.metrics.reduce()["default_policy"]
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)
    assert logged["mean_IS"] == pytest.approx(float(is_ratio.mean()), rel=1e-4)
    assert logged["var_IS"] == pytest.approx(float(is_ratio.var(correction=0)), rel=1e-3, abs=1e-7)


def weights_after(compile):
    config = algorithm(use_kl_loss=True).config.copy(copy_frozen=False).learners(compile=compile)
    with config.build_algo() as algo:
        for _ in range(6):
            algo.training_step()
        return algo.learner_group.learner.get_state()["rl_module"]["default_policy"]


def test_captured_steps_equal_eager_ones():
    eager, captured = weights_after(None), weights_after("capture")
    for name, value in eager.items():
        torch.testing.assert_close(torch.as_tensor(captured[name]), torch.as_tensor(value), rtol=1e-5, atol=1e-6)
