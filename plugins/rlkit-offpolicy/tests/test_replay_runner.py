"""Truncation is not termination: rollouts of real runners, in both ways of resetting, through n-step and replay."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from faulty_envs import unreliable

from actor_critic import ACConfig
from rlkit_core.data.nested import flatten_time, index_rows
from rlkit_core.envs import EnvRunner
from rlkit_offpolicy import PrioritizedReplayBuffer, ReplayBuffer, n_step_returns

pytestmark = pytest.mark.usefixtures("next_step_resets")

GAMMA = 0.8
MODES = ["sync", "gymnasium_sync", "faults"]
"""Ways of stepping envs; "faults": those of our own loop, with envs that fail now and then."""


class Chain(gym.Env):
    """States 0 to 5, one step to the right each, paying 1 + the state; 5 terminates.

    Episodes begin at state 0 or 1; every other one is truncated after 3 steps, which changes no value.
    """

    observation_space = gym.spaces.Box(0.0, 1.0, (6,), np.float32)
    action_space = gym.spaces.Discrete(2)
    values = np.array([sum(GAMMA**k * (1 + s + k) for k in range(5 - s)) for s in range(6)])

    def __init__(self, config=None):
        self.episode = -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        self.state = self.episode % 3 % 2
        return self._obs(), {}

    def step(self, action):
        reward = 1.0 + self.state
        self.state, self.t = self.state + 1, self.t + 1
        terminated = self.state == 5
        return self._obs(), reward, terminated, self.episode % 2 == 1 and self.t == 3 and not terminated, {}

    def _obs(self):
        return np.eye(6, dtype=np.float32)[self.state]


class TwoKinds(gym.Env):
    """Truncated episodes that pay 0 or 1 per step in turn; the observation tells the kind."""

    observation_space = gym.spaces.Box(0.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config=None):
        self.kind = 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.kind = 0, 1 - self.kind
        return self._obs(), {}

    def step(self, action):
        self.t += 1
        return self._obs(), float(self.kind), False, self.t >= 5, {}

    def _obs(self):
        return np.eye(2, dtype=np.float32)[self.kind]


def runner(env, mode, **model_config):
    config = (
        ACConfig()
        .environment(unreliable(env) if mode == "faults" else env)
        .env_runners(num_envs_per_env_runner=3, gym_env_vectorize_mode="sync" if mode == "faults" else mode)
        .rl_module(model_config={"fcnet_hiddens": [8], **model_config})
        .debugging(seed=3)
    )
    return EnvRunner(config)


def sample(runner, steps):
    return runner.sample(num_timesteps=3 * steps)["default_policy"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("buffer_cls", [ReplayBuffer, PrioritizedReplayBuffer])
@pytest.mark.parametrize("n_step", [1, 3, (1, 9)])
def test_every_row_of_a_chain_agrees_with_its_values(mode, buffer_cls, n_step):
    values = torch.from_numpy(Chain.values).float()
    acting = runner(Chain, mode)
    buffer = buffer_cls(90, n_step=n_step, gamma=GAMMA, seed=0)
    try:
        for k in range(25):  # several times round the ring
            if k == 13:
                acting.reset_envs()  # cuts unfinished episodes off
            buffer.add(sample(acting, 7))
            batch = buffer.sample(200)
            states, successors = batch["obs"].argmax(1), batch["new_obs"].argmax(1)
            targets = batch["rewards"] + batch["discount"] * values[successors]
            torch.testing.assert_close(targets, values[states])
            assert torch.equal(batch["discount"] == 0, batch["terminateds"])
            alive = ~batch["terminateds"]
            assert torch.equal((states + batch["n_step"])[alive], successors[alive])
        assert batch["terminateds"].any()
        assert (states == 1).any()
    finally:
        acting.stop()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [1, 4])
def test_n_step_returns_of_a_chain_are_its_values(mode, n):
    values = torch.from_numpy(Chain.values)
    acting = runner(Chain, mode)
    try:
        for _ in range(4):
            rollout = sample(acting, 9)
            final_values = None
            if rollout.final_index is not None:
                final_values = torch.zeros(9 * 3, dtype=torch.float64)
                final_values[rollout.final_index] = values[rollout.final_obs.argmax(-1)]
                final_values = final_values.view(9, 3)
            found = n_step_returns(
                rollout["rewards"].double(),
                GAMMA * ~rollout["terminateds"],
                n,
                rollout["truncateds"],
                values=values[rollout["obs"].argmax(-1)],
                bootstrap_value=values[rollout.bootstrap_obs.argmax(-1)],
                final_values=final_values,
            )
            real = torch.ones(9, 3, dtype=torch.bool) if rollout.loss_mask is None else rollout.loss_mask
            torch.testing.assert_close(found.returns[real], values[rollout["obs"].argmax(-1)][real])
    finally:
        acting.stop()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n_step", [1, 3])
def test_values_learned_from_replay_do_not_leak_between_episodes(mode, n_step):
    acting = runner(TwoKinds, mode)
    buffer = ReplayBuffer(300, n_step=n_step, gamma=GAMMA, seed=0)
    try:
        for _ in range(12):
            buffer.add(sample(acting, 11))
    finally:
        acting.stop()
    values = torch.zeros(2)
    for _ in range(80):
        batch = buffer.sample(64)
        kinds = batch["obs"].argmax(1)
        targets = batch["rewards"] + batch["discount"] * values[batch["new_obs"].argmax(1)]
        values = torch.stack([targets[kinds == kind].mean() for kind in (0, 1)])
    assert values.tolist() == pytest.approx([0.0, 1.0 / (1.0 - GAMMA)], abs=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_a_recurrent_module_computes_on_sequences_what_it_computed_while_acting(mode):
    acting = runner(
        Chain,
        mode,
        use_lstm=True,
        lstm_cell_size=4,
        max_seq_len=4,
        lstm_use_prev_action=True,
        lstm_use_prev_reward=True,
    )
    buffer = ReplayBuffer(60, seed=0, columns=["action_dist_inputs"])
    module = acting.acting_module
    try:
        for _ in range(9):
            buffer.add(sample(acting, 6))
    finally:
        acting.stop()
    batch = buffer.sample(80, seq_len=5, initial_state=module.get_initial_state())
    inputs = ("obs", "state_in", "prev_actions", "prev_rewards")
    with torch.no_grad():
        out = module.forward_exploration({name: batch[name] for name in inputs})
    mask = batch["loss_mask"]
    assert 0.3 < mask.float().mean() < 1.0
    torch.testing.assert_close(out["action_dist_inputs"][mask], batch["action_dist_inputs"][mask])


def test_rows_know_the_previous_action_and_reward_of_their_successor():
    acting = runner(Chain, "sync", lstm_use_prev_action=True, lstm_use_prev_reward=True)
    buffer = ReplayBuffer(60, seed=0)
    try:
        rollout = sample(acting, 20)
        buffer.add(rollout)
    finally:
        acting.stop()
    batch = buffer.sample(50)
    flat = {name: index_rows(flatten_time(rollout[name]), buffer.last_indices) for name in ("actions", "rewards")}
    alive = ~batch["terminateds"]
    assert torch.equal(batch["new_prev_actions"][alive], flat["actions"][alive])
    assert torch.equal(batch["new_prev_rewards"][alive], flat["rewards"][alive])
