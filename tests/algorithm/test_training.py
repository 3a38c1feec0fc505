"""The training loop as a user drives it: results, evaluation, exact resumption, components of checkpoints."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch

from actor_critic import AC, ACConfig, ACLearner, ACModule
from rlkit_core import Algorithm, RLModule
from rlkit_core.errors import ActorError, CheckpointError, ConfigError, EnvError, NoComponentError


def small(env="CartPole-v1", **training):
    return (
        ACConfig()
        .environment(env)
        .env_runners(num_envs_per_env_runner=2)
        .training(**{"train_batch_size": 64, "minibatch_size": 32, "num_epochs": 2, **training})
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .debugging(seed=3)
    )


def weights(algo):
    return algo.learner_group.get_weights(inference_only=False).state["default_policy"]


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def test_result_keys():
    with small().build_algo() as algo:
        algo.train()
        result = algo.train()
    assert result["training_iteration"] == 2
    assert result["num_env_steps_sampled_lifetime"] == 128
    runners = result["env_runners"]
    assert {
        "episode_return_mean",
        "episode_len_max",
        "num_episodes_lifetime",
        "weights_seq_no",
    } <= runners.keys()
    assert runners["num_env_steps_sampled"] == 64
    learner = result["learners"]["default_policy"]
    assert {
        "total_loss",
        "policy_loss",
        "vf_loss",
        "entropy",
        "default_optimizer_learning_rate",
        "gradients_default_optimizer_global_norm",
        "num_module_steps_trained_lifetime",
        "weights_seq_no",
    } <= learner.keys()
    assert learner["num_module_steps_trained_lifetime"] == 128
    assert result["learners"]["__all_modules__"]["num_trainable_parameters"] > 0
    assert result["config"]["lr"] == 3e-4
    assert "evaluation" not in result


def test_the_reference_documents_way_of_writing_it():
    config = (
        ACConfig()
        .framework("torch")
        .api_stack(enable_rl_module_and_learner=True, enable_env_runner_and_connector_v2=True)
        .environment("CartPole-v1")
        .training(train_batch_size_per_learner=32, minibatch_size=16, num_epochs=1)
        .env_runners(num_env_runners=0)
    )
    algo = config.build()
    assert isinstance(algo, AC)
    results = [algo.train() for _ in range(2)]
    assert results[1]["training_iteration"] == 2
    algo.stop()


def test_runners_act_with_the_learners_weights():
    with small().build_algo() as algo:
        for _ in range(2):
            algo.train()
            acting = algo.get_module().get_state()
            learning = weights(algo)
            assert all(np.array_equal(acting[name], learning[name]) for name in acting)
            assert not any(name.startswith(("vf", "encoder.critic")) for name in acting)
        assert algo.env_runner.get_metrics()["weights_seq_no"] == 2


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("training", [{}, {"lr": [[0, 1e-3], [640, 1e-4]]}])
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path, env, training):
    with small(env, **training).build_algo() as algo:
        for _ in range(2):
            algo.train()
        path = algo.save_to_path(tmp_path / "checkpoint")
        straight = [algo.train() for _ in range(3)]
        final = weights(algo)
    with Algorithm.from_checkpoint(path) as resumed:
        assert type(resumed) is AC
        assert resumed.iteration == 2
        torch.manual_seed(99)
        again = [resumed.train() for _ in range(3)]
        assert same(weights(resumed), final)
    for a, b in zip(straight, again, strict=True):
        assert str(a["learners"]) == str(b["learners"])
        for key in ("episode_return_mean", "num_episodes_lifetime", "num_env_steps_sampled_lifetime"):
            np.testing.assert_equal(a["env_runners"][key], b["env_runners"][key])


def test_nothing_is_trained_or_evaluated_after_stop(tmp_path):
    algo = small().build_algo()
    algo.train()
    algo.stop()
    for late in (algo.train, algo.evaluate):
        with pytest.raises(ActorError, match=r"this AC was stopped; build another, or use from_checkpoint"):
            late()
    assert algo.iteration == 1
    algo.stop()


def test_two_runs_of_one_seed_are_equal_and_of_two_seeds_differ():
    def run(seed):
        with small().debugging(seed=seed).build_algo() as algo:
            algo.train()
            return weights(algo)

    assert same(run(1), run(1))
    assert not same(run(1), run(2))


def test_a_drawn_seed_is_kept_in_the_config():
    with small().debugging(seed=None).build_algo() as algo:
        assert algo.config.seed == algo.seeds.root


def test_evaluation_every_second_iteration_and_training_goes_on_unharmed():
    config = small().evaluation(evaluation_interval=2, evaluation_duration=5)
    with config.build_algo() as algo, small().build_algo() as plain:
        results = [algo.train() for _ in range(4)]
        for _ in range(4):
            plain.train()
        assert ["evaluation" in r for r in results] == [False, True, False, True]
        assert results[1]["evaluation"]["env_runners"]["num_episodes"] == 5
        assert same(weights(algo), weights(plain))


def test_a_single_action_is_that_of_the_acting_module():
    with small().build_algo() as algo:
        observation = algo.env_runner.observation_space.sample() * 0.0 + 0.1
        action, state = algo.compute_single_action(observation)
        assert algo.env_runner.action_space.contains(action)
        assert state == {}
        expected, _ = algo.get_module().compute_actions(observation[None])
        assert action == expected[0]


def test_evaluate_is_repeatable_with_a_seed():
    with small().build_algo() as algo:
        first = algo.evaluate(7, seed=1)["env_runners"]["episode_return_mean"]
        assert algo.evaluate(7, seed=1)["env_runners"]["episode_return_mean"] == first
        assert algo.evaluate(3, seed=1)["env_runners"]["num_episodes"] == 3


def test_a_modules_checkpoint_goes_into_an_algorithm(tmp_path):
    with small().build_algo() as source:
        source.train()
        module = source.learner_group.learner.module["default_policy"]
        path = module.save_to_path(tmp_path / "module")
        expected = module.get_state()
    loaded = RLModule.from_checkpoint(path)
    assert type(loaded) is ACModule
    assert same(loaded.get_state(), expected)
    with small().debugging(seed=8).build_algo() as algo:
        algo.restore_from_path(path, component="learner_group/learner/rl_module/default_policy")
        assert same(weights(algo), expected)
        acting = algo.get_module().get_state()
        assert all(np.array_equal(acting[name], expected[name]) for name in acting)
        with pytest.raises(CheckpointError, match="learner_group"):
            algo.restore_from_path(path, component="learner/rl_module")


def test_a_module_of_other_widths_is_refused(tmp_path):
    with small().build_algo() as source:
        path = source.learner_group.learner.module["default_policy"].save_to_path(tmp_path / "module")
    with small().rl_module(model_config={"fcnet_hiddens": [9]}).build_algo() as algo:
        before = weights(algo)
        with pytest.raises(Exception, match=r"size mismatch.*\(9, 4\) here and \(8, 4\)"):
            algo.restore_from_path(path, component="learner_group/learner/rl_module/default_policy")
        assert same(weights(algo), before)


def test_callbacks_hear_of_it(tmp_path):
    heard = []
    config = small().callbacks(
        on_algorithm_init=lambda algorithm: heard.append("init"),
        on_train_result=lambda algorithm, result: heard.append(result["training_iteration"]),
        on_evaluate_end=lambda evaluation_metrics: heard.append("evaluated"),
        on_checkpoint_saved=lambda path: heard.append(path.name),
    )
    with config.build_algo() as algo:
        algo.train()
        algo.evaluate(1)
        algo.save_to_path(tmp_path / "here")
    assert heard == ["init", 1, "evaluated", "here"]


class ThreadsPPO(ACLearner):
    seen: ClassVar[list] = []

    def before_gradient_based_update(self, *, timesteps):
        super().before_gradient_based_update(timesteps=timesteps)
        self.seen.append(torch.get_num_threads())


@pytest.mark.parametrize(
    ("setting", "hiddens", "rows", "expected"),
    [
        ("auto", [8], 32, 1),
        ("auto", [1000, 1000], 32, 3),
        ("auto", [8], 4096, 3),
        (2, [8], 32, 2),
        (None, [8], 32, 3),
    ],
)
def test_torch_threads_while_training_and_put_back(setting, hiddens, rows, expected):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    ThreadsPPO.seen.clear()
    try:
        config = small().resources(torch_threads=setting).learners(learner_class=ThreadsPPO)
        config.training(train_batch_size=max(rows, config.train_batch_size), minibatch_size=rows)
        with config.rl_module(model_config={"fcnet_hiddens": hiddens}).build_algo() as algo:
            algo.train()
        assert ThreadsPPO.seen == [expected]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda c: c.environment("CartPool-v1"), EnvError, "CartPole-v1"),
        (
            lambda c: c.environment("CartPole-v1", observation_space=None, env_config={"nope": 1}),
            EnvError,
            "nope",
        ),
        (lambda c: c.training(minibatch_size=128), ConfigError, "minibatch_size=128"),
        (lambda c: c.evaluation(evaluation_duration="auto"), ConfigError, "evaluation_num_env_runners"),
        (
            lambda c: c.evaluation(evaluation_parallel_to_training=True),
            ConfigError,
            "evaluation_num_env_runners=1",
        ),
        (lambda c: c.execution(executor="proces"), ConfigError, "'proces'"),
    ],
)
def test_bad_settings_are_refused_at_build(change, error, words):
    with pytest.raises(error, match=words):
        change(small()).build_algo()


def test_an_unsupported_space_is_refused_at_build():
    import gymnasium as gym

    class Texts(gym.Env):
        observation_space = gym.spaces.Text(8)
        action_space = gym.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            return "", {}

        def step(self, action):
            return "", 0.0, False, False, {}

    with pytest.raises(NoComponentError, match="Text"):
        small(Texts).build_algo()


def test_an_algorithm_needs_an_env():
    with pytest.raises(ConfigError, match="needs an env"):
        ACConfig().build_algo()
