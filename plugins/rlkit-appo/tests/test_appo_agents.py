"""APPO on columns of agents, which end anywhere: as on each column alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from oracle_envs import Ragged
from ragged import ragged

from rlkit_appo import APPOConfig
from rlkit_core.envs import EnvRunner

sys.path.insert(0, str(Path(__file__).parents[2] / "rlkit-impala" / "tests"))
from impala_oracle import perturbed

MODELS = {"plain": {}, "lstm": {"use_lstm": True}}
PAIR = (Ragged.observation_space, Ragged.action_space)


def config(model="plain", **training):
    return (
        APPOConfig()
        .environment(Ragged)
        .env_runners(num_envs_per_env_runner=1, rollout_fragment_length=12)
        .training(train_batch_size=24, gamma=0.9, use_kl_loss=True, entropy_coeff=0.1, **training)
        .rl_module(model_config={"fcnet_hiddens": [6], "lstm_cell_size": 4, "max_seq_len": 3, **MODELS[model]})
        .debugging(seed=3)
    )


def columns(model, lengths, seed=10):
    made = []
    for n, length in enumerate(lengths):
        runner = EnvRunner(config(model).debugging(seed=seed + n))
        made.append(runner.sample(num_timesteps=length)["default_policy"].clone())
        runner.stop()
    return made


def loss_of(learner, batch):
    fwd_out = learner.module.forward_train({"default_policy": batch})
    return learner.compute_losses(fwd_out=fwd_out, batch={"default_policy": batch})["default_policy"]


@pytest.mark.parametrize("model", MODELS)
def test_loss_is_that_of_all_columns(model):
    learner = config(model).build_learner(spaces=PAIR)
    learner.build()
    perturbed(learner.module["default_policy"])  # away from the target policy
    learner.module.train()
    single = columns(model, [9, 4, 6])
    parts = [learner.build_train_batch("default_policy", column) for column in single]
    weights = [9, 4, 6]
    expected = sum(loss_of(learner, part) * weight for part, weight in zip(parts, weights, strict=True)) / 19
    loss = loss_of(learner, learner.build_train_batch("default_policy", ragged(single)))
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    assert loss.isfinite()


def test_target_and_penalty_move_with_the_module_that_learns():
    made = config(kl_target=1e6, lr=0.05, circular_buffer_num_batches=1, circular_buffer_iterations_per_batch=1)
    learner = made.multi_agent(policies=["a", "b"]).build_learner(spaces={"a": PAIR, "b": PAIR})
    learner.build()
    rollout = ragged(columns("plain", [9, 4, 6]))
    for k in range(3):
        learner.update(rollouts={"a": rollout}, timesteps={"num_env_steps_trained_lifetime": 24 * (k + 1)})
    assert learner.get_state()["kl_coeff"] == pytest.approx({"a": 0.125, "b": 1.0})
    assert learner.get_state()["kl_adapted_at"] == {"a": 72, "b": 0}
    for module_id, same in (("a", True), ("b", True)):
        module = learner.module[module_id].unwrapped()
        pairs = [
            torch.equal(mine, target)
            for main, copy in module.get_target_network_pairs()
            for mine, target in zip(main.parameters(), copy.parameters(), strict=True)
        ]
        assert all(pairs) is same
