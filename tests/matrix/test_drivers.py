"""A driver that scores what came next, as RND does."""

from __future__ import annotations

import pytest
from next_observations import Counting, check, rewarded_by_next_observations

from rlkit_core import get_algorithm_config
from rlkit_core.testing import make_multi_agent


@pytest.mark.parametrize("agents", [0, 2])
@pytest.mark.parametrize("algorithm", ["ppo", "impala"])
def test_it_rewards_true_next_observations(algorithm, agents):
    config = (
        get_algorithm_config(algorithm)
        .environment(Counting)
        .rl_module(model_config={"fcnet_hiddens": [4]})
        .debugging(seed=1)
    )
    config.env_runners(num_envs_per_env_runner=2, rollout_fragment_length=16)
    config.training(train_batch_size=32, minibatch_size=None)
    if agents:
        config.environment(make_multi_agent(Counting), env_config={"num_agents": agents})
        config.multi_agent(policies={"default_policy"}, policy_mapping_fn=lambda *args, **kwargs: "default_policy")
    with rewarded_by_next_observations(config) as (algo, seen):
        algo.training_step()
        algo.training_step()
        assert len(seen["rollout"]) >= 2
        for shown in seen["rollout"]:
            check(shown)
