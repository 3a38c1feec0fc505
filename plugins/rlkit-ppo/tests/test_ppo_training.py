"""PPO in the training loop: what its results hold, exact resumption, what it refuses."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_core import Algorithm, MultiRLModuleSpec, RLModuleSpec
from rlkit_core.errors import ConfigError, ModuleAPIError
from rlkit_core.testing import DiscreteBCTorchModule
from rlkit_ppo import PPO, PPOConfig, PPOTorchRLModule
from simple_modules import RandomRLModule

SPACES = (gym.spaces.Box(-1.0, 1.0, (4,), np.float32), gym.spaces.Discrete(2))


def small(env="CartPole-v1", **training):
    return (
        PPOConfig()
        .environment(env)
        .env_runners(num_envs_per_env_runner=2)
        .training(**{"train_batch_size": 64, "minibatch_size": 32, "num_epochs": 2, **training})
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .debugging(seed=3)
    )


def weights(algo):
    return algo.learner_group.get_weights(inference_only=False).state["default_policy"]


def test_result_keys():
    with small().build_algo() as algo:
        assert isinstance(algo, PPO)
        assert isinstance(algo.get_module(), PPOTorchRLModule)
        result = algo.train()
    learner = result["learners"]["default_policy"]
    assert {"policy_loss", "vf_loss", "vf_explained_var", "entropy", "mean_kl_loss", "curr_entropy_coeff"} <= set(
        learner
    )
    assert result["config"]["lr"] == 3e-4


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("training", [{}, {"reward_scaling": True, "use_kl_loss": True}])
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path, env, training):
    with small(env, **training).build_algo() as algo:
        for _ in range(2):
            algo.train()
        path = algo.save_to_path(tmp_path / "checkpoint")
        straight = [algo.train()["learners"] for _ in range(3)]
        final = weights(algo)
    with Algorithm.from_checkpoint(path) as resumed:
        assert type(resumed) is PPO
        torch.manual_seed(99)
        assert str([resumed.train()["learners"] for _ in range(3)]) == str(straight)
        again = weights(resumed)
    assert all(np.array_equal(again[name], value) for name, value in final.items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.training(minibatch_size=128), "minibatch_size=128"),
        (lambda c: c.env_runners(rollout_fragment_length=4), "rollout_fragment_length"),
    ],
)
def test_bad_settings_are_refused_at_build(change, words):
    with pytest.raises(ConfigError, match=words):
        change(small()).build_algo()


def test_a_module_without_values_is_refused():
    config = PPOConfig().rl_module(rl_module_spec=RLModuleSpec(DiscreteBCTorchModule))
    config.rl_module(model_config={"fcnet_hiddens": [8]})
    with pytest.raises(ModuleAPIError, match=r"ValueFunctionAPI.*DiscreteBCTorchModule.*compute_values"):
        config.build_learner(spaces=SPACES)


def test_an_added_module_has_weights_of_its_own_for_kl_and_entropy():
    learner = PPOConfig().environment("CartPole-v1").debugging(seed=1).build_learner(spaces=SPACES)
    learner.build()
    settings = {"kl_coeff": 0.7, "entropy_coeff": 0.3, "use_kl_loss": True}
    learner.add_module(module_id="other", module_spec=RLModuleSpec(), config_overrides=settings)
    assert set(learner.get_state()["kl_coeff"]) == {"default_policy", "other"}
    assert learner.get_state()["kl_coeff"]["other"] == pytest.approx(0.7)
    rows = {
        "obs": torch.zeros(4, 4),
        "actions": torch.zeros(4, dtype=torch.int64),
        "action_logp": torch.full((4,), -0.7),
        "action_dist_inputs": torch.zeros(4, 2),
        "advantages": torch.ones(4),
        "value_targets": torch.ones(4),
    }
    assert learner.update({"other": rows})["other"]["curr_entropy_coeff"] == 0.3
    learner.remove_module("other")
    assert set(learner.get_state()["kl_coeff"]) == {"default_policy"}


def ppo_learner(**overrides):
    specs = {"p0": RLModuleSpec(), "p1": RLModuleSpec(), "rnd": RLModuleSpec(module_class=RandomRLModule)}
    config = PPOConfig().environment(observation_space=SPACES[0], action_space=SPACES[1]).debugging(seed=2)
    config.multi_agent(policies=list(specs)).training(use_kl_loss=True)
    config.rl_module(
        rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs),
        algorithm_config_overrides_per_module=overrides,
    )
    learner = config.build_learner()
    learner.build()
    return learner


def episode_of(length, reward, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "obs": rng.uniform(-1, 1, (length + 1, 4)).astype(np.float32),
        "actions": rng.integers(0, 2, length),
        "rewards": np.full(length, reward, np.float32),
        "terminated": True,
    }


def test_ppo_keeps_kl_weights_and_discounts_by_module():
    learner = ppo_learner(p1={"kl_coeff": 1.0, "kl_target": 1e9, "gamma": 0.0, "lambda_": 0.0, "use_critic": False})
    episodes = {mid: [episode_of(40, 1.0)] for mid in ("p0", "p1", "rnd")}
    result = learner.update_from_episodes(episodes, num_epochs=3, minibatch_size=20)
    assert "vf_loss" in result["p0"]
    assert "vf_loss" not in result["p1"]
    assert "rnd" not in result
    assert result["p1"]["curr_kl_coeff"] == 0.5  # the KL is far below its target: halved
    assert float(learner._kl_coeff["p0"]) in (pytest.approx(0.1), pytest.approx(0.2), pytest.approx(0.3))
    state = learner.get_state()
    learner.remove_module("p1")
    assert set(learner._kl_coeff) == {"p0", "rnd"}
    learner.set_state(state)
    assert float(learner._kl_coeff["p1"]) == 0.5
    assert learner.config.get_config_for_module("p1").gamma == 0.0
    assert "p1" in learner.update_from_episodes({"p1": [episode_of(8, 1.0)]})
