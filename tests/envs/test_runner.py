"""The runner against a plain loop over the same envs, in every way of stepping and resetting."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from actor_critic import ACConfig
from rlkit_core.envs import EnvRunner
from rlkit_core.errors import EnvError, NonFiniteError
from rlkit_core.rl_module.weights import Weights
from rlkit_core.seeding import SeedTree


class Counting(gym.Env):
    """Observation: (episode number, step in it). Terminates or is truncated after ``limit`` steps."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, limit=3, how="truncated"):
        self.limit, self.how, self.episode, self.t = limit, how, -1, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return self._obs(), {}

    def step(self, action):
        self.t += 1
        over = self.t >= self.limit
        return (
            self._obs(),
            10.0 * self.episode + self.t,
            over and self.how == "terminated",
            (over and self.how == "truncated"),
            {},
        )

    def _obs(self):
        return np.array([self.episode, self.t], np.float32)


class Composed(gym.Env):
    observation_space = gym.spaces.Dict(
        {
            "deep": gym.spaces.Dict({"x": gym.spaces.Box(-1.0, 1.0, (2,), np.float32)}),
            "pair": gym.spaces.Tuple((gym.spaces.Discrete(3), gym.spaces.Box(0, 255, (4,), np.uint8))),
        }
    )
    action_space = gym.spaces.Box(np.array([0.0, -2.0], np.float32), np.array([10.0, 2.0], np.float32))

    def __init__(self):
        self.seen = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._obs(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.seen.append(action)
        self.t += 1
        return self._obs(), 1.0, False, self.t == 4, {}

    def _obs(self):
        return {
            "deep": {"x": np.full(2, self.t / 10, np.float32)},
            "pair": (self.t % 3, np.full(4, self.t, np.uint8)),
        }


def config_for(env, envs=2, **env_runners):
    return (
        ACConfig()
        .environment(env)
        .env_runners(num_envs_per_env_runner=envs, **env_runners)
        .training(train_batch_size=16, minibatch_size=8)
        .debugging(seed=5)
    )


@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync"])
def test_same_step_reset_keeps_final_observations_aside(mode):
    runner = EnvRunner(config_for(Counting, gym_env_vectorize_mode=mode))
    rollout = runner.sample(num_timesteps=14)["default_policy"]
    assert rollout.num_steps == 7
    assert rollout["obs"][:, 0].tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [2, 0]]
    assert rollout["rewards"][:, 1].tolist() == [1, 2, 3, 11, 12, 13, 21]
    assert rollout["truncateds"][:, 0].tolist() == [False, False, True, False, False, True, False]
    assert not rollout["terminateds"].any()
    assert rollout.bootstrap_obs.tolist() == [[2, 1], [2, 1]]
    assert rollout.final_index.tolist() == [2 * 2, 2 * 2 + 1, 5 * 2, 5 * 2 + 1]
    assert rollout.final_obs.tolist() == [[0, 3], [0, 3], [1, 3], [1, 3]]
    assert rollout.loss_mask is None
    following = runner.sample(num_timesteps=4)["default_policy"]
    assert following["obs"][:, 0].tolist() == [[2, 1], [2, 2]]
    assert runner.get_metrics()["num_episodes_lifetime"] == 6


def test_a_terminated_step_needs_no_final_observation():
    rollout = EnvRunner(config_for(lambda: Counting(how="terminated"))).sample(num_timesteps=8)["default_policy"]
    assert rollout.final_obs is None
    assert rollout["terminateds"][2].all()


@pytest.mark.usefixtures("next_step_resets")
def test_next_step_reset_masks_the_reset_row():
    runner = EnvRunner(config_for(Counting, gym_env_vectorize_mode="gymnasium_sync"))
    assert not runner.env.same_step_reset
    rollout = runner.sample(num_timesteps=12)["default_policy"]
    assert rollout["obs"][:, 0].tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0], [1, 1]]
    assert rollout.loss_mask[:, 0].tolist() == [True, True, True, False, True, True]
    assert rollout.num_env_steps == 10
    assert rollout.flat()["obs"].shape == (10, 2)
    following = runner.sample(num_timesteps=8)["default_policy"]
    assert following.loss_mask[:, 0].tolist() == [True, False, True, True]
    metrics = runner.get_metrics()
    assert metrics["num_episodes_lifetime"] == 4
    assert metrics["episode_len_mean"] == 3
    assert metrics["episode_return_mean"] == (1 + 2 + 3 + 11 + 12 + 13) / 2


def test_modes_agree_on_the_experience():
    rows = {}
    for mode in ("sync", "gymnasium_sync", "async"):
        runner = EnvRunner(config_for("CartPole-v1", envs=1, gym_env_vectorize_mode=mode))
        rollout = runner.sample(num_timesteps=100)["default_policy"]  # over several resets
        assert rollout["terminateds"].sum() > 1
        rows[mode] = (rollout["obs"].clone(), rollout["actions"].clone(), rollout["action_logp"].clone())
        runner.stop()
    for mode in ("gymnasium_sync", "async"):
        assert all(torch.equal(a, b) for a, b in zip(rows[mode], rows["sync"], strict=True))


def test_nested_observations_and_scaled_actions():
    runner = EnvRunner(config_for(Composed))
    rollout = runner.sample(num_timesteps=12)["default_policy"]
    assert rollout["obs"]["deep"]["x"].shape == (6, 2, 2)
    assert rollout["obs"]["pair"][0].dtype == torch.int64
    assert rollout["obs"]["pair"][1].dtype == torch.uint8
    assert rollout["obs"]["pair"][1][:, 0, 0].tolist() == [0, 1, 2, 3, 0, 1]
    assert rollout.final_obs["pair"][1][:, 0].tolist() == [4, 4]
    raw = rollout["actions"][:, 0].clamp(-1, 1).numpy()
    expected = np.stack([(raw[:, 0] + 1) * 5, raw[:, 1] * 2], axis=1)
    np.testing.assert_allclose(np.stack(runner.env.envs[0].seen), expected, atol=1e-5)


def test_logp_is_that_of_the_actions_taken():
    runner = EnvRunner(config_for("CartPole-v1"))
    rollout = runner.sample(num_timesteps=32)["default_policy"]
    dist = torch.distributions.Categorical(logits=rollout["action_dist_inputs"])
    torch.testing.assert_close(rollout["action_logp"], dist.log_prob(rollout["actions"]))
    torch.testing.assert_close(rollout["action_prob"], rollout["action_logp"].exp())


def test_rollouts_depend_on_the_seed_alone():
    def actions(seed):
        runner = EnvRunner(config_for("CartPole-v1").debugging(seed=seed))
        torch.rand(3)  # the global generator has no part in it
        return runner.sample(num_timesteps=64)["default_policy"]["actions"].clone()

    assert torch.equal(actions(1), actions(1))
    assert not torch.equal(actions(1), actions(2))


def test_evaluation_gives_every_episode_its_own_seed_and_no_preference_to_short_ones():
    seeds = SeedTree(3)
    results = [EnvRunner(config_for("CartPole-v1"), num_envs=n).run_episodes(12, seeds=seeds) for n in (1, 5, 12)]
    assert [r["num_episodes"] for r in results] == [12, 12, 12]
    assert results[0]["episode_return_mean"] == results[1]["episode_return_mean"] == results[2]["episode_return_mean"]
    assert results[0]["num_env_steps_sampled"] == sum([results[0]["episode_return_mean"] * 12])


def test_training_goes_on_with_fresh_episodes_after_an_evaluation():
    runner = EnvRunner(config_for(Counting))
    runner.sample(num_timesteps=4)
    runner.run_episodes(4)
    assert runner.sample(num_timesteps=4)["default_policy"]["obs"][0, :, 1].tolist() == [0, 0]


def test_older_weights_are_ignored():
    runner = EnvRunner(config_for("CartPole-v1"))
    state = runner.module.get_state()
    runner.set_weights(Weights(2, state))
    zeros = {"default_policy": {k: np.zeros_like(v) for k, v in state["default_policy"].items()}}
    runner.set_weights(Weights(1, zeros))
    assert any(v.any() for v in runner.module.get_state()["default_policy"].values())
    runner.set_weights(Weights(3, zeros))
    assert not any(v.any() for v in runner.module.get_state()["default_policy"].values())
    assert runner.get_metrics()["weights_seq_no"] == 3


RAISE = {"restart_failed_sub_environments": False}


class Faulty(Counting):
    def __init__(self, fault):
        super().__init__(limit=100)
        self.fault = fault

    def step(self, action):
        observation, reward, *rest = super().step(action)
        if self.t == 3:
            if self.fault == "reward":
                reward = float("nan")
            elif self.fault == "observation":
                observation[1] = np.inf
            elif self.fault == "shape":
                observation = np.zeros(5, np.float32)
            else:
                raise OSError("disk on fire")
        return observation, reward, *rest


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("reward", NonFiniteError, ["env 0", "reward nan", "step 2", "action"]),
        ("observation", NonFiniteError, ["env 0", "observation", "inf", "step 2", "action"]),
        ("raise", EnvError, ["env 0", "OSError", "disk on fire", "step 2", "action"]),
        ("shape", EnvError, ["env 0", "observation_space", "step 2"]),
    ],
)
def test_a_faulty_step_names_env_step_and_action(fault, error, words):
    runner = EnvRunner(config_for(lambda: Faulty(fault), **RAISE))
    with pytest.raises(error) as caught:
        runner.sample(num_timesteps=20)
    for word in words:
        assert word in str(caught.value)


class GoesWrong(Counting):
    """Something becomes NaN at step ``at`` and stays so; from step ``fails`` on the env raises."""

    def __init__(self, at, *, fails=10**9, limit=10**9):
        super().__init__(limit=limit)
        self.at, self.fails = at, fails

    def step(self, action):
        if self.t >= self.fails:
            raise ValueError("cannot go on")
        observation, *rest = super().step(action)
        if self.t > self.at:
            observation[0] = np.nan
        return observation, *rest


@pytest.mark.parametrize("settings", [{"at": 70}, {"at": 130}, {"at": 3, "fails": 5}])
def test_a_long_rollout_names_the_first_step_that_went_wrong_and_stops_soon(settings):
    runner = EnvRunner(config_for(lambda: GoesWrong(**settings), **RAISE))
    with pytest.raises(NonFiniteError, match=f"step {settings['at']} of this rollout, after raw action"):
        runner.collect(1000, explore=True, timestep=0)
    assert runner.env.envs[0].unwrapped.t <= settings["at"] + 64


def test_a_final_observation_is_looked_at_too():
    runner = EnvRunner(config_for(lambda: GoesWrong(2, limit=3), **RAISE), num_envs=1)
    with pytest.raises(NonFiniteError, match=r"env 0 .* step 2"):
        runner.collect(5, explore=True, timestep=0)
