"""An env with agents that fails is made anew alone: lives that were open end with what was seen last."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from actor_critic import ACConfig
from rlkit_core.envs import EnvRunnerGroup, MultiAgentEnv
from rlkit_core.errors import EnvError, NonFiniteError

LENGTH = 9


class Pair(MultiAgentEnv):
    """Shows (number, episode, step) to ``a`` and ``b``, of which ``b`` acts in every other step only."""

    lived: dict[int, int] = {}
    began: dict[int, int] = {}

    def __init__(self, config):
        super().__init__()
        self.script, self.number = config["script"], config["numbers"].pop(0)
        self.possible_agents = ["a", "b"]

    def get_observation_space(self, agent_id):
        return gym.spaces.Box(-1e6, 1e6, (3,), np.float32)

    def get_action_space(self, agent_id):
        return gym.spaces.Discrete(2)

    def _seen(self, agents):
        return {agent: np.array([self.number, self.began[self.number], self.t], np.float32) for agent in agents}

    def reset(self, *, seed=None, options=None):
        if self.script.pop((self.number, "reset", self.began[self.number]), None):
            raise OSError("no reset")
        self.began[self.number] += 1
        self.t = 0
        return self._seen("ab"), {}

    def step(self, action_dict):
        life = self.lived[self.number]
        self.lived[self.number] = life + 1
        kind = self.script.get((self.number, life))
        if kind == "raise":
            raise OSError("disk on fire")
        self.t += 1
        over = self.t == LENGTH
        agents = "ab" if self.t % 2 == 0 or over else "a"
        observations, rewards = self._seen(agents), {"a": 1.0, **({"b": 0.5} if "b" in agents else {})}
        if kind == "nan":
            observations["a"][1] = np.nan
        elif kind == "infinite":
            rewards["a"] = np.inf
        elif kind == "shape":
            observations["a"] = np.zeros(7, np.float32)
        return observations, rewards, {"__all__": over}, {"__all__": False}, {}


def rollouts_of(script, steps=20, count=2, refill=(), model=None, **settings):
    Pair.lived, Pair.began = dict.fromkeys(range(4), 0), dict.fromkeys(range(4), 0)
    group = group_for(script, refill, model, **settings)
    rollouts = []
    for _ in range(count):
        rollouts.append({k: r.clone() for k, r in group.sample(num_timesteps=steps * 2, explore=False).items()})
    metrics, faults = group.get_metrics(), group.get_fault_metrics()
    group.stop()
    return rollouts, metrics, faults


def group_for(script, refill=(), model=None, **settings):
    config = (
        ACConfig()
        .environment(Pair, env_config={"script": dict(script), "numbers": [0, 1, *refill]})
        .multi_agent(policies=["a", "b"], policy_mapping_fn=lambda agent, episode: agent)
        .env_runners(num_envs_per_env_runner=2)
        .fault_tolerance(**settings)
        .rl_module(model_config={"fcnet_hiddens": [8], **(model or {})})
        .debugging(seed=3)
    )
    return EnvRunnerGroup(config.prepared())


LSTM = {"use_lstm": True, "lstm_cell_size": 4, "max_seq_len": 5}


@pytest.mark.parametrize("model", [None, LSTM], ids=["mlp", "lstm"])
@pytest.mark.parametrize("t", [0, 1, 4, LENGTH, 19])
@pytest.mark.parametrize("kind", ["raise", "nan", "infinite", "shape"])
def test_the_rollouts_of_an_env_that_fails(kind, t, model):
    life = 20 + t
    rollouts, metrics, faults = rollouts_of({(1, life): kind}, refill=[1], model=model)
    plain, _, _ = rollouts_of({}, model=model)
    assert faults["num_env_restarts"] == 1
    assert metrics["num_env_steps_sampled_lifetime"] == 2 * 2 * 20 - 1
    assert metrics["episode_len_min"] == metrics["episode_len_max"] == LENGTH
    own = {"a": 0, "b": 0}
    for rollout, alone in zip(rollouts, plain, strict=True):
        for agent, mine in rollout.items():
            own[agent] += mine.num_env_steps
            assert all(torch.isfinite(c).all() for c in mine.columns.values() if c.is_floating_point())
            # Env 0's agent has what it would have had.
            theirs = alone[agent]
            steps = int(theirs.column_lengths[0])
            assert int(mine.column_lengths[0]) == steps
            for name in ("obs", "rewards", "terminateds", "actions"):
                assert torch.equal(mine[name][:steps, 0], theirs[name][:steps, 0]), (agent, name)
    assert metrics["num_agent_steps_sampled_lifetime"] == own
    mine, alone = rollouts[1]["a"], plain[1]["a"]
    assert int(mine.column_lengths[1]) == 19  # one step is lost
    before = t - 1
    if t and not alone["terminateds"][before, 1]:
        assert mine["truncateds"][before, 1]
        assert torch.equal(mine.next_obs()[before, 1], alone["obs"][t, 1])
    assert not mine["truncateds"][: max(before, 0), 1].any()
    if t < 19:
        assert mine["obs"][t, 1][2] == 0  # a fresh episode takes its place
        if model is not None and t:
            assert mine.episode_starts[t, 1]
    else:
        assert mine.bootstrap_obs[1][2] == 0
    assert torch.equal(mine["obs"][:t, 1], alone["obs"][:t, 1])


def test_a_failure_in_a_reset_costs_no_step():
    rollouts, metrics, faults = rollouts_of({(1, "reset", 1): True, (0, "reset", 0): True}, refill=[0, 1])
    plain, _, _ = rollouts_of({})
    assert faults["num_env_restarts"] == 2
    assert metrics["num_env_steps_sampled_lifetime"] == 80
    for rollout, alone in zip(rollouts, plain, strict=True):
        for name in ("obs", "rewards", "terminateds", "truncateds"):
            assert torch.equal(rollout["a"][name], alone["a"][name])


@pytest.mark.parametrize(("kind", "error"), [("raise", EnvError), ("nan", NonFiniteError), ("shape", EnvError)])
def test_what_fails_again_and_again_is_raised(kind, error):
    Pair.lived, Pair.began = dict.fromkeys(range(4), 0), dict.fromkeys(range(4), 0)
    group = group_for({(1, life): kind for life in range(2, 200)}, [1] * 9)
    with pytest.raises(error, match=r"env 1 .*in a row"):
        group.sample(num_timesteps=2 * 20)
    assert group.get_fault_metrics()["num_env_restarts"] == 2
    group.stop()


def test_an_evaluation_counts_an_episode_that_broke_off_as_cut():
    Pair.lived, Pair.began = dict.fromkeys(range(4), 0), dict.fromkeys(range(4), 0)
    group = group_for({(1, 12): "raise", (0, 3): "nan"}, [0, 1])
    result = group.run_episodes(9)
    assert result["num_episodes"] == 7
    assert (result["num_episodes_cut"], result["num_episodes_failed"]) == (2, 2)
    assert result["episode_len_min"] == result["episode_len_max"] == LENGTH
    group.stop()
