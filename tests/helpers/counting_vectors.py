"""Envs that count, one by one and as vector envs of every kind: what a runner makes of them is known."""

from __future__ import annotations

import functools

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from actor_critic import ACConfig
from rlkit_core.data.nested import leaves
from rlkit_core.envs.runner_actors import make_runner

COUNTED = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
"""The episode's number, the step in it."""
COMPOSED = gym.spaces.Dict({"count": COUNTED, "pair": gym.spaces.Tuple((gym.spaces.Discrete(50), COUNTED))})


def shown(episode, t, *, composed):
    """One observation."""
    count = np.array([episode, t], np.float32)
    return {"count": count, "pair": (t, count + 0.5)} if composed else count


def ends(episode, t):
    """``(terminated, truncated)``: episodes get longer, and end in turns."""
    over = t == 3 + episode % 4
    return over and episode % 2 == 1, over and episode % 2 == 0


class Counting(gym.Env):
    """One env. It spoils the actions that it is given."""

    action_space = gym.spaces.MultiDiscrete([3, 3])

    def __init__(self, composed=False, first=0):
        self.observation_space = COMPOSED if composed else COUNTED
        self.composed, self.episode, self.t = composed, first - 1, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return shown(self.episode, 0, composed=self.composed), {}

    def step(self, action):
        reward = float(10 * self.episode + self.t + action.sum())
        action[...] = 0
        self.t += 1
        return shown(self.episode, self.t, composed=self.composed), reward, *ends(self.episode, self.t), {"t": self.t}


class CountingVector(gym.vector.VectorEnv):
    """N of them, which reset as ``autoreset`` says.

    Args:
        autoreset: how it resets.
        seeds: ``"list"``, ``"int"``: what it takes.
        finals: ``"objects"``, an object array of observations; ``"arrays"``, nested as the space.
    """

    def __init__(self, num_envs, autoreset=AutoresetMode.NEXT_STEP, composed=False, seeds="list", finals="objects"):
        self.metadata = {"autoreset_mode": autoreset}
        self.num_envs, self.mode, self.composed = num_envs, autoreset, composed
        self.takes, self.finals, self.seeds = seeds, finals, []
        self.single_observation_space = COMPOSED if composed else COUNTED
        self.single_action_space = Counting.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.envs = [Counting(composed) for _ in range(num_envs)]
        self.over = [False] * num_envs
        self._together()

    def _together(self):
        """Memory of its own, used again and again."""
        zeros = [shown(0, 0, composed=self.composed)] * self.num_envs
        self.rows = self._stacked(zeros)

    def _stacked(self, observations):
        if not self.composed:
            return np.stack(observations)
        return {
            "count": np.stack([one["count"] for one in observations]),
            "pair": (
                np.array([one["pair"][0] for one in observations]),
                np.stack([one["pair"][1] for one in observations]),
            ),
        }

    def _show(self):
        new = self._stacked([shown(env.episode, env.t, composed=self.composed) for env in self.envs])
        if not self.composed:
            self.rows[...] = new
        else:
            self.rows["count"][...] = new["count"]
            for row, value in zip(self.rows["pair"], new["pair"], strict=True):
                row[...] = value
        return self.rows

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            if self.takes == "int" and not isinstance(seed, int):
                raise gym.error.Error(f"Seed must be a python integer, got {seed}")
            self.seeds.append(seed)
        mask = [True] * self.num_envs if options is None else options["reset_mask"]
        for n in np.flatnonzero(mask):
            self.envs[n].reset()
            self.over[n] = False
        return self._show(), {}

    def step(self, actions):
        steps, finals = [], [None] * self.num_envs
        for n, (env, action) in enumerate(zip(self.envs, actions, strict=True)):
            if self.over[n] and self.mode == AutoresetMode.NEXT_STEP:
                env.reset()
                steps.append((7.0, False, False))
                self.over[n] = False
                continue
            assert not self.over[n], "it was stepped behind its episode's end"
            finals[n], reward, terminated, truncated, _ = env.step(action)
            steps.append((reward, terminated, truncated))
            if terminated or truncated:
                if self.mode == AutoresetMode.SAME_STEP:
                    env.reset()
                else:
                    self.over[n] = True
        infos = {}
        rewards, terminateds, truncateds = (np.array(column) for column in zip(*steps, strict=True))
        if self.mode == AutoresetMode.SAME_STEP and (terminateds | truncateds).any():
            if self.finals == "objects":
                infos["final_obs"] = np.empty(self.num_envs, object)
                infos["final_obs"][:] = finals
            else:
                infos["final_obs"] = self._stacked(finals)
        return self._show(), rewards, terminateds, truncateds, infos


STEPS, ENVS = 40, 3


def config_for(env, envs=ENVS, mode="auto", **env_config):
    return (
        ACConfig()
        .environment(env, env_config=env_config)
        .env_runners(num_envs_per_env_runner=envs, gym_env_vectorize_mode=mode)
        .training(train_batch_size=envs * 8, minibatch_size=envs * 8)
        .debugging(seed=5)
    )


def runner_of(env, envs=ENVS, mode="auto", **env_config):
    return make_runner(config_for(env, envs, mode, **env_config), worker_index=0)


@functools.cache
def sampled(env, steps=STEPS, **env_config):
    """A rollout, a short one behind it, and metrics; actions depend on observations only."""
    runner = runner_of(env, **env_config)
    rollout = runner.sample(num_timesteps=steps * ENVS, explore=False)["default_policy"].clone()
    again = runner.sample(num_timesteps=6 * ENVS, explore=False)["default_policy"].clone()
    metrics = runner.get_metrics()
    runner.stop()
    return rollout, again, metrics


def experience(rollout, n):
    """What env n experienced: rewards, ends, and the observation before and after each step, in order."""
    after, rows = rollout.next_obs(), []
    for t in range(rollout.num_steps):
        if rollout.loss_mask is not None and not rollout.loss_mask[t, n]:
            continue
        ended = bool(rollout["terminateds"][t, n])
        seen = [leaf[t, n].tolist() for leaf in leaves(rollout["obs"])]
        then = None if ended else [leaf[t, n].tolist() for leaf in leaves(after)]
        rows.append((seen, float(rollout["rewards"][t, n]), ended, bool(rollout["truncateds"][t, n]), then))
    return rows
