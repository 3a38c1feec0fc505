"""IMPALA on columns of agents, which end anywhere: as on each column alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from oracle_envs import Ragged
from ragged import ragged

from rlkit_core.envs import EnvRunner
from rlkit_core.errors import ConfigError
from rlkit_impala import IMPALAConfig
from rlkit_impala.batches import Gatherer

sys.path.insert(0, str(Path(__file__).parent))
from impala_oracle import perturbed

LENGTHS = [9, 4, 0, 6]
MODELS = {"plain": {}, "shared": {"vf_share_layers": True}, "lstm": {"use_lstm": True}}


def config(model="plain", config_class=IMPALAConfig, **training):
    return (
        config_class()
        .environment(Ragged)
        .env_runners(num_envs_per_env_runner=1, rollout_fragment_length=12)
        .training(train_batch_size=24, gamma=0.9, entropy_coeff=0.1, **training)
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


def learner_of(made):
    learner = made.build_learner(spaces=(Ragged.observation_space, Ragged.action_space))
    learner.build()
    perturbed(learner.module["default_policy"])
    learner.module.train()
    return learner


def loss_of(learner, batch):
    fwd_out = learner.module.forward_train({"default_policy": batch})
    return learner.compute_losses(fwd_out=fwd_out, batch={"default_policy": batch})["default_policy"]


def real_steps(batch):
    return int(batch["loss_mask"].sum()) if "loss_mask" in batch else len(batch["obs"])


@pytest.mark.parametrize("model", MODELS)
def test_loss_and_gradients_are_those_of_all_columns(model):
    learner, single = learner_of(config(model)), columns(model)
    rollout = ragged(single)
    assert rollout.cut.any()
    parts = [learner.build_train_batch("default_policy", column) for column in single if column is not None]
    expected = sum(loss_of(learner, part) * real_steps(part) for part in parts) / 19
    whole = learner.build_train_batch("default_policy", rollout)
    assert real_steps(whole) == 19
    parameters = list(learner.module.parameters())
    loss = loss_of(learner, whole)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    ours, theirs = (torch.autograd.grad(x, parameters) for x in (loss, expected))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-6)


def test_minibatches_hold_whole_columns_though_agents_act_less_often():
    learner, single = learner_of(config(minibatch_size=12)), columns()
    whole = learner.build_train_batch("default_policy", ragged(single))
    assert len(whole["obs"]) == 4 * 12
    parts = [{name: x[k : k + 12] for name, x in whole.items()} for k in range(0, 48, 12)]
    weighted = sum(loss_of(learner, part) * real_steps(part) for part in parts) / 19
    torch.testing.assert_close(weighted, loss_of(learner, whole), rtol=1e-5, atol=1e-6)
    result = learner.update(rollouts={"default_policy": [ragged(single), ragged(columns(seed=5))]}, minibatch_size=12)
    assert result["default_policy"]["num_module_steps_trained"] == 38
    with pytest.raises(ConfigError, match="whole trajectories"):
        learner_of(config(minibatch_size=12)).build_train_batch("default_policy", single[0])


def test_rollouts_of_different_lengths_make_one_batch():
    learner = learner_of(config())
    first, second = ragged(columns()), ragged(columns(lengths=[2, 12], seed=30))
    result = learner.update(rollouts={"default_policy": [first, second]})
    assert result["default_policy"]["num_module_steps_trained"] == 33


def test_batches_are_counted_in_env_steps_however_many_agents_act():
    gatherer = Gatherer(24)
    one, two = ragged(columns()), ragged(columns(lengths=[2, 3], seed=30))
    assert gatherer.add({"a": one, "b": two}, 12) == []
    (batch,) = gatherer.add({"a": one}, 12)
    assert (batch.num_env_steps, {mid: len(parts) for mid, parts in batch.items()}) == (24, {"a": 2, "b": 1})
    divided = gatherer.add({"a": one, "b": two}, 96)
    assert [batch.num_env_steps for batch in divided] == [24] * 4
    assert [sorted(batch) for batch in divided] == [["a", "b"], ["a", "b"], ["a"], ["a"]]
    assert sum(rollout.num_env_steps for batch in divided for rollout in batch["a"]) == one.num_env_steps
    assert gatherer.add({}, 12) == []
    assert gatherer.clear() == 12
