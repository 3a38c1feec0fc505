"""PPO in the training loop: what its results hold, exact resumption, what it refuses."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_core import Algorithm, RLModuleSpec
from rlkit_core.errors import ConfigError, ModuleAPIError
from rlkit_core.testing import DiscreteBCTorchModule
from rlkit_ppo import PPO, PPOConfig, PPOTorchRLModule

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
    learner = config.rl_module(model_config={"fcnet_hiddens": [8]}).build_learner(spaces=SPACES)
    with pytest.raises(ModuleAPIError, match=r"ValueFunctionAPI.*DiscreteBCTorchModule.*compute_values"):
        learner.build()


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
