"""PPO on recurrent modules: the loss, its gradients and its data against an oracle that goes step by step."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from oracle_envs import ConstantReward, Ragged

from rlkit_core import Algorithm, RLModuleSpec, TorchRLModule
from rlkit_core.apis import ValueFunctionAPI
from rlkit_core.data.sequences import ChunkLayout
from rlkit_core.learner import values_of_rollout
from rlkit_core.models.normalizer import observation_normalizers
from rlkit_ppo import PPOConfig

sys.path.insert(0, str(Path(__file__).parent))

GAMMA, LAMBDA, CLIP = 0.9, 0.8, 0.2


def algorithm(env, mode, model_config, **training):
    return (
        PPOConfig()
        .environment(env)
        .env_runners(num_envs_per_env_runner=3, gym_env_vectorize_mode=mode)
        .training(train_batch_size=60, minibatch_size=12, num_epochs=2, gamma=GAMMA, lambda_=LAMBDA, **training)
        .rl_module(model_config={"fcnet_hiddens": [6], "lstm_cell_size": 4, "max_seq_len": 6, **model_config})
        .debugging(seed=2)
        .build_algo()
    )


def stepwise(module, rollout):
    """Logits and values of every step, and values of what followed, one step at a time."""
    steps, envs = rollout.num_steps, rollout.num_envs
    starts = rollout.episode_starts
    finals = {} if rollout.final_index is None else {int(i): k for k, i in enumerate(rollout.final_index)}

    def call(obs, state, extra):
        batch = {"obs": obs[None, None], "state_in": state, **{k: v[None, None] for k, v in extra.items()}}
        out = module.forward_train(batch)
        values = module.compute_values(batch, embeddings=out["embeddings"])
        return out["action_dist_inputs"][0, 0], values[0, 0], out["state_out"]

    def at(struct, *index):
        return {k: at(v, *index) if isinstance(v, dict) else v[index][None] for k, v in struct.items()}

    names = list(rollout.bootstrap_inputs)
    logits = [[None] * envs for _ in range(steps)]
    values = [[None] * envs for _ in range(steps)]
    following = torch.zeros(steps, envs)
    for n in range(envs):
        state = at(rollout.state_in, 0, n)
        for t in range(steps):
            if starts[t, n]:
                state = _batched(module.get_initial_state())
            elif t % rollout.seq_len == 0:
                state = at(rollout.state_in, t // rollout.seq_len, n)  # truncated back-propagation starts here
            extra = {name: rollout[name][t, n] for name in names}
            logits[t][n], values[t][n], state = call(rollout["obs"][t, n], state, extra)
            row = t * envs + n
            detached = _detach(state)
            if row in finals:
                extra = {name: rollout.final_inputs[name][finals[row]] for name in names}
                following[t, n] = call(rollout.final_obs[finals[row]], detached, extra)[1].detach()
            elif t == steps - 1:
                extra = {name: rollout.bootstrap_inputs[name][n] for name in names}
                following[t, n] = call(rollout.bootstrap_obs[n], detached, extra)[1].detach()
        for t in range(steps - 1):
            if t * envs + n not in finals:
                following[t, n] = values[t + 1][n].detach()
    return (
        torch.stack([torch.stack(r) for r in logits]),
        torch.stack([torch.stack(r) for r in values]),
        following,
    )


def _batched(struct):
    return {k: _batched(v) if isinstance(v, dict) else v[None] for k, v in struct.items()}


def _detach(struct):
    return {k: _detach(v) if isinstance(v, dict) else v.detach() for k, v in struct.items()}


def oracle_loss(module, rollout):
    valid = rollout.loss_mask if rollout.loss_mask is not None else torch.ones_like(rollout["terminateds"])
    logits, values, following = stepwise(module, rollout)
    steps, envs = valid.shape
    advantages = torch.zeros(steps, envs)
    for n in range(envs):
        tail = 0.0
        for t in reversed(range(steps)):
            terminated, truncated = bool(rollout["terminateds"][t, n]), bool(rollout["truncateds"][t, n])
            future = 0.0 if terminated else following[t, n].item()
            delta = rollout["rewards"][t, n].item() + GAMMA * future - values[t, n].item()
            tail = delta + (0.0 if terminated or truncated else GAMMA * LAMBDA * tail)
            advantages[t, n] = tail
    targets = advantages + values.detach()
    a = advantages[valid]
    advantages = (advantages - a.mean()) / a.std(correction=0)
    dist = torch.distributions.Categorical(logits=logits)
    ratio = (dist.log_prob(rollout["actions"]) - rollout["action_logp"]).exp()
    surrogate = torch.min(ratio * advantages, ratio.clamp(1 - CLIP, 1 + CLIP) * advantages)[valid].mean()
    return -surrogate + 0.5 * (values - targets)[valid].square().mean() - 0.01 * dist.entropy()[valid].mean()


@pytest.mark.usefixtures("next_step_resets")
@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync"])
@pytest.mark.parametrize(
    "model_config",
    [
        {"use_lstm": True},
        {
            "use_lstm": True,
            "vf_share_layers": True,
            "lstm_use_prev_action": True,
            "lstm_use_prev_reward": True,
        },
        {"use_gru": True, "lstm_num_layers": 2, "max_seq_len": 50},
    ],
    ids=["lstm", "shared-lstm-prev", "long-gru"],
)
def test_loss_and_gradients_equal_the_stepwise_oracle(mode, model_config):
    with algorithm(Ragged, mode, model_config, entropy_coeff=0.01) as algo:
        algo.env_runner_group.sample()  # the next one begins in the middle of episodes
        rollout = algo.env_runner_group.sample()["default_policy"]
        learner = algo.learner_group.learner
        module = learner.module["default_policy"]
        with torch.no_grad():  # other weights than those that acted, so that ratios differ from 1
            for p in module.parameters():
                p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
        batch = learner.build_train_batch("default_policy", rollout)
        assert int(batch["loss_mask"].sum()) == rollout.num_env_steps
        assert ChunkLayout.of(rollout).lengths.min() < ChunkLayout.of(rollout).lengths.max()
        fwd_out = learner.module.forward_train({"default_policy": batch})
        loss = learner.compute_losses(fwd_out=fwd_out, batch={"default_policy": batch})["default_policy"]
        parameters = list(module.parameters())
        ours = torch.autograd.grad(loss, parameters)
        module.train()
        expected = oracle_loss(module, rollout)
        theirs = torch.autograd.grad(expected, parameters)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)


def state_of(algo):
    return algo.learner_group.learner.get_state()


@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync"])
def test_a_resumed_run_equals_the_one_that_went_on(tmp_path, mode):
    extra = {"use_lstm": True, "normalize_observations": True, "lstm_use_prev_action": True}
    with algorithm(Ragged, mode, extra) as algo:
        algo.train()
        path = algo.save_to_path(tmp_path / "checkpoint")
        with Algorithm.from_checkpoint(path) as other:
            for _ in range(2):
                algo.train()
                other.train()
            ours, theirs = state_of(algo)["rl_module"], state_of(other)["rl_module"]
            flat = [(k, v, theirs["default_policy"][k]) for k, v in ours["default_policy"].items()]
            assert any("normalizer" in name for name, _, _ in flat)
            for name, mine, his in flat:
                assert np.array_equal(np.asarray(mine), np.asarray(his)), name


@pytest.mark.usefixtures("next_step_resets")
@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync"])
def test_the_value_of_a_constant_reward_reaches_its_limit(mode):
    config = (
        PPOConfig()
        .environment(ConstantReward)
        .env_runners(num_envs_per_env_runner=4, gym_env_vectorize_mode=mode)
        .training(train_batch_size=256, minibatch_size=128, num_epochs=8, lr=0.01, gamma=0.8, lambda_=0.9)
        .rl_module(model_config={"use_lstm": True, "lstm_cell_size": 8, "fcnet_hiddens": [8], "max_seq_len": 5})
        .debugging(seed=1)
    )
    with config.build_algo() as algo:
        for _ in range(25):
            algo.train()
        rollout = algo.env_runner_group.sample()["default_policy"]
        values, _, _ = values_of_rollout(algo.learner_group.learner.module["default_policy"], rollout)
        keep = slice(None) if rollout.loss_mask is None else rollout.loss_mask
        np.testing.assert_allclose(values[keep].numpy(), 5.0, rtol=0.04)


@pytest.mark.usefixtures("next_step_resets")
def test_observation_statistics_are_those_of_the_updates_before():
    with algorithm(Ragged, "gymnasium_sync", {"normalize_observations": True, "use_gru": True}) as algo:
        runner_part = _normalizer(algo.env_runner.acting_module)
        seen = []
        sample = algo.env_runner_group.sample

        def recorded(**kwargs):
            assert int(runner_part.count) == sum(len(part) for part in seen)  # acting never adds any
            rollouts = sample(**kwargs)
            rollout = rollouts["default_policy"]
            seen.append(rollout["obs"][rollout.loss_mask].double().numpy().copy())
            return rollouts

        algo.env_runner_group.sample = recorded
        for _ in range(3):
            algo.train()
        rows = np.concatenate(seen)
        learner_part = _normalizer(algo.learner_group.learner.module["default_policy"])
        for part in (learner_part, runner_part):
            np.testing.assert_allclose(part.mean.numpy(), rows.mean(0), rtol=1e-10)
            np.testing.assert_allclose(part.var.numpy(), rows.var(0), rtol=1e-10)
        algo.evaluate(3)
        assert int(runner_part.count) == len(rows)


def _normalizer(module):
    return observation_normalizers(module)[0]


class OwnMemory(TorchRLModule, ValueFunctionAPI):
    """A recurrent module without catalog, with a state of its own shape that does not start at zero."""

    def setup(self):
        self.register_buffer("start", torch.ones(3))
        self.cell = torch.nn.Linear(2 + 3, 3)
        self.pi, self.vf = torch.nn.Linear(3, 3), torch.nn.Linear(3, 1)

    def get_initial_state(self):
        return {"deep": {"h": self.start}}

    def _run(self, batch):
        h, outs = batch["state_in"]["deep"]["h"], []
        for obs in batch["obs"].unbind(1):
            h = torch.tanh(self.cell(torch.cat((obs, h), -1)))
            outs.append(h)
        return torch.stack(outs, 1), {"deep": {"h": h}}

    def _forward(self, batch, **kwargs):
        hidden, state = self._run(batch)
        return {"action_dist_inputs": self.pi(hidden), "state_out": state}

    def compute_values(self, batch, embeddings=None):
        return self.vf(self._run(batch)[0]).squeeze(-1)


def test_a_recurrent_module_of_ones_own_trains_and_needs_a_length():
    config = (
        PPOConfig()
        .environment(Ragged)
        .env_runners(num_envs_per_env_runner=3)
        .training(train_batch_size=60, minibatch_size=20, num_epochs=2)
        .debugging(seed=1)
    )
    with pytest.raises(ValueError, match=r"OwnMemory is recurrent.*max_seq_len"):
        config.copy().rl_module(rl_module_spec=RLModuleSpec(OwnMemory)).build_algo()
    spec = RLModuleSpec(OwnMemory, model_config={"max_seq_len": 5})
    with config.copy().rl_module(rl_module_spec=spec).build_algo() as algo:
        for _ in range(2):
            result = algo.train()["learners"]["default_policy"]
        assert np.isfinite(result["total_loss"])
        rollout = algo.env_runner_group.sample()["default_policy"]
        assert rollout.state_in["deep"]["h"].shape == (4, 3, 3)
        batch = algo.learner_group.learner.build_train_batch("default_policy", rollout)
        assert batch["obs"].shape[1:] == (5, 2)
        assert result["num_module_steps_trained"] == 60
