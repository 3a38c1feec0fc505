"""Evaluation on runners of its own, by episodes and by steps."""

from __future__ import annotations

import pytest

from actor_critic import ACConfig
from rlkit_core.errors import ConfigError


def config(**evaluation):
    return (
        ACConfig()
        .environment("CartPole-v1")
        .env_runners(num_envs_per_env_runner=2)
        .training(train_batch_size=256, minibatch_size=64, num_epochs=4, lr=0.01)
        .rl_module(model_config={"fcnet_hiddens": [16]})
        .debugging(seed=5)
        .evaluation(**evaluation)
    )


def test_by_timesteps():
    with config(evaluation_duration=230, evaluation_duration_unit="timesteps").build() as algo:
        first = algo.evaluate()["env_runners"]
        assert 230 <= first["num_env_steps_sampled"] < 230 + 200
        assert first["num_episodes"] > 0
        assert first["episode_len_max"] <= first["num_env_steps_sampled"] / 16 + 1  # all from fresh starts
        assert algo.evaluate(3)["env_runners"]["num_episodes"] == 3
        assert algo.num_env_steps_sampled_lifetime == 0
    lengths = []
    for fresh in (True, False):
        short = config(
            evaluation_duration=1,
            evaluation_duration_unit="timesteps",
            evaluation_force_reset_envs_before_iteration=fresh,
            evaluation_config={"num_envs_per_env_runner": 20},
        )
        with short.build() as algo:  # five steps of each env at a time: too few for an episode to end
            results = [algo.evaluate()["env_runners"] for _ in range(8)]
            lengths.append(sum(r["num_episodes"] for r in results))
    assert lengths[0] == 0
    assert lengths[1] > 0


def test_an_own_function():
    def own(algorithm, runners):
        found = runners.run_episodes(2, seeds=algorithm.seeds)
        return {"mine": found["num_episodes"]}, 100, 100

    with config(evaluation_interval=1, custom_evaluation_function=own).build() as algo:
        assert algo.train()["evaluation"] == {"mine": 2}
        assert algo.evaluate(3)["env_runners"]["num_episodes"] == 3
    with (
        config(custom_evaluation_function=lambda algorithm, runners: None).build() as algo,
        pytest.raises(ConfigError, match="must return a dict"),
    ):
        algo.evaluate()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"evaluation_parallel_to_training": True}, "evaluation_num_env_runners=1"),
        ({"evaluation_duration": "auto"}, "evaluation_parallel_to_training=True"),
        (
            {
                "evaluation_parallel_to_training": True,
                "evaluation_num_env_runners": 1,
                "custom_evaluation_function": print,
            },
            "custom_evaluation_function runs in this process",
        ),
    ],
)
def test_settings_that_do_not_fit(settings, says):
    with pytest.raises(ConfigError, match=says):
        config(**settings).validate()
