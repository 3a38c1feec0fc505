"""Columns that end anywhere, as those of agents do, against the same columns given one by one."""

from __future__ import annotations

import pytest
import torch
from oracle_envs import Ragged
from ragged import ragged

from actor_critic import ACConfig
from rlkit_core.data import Rollout, gae
from rlkit_core.data.nested import leaves
from rlkit_core.envs import EnvRunner
from rlkit_core.errors import ConfigError
from rlkit_core.learner import values_of_rollout

LENGTHS = [[7, 3, 0, 5], [1, 4, 6, 2], [2, 0, 0, 3]]
MODELS = {"plain": {}, "lstm": {"use_lstm": True}, "gru": {"use_gru": True, "vf_share_layers": True}}


def config(model="plain"):
    return (
        ACConfig()
        .environment(Ragged)
        .env_runners(num_envs_per_env_runner=1)
        .rl_module(model_config={"fcnet_hiddens": [6], "lstm_cell_size": 4, "max_seq_len": 3, **MODELS[model]})
        .training(normalize_advantages=False)
        .debugging(seed=3)
    )


def rounds_of(model):
    """For each round the columns' own rollouts, and the ragged one."""
    runners = [EnvRunner(config(model).debugging(seed=10 + n)) for n in range(4)]
    rounds = []
    for lengths in LENGTHS:
        columns = [
            runner.sample(num_timesteps=length)["default_policy"].clone() if length else None
            for runner, length in zip(runners, lengths, strict=True)
        ]
        rounds.append((columns, ragged(columns)))
    for runner in runners:
        runner.stop()
    return rounds


def learner_of(model):
    runner = EnvRunner(config(model))
    learner = config(model).build_learner(spaces=runner.get_spaces())
    runner.stop()
    learner.build()
    return learner


@pytest.mark.parametrize("model", MODELS)
def test_values_and_advantages_are_those_of_each_column(model):
    module = learner_of(model).module["default_policy"]
    cut = 0
    for columns, rollout in rounds_of(model):
        cut += int(rollout.cut.sum())
        ours = gae_of(module, rollout)
        for n, column in enumerate(columns):
            if column is None:
                continue
            for all_of_it, own in zip(ours, gae_of(module, column), strict=True):
                torch.testing.assert_close(all_of_it[: column.num_steps, n], own[:, 0], rtol=1e-5, atol=1e-6)
    assert cut > 3


def gae_of(module, rollout):
    values, last, finals = values_of_rollout(module, rollout)
    ends = rollout["terminateds"], rollout["truncateds"]
    return (values, *gae(rollout["rewards"], values, last, *ends, finals, 0.9, 0.8))


@pytest.mark.parametrize("model", MODELS)
def test_a_batch_holds_the_rows_of_all_columns_and_no_others(model):
    learner = learner_of(model)
    for columns, rollout in rounds_of(model):
        whole = learner.build_train_batch("default_policy", rollout)
        single = [learner.build_train_batch("default_policy", column) for column in columns if column is not None]
        mask = whole.get("loss_mask")
        assert (len(whole["obs"]) if mask is None else int(mask.sum())) == rollout.num_env_steps
        if mask is not None:
            assert mask.any(1).all()
            assert len(mask) == sum(len(part["loss_mask"]) for part in single)
        rows = whole["advantages"] if mask is None else whole["advantages"][mask]
        own = torch.cat([x["advantages"] if mask is None else x["advantages"][x["loss_mask"]] for x in single])
        torch.testing.assert_close(rows.sort().values, own.sort().values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_rollouts_of_different_lengths_learn_as_they_do_alone(model):
    learner = learner_of(model)
    (columns, _), *_ = rounds_of(model)
    single = [column for column in columns if column is not None]
    with pytest.raises(ConfigError, match="T"):
        Rollout.concat(single)
    joined = Rollout.concat(single, extend=True)
    assert joined.cut is None
    assert joined.num_steps == 7
    for n, column in enumerate(single):
        for ours, own in zip(
            gae_of(learner.module["default_policy"], joined),
            gae_of(learner.module["default_policy"], column),
            strict=True,
        ):
            torch.testing.assert_close(ours[: column.num_steps, n], own[:, 0], rtol=1e-5, atol=1e-6)
    result = learner.update(rollouts={"default_policy": single})
    assert result["default_policy"]["num_module_steps_trained"] == 15


def test_ragged_rollouts_of_different_lengths_are_joined():
    (_, one), (_, two), _ = rounds_of("plain")
    joined = Rollout.concat([one, two.cut_time(4).extend_time(6)], extend=True)
    assert joined.cut.tolist()[:4] == one.cut.tolist()
    longer = two.extend_time(9)
    open_ends = [n for n in range(4) if not (two["terminateds"] | two["truncateds"])[5, n] and two.loss_mask[5, n]]
    assert [n for n in range(4) if longer.cut[n] and not two.cut[n]] == open_ends
    assert longer.num_env_steps == two.num_env_steps == 13


def test_a_module_without_experience_is_left_out():
    learner = learner_of("plain")
    columns, _ = rounds_of("plain")[0]
    nothing = ragged([None, None], like=columns[0])
    assert nothing.column_lengths.tolist() == [0, 0]
    before = [leaf.clone() for leaf in leaves(dict(learner.module["default_policy"].state_dict()))]
    assert "default_policy" not in learner.update(rollouts={"default_policy": nothing})
    after = list(leaves(dict(learner.module["default_policy"].state_dict())))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
