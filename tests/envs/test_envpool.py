"""Envs that the package envpool steps."""

from __future__ import annotations

import numpy as np
import pytest

from actor_critic import ACConfig
from rlkit_core import load_policy
from rlkit_core.envs.gym_vectors.envpool import EnvPool
from rlkit_core.envs.runner_actors import make_runner
from rlkit_core.errors import CheckpointError, EnvError

pytestmark = pytest.mark.slow


def config_for(env, envs=4):
    return (
        ACConfig()
        .environment(env)
        .env_runners(num_envs_per_env_runner=envs, gym_env_vectorize_mode="envpool")
        .training(train_batch_size=envs * 16, minibatch_size=envs * 16)
        .debugging(seed=5)
    )


@pytest.fixture
def _installed():
    pytest.importorskip("envpool", reason="needs the extra: pip install 'rlkit-core[envpool]'")


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1", "ALE/Pong-v5"])
def test_it_trains_and_evaluates(env):
    def trained():
        with config_for(env).build_algo() as algo:
            algo.train()
            result = algo.train()["env_runners"]
            assert 0 < result["num_env_steps_sampled"] <= 64
            weights = algo.learner_group.get_weights().state["default_policy"]
            return weights, {} if "Pong" in env else algo.evaluate()["env_runners"]

    (weights, played), (again, played_again) = trained(), trained()
    assert all(np.array_equal(weights[name], again[name]) for name in weights)
    assert played.get("episode_return_mean") == played_again.get("episode_return_mean")


@pytest.mark.usefixtures("_installed")
def test_a_pole_falls_as_in_gymnasium():
    """Length of an episode in which the same action is taken; the row after it is the reset."""
    runner = make_runner(config_for("CartPole-v1"), worker_index=0)
    rows = np.zeros((4, 4), np.float32)
    runner.env.reset([1, 2, 3, 4], rows)
    first, flags, fell = rows.copy(), [np.zeros(4, bool) for _ in range(2)], np.zeros(4, int)
    for t in range(1, 13):
        runner.env.step(np.ones(4, np.int64), rows, np.zeros(4), *flags)
        fell[flags[0] & (fell == 0)] = t
    assert ((fell >= 8) & (fell <= 11)).all()
    runner.env.reset([1, 2, 3, 4], rows)
    assert np.array_equal(rows, first)
    runner.env.reset([5, 6, 7, 8], rows)
    assert not np.array_equal(rows, first)


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("env", "settings", "says"),
    [("CartPole-v7", {}, "Did you mean 'CartPole-v1'"), ("CartPole-v1", {"foo": 1}, "env_config={'foo': 1}.*'foo'")],
)
def test_what_it_does_not_know(env, settings, says):
    with pytest.raises(EnvError, match=says):
        EnvPool(env, 2, settings)


@pytest.mark.usefixtures("_installed")
def test_a_policy_says_who_made_its_envs(tmp_path):
    with config_for("CartPole-v1").build_algo() as algo:
        algo.train()
        policy = load_policy(algo.save_to_path(tmp_path / "saved"))
    with pytest.raises(CheckpointError, match=r"envpool\.make\('CartPole-v1'"):
        policy.make_env()
    action = policy(np.zeros(4, np.float32))
    assert action in (0, 1)


def test_it_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "envpool", None)
    with pytest.raises(EnvError, match=r"pip install 'rlkit-core\[envpool\]'"):
        make_runner(config_for("CartPole-v1"), worker_index=0)
