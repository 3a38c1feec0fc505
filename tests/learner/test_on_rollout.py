"""Drivers that see rollouts: what came next is true, rewards may be replaced, and nobody else notices."""

from __future__ import annotations

import pytest
import torch
from next_observations import Counting, check, rewarded_by_next_observations

from actor_critic import ACConfig
from rlkit_core.errors import PluginError
from rlkit_core.learner.drivers import DriverSet
from rlkit_core.testing import make_multi_agent

pytestmark = pytest.mark.usefixtures("next_step_resets")

ID = "default_policy"


def config(env=Counting, mode="sync"):
    return (
        ACConfig()
        .environment(env)
        .env_runners(num_envs_per_env_runner=2, gym_env_vectorize_mode=mode)
        .training(train_batch_size=32, minibatch_size=16, num_epochs=1)
        .rl_module(model_config={"fcnet_hiddens": [4]})
        .debugging(seed=1)
    )


@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync"])
def test_what_came_next_is_true_at_every_kind_of_end(mode):
    with rewarded_by_next_observations(config(mode=mode)) as (algo, seen):
        algo.train()
        algo.train()
        assert len(seen["rollout"]) == 2
        for shown in seen["rollout"]:
            check(shown)
        (first, _) = seen["batch"]
        assert set(seen["rollout"][0]["rewards"].tolist()) <= set(first["rewards"].flatten().tolist())


def test_of_several_agents_too():
    several = config(make_multi_agent(Counting)).environment(env_config={"num_agents": 2})
    several.multi_agent(policies={ID}, policy_mapping_fn=lambda agent, *args, **kwargs: ID)
    with rewarded_by_next_observations(several) as (algo, seen):
        algo.train()
        algo.train()
        for shown in seen["rollout"]:
            check(shown)


def test_rollouts_stay_as_they_were():
    with rewarded_by_next_observations(config()) as (algo, seen):
        rollouts = algo.env_runner_group.sample()
        rewards = rollouts[ID]["rewards"].clone()
        learner = algo.learner_group.learner
        for _ in range(2):  # as an algorithm does that learns from a rollout twice
            learner.update(rollouts=rollouts)
        assert torch.equal(rollouts[ID]["rewards"], rewards)
        assert torch.equal(seen["rollout"][0]["rewards"], seen["rollout"][1]["rewards"])
        kept = algo.learner_group.see_rollouts(rollouts)[ID]
        assert torch.equal(rollouts[ID]["rewards"], rewards)
        assert torch.equal(kept["rewards"].flatten(), seen["rollout"][2]["rewards"])


def test_a_ready_batch_is_seen_before_the_update_only():
    with rewarded_by_next_observations(config()) as (algo, seen):
        learner = algo.learner_group.learner
        rows = learner.build_train_batch(ID, algo.env_runner_group.sample()[ID])
        learner.update(batch={ID: dict(rows, rewards=torch.zeros(32))})
        assert not seen["rollout"]
        assert seen["batch"][0]["rewards"].shape == (32,)


def test_a_rollout_that_nobody_listens_for_is_the_same_object():
    with config().build_algo() as algo:
        rollouts = algo.env_runner_group.sample()
        assert algo.learner_group.see_rollouts(rollouts)[ID] is rollouts[ID]


@pytest.mark.parametrize("wrong", [None, torch.zeros(3), torch.zeros(16, 2, dtype=torch.float64)])
def test_rewards_that_are_none_are_refused(wrong, monkeypatch):
    from next_observations import NextObservationDriver

    def on_rollout(self, *, rollout):
        rollout.columns["rewards"] = wrong

    monkeypatch.setattr(NextObservationDriver, "on_rollout", on_rollout)
    with (
        rewarded_by_next_observations(config()) as (algo, _),
        pytest.raises(PluginError, match=r"local/next', on_rollout\(\) left rollout.columns\['rewards'\]"),
    ):
        algo.train()


def test_a_module_that_is_not_here_hears_nothing():
    assert not DriverSet(None).hears("nobody", "on_rollout")
