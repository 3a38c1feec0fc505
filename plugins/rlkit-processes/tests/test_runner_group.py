"""Runners in processes: the same numbers as in one process, weights, counts, registered envs, resuming."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from actor_critic import ACConfig
from rlkit_core import DefaultModelConfig, RLModuleSpec
from rlkit_core.data.nested import leaves
from rlkit_core.envs import EnvRunnerGroup
from rlkit_core.errors import ConfigError, PluginNotFoundError
from rlkit_core.rl_module.acting import ActionSampler
from rlkit_core.seeding import SeedTree


def config(runners=2, executor="auto", **env_runners):
    return (
        ACConfig()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=runners, num_envs_per_env_runner=2, **env_runners)
        .training(train_batch_size=160, minibatch_size=32, num_epochs=2)
        .rl_module(model_config={"fcnet_hiddens": [16]})
        .debugging(seed=3)
        .execution(executor=executor)
    )


def same(a, b):
    pairs = list(zip(leaves(a), leaves(b), strict=True))
    assert pairs
    return all(torch.equal(torch.as_tensor(x), torch.as_tensor(y)) for x, y in pairs)


def trained(made, iterations=3):
    with made.build() as algo:
        results = [algo.train() for _ in range(iterations)]
        timed = ("episode_duration_sec_mean",)
        metrics = [{k: v for k, v in r["env_runners"].items() if k not in timed} for r in results]
        return algo.learner_group.get_weights(inference_only=False).state, metrics


class Counting(gym.Env):
    """Observes how many steps the episode has had; ends after 7, is cut after 5 where the seed is odd."""

    observation_space = gym.spaces.Box(0, 10, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, base=0):
        self.base = base

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.odd, self.t = bool(self.np_random.integers(2)), 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.full(1, self.t, np.float32), self.base + 1.0, self.t == 7, self.odd and self.t == 5, {}


@pytest.mark.slow
def test_processes_give_the_numbers_of_one_process():
    def change(made):  # with memory, and envs that reset in the step after an episode's end
        model = DefaultModelConfig(use_lstm=True, lstm_cell_size=8, max_seq_len=5, fcnet_hiddens=[8])
        return made.env_runners(gym_env_vectorize_mode="gymnasium_sync").rl_module(model_config=model)

    ours, metrics = trained(change(config(executor="local")))
    theirs, theirs_metrics = trained(change(config(executor="process")))
    assert same(ours, theirs)
    assert metrics == theirs_metrics
    assert metrics[-1]["num_env_steps_sampled_lifetime"] > 300
    assert metrics[-1]["num_episodes_lifetime"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["pink", "ou"])
def test_noise_that_hangs_together_is_the_same_in_processes(noise):
    def change(made):
        return made.environment("Pendulum-v1").env_runners(exploration_noise=noise)

    ours, _ = trained(change(config(executor="local")))
    theirs, _ = trained(change(config(executor="process")))
    assert same(ours, theirs)


@pytest.mark.slow
def test_a_resumed_run_equals_the_one_that_went_on_and_the_one_in_one_process(tmp_path):
    def trained_on(algo, iterations=2):
        returns = [algo.train()["env_runners"]["episode_return_mean"] for _ in range(iterations)]
        return returns, algo.learner_group.get_weights(inference_only=False).state

    def run(executor):
        with config(executor=executor).build() as algo:
            algo.train()
            path = algo.save_to_path(tmp_path / executor)
            return path, trained_on(algo)

    path, went_on = run("process")
    _, in_one_process = run("local")
    with ACConfig().algo_class.from_checkpoint(path) as algo:
        assert len(algo.env_runner_group) == 2
        assert algo.env_runner is None
        resumed = trained_on(algo)
    for other in (resumed, in_one_process):
        assert other[0] == went_on[0]
        assert same(other[1], went_on[1])


def test_a_group_of_processes():
    gym.register("Counting-v0", Counting, kwargs={"base": 0})
    try:
        made = config(rollout_fragment_length=9).environment("Counting-v0", env_config={"base": 2})
        with_functions = made.callbacks(on_train_result=lambda **kw: open("/dev/null"))  # noqa: SIM115
        group = EnvRunnerGroup(with_functions, seeds=SeedTree(1))
    finally:
        del gym.registry["Counting-v0"]
    try:
        assert len(group) == 2
        assert group.local_env_runner is None
        spaces = (Counting.observation_space, Counting.action_space)
        assert group.get_spaces() == {"default_policy": spaces, "__env__": spaces}
        rollout = group.sample()["default_policy"]
        assert (rollout.num_steps, rollout.num_envs) == (9, 4)
        assert rollout.fresh_start
        assert torch.equal(rollout["rewards"], torch.full((9, 4), 3.0))
        rows = rollout.final_index.tolist()
        assert rows == (rollout["truncateds"] & ~rollout["terminateds"]).reshape(-1).nonzero().squeeze(-1).tolist()
        assert (rollout.final_obs == 5.0).all()
        assert group.sample(num_timesteps=10)["default_policy"].num_steps == 3
        assert not group.sample(num_timesteps=10)["default_policy"].fresh_start
        assert group.sample(num_timesteps=10, force_reset=True)["default_policy"]["obs"][0].eq(0).all()
        indices = group.foreach_env_runner(lambda runner: (runner.worker_index, runner.num_envs))
        assert indices == [(1, 2), (2, 2)]
        assert group.num_env_steps_sampled_lifetime == 36 + 3 * 12

        metrics = group.get_metrics()
        assert metrics["num_env_steps_sampled_lifetime"] == 72
        assert {metrics["episode_return_min"], metrics["episode_return_max"]} <= {15.0, 21.0}
        assert group.get_metrics()["num_env_steps_sampled"] == 0

        # Weights reach the runners, and the modules here.
        from rlkit_core.rl_module.weights import Weights

        state = {"default_policy": {k: v + 1.0 for k, v in group.module["default_policy"].get_state().items()}}
        group.sync_weights(Weights(5, state))
        assert same(group.module["default_policy"].get_state(), state["default_policy"])
        theirs = group.foreach_env_runner(lambda runner: runner.module["default_policy"].get_state())
        assert len(theirs) == 2
        assert all(same(one, state["default_policy"]) for one in theirs)
        assert group.sample()["default_policy"].weights_version == 5
        assert group.get_metrics()["weights_seq_no"] == 5
        group.sync_weights(Weights(2, state))  # of a restored checkpoint
        assert group.sample()["default_policy"].weights_version == 2

        # Whole episodes.
        rollout = group.sample(num_episodes=7)["default_policy"]
        mask = rollout.loss_mask
        dones = (rollout["terminateds"] | rollout["truncateds"]) & mask
        assert int(dones.sum()) == 7
        assert dones.sum(0).tolist() == [2, 2, 2, 1]
        assert mask.any(1).all()
        assert rollout["obs"][0].eq(0).all()
        for n in range(4):  # nothing comes after an env's last episode
            last = int(dones[:, n].nonzero().max())
            assert mask[: last + 1, n].all()
            assert not mask[last + 1 :, n].any()
        group.get_metrics()
        assert int(mask.sum()) == rollout.num_env_steps
        with pytest.raises(ConfigError, match=r"num_timesteps=3, num_episodes=2"):
            group.sample(num_timesteps=3, num_episodes=2)
    finally:
        group.stop()


@pytest.mark.parametrize("mode", ["auto", "gymnasium_sync"])
@pytest.mark.parametrize("lstm", [False, True])
def test_sampled_episodes_are_those_of_plain_sampling(mode, lstm):
    model = DefaultModelConfig(use_lstm=lstm, lstm_cell_size=8, max_seq_len=5, fcnet_hiddens=[8])
    made = config(runners=2, executor="local", gym_env_vectorize_mode=mode).rl_module(model_config=model)
    group = EnvRunnerGroup(made, seeds=SeedTree(4))
    rollout = group.sample(num_episodes=9, explore=False)["default_policy"]
    metrics = group.get_metrics()
    dones = rollout["terminateds"] | rollout["truncateds"]
    assert metrics["num_episodes"] == 9
    assert metrics["num_env_steps_sampled"] == rollout.num_env_steps
    assert float(rollout["rewards"][rollout.loss_mask].sum()) == metrics["episode_return_mean"] * 9
    assert int((dones & rollout.loss_mask).sum()) == 9
    # The learner takes it like any other.
    with made.build() as algo:
        found = algo.learner_group.update(rollouts={"default_policy": rollout}, minibatch_size=16, num_epochs=1)
        assert np.isfinite(found["default_policy"]["total_loss"])
    if lstm:
        assert rollout.state_in["h"].shape[0] == -(-rollout.num_steps // 5) if "h" in rollout.state_in else True


def test_exploration_sees_the_steps_of_all_runners():
    group = EnvRunnerGroup(config(executor="local", rollout_fragment_length=4), seeds=SeedTree(0))
    seen = {1: [], 2: []}

    class Watched(ActionSampler):
        def __call__(self, batch, *, noise=None, t=None):
            self.seen.append(t)
            return super().__call__(batch, noise=noise, t=t)

    def watch(runner):
        watched = Watched(runner.acting_module, explore=True)
        watched.seen = seen[runner.worker_index]
        watched.row_policy = lambda *_: None
        runner.loop.sampler = lambda explore: watched

    group.foreach_env_runner(watch)
    group.sample()
    group.sample()
    assert seen[1] == seen[2]
    assert seen[1] == [0, 4, 8, 12, 16, 20, 24, 28]


def test_modules_come_and_go_on_all_runners():
    def mapping(agent_id, episode=None, **kwargs):
        return "p2"

    small = RLModuleSpec(model_config={"fcnet_hiddens": [4]})
    with config(executor="local").build() as algo:
        group = algo.env_runner_group
        algo.add_module("p2", small, new_agent_to_module_mapping_fn=mapping)
        algo.add_module("p3", small, add_to_learners=False)
        algo.train()
        assert list(group.sample()) == ["p2"]
        assert group.acting_id == "p2"
        for module_id, theirs in (("p2", algo.learner_group.learner.module), ("p3", group.module)):
            expected = theirs[module_id].get_state(inference_only=True)
            found = group.foreach_env_runner(lambda runner, m=module_id: runner.module[m].get_state())
            assert len(found) == 2
            assert all(same(one, expected) for one in found)
        algo.remove_module("default_policy")
        assert group.foreach_env_runner(lambda runner: list(runner.module.keys())) == [["p2", "p3"]] * 2
        assert np.isfinite(algo.train()["learners"]["p2"]["total_loss"])


def test_runners_take_equal_fragments_so_that_rollouts_can_be_joined():
    made = config(executor="local").training(train_batch_size=162, minibatch_size=32)
    assert [made.get_rollout_fragment_length(k) for k in (1, 2)] == [41, 40]
    rollout = EnvRunnerGroup(made).sample()["default_policy"]
    assert (rollout.num_steps, rollout.num_envs) == (41, 4)


def test_an_unknown_executor_is_named():
    with pytest.raises(PluginNotFoundError, match="Did you mean 'process'"):
        EnvRunnerGroup(config(executor="proces"))
