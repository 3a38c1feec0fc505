"""PPO on columns of agents, which end anywhere, and on several modules with different numbers of rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracle_envs import Ragged
from ragged import ragged

from rlkit_core.envs import EnvRunner
from rlkit_ppo import PPOConfig
from rlkit_ppo.ppo import standardized
from rlkit_ppo.reward_scaling import RewardScaler

LENGTHS = [9, 4, 0, 6]
MODELS = {"plain": {}, "lstm": {"use_lstm": True}}
PAIR = (Ragged.observation_space, Ragged.action_space)


def config(model="plain", **training):
    return (
        PPOConfig()
        .environment(Ragged)
        .env_runners(num_envs_per_env_runner=1)
        .training(minibatch_size=8, train_batch_size=16, num_epochs=2, **training)
        .rl_module(model_config={"fcnet_hiddens": [6], "lstm_cell_size": 4, "max_seq_len": 3, **MODELS[model]})
        .debugging(seed=3)
    )


def columns(model="plain", lengths=LENGTHS, seed=10):
    made = []
    for n, length in enumerate(lengths):
        runner = EnvRunner(config(model).debugging(seed=seed + n))
        made.append(runner.sample(num_timesteps=length)["default_policy"].clone() if length else None)
        runner.stop()
    return made


def learner_of(model="plain", ids=("default_policy",), to_train=None, **training):
    made = config(model, **training).multi_agent(policies=list(ids), policies_to_train=to_train)
    learner = made.build_learner(spaces=dict.fromkeys(ids, PAIR))
    learner.build()
    return learner


@pytest.mark.parametrize("model", MODELS)
def test_advantages_are_standardised_over_experience_only(model):
    learner, single = learner_of(model), columns(model)
    whole = learner.build_train_batch("default_policy", ragged(single))
    raw = learner_of(model, normalize_advantages=None)
    raw.set_state(learner.get_state())
    parts = [raw.build_train_batch("default_policy", column) for column in single if column is not None]

    def real(batch, name):
        return batch[name][batch["loss_mask"]] if "loss_mask" in batch else batch[name]

    expected = standardized(torch.cat([real(part, "advantages") for part in parts]))
    torch.testing.assert_close(real(whole, "advantages").sort().values, expected.sort().values, rtol=1e-4, atol=1e-5)
    targets = torch.cat([real(part, "value_targets") for part in parts])
    torch.testing.assert_close(real(whole, "value_targets").sort().values, targets.sort().values, rtol=1e-4, atol=1e-5)


def test_reward_scaling_follows_each_agent_through_its_rollouts():
    gamma, scaler = 0.9, RewardScaler(0.9)
    rng = np.random.default_rng(3)
    open_, returns = np.zeros(5), []
    for lengths in ([4, 2], [3, 0], [0, 5, 1], [2, 2, 2]):  # from the third rollout on, there is one more
        rewards, dones = (
            rng.normal(1.0, 3.0, (max(lengths), len(lengths))),
            np.zeros((max(lengths), len(lengths)), bool),
        )
        for n, length in enumerate(lengths):
            dones[:length, n] = rng.random(length) < 0.3
            dones[length:, n] = True  # what lies behind a column's last row is of no account
            for t in range(length):
                open_[n] = gamma * open_[n] + rewards[t, n]
                returns.append(open_[n])
                open_[n] *= not dones[t, n]
        scaled = scaler(torch.as_tensor(rewards), torch.as_tensor(dones), torch.tensor(lengths))
        variance = np.var(returns)
        np.testing.assert_allclose(scaler.variance, variance, rtol=1e-9)
        for n, length in enumerate(lengths):
            expected = rewards[:length, n] / np.sqrt(variance + 1e-8)
            np.testing.assert_allclose(scaled[:length, n].numpy(), expected, rtol=1e-9)


def test_a_cut_is_no_end_for_reward_scaling():
    single = columns(lengths=[6, 3, 4])
    rollout = ragged(single)
    assert rollout.cut.any()
    learner = learner_of(reward_scaling=True)
    learner.build_train_batch("default_policy", rollout)
    returns = []
    for column in single:
        total = 0.0
        for t in range(column.num_steps):
            total = learner.config.gamma * total + float(column["rewards"][t, 0])
            returns.append(total)
            total *= not bool(column["terminateds"][t, 0] | column["truncateds"][t, 0])
    state = learner.get_state()["reward_scaler"]["default_policy"]
    assert state["count"] == 13
    assert state["mean"] == pytest.approx(np.mean(returns), abs=1e-5)


def test_embeddings_of_agents_may_be_of_older_weights():
    made = config(normalize_advantages=None).rl_module(
        model_config={"vf_share_layers": True, "fcnet_hiddens": [300, 300]}  # small ones act without embeddings
    )
    runner = EnvRunner(made)
    rollout = runner.sample(num_timesteps=6)["default_policy"].clone()
    runner.stop()
    learner = made.build_learner(spaces=PAIR)
    learner.build()
    rollout.weights_version = learner.weights_seq_no
    without = rollout.clone()
    del without.columns["embeddings"]
    rollout.columns["embeddings"][0] = 99.0  # a row that was carried over

    def advantages(of):
        return learner.build_train_batch("default_policy", of)["advantages"]

    assert not torch.allclose(advantages(rollout), advantages(without), atol=1e-2)
    rollout.cut = torch.zeros(1, dtype=torch.bool)
    torch.testing.assert_close(advantages(rollout), advantages(without), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_modules_of_different_sizes_come_and_go(model):
    ids = ("many", "few", "frozen")
    learner = learner_of(model, ids, to_train=["many", "few"], use_kl_loss=True, kl_target=1e6, lr=0.01)
    many, few = ragged(columns(model)), ragged(columns(model, [2, 1], seed=20))
    before = learner.get_state()["rl_module"]
    options = {"num_epochs": 2, "minibatch_size": 6, "shuffle_batch_per_epoch": True}
    result = learner.update(rollouts={"many": many, "few": few, "frozen": few}, **options)
    assert result["many"]["num_module_steps_trained"] == 19
    assert result["few"]["num_module_steps_trained"] == 3
    assert "num_module_steps_trained" not in result.get("frozen", {})
    assert result["many"]["curr_kl_coeff"] == result["few"]["curr_kl_coeff"] == pytest.approx(0.1)
    result = learner.update(rollouts={"few": few}, **options)
    assert result["few"]["num_module_steps_trained"] == 3
    assert learner.get_state()["kl_coeff"] == pytest.approx({"many": 0.1, "few": 0.05, "frozen": 0.2})
    after = learner.get_state()["rl_module"]
    for module_id in before:
        same = all(np.array_equal(before[module_id][name], value) for name, value in after[module_id].items())
        assert same is (module_id == "frozen")
    learner.remove_module("few")
    learner.update(rollouts={"many": many}, **options)
    assert set(learner.get_state()["kl_coeff"]) == {"many", "frozen"}
