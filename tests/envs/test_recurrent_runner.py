"""What a runner carries from step to step, against a plain loop over the same module and envs."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from actor_critic import ACConfig
from rlkit_core.envs import EnvRunner

pytestmark = pytest.mark.usefixtures("next_step_resets")


class Walk(gym.Env):
    """Observation: a random vector. Episodes of 3 to 6 steps, terminated or truncated in turn."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)

    def __init__(self, config):
        self.action_space = config.get("action_space", gym.spaces.Discrete(3))
        self.episode = -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return self._obs(), {}

    def step(self, action):
        self.t += 1
        over = self.t >= 3 + self.episode % 4
        reward = float(self.np_random.normal())
        return self._obs(), reward, over and self.episode % 2 == 0, over and self.episode % 2 == 1, {}

    def _obs(self):
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)


def config_for(mode="sync", action_space=None, **model_config):
    env_config = {} if action_space is None else {"action_space": action_space}
    return (
        ACConfig()
        .environment(Walk, env_config=env_config)
        .env_runners(num_envs_per_env_runner=3, gym_env_vectorize_mode=mode)
        .training(train_batch_size=48, minibatch_size=16)
        .rl_module(model_config={"fcnet_hiddens": [8], "lstm_cell_size": 5, "max_seq_len": 4, **model_config})
        .debugging(seed=3)
    )


MODULES = [
    {"use_lstm": True},
    {"use_lstm": True, "vf_share_layers": True, "lstm_num_layers": 2},
    {"use_gru": True, "lstm_use_prev_action": True, "lstm_use_prev_reward": True},
    {"lstm_use_prev_action": True, "lstm_use_prev_reward": True},
]


def by_hand(module, rollouts, modes_next_step, action_space):
    """Inputs of the actor, step by step, with the actions and rewards that were recorded."""
    discrete = isinstance(action_space, gym.spaces.Discrete)
    stateful = module.is_stateful()
    steps = []
    for n in range(3):
        state, prev_a, prev_r, over, reset_row = None, None, None, True, False
        for rollout in rollouts:
            for t in range(rollout.num_steps):
                if over:
                    state = {k: _batch(v) for k, v in module.get_initial_state().items()} if stateful else None
                    prev_a = torch.tensor([-1]) if discrete else torch.zeros(1, *action_space.shape)
                    prev_r = torch.zeros(1)
                batch = {"obs": rollout["obs"][t, n][None], "prev_actions": prev_a, "prev_rewards": prev_r}
                if stateful:
                    batch = {k: v[:, None] for k, v in batch.items()} | {"state_in": state}
                with torch.no_grad():
                    out = module.forward_exploration(batch)
                inputs = out["action_dist_inputs"]
                state = out.get("state_out")
                steps.append((n, rollout, t, inputs.reshape(-1), prev_a, prev_r))
                prev_a, prev_r = rollout["actions"][t, n][None], rollout["rewards"][t, n][None]
                done = bool(rollout["terminateds"][t, n] | rollout["truncateds"][t, n])
                over, reset_row = (reset_row, done) if modes_next_step else (done, False)
    return steps


def _batch(leaf):
    return {k: _batch(v) for k, v in leaf.items()} if isinstance(leaf, dict) else leaf[None]


@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync"])
@pytest.mark.parametrize("model_config", MODULES, ids=lambda m: "-".join(m))
@pytest.mark.parametrize("action_space", [gym.spaces.Discrete(3), gym.spaces.Box(-1.0, 1.0, (2,))])
def test_every_step_saw_what_a_plain_loop_sees(mode, model_config, action_space):
    runner = EnvRunner(config_for(mode, action_space, **model_config))
    module = runner.acting_module
    rollouts = [_copy(runner.sample(num_timesteps=30)["default_policy"]) for _ in range(2)]
    assert any(r["terminateds"].any() for r in rollouts)
    assert any(r["truncateds"].any() for r in rollouts)
    for n, rollout, t, inputs, prev_a, prev_r in by_hand(
        module, rollouts, not runner.env.same_step_reset, action_space
    ):
        torch.testing.assert_close(rollout["action_dist_inputs"][t, n], inputs, rtol=1e-5, atol=1e-6)
        if "lstm_use_prev_action" in model_config:
            assert torch.equal(rollout["prev_actions"][t, n], prev_a[0])
            assert torch.equal(rollout["prev_rewards"][t, n], prev_r[0])


def _copy(rollout):
    import copy

    return copy.deepcopy(rollout)


def test_a_module_without_memory_carries_nothing():
    runner = EnvRunner(config_for())
    assert runner.loop.memory is None
    rollout = runner.sample()["default_policy"]
    assert rollout.state_in is None
    assert rollout.episode_starts is None
    assert not rollout.bootstrap_inputs


def test_state_is_kept_at_every_chunk_and_forgotten_when_envs_are_reset():
    runner = EnvRunner(config_for(use_lstm=True))
    first = runner.sample(num_timesteps=30)["default_policy"]
    assert first.seq_len == 4
    assert first.state_in["actor"]["h"].shape == (3, 3, 1, 5)  # rows 0, 4 and 8
    assert not first.state_in["actor"]["h"][0].any()
    assert first.state_in["actor"]["h"][1].any()
    assert runner.sample(num_timesteps=6)["default_policy"].state_in["actor"]["h"][0].any()
    runner.reset_envs()
    assert not runner.sample(num_timesteps=6)["default_policy"].state_in["actor"]["h"][0].any()


class Recall(gym.Env):
    """The first observation tells which action pays at the last of four steps: only memory earns the reward."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.cue = 0, int(self.np_random.integers(2))
        return np.array([2.0 * self.cue - 1.0], np.float32), {}

    def step(self, action):
        self.t += 1
        over = self.t == 4
        return np.zeros(1, np.float32), float(over and action == self.cue), over, False, {}


@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync"])
def test_training_and_evaluation_use_memory(mode):
    config = (
        ACConfig()
        .environment(Recall)
        .env_runners(num_envs_per_env_runner=8, gym_env_vectorize_mode=mode)
        .training(train_batch_size=256, minibatch_size=64, num_epochs=6, lr=0.01)
        .rl_module(model_config={"use_gru": True, "fcnet_hiddens": [8], "lstm_cell_size": 8, "max_seq_len": 4})
        .debugging(seed=2)
    )
    with config.build_algo() as algo:
        for _ in range(20):
            algo.train()
        assert algo.evaluate(32)["env_runners"]["episode_return_mean"] == 1.0


@pytest.mark.parametrize("model_config", MODULES, ids=lambda m: "-".join(m))
@pytest.mark.parametrize("action_space", [gym.spaces.Discrete(3), gym.spaces.Box(-1.0, 1.0, (2,))])
def test_a_deployed_module_acts_as_the_runner_does(model_config, action_space):
    runner = EnvRunner(config_for("sync", action_space, pi_head_output_kernel_initializer="ones_", **model_config))
    rollout = runner.sample(num_timesteps=60, explore=False)["default_policy"]
    module = runner.acting_module
    state, reward = None, 0.0
    for t in range(rollout.num_steps):
        obs = rollout["obs"][t, 0].numpy()
        action, state = module.compute_single_action(obs, state, prev_rewards=reward)
        np.testing.assert_allclose(action, module.actions_to_env(rollout["actions"][t, 0].numpy()), atol=1e-5)
        reward = float(rollout["rewards"][t, 0])
        if rollout["terminateds"][t, 0] | rollout["truncateds"][t, 0]:
            state, reward = None, 0.0
