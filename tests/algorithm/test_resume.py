"""Training with saves in between, and after a restore, against training that was left alone."""

from __future__ import annotations

import logging
import random
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from actor_critic import AC, ACConfig
from rlkit_core.checkpoint import read_snapshot
from rlkit_core.checkpoint.compare import differences
from rlkit_core.cli.explained import explain_run
from rlkit_core.spaces import leaves
from rlkit_core.testing import MultiAgentCartPole


def config(env: Any = "CartPole-v1", **env_config: Any) -> ACConfig:
    return (
        ACConfig()
        .environment(env, env_config=env_config)
        .env_runners(num_envs_per_env_runner=2)
        .training(train_batch_size=32, minibatch_size=16)
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .debugging(seed=7)
    )


def of_agents() -> ACConfig:
    return config(MultiAgentCartPole, num_agents=2).multi_agent(
        policies=["p0", "p1"], policy_mapping_fn=lambda agent, episode: f"p{agent}"
    )


def weights(algo: AC) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(leaf) for leaf in leaves(algo.learner_group.learner.get_state()["rl_module"])]


def same(a: AC, b: AC) -> bool:
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(weights(a), weights(b), strict=True))


@pytest.mark.parametrize("made", [config, of_agents], ids=["one agent", "two"])
def test_saved_restored_or_left_alone_is_the_same(made, tmp_path) -> None:
    with made().build_algo() as alone, made().build_algo() as saved:
        for k in range(5):
            alone.train()
            saved.train()
            path = saved.save_to_path(tmp_path / str(k))
            saved.evaluate(1)
        assert same(alone, saved)
        again = AC.from_checkpoint(path, policy_mapping_fn=made().policy_mapping_fn)
        with again as restored:
            for _ in range(3):
                expected, result = alone.train(), restored.train()
            assert same(alone, restored)
            for name in ("episode_return_mean", "episode_len_mean", "num_episodes_lifetime", "num_episodes"):
                assert result["env_runners"][name] == expected["env_runners"][name]


@pytest.mark.parametrize("unit", ["timesteps", pytest.param("episodes", marks=pytest.mark.slow)])
def test_evaluations_go_on_too_and_episodes_asked_for_in_between_leave_no_trace(unit, tmp_path) -> None:
    """By steps: in the middle of episodes, which are longer than one evaluation."""
    made = config().evaluation(
        evaluation_interval=2,
        evaluation_config={"explore": True},
        evaluation_duration={"timesteps": 60, "episodes": 3}[unit],
        evaluation_duration_unit=unit,
        evaluation_force_reset_envs_before_iteration=False,
    )

    def evaluation(result: Any) -> dict[str, Any] | None:
        found = result.get("evaluation", {}).get("env_runners")
        return found and {name: repr(value) for name, value in found.items() if name != "episode_duration_sec_mean"}

    with made.copy().build_algo() as alone, made.copy().build_algo() as asked:
        expected, paths = [], []
        for k in range(4):
            asked.evaluate(1 + k % 2)
            expected.append(evaluation(alone.train()))
            assert evaluation(asked.train()) == expected[-1]
            first = asked.evaluate(2)
            assert (
                asked.evaluate(2)["env_runners"]["episode_return_mean"] == first["env_runners"]["episode_return_mean"]
            )
            paths.append(asked.save_to_path(tmp_path / str(k)))
            alone.save_to_path(tmp_path / "alone")
            assert not list(differences(read_snapshot(tmp_path / "alone")[0], read_snapshot(paths[-1])[0]))
        assert not alone.not_exact()
    assert [found is not None for found in expected] == [False, True] * 2
    for k in (0, 1):  # before the first evaluation, and after it
        with AC.from_checkpoint(paths[k]) as restored:
            assert [evaluation(restored.train()) for _ in range(3 - k)] == expected[k + 1 :]


class Lottery(gym.Env):
    """Draws from everybody's generators."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return self.drawn(), {}

    def step(self, action):
        return self.drawn(), random.random(), np.random.rand() < 0.1, False, {}

    def drawn(self):
        return np.array([random.gauss(0, 1), np.random.normal()], np.float32)


def test_envs_that_draw_from_global_generators_repeat_with_the_seed_and_are_named(tmp_path, caplog) -> None:
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state(legacy=False)["state"]["pos"]
    with config(Lottery).build_algo() as first:
        for _ in range(2):
            first.train()
        assert (random.getstate(), np.random.get_state(legacy=False)["state"]["pos"]) == before
        random.random()
        np.random.rand()
        with config(Lottery).build_algo() as second:
            for _ in range(2):
                second.train()
                second.evaluate(1)
            assert same(first, second)
        with caplog.at_level(logging.WARNING, "rlkit_core"):
            for k in range(2):
                first.save_to_path(tmp_path / str(k))
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "let it draw from self.np_random" in said[0]


def normalized() -> gym.Env:
    return gym.wrappers.NormalizeObservation(gym.make("CartPole-v1"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c, None),
        (lambda c: c.debugging(seed_resets=False), "seed_resets=False"),
        (lambda c: c.environment(replay=False), "replay=False"),
        (lambda c: c.environment(normalized), "NormalizeObservation remembers earlier episodes"),
        (lambda c: c.env_runners(gym_env_vectorize_mode="vector_entry_point"), "resets its envs itself"),
    ],
)
def test_what_is_not_exact_is_said_at_the_first_save_and_explained(change, reason, tmp_path, caplog) -> None:
    made = change(config())
    explained = explain_run(made)["not_exact"]
    assert len(explained) == (reason is not None)
    assert all(reason in one for one in explained)
    with made.build_algo() as algo, caplog.at_level(logging.WARNING, "rlkit_core"):
        algo.train()
        for k in range(2):
            algo.save_to_path(tmp_path / str(k))
        said = [text for text in caplog.messages if "resumed from this checkpoint" in text]
        assert len(said) == len(algo.not_exact()) == (reason is not None)
        assert all(reason in one for one in said)
