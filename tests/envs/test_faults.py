"""An env that fails is made anew alone: what its rollout looks like, what it costs the others, when it is too much."""

from __future__ import annotations

import logging

import gymnasium as gym
import numpy as np
import pytest
import torch

from actor_critic import ACConfig
from rlkit_core.data.nested import leaves
from rlkit_core.envs import EnvRunnerGroup
from rlkit_core.errors import EnvError, NonFiniteError

MID = "default_policy"
STEPS = 20
LENGTH = 9
"""Steps of an episode that nothing happens to."""


class Scripted(gym.Env):
    """Shows (number of the env, how often it was begun, steps); ``script`` says what happens to which of its steps.

    ``script`` is ``{(number, step over its whole life): kind}``; a step that has had its fault has none any more. Every
    other episode is truncated.
    """

    observation_space = gym.spaces.Box(-1e6, 1e6, (3,), np.float32)
    action_space = gym.spaces.Discrete(2)
    made: list[Scripted] = []
    lived: dict[int, int] = {}
    began: dict[int, int] = {}

    def __init__(self, config):
        self.script, self.number = config["script"], config["numbers"].pop(0)
        self.seeds = []
        Scripted.made.append(self)
        self.closed = False

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        if self.script.get((self.number, "reset", self.began[self.number])) == "raise":
            del self.script[self.number, "reset", self.began[self.number]]
            raise OSError("no reset")
        self.began[self.number] += 1
        self.t = 0
        return self._seen(), {}

    def _seen(self):
        return np.array([self.number, self.began[self.number], self.t], np.float32)

    def step(self, action):
        assert not self.closed
        life = self.lived[self.number]
        self.lived[self.number] = life + 1
        kind = self.script.get((self.number, life))
        if kind == "raise":
            raise OSError("disk on fire")
        self.t += 1
        over, even = self.t == LENGTH, self.began[self.number] % 2 == 0
        observation, reward = self._seen(), 1.0 + self.number
        if kind == "nan":
            observation[1] = np.nan
        elif kind == "infinite":
            reward = np.inf
        elif kind == "shape":
            observation = np.zeros(7, np.float32)
        return observation, reward, over and even, over and not even, {"is_success": 1.0}

    def close(self):
        self.closed = True


@pytest.fixture
def world():
    Scripted.made, Scripted.lived, Scripted.began = [], dict.fromkeys(range(9), 0), dict.fromkeys(range(9), 0)


def group_for(script, envs=3, model=None, mode="auto", refill=(), **settings):
    """Envs are numbered in the order in which they are made; ``refill`` numbers those that take their place."""
    config = (
        ACConfig()
        .environment(Scripted, env_config={"script": dict(script), "numbers": [*range(envs), *refill]})
        .env_runners(num_envs_per_env_runner=envs, gym_env_vectorize_mode=mode)
        .rl_module(model_config={"fcnet_hiddens": [8], **(model or {})})
        .fault_tolerance(**settings)
        .debugging(seed=3)
    )
    return EnvRunnerGroup(config.prepared())


LSTM = {"use_lstm": True, "lstm_cell_size": 4, "max_seq_len": 5, "lstm_use_prev_action": True}


def rollouts_of(script, count=2, **how):
    Scripted.made, Scripted.lived, Scripted.began = [], dict.fromkeys(range(9), 0), dict.fromkeys(range(9), 0)
    group = group_for(script, **how)
    rollouts = [group.sample(num_timesteps=STEPS * group.num_envs)[MID].clone() for _ in range(count)]
    metrics, faults = group.get_metrics(), group.get_fault_metrics()
    group.stop()
    return rollouts, metrics, faults


def sample_often(group):
    for _ in range(8):
        group.sample(num_timesteps=STEPS * 3)


def last_masked(kind, t):
    """What is not finite is found out at the end of the rollout; an error at once."""
    return STEPS - 1 if kind in ("nan", "infinite") else t


@pytest.mark.parametrize("model", [None, LSTM], ids=["mlp", "lstm"])
@pytest.mark.parametrize("t", [0, 4, LENGTH, STEPS - 1])
@pytest.mark.parametrize("kind", ["raise", "nan", "infinite", "shape"])
def test_the_rollout_of_an_env_that_fails(kind, t, model):
    before = STEPS  # in the second rollout, so that row 0 has one before it
    rollouts, metrics, faults = rollouts_of({(1, before + t): kind}, refill=[1], model=model)
    plain, _, _ = rollouts_of({}, model=model)
    first, second = rollouts
    assert faults["num_env_restarts"] == 1
    assert len(Scripted.made) == 3
    assert first.loss_mask is None
    last = last_masked(kind, t)
    mask = torch.ones(STEPS, 3, dtype=torch.bool)
    mask[t : last + 1, 1] = False
    assert torch.equal(second.loss_mask, mask)
    assert second.num_env_steps == int(mask.sum())
    assert metrics["num_env_steps_sampled_lifetime"] == STEPS * 3 + int(mask.sum())
    # The row before is cut, and knows what it led to.
    obs, ended = second["obs"], second["terminateds"] | second["truncateds"]
    if t and not (plain[1]["terminateds"] | plain[1]["truncateds"])[t - 1, 1]:
        assert second["truncateds"][t - 1, 1]
        final = second.final_index.tolist().index((t - 1) * 3 + 1)
        assert torch.equal(second.final_obs[final], plain[1]["obs"][t, 1])
        assert torch.equal(second.next_obs()[t - 1, 1], plain[1]["obs"][t, 1])
    elif t:
        assert torch.equal(ended[t - 1], (plain[1]["terminateds"] | plain[1]["truncateds"])[t - 1])
    else:
        assert torch.equal(first.bootstrap_obs[1], plain[0].bootstrap_obs[1])
    assert not ended[t : last + 1, 1].any()
    # A fresh episode comes next.
    after = obs[last + 1, 1] if last + 1 < STEPS else second.bootstrap_obs[1]
    assert after[2] == 0
    assert all(torch.isfinite(column).all() for column in second.columns.values() if column.is_floating_point())
    if model is not None:
        assert all(torch.isfinite(state).all() for state in leaves(second.state_in))
        if last + 1 < STEPS:
            assert second.episode_starts[last + 1, 1]
    # The others have what they would have had.
    for rollout, alone in zip(rollouts, plain, strict=True):
        for name, column in rollout.columns.items():
            assert torch.equal(column[:, [0, 2]], alone[name][:, [0, 2]]), name
            assert torch.equal(column[:t, 1], alone[name][:t, 1]) or name == "truncateds" or rollout is first
        assert torch.equal(rollout.bootstrap_obs[[0, 2]], alone.bootstrap_obs[[0, 2]])
    # Episodes that were not broken off are all that is told of.
    assert metrics["episode_len_min"] == metrics["episode_len_max"] == LENGTH
    assert metrics["is_success_mean"] == 1.0


def test_a_failure_in_a_reset_costs_no_step():
    rollouts, metrics, faults = rollouts_of({(1, "reset", 1): "raise", (2, "reset", 0): "raise"}, refill=[1, 2])
    plain, _, _ = rollouts_of({})
    assert faults["num_env_restarts"] == 2
    for rollout, alone in zip(rollouts, plain, strict=True):
        assert rollout.loss_mask is None
        for name in ("obs", "rewards", "terminateds", "truncateds", "actions"):
            assert torch.equal(rollout[name], alone[name]), name
    assert metrics["num_env_steps_sampled_lifetime"] == 2 * STEPS * 3


@pytest.mark.parametrize(("kind", "error"), [("raise", EnvError), ("nan", NonFiniteError), ("shape", EnvError)])
def test_what_fails_again_and_again_is_raised(world, kind, error, caplog):
    script = {(1, life): kind for life in range(2, 200)}
    with caplog.at_level(logging.WARNING, "rlkit_core.envs"):
        group = group_for(script, refill=[1] * 9)
        with pytest.raises(error, match=r"env 1 .*in a row") as caught:
            sample_often(group)
    if kind == "raise":
        assert type(caught.value.__cause__) is OSError
        assert all(part in str(caught.value) for part in ("OSError", "disk on fire", "action", "seed", "step"))
    assert group.get_fault_metrics()["num_env_restarts"] == 2
    told = [record for record in caplog.records if "made anew" in record.getMessage()]
    assert len(told) == 2
    if kind == "raise":
        assert "disk on fire" in caplog.text
        assert "in step" in caplog.text  # the traceback, once
        assert [record.exc_info is not None for record in told] == [True, False]
    group.stop()


def test_what_fails_now_and_then_is_not(world):
    script = {(1, life): "raise" for life in range(4, 400, 2 * LENGTH)}
    group = group_for(script, refill=[1] * 20)
    sample_often(group)
    assert group.get_fault_metrics()["num_env_restarts"] == len(range(4, 8 * STEPS, 2 * LENGTH))
    group.stop()


def test_restarts_are_capped_and_can_be_switched_off(world):
    script = {(1, life): "raise" for life in range(4, 400, 2 * LENGTH)}
    group = group_for(script, refill=[1] * 20, max_num_sub_environment_restarts=2)
    with pytest.raises(EnvError, match=r"disk on fire.*max_num_sub_environment_restarts=2"):
        sample_often(group)
    group.stop()
    Scripted.lived[1] = 0
    group = group_for({(1, 4): "raise"}, restart_failed_sub_environments=False, refill=[1])
    with pytest.raises(EnvError, match=r"env 1 .*OSError.*disk on fire"):
        group.sample(num_timesteps=STEPS * 3)
    group.stop()


def test_an_evaluation_counts_an_episode_that_broke_off_as_cut(world):
    group = group_for({(1, 12): "raise", (0, 3): "nan"}, refill=[0, 1])
    result = group.run_episodes(9)
    assert result["num_episodes"] == 7
    assert (result["num_episodes_cut"], result["num_episodes_failed"]) == (2, 2)
    assert result["episode_len_min"] == result["episode_len_max"] == LENGTH
    group.stop()


def test_whole_episodes_that_are_sampled_do_without_what_broke_off(world):
    group = group_for({(1, 4): "raise"}, refill=[1])
    rollout = group.sample(num_episodes=6)[MID]
    ends = (rollout["terminateds"] | rollout["truncateds"]) & rollout.loss_mask
    assert int(ends.sum()) == 6 + 1  # and the row before the failure
    assert not rollout.loss_mask[4, 1]
    assert group.stats.num_episodes_lifetime == 6
    group.stop()
