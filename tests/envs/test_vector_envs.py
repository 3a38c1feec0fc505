"""Vector envs of others against our own loop over the same envs: what is learned from is the same."""

from __future__ import annotations

import logging

import gymnasium as gym
import numpy as np
import pytest
import torch
from counting_vectors import COUNTED, ENVS, Counting, CountingVector, config_for, experience, runner_of, sampled
from gymnasium.vector import AutoresetMode

from rlkit_core.cli.explained import explain_run
from rlkit_core.data import gae
from rlkit_core.envs import as_vector_env, make_env, register_env
from rlkit_core.envs.gym_vectors.classes import GymVectorEnv
from rlkit_core.envs.gym_vectors.own import MANY
from rlkit_core.envs.runner_actors import make_runner
from rlkit_core.envs.vector import InlineVectorEnv
from rlkit_core.errors import ConfigError, EnvError

KINDS = [
    (AutoresetMode.NEXT_STEP, "objects"),
    (AutoresetMode.SAME_STEP, "objects"),
    (AutoresetMode.SAME_STEP, "arrays"),
    (AutoresetMode.DISABLED, "objects"),
]


@pytest.mark.parametrize("composed", [False, True])
@pytest.mark.parametrize(("mode", "finals"), KINDS)
def test_every_reset_mode_gives_the_experience_of_single_envs(mode, finals, composed):
    ours, ours_again, _ = sampled(Counting, composed=composed)
    theirs, theirs_again, metrics = sampled(CountingVector, autoreset=mode, finals=finals, composed=composed)
    for n in range(ENVS):
        whole = experience(ours, n) + experience(ours_again, n)
        seen = experience(theirs, n) + experience(theirs_again, n)
        assert seen == whole[: len(seen)]
        assert len(seen) > len(whole) * 0.7
    masked = mode == AutoresetMode.NEXT_STEP
    assert (theirs.loss_mask is not None) == masked
    ended = sum(int((one["terminateds"] | one["truncateds"]).sum()) for one in (theirs, theirs_again))
    assert metrics["num_episodes_lifetime"] == ended
    assert metrics["num_env_steps_sampled_lifetime"] == theirs.num_env_steps + theirs_again.num_env_steps


@pytest.mark.parametrize(("mode", "finals"), KINDS)
def test_every_reset_mode_gives_the_advantages_of_single_envs(mode, finals):
    def value(obs):
        return obs[..., 0] * 3.0 - obs[..., 1] * 0.7 + 1.0

    def advantages(rollout):
        finals_ = None
        if rollout.final_index is not None:
            finals_ = torch.zeros(rollout.num_steps * rollout.num_envs)
            finals_[rollout.final_index] = value(rollout.final_obs)
            finals_ = finals_.view(rollout.num_steps, -1)
        columns = (rollout["rewards"], value(rollout["obs"]), value(rollout.bootstrap_obs))
        flags = (rollout["terminateds"], rollout["truncateds"])
        found, _ = gae(*columns, *flags, finals_, 0.9, 0.8)
        return found

    ours, theirs = sampled(Counting)[0], sampled(CountingVector, autoreset=mode, finals=finals)[0]
    of_ours, of_theirs = advantages(ours), advantages(theirs)
    for n in range(ENVS):
        rows = slice(None) if theirs.loss_mask is None else theirs.loss_mask[:, n]
        seen = of_theirs[:, n][rows]
        ends = (theirs["terminateds"] | theirs["truncateds"])[:, n][rows].nonzero()[-1]
        assert seen[: ends + 1].tolist() == pytest.approx(of_ours[: ends + 1, n].tolist(), rel=1e-5)


def test_what_a_vector_env_does_to_actions_is_its_own_affair():
    explored = runner_of(CountingVector).sample(num_timesteps=60, explore=True)["default_policy"]
    assert explored["actions"].float().mean() > 0.3


@pytest.mark.parametrize("takes", ["list", "int"])
def test_seeds_come_as_a_list_or_as_one(takes):
    runner = runner_of(CountingVector, seeds=takes)
    runner.sample(num_timesteps=6)
    runner.run_episodes(2)  # env 2 plays none
    runner.sample(num_timesteps=6)
    seeds = runner.env.envs.seeds
    assert len(seeds) == 3
    flat = [one for seed in seeds for one in (seed if takes == "list" else [seed])]
    assert len(set(flat)) == len(flat)
    assert all(isinstance(seed, int) and 0 <= seed < 2**31 for seed in flat)


@pytest.mark.parametrize("mode", ["vector_entry_point", "auto"])
def test_the_own_vector_implementation_of_a_registered_env(mode, caplog):
    runner = runner_of("CartPole-v1", envs=MANY, mode=mode)
    assert type(runner.env.envs).__name__ == "CartPoleVectorEnv"
    assert not runner.env.same_step_reset
    first = runner.sample(num_timesteps=MANY * 20)["default_policy"].clone()
    assert first.num_env_steps < MANY * 20
    again = runner_of("CartPole-v1", envs=MANY, mode=mode).sample(num_timesteps=MANY * 20)["default_policy"]
    assert torch.equal(first["obs"], again["obs"])
    assert torch.equal(first["actions"], again["actions"])
    assert runner.not_exact()
    result = runner.run_episodes(MANY)
    assert result["num_episodes"] == MANY


def test_auto_takes_it_from_so_many_envs_on_and_says_so_once(caplog, monkeypatch):
    from rlkit_core.envs.gym_vectors import own

    monkeypatch.setattr(own, "_told", set())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert isinstance(runner_of("CartPole-v1", envs=MANY).env, GymVectorEnv)
    said = [record.getMessage() for record in caplog.records if "CartPoleVectorEnv" in record.getMessage()]
    assert len(said) == 1
    assert "gym_env_vectorize_mode='sync'" in said[0]
    assert isinstance(runner_of("CartPole-v1", envs=MANY - 1).env, InlineVectorEnv)
    assert isinstance(runner_of("CartPole-v1", envs=MANY, mode="sync").env, InlineVectorEnv)
    assert isinstance(runner_of("Acrobot-v1", envs=MANY).env, InlineVectorEnv)


def other_spaces(num_envs, **kwargs):
    made = CountingVector(num_envs)
    made.single_observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    return made


def broken(num_envs, **kwargs):
    raise RuntimeError("there is no GPU here")


@pytest.mark.parametrize("entry", [other_spaces, broken])
def test_auto_does_without_one_that_cannot_stand_in(entry, monkeypatch):
    gym.register("Counts-v0", entry_point=Counting, vector_entry_point=entry)
    try:
        runner = runner_of("Counts-v0", envs=MANY)
        assert isinstance(runner.env, InlineVectorEnv)
        runner.sample(num_timesteps=MANY)
        if entry is broken:
            with pytest.raises(EnvError, match=r"no GPU here.*'sync' does without"):
                runner_of("Counts-v0", envs=2, mode="vector_entry_point")
    finally:
        del gym.registry["Counts-v0"]


def test_an_env_is_told_of_once_by_what_steps_it():
    told = []
    config = config_for("CartPole-v1", envs=MANY).callbacks(on_environment_created=lambda env: told.append(env))
    for envs, count in ((MANY, 1), (2, 2)):
        told.clear()
        with config.copy().env_runners(num_envs_per_env_runner=envs).build_algo() as algo:
            assert len(told) == count
            own = algo.env_runner.env.envs
            assert told == ([own] if envs == MANY else own)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda given: (given[0][:, :1], *given[1:]), r"observations: expected shape \(3, 2\)"),
        (lambda given: (given[0].astype(complex), *given[1:]), "dtype complex128"),
        (lambda given: (given[0], given[1][:, None], *given[2:]), r"rewards: expected shape \(3,\)"),
        (
            lambda given: (given[0], given[1], given[2].astype(float), *given[3:]),
            "terminations: expected .* dtype bool",
        ),
        (lambda given: (*given[:3], {}, given[3]), "truncations"),
        (lambda given: given[:4], "expected .observations, rewards.*got a tuple of 4"),
    ],
)
def test_what_a_vector_env_returns_is_looked_at(change, says):
    class Wrong(CountingVector):
        def step(self, actions):
            return change(super().step(actions))

    with pytest.raises(EnvError, match=says):
        runner_of(Wrong).sample(num_timesteps=12)


def test_a_reset_is_looked_at_too():
    class Wrong(CountingVector):
        def reset(self, **kwargs):
            return super().reset(**kwargs)[0]

    with pytest.raises(EnvError, match=r"reset\(\): expected \(observations, infos\)"):
        runner_of(Wrong).sample(num_timesteps=12)


def test_a_vector_env_that_resets_otherwise_than_it_says():
    class Wrong(CountingVector):
        def __init__(self, num_envs, autoreset):
            super().__init__(num_envs, autoreset)
            says = {AutoresetMode.SAME_STEP: AutoresetMode.NEXT_STEP, AutoresetMode.NEXT_STEP: AutoresetMode.SAME_STEP}
            self.metadata = {"autoreset_mode": says[autoreset]}

    with pytest.raises(EnvError, match="no infos\\['final_obs'\\], as its autoreset_mode is NEXT_STEP"):
        runner_of(Wrong, autoreset=AutoresetMode.SAME_STEP).sample(num_timesteps=60)
    with pytest.raises(EnvError, match="infos\\['final_obs'\\] with what env 0 showed last"):
        runner_of(Wrong, autoreset=AutoresetMode.NEXT_STEP).sample(num_timesteps=60)


def test_what_episodes_showed_last_is_looked_at():
    class Wrong(CountingVector):
        def step(self, actions):
            *given, infos = super().step(actions)
            if "final_obs" in infos:
                infos["final_obs"] = infos["final_obs"][:, :1]
            return *given, infos

    runner = runner_of(Wrong, autoreset=AutoresetMode.SAME_STEP, finals="arrays")
    with pytest.raises(EnvError, match=r"infos\['final_obs'\] of env 0 .*shape \(1,\)"):
        runner.sample(num_timesteps=60)


def test_a_vector_env_of_a_fixed_size():
    with pytest.raises(EnvError, match=r"vector env of 4 envs, and 3 .*num_envs_per_env_runner=4"):
        runner_of(lambda: CountingVector(4))
    with config_for(lambda: CountingVector(4), envs=4).build_algo() as algo:
        algo.train()
        assert algo.evaluate()["env_runners"]["num_episodes"] == 10


def test_a_function_may_take_the_number_beside_its_config():
    def make(config, num_envs):
        assert config == {"seeds": "int"}
        return CountingVector(num_envs, **config)

    assert runner_of(make, envs=5, seeds="int").env.num_envs == 5
    assert make_env(CountingVector).num_envs == 1
    assert runner_of(lambda num_envs: CountingVector(num_envs), envs=2).env.num_envs == 2
    register_env("ManyCounting", CountingVector)
    assert runner_of("ManyCounting", envs=4, seeds="int").env.num_envs == 4


def test_gymnasiums_modes_are_for_single_envs():
    for mode in ("sync", "async", "gymnasium_sync"):
        with pytest.raises(ConfigError, match="leave it 'auto'"):
            runner_of(CountingVector, mode=mode)
    for mode in ("vector_entry_point", "envpool"):
        with pytest.raises(ConfigError, match="id"):
            runner_of(CountingVector, mode=mode)


def test_explain_says_that_auto_begins_anew():
    for envs, reasons in ((MANY, 1), (2, 0)):
        assert len(explain_run(config_for("CartPole-v1", envs=envs))["not_exact"]) == reasons


def test_wrappers_of_vector_envs_go_round_them():
    config = config_for(CountingVector).environment(wrappers=["gymnasium.wrappers.vector:ClipReward"])
    made = config.environment(wrappers=[{"name": "gymnasium.wrappers.vector:ClipReward", "max_reward": 1.0}])
    rollout = make_runner(made, worker_index=0).sample(num_timesteps=60)["default_policy"]
    assert rollout["rewards"].max() == 1.0


def test_what_is_no_vector_env():
    with pytest.raises(EnvError, match=r"no vector env.*got a Counting"):
        as_vector_env(Counting())
    adapted = as_vector_env(CountingVector(2))
    assert as_vector_env(adapted) is adapted
    assert adapted.observation_space == COUNTED
