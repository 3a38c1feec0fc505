from __future__ import annotations

import pytest

from rlkit_core.errors import ConfigError
from rlkit_ppo import PPOConfig


def test_a_minibatch_larger_than_the_batch_is_said_once() -> None:
    config = PPOConfig().environment("CartPole-v1").training(minibatch_size=5000, train_batch_size=2048)
    problems = [problem for problem in config.problems() if "5000" in problem]
    assert len(problems) == 1
    assert "train_batch_size_per_learner=2048" in problems[0]
    with pytest.raises(ConfigError, match="minibatch_size=5000"):
        config.validate()


def test_no_problem_of_a_faulty_config_is_said_twice() -> None:
    config = PPOConfig().environment("CartPole-v1").training(minibatch_size=5000).env_runners(num_env_runners=1)
    config.env_runners(rollout_fragment_length=7).evaluation(evaluation_duration="auto")
    problems = list(config.problems())
    settings = [problem.replace("(", "=").split("=")[0] for problem in problems]
    assert len(problems) >= 3
    assert len(set(settings)) == len(settings)
