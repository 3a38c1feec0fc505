"""n-step returns against a loop over each episode, and against rlax."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit_core.data import gae
from rlkit_core.errors import ConfigError
from rlkit_offpolicy import n_step_returns

sys.path.insert(0, str(Path(__file__).parent))
from rlax_returns import rlax_returns

RLAX = json.loads((Path(__file__).parent / "fixtures" / "rlax_returns.json").read_text(encoding="utf-8"))


def brute_force(rewards, discounts, n, truncateds, values, bootstrap_value, final_values):
    steps, envs = rewards.shape
    total, product, used, returns = (np.zeros((steps, envs)) for _ in range(4))
    for e in range(envs):
        for t in range(steps):
            weight = 1.0
            for k in range(t, min(t + n, steps)):
                total[t, e] += weight * rewards[k, e]
                weight *= discounts[k, e]
                used[t, e] += 1
                following = bootstrap_value[e] if k + 1 == steps else values[k + 1, e]
                if truncateds[k, e] and final_values is not None:
                    following = final_values[k, e]
                if discounts[k, e] == 0.0 or truncateds[k, e]:
                    break
            product[t, e] = weight
            returns[t, e] = total[t, e] + weight * following
    return total, product, used, returns


def random_rollout(seed, steps, envs, same_step, gamma=0.9):
    rng = np.random.default_rng(seed)
    return {
        "rewards": rng.normal(size=(steps, envs)),
        "discounts": gamma * (rng.random((steps, envs)) > 0.15),
        "truncateds": rng.random((steps, envs)) < 0.15,
        "values": rng.normal(size=(steps, envs)),
        "bootstrap_value": rng.normal(size=envs),
        "final_values": rng.normal(size=(steps, envs)) if same_step else None,
    }


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.integers(1, 15),
    envs=st.integers(1, 3),
    n=st.integers(1, 18),
    same_step=st.booleans(),
    gamma=st.sampled_from([0.5, 0.99, 1.0]),
)
def test_equals_the_sum_over_each_episode(seed, steps, envs, n, same_step, gamma):
    rollout = random_rollout(seed, steps, envs, same_step, gamma)
    found = n_step_returns(n=n, **rollout)
    total, product, used, returns = brute_force(n=n, **rollout)
    np.testing.assert_allclose(found.rewards, total, atol=1e-12)
    np.testing.assert_allclose(found.discounts, product, atol=1e-12)
    np.testing.assert_array_equal(found.steps, used)
    np.testing.assert_array_equal(found.last, np.arange(steps)[:, None] + used - 1)
    np.testing.assert_allclose(found.returns, returns, atol=1e-12)


def test_one_step_is_gae_with_lambda_0():
    rollout = random_rollout(1, 12, 3, True)
    terminateds = rollout["discounts"] == 0
    _, targets = gae(
        rollout["rewards"],
        rollout["values"],
        rollout["bootstrap_value"],
        terminateds,
        rollout["truncateds"],
        rollout["final_values"],
        gamma=0.9,
        lambda_=0.0,
    )
    np.testing.assert_allclose(n_step_returns(n=1, **rollout).returns, targets, atol=1e-12)


def test_the_whole_rollout_at_once_is_gae_with_lambda_1():
    rollout = random_rollout(2, 12, 3, False)
    _, targets = gae(
        rollout["rewards"],
        rollout["values"],
        rollout["bootstrap_value"],
        rollout["discounts"] == 0,
        rollout["truncateds"],
        gamma=0.9,
        lambda_=1.0,
    )
    np.testing.assert_allclose(n_step_returns(n=12, **rollout).returns, targets, atol=1e-12)


def test_equals_rlax_on_kept_arrays():
    r_t, discount_t, v_t = (np.array(RLAX[name]) for name in ("r_t", "discount_t", "v_t"))
    values = np.concatenate((np.zeros_like(v_t[:1]), v_t[:-1]))
    found = n_step_returns(r_t, discount_t, RLAX["n"], values=values, bootstrap_value=v_t[-1])
    np.testing.assert_allclose(found.returns, RLAX["returns"], atol=1e-10)


def test_the_kept_arrays_are_what_rlax_says():
    jax = pytest.importorskip("jax")
    pytest.importorskip("rlax")
    jax.config.update("jax_enable_x64", True)
    r_t, discount_t, v_t = (np.array(RLAX[name]) for name in ("r_t", "discount_t", "v_t"))
    np.testing.assert_allclose(rlax_returns(r_t, discount_t, v_t, RLAX["n"]), RLAX["returns"], atol=1e-10)


def test_tensors_in_tensors_out():
    rollout = random_rollout(3, 20, 2, True)
    exact = n_step_returns(n=5, **rollout)
    tensors = {k: torch.as_tensor(v) for k, v in rollout.items()}
    tensors = {k: v.float() if v.dtype == torch.float64 else v for k, v in tensors.items()}
    found = n_step_returns(n=5, **tensors)
    assert found.returns.dtype == found.rewards.dtype == torch.float32
    assert found.steps.dtype == found.last.dtype == torch.int64
    np.testing.assert_allclose(found.returns.numpy(), exact.returns, atol=1e-5)
    assert n_step_returns(tensors["rewards"], tensors["discounts"], 5).returns is None


def test_what_makes_no_sense_is_refused():
    rollout = random_rollout(4, 5, 1, True)
    with pytest.raises(ConfigError, match="at least 1"):
        n_step_returns(rollout["rewards"], rollout["discounts"], 0)
    with pytest.raises(ConfigError, match="together"):
        n_step_returns(rollout["rewards"], rollout["discounts"], 2, values=rollout["values"])
