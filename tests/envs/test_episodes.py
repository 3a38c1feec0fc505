"""Episode statistics from arrays against a step-by-step count."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit_core.envs.episodes import EpisodeStats


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), steps=st.integers(1, 12), envs=st.integers(1, 40), masked=st.booleans())
def test_equals_counting_step_by_step(seed, steps, envs, masked):
    rng = np.random.default_rng(seed)
    stats = EpisodeStats(envs, window=1000)
    open_return, open_length = np.zeros(envs), np.zeros(envs, int)
    everything = []
    for _ in range(4):
        rewards = rng.normal(size=(steps, envs)).astype(np.float32)
        valid = rng.random((steps, envs)) < 0.8 if masked else np.ones((steps, envs), bool)
        dones = (rng.random((steps, envs)) < 0.3) & valid
        expected = []
        for t in range(steps):
            for n in range(envs):
                if valid[t, n]:
                    open_return[n] += rewards[t, n]
                    open_length[n] += 1
                if dones[t, n]:
                    expected.append((open_return[n], open_length[n]))
                    open_return[n], open_length[n] = 0.0, 0
        returns, lengths = stats.add(rewards, dones, valid if masked else None)
        np.testing.assert_allclose(returns, [r for r, _ in expected], atol=1e-9)
        assert lengths.tolist() == [length for _, length in expected]
        everything += expected
    result = stats.result()
    assert result["num_episodes"] == len(everything)
    if everything:
        assert math.isclose(result["episode_return_mean"], np.mean([r for r, _ in everything]), abs_tol=1e-9)
    else:
        assert math.isnan(result["episode_return_mean"])


def test_the_window_slides_and_state_comes_back():
    stats = EpisodeStats(1, window=2)
    stats.add(np.array([[1.0], [2.0], [4.0]]), np.array([[True], [True], [True]]))
    assert stats.result()["episode_return_mean"] == 3.0
    other = EpisodeStats(1, window=2)
    other.set_state(stats.get_state())
    assert other.result()["episode_return_mean"] == 3.0
    assert other.result()["num_env_steps_sampled_lifetime"] == 3
