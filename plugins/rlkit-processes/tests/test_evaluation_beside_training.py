"""Evaluation on runners of its own, while training goes on."""

from __future__ import annotations

import time

import pytest

from actor_critic import AC, ACConfig


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


def numbers(evaluation):
    return {k: v for k, v in evaluation["env_runners"].items() if k != "episode_duration_sec_mean"}


def test_beside_training_it_has_the_weights_from_before_and_the_same_result_on_any_number_of_runners():
    with config(evaluation_duration=5).build() as plain:
        expected = []
        for iteration in (1, 2):
            expected.append(numbers(plain.begin_evaluation(iteration=iteration)()))
            plain.train()
        after = numbers(plain.begin_evaluation(iteration=2)())
    assert after != expected[1]
    events = []
    beside = config(
        evaluation_duration=5,
        evaluation_interval=1,
        evaluation_num_env_runners=2,
        evaluation_parallel_to_training=True,
    ).callbacks(
        on_evaluate_start=lambda algorithm, **kw: events.append(("start", algorithm.num_env_steps_sampled_lifetime)),
        on_evaluate_end=lambda algorithm, **kw: events.append(("end", algorithm.num_env_steps_sampled_lifetime)),
    )
    with beside.build() as algo:
        results = [algo.train() for _ in range(2)]
        found = [numbers(result["evaluation"]) for result in results]
        assert results[0]["fault_tolerance"]["num_env_runner_restarts"] == 0
        assert results[0]["fault_tolerance"]["evaluation"]["num_healthy_env_runners"] == 2
        assert algo.eval_env_runner_group.local_env_runner is None
        assert algo.env_runner is not None
    assert found == expected
    assert events == [("start", 0), ("end", 256), ("start", 256), ("end", 512)]


@pytest.mark.slow
@pytest.mark.parametrize("by", ["timesteps", "episodes"])
def test_a_resumed_run_has_the_same_evaluations(by, tmp_path):
    """By steps: a few at a time, in the middle of episodes."""
    made = config(
        evaluation_duration=60 if by == "timesteps" else 5,
        evaluation_duration_unit=by,
        evaluation_force_reset_envs_before_iteration=False,
        evaluation_interval=1,
        evaluation_num_env_runners=2,
        evaluation_parallel_to_training=True,
        evaluation_config={"explore": True},
    )
    with made.build() as algo:
        for k in range(6):
            if k == 2:
                path = algo.save_to_path(tmp_path / "checkpoint")
            algo.evaluate(1)  # leaves no trace
            result = algo.train()
            if k == 3:
                before = numbers(result["evaluation"])
        expected = [before, numbers(result["evaluation"])]
        assert all(one["num_episodes"] > 0 for one in expected)
        assert algo.not_exact() == []
    with AC.from_checkpoint(path) as restored:
        found = [numbers(restored.train()["evaluation"]) for _ in range(4)]
    assert repr([found[1], found[3]]) == repr(expected)


class Slow(AC):
    def training_step(self):
        super().training_step()
        time.sleep(1.0)


def test_auto_lasts_as_long_as_the_training():
    made = config(
        evaluation_duration="auto",
        evaluation_interval=1,
        evaluation_num_env_runners=1,
        evaluation_parallel_to_training=True,
    ).copy()
    made._algo_class = Slow
    with made.build() as algo:
        algo.train()  # its runner starts meanwhile
        evaluation = algo.train()["evaluation"]["env_runners"]
        assert evaluation["num_env_steps_sampled"] > 200
        assert algo.evaluate()["env_runners"]["num_env_steps_sampled"] == 112  # nothing to wait for: 7 steps of 16
        (reason,) = algo.not_exact()
        assert reason.startswith("evaluation: evaluation(evaluation_duration='auto') lasts as long as the training")
