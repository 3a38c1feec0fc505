"""Several agents, with runners in processes: the numbers of one process, whole episodes, evaluation, modules."""

from __future__ import annotations

import pytest
import torch
from recording_env import RecordingEnv, Seeded

from actor_critic import ACConfig
from rlkit_core.data.nested import leaves
from rlkit_core.envs import EnvRunnerGroup


def by_number(agent, episode, **kwargs):
    return f"m{int(agent[1:]) % 2}"


def config(executor, env=RecordingEnv, **env_config):
    return (
        ACConfig()
        .environment(env, env_config=env_config)
        .multi_agent(policies=["m0", "m1"], policy_mapping_fn=by_number)
        .env_runners(num_env_runners=2, num_envs_per_env_runner=2)
        .training(train_batch_size=160, minibatch_size=32, num_epochs=2)
        .rl_module(model_config={"fcnet_hiddens": [8], "use_lstm": True, "max_seq_len": 5, "lstm_cell_size": 8})
        .debugging(seed=3)
        .execution(executor=executor)
    )


def same(a, b):
    pairs = list(zip(leaves(a), leaves(b), strict=True))
    assert pairs
    return all(torch.equal(torch.as_tensor(x), torch.as_tensor(y)) for x, y in pairs)


@pytest.fixture
def alike():
    """Envs draw by their number; two runners of one process count on where those of two begin anew."""
    RecordingEnv.made.clear()
    yield
    RecordingEnv.made.clear()


class Alike(RecordingEnv):
    """The same whichever process it is made in."""

    def __init__(self, config=None):
        super().__init__(config)
        self.number = 0

    def reset(self, *, seed=None, options=None):
        self.random.seed(seed if seed is not None else self.random.random())
        return super().reset(seed=seed, options=options)


def test_processes_give_the_numbers_of_one_process(alike):
    runs = []
    for executor in ("local", "process"):
        with config(executor, Alike, agents=4, p_end=0.1).build() as algo:
            results = [algo.train()["env_runners"] for _ in range(3)]
            evaluated = algo.evaluate(5)["env_runners"]
            weights = algo.learner_group.get_weights(inference_only=False).state
        for result in (*results, evaluated):
            result.pop("episode_duration_sec_mean")
        runs.append((weights, results, evaluated))
    assert same(runs[0][0], runs[1][0])
    assert runs[0][1:] == runs[1][1:]
    assert set(runs[0][1][-1]["agent_episode_returns_mean"]) == {"a0", "a1", "a2", "a3"}
    assert set(runs[0][2]["module_episode_returns_mean"]) == {"m0", "m1"}


@pytest.mark.slow
def test_rollouts_of_runners_are_joined_and_go_on():
    group = EnvRunnerGroup(config("process", agents=3).prepared())
    try:
        assert set(group.get_spaces()) == {"m0", "m1", "__env__"}
        told = 0
        for _ in range(3):
            rollouts = group.sample(num_timesteps=40)
            told += sum(rollout.num_env_steps for rollout in rollouts.values())
        result = group.get_metrics()
        assert result["num_env_steps_sampled_lifetime"] == 120
        assert sum(result["num_module_steps_sampled"].values()) == told
        whole = group.sample(num_episodes=6)
        assert group.get_metrics()["num_episodes"] == 6
        assert all(r["terminateds"].any() or r["truncateds"].any() for r in whole.values())
        asked = [group.sample_async() for _ in range(4)]
        assert all(set(rollouts) <= {"m0", "m1"} for some in asked for rollouts in some)
        group.set_modules(group.module_set.without("m1", mapping_fn=lambda agent, episode, **kw: "m0"))
        assert list(group.sample(num_timesteps=40)) == ["m0"]
    finally:
        group.stop()


def test_an_evaluation_in_processes_is_that_of_one():
    made = (
        ACConfig()
        .environment(Seeded)
        .multi_agent(policies=["m"], policy_mapping_fn=lambda agent, episode, **kw: "m")
        .env_runners(num_env_runners=2, num_envs_per_env_runner=2)
        .debugging(seed=7)
    )
    results = []
    for executor in ("local", "process"):
        group = EnvRunnerGroup(made.copy(copy_frozen=False).execution(executor=executor).prepared())
        try:
            results.append(group.run_episodes(7))
        finally:
            group.stop()
    for result in results:
        result.pop("episode_duration_sec_mean")
    assert results[0] == results[1]
