"""IMPALA's loss and gradients against the paper's equations, one step at a time, with torch.distributions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from oracle_envs import Ragged

from rlkit_core.data import gae
from rlkit_core.learner import values_of_rollout
from rlkit_impala import IMPALAConfig

sys.path.insert(0, str(Path(__file__).parent))
from impala_oracle import perturbed, stepwise, vtrace_by_steps

pytestmark = pytest.mark.usefixtures("next_step_resets")

GAMMA = 0.9
MODES = ["sync", "gymnasium_sync"]
MODELS = {
    "plain": {},
    "shared": {"vf_share_layers": True},
    "lstm": {"use_lstm": True},
    "shared-gru": {"use_gru": True, "vf_share_layers": True, "max_seq_len": 50},
}


def algorithm(mode, model_config, **training):
    return (
        IMPALAConfig()
        .environment(Ragged)
        .env_runners(num_envs_per_env_runner=3, rollout_fragment_length=20, gym_env_vectorize_mode=mode)
        .training(train_batch_size=60, gamma=GAMMA, **training)
        .rl_module(model_config={"fcnet_hiddens": [6], "lstm_cell_size": 4, "max_seq_len": 6, **model_config})
        .debugging(seed=2)
        .build_algo()
    )


def loss_of(learner, batch):
    fwd_out = learner.module.forward_train({"default_policy": batch})
    return learner.compute_losses(fwd_out=fwd_out, batch={"default_policy": batch})["default_policy"]


def expected_loss(module, rollout, config):
    def forward(batch):
        out = module.forward_train(batch)
        values = module.compute_values(batch, embeddings=out["embeddings"])
        return out["action_dist_inputs"], values, out.get("state_out")

    logits, values, following, cuts = stepwise(module, rollout, forward)
    valid = torch.ones_like(cuts) if rollout.loss_mask is None else rollout.loss_mask
    dist = torch.distributions.Categorical(logits=logits)
    logp = dist.log_prob(rollout["actions"])
    vs, advantages = vtrace_by_steps(
        (logp - rollout["action_logp"]).detach().exp(),
        rollout["rewards"],
        values.detach(),
        following,
        GAMMA * (~rollout["terminateds"]),
        cuts,
        config.vtrace_clip_rho_threshold,
        config.vtrace_clip_pg_rho_threshold,
    )
    policy = -(logp * advantages)[valid].mean()
    value = 0.5 * (values - vs)[valid].square().mean()
    return policy + config.vf_loss_coeff * value - config.entropy_coeff * dist.entropy()[valid].mean()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "training",
    [
        {"entropy_coeff": 0.3, "vf_loss_coeff": 0.7},
        {"vtrace_clip_rho_threshold": 0.9, "vtrace_clip_pg_rho_threshold": 2.0, "entropy_coeff": 0.0},
    ],
    ids=["weights", "clips"],
)
def test_loss_and_gradients_equal_the_equations_step_by_step(mode, model, training):
    with algorithm(mode, MODELS[model], **training) as algo:
        algo.env_runner_group.sample()  # the next one begins in the middle of episodes
        rollout = algo.env_runner_group.sample()["default_policy"]
        assert rollout["truncateds"].any()
        assert rollout["terminateds"].any()
        learner = algo.learner_group.learner
        module = learner.module["default_policy"]
        perturbed(module)
        batch = learner.build_train_batch("default_policy", rollout)
        if "loss_mask" in batch:
            assert int(batch["loss_mask"].sum()) == rollout.num_env_steps
        module.train()
        loss, expected = loss_of(learner, batch), expected_loss(module, rollout, algo.config)
        parameters = list(module.parameters())
        ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_with_a_fresh_rollout_it_is_the_policy_gradient(mode):
    with algorithm(mode, {}, entropy_coeff=0.0, vf_loss_coeff=0.0) as algo:
        rollout = algo.env_runner_group.sample()["default_policy"]
        learner = algo.learner_group.learner
        module = learner.module["default_policy"]
        loss = loss_of(learner, learner.build_train_batch("default_policy", rollout))
        values, last_value, final_values = values_of_rollout(module, rollout)
        ends = rollout["terminateds"], rollout["truncateds"]
        advantages, _ = gae(rollout["rewards"], values, last_value, *ends, final_values, GAMMA, 1.0)
        logits = module.forward_train({"obs": rollout["obs"].flatten(0, 1)})["action_dist_inputs"]
        dist = torch.distributions.Categorical(logits=logits.view(20, 3, -1))
        valid = torch.ones_like(ends[0]) if rollout.loss_mask is None else rollout.loss_mask
        expected = -(dist.log_prob(rollout["actions"]) * advantages)[valid].mean()
        actor = [*module.pi.parameters(), *module.encoder.actor_encoder.parameters()]
        ours, theirs = (torch.autograd.grad(x, actor) for x in (loss, expected))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("size", [20, 40])
def test_the_gradient_over_all_minibatches_is_that_of_the_batch(size):
    with algorithm("sync", {}) as algo:
        rollout = algo.env_runner_group.sample()["default_policy"]
        learner = algo.learner_group.learner
        perturbed(learner.module["default_policy"])
        batch = learner.build_train_batch("default_policy", rollout)
        parts = [slice(k, k + size) for k in range(0, 60, size)]
        losses = [loss_of(learner, {name: x[part] for name, x in batch.items()}) for part in parts]
        weighted = sum(loss * len(batch["obs"][part]) for loss, part in zip(losses, parts, strict=True)) / 60
        torch.testing.assert_close(weighted, loss_of(learner, batch))


def weights_after(iterations, compile, model_config, **training):
    config = algorithm("sync", model_config, **training).config.copy(copy_frozen=False)
    with config.learners(compile=compile).build_algo() as algo:
        for _ in range(iterations):
            algo.training_step()
        return algo.learner_group.learner.get_state()["rl_module"]["default_policy"]


@pytest.mark.parametrize("training", [{}, {"entropy_coeff": [[0, 0.1], [200, 0.0]]}], ids=["", "schedule"])
def test_captured_steps_equal_eager_ones(training):
    eager, captured = (weights_after(6, mode, {}, **training) for mode in (None, "capture"))
    for name, value in eager.items():
        torch.testing.assert_close(torch.as_tensor(captured[name]), torch.as_tensor(value), rtol=1e-5, atol=1e-6)
