"""Modules that come and go while an algorithm trains, and learners built from a config alone."""

from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
import pytest

from actor_critic import ACConfig
from rlkit_core import Algorithm, Learner, LearnerGroup, MultiRLModuleSpec, RLModuleSpec
from rlkit_core.errors import CheckpointError, ConfigError, SpecError
from rlkit_core.testing import BCConfigTest
from simple_modules import CartPoleHeuristicRLModule

OBS = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
ACT = gym.spaces.Discrete(2)


def small():
    config = ACConfig().environment("CartPole-v1").debugging(seed=1)
    config.training(train_batch_size=128, minibatch_size=64, num_epochs=1)
    return config.rl_module(model_config={"fcnet_hiddens": [8]})


def weights_agree(algo, module_id):
    acts = algo.get_module(module_id).get_state()
    learns = algo.learner_group.learner.module[module_id].get_state()
    return all(np.array_equal(value, learns[name]) for name, value in acts.items())


def test_a_new_module_takes_over_and_the_old_one_goes():
    with small().build_algo() as algo:
        algo.evaluate(1)
        algo.train()
        frozen = algo.config
        spec = algo.add_module("new", RLModuleSpec(model_config={"fcnet_hiddens": [4]}), config_overrides={"lr": 0.1})
        assert list(spec.rl_module_specs) == ["default_policy", "new"]
        assert algo.config is not frozen
        assert algo.config.is_frozen
        assert weights_agree(algo, "new")
        assert "new" in algo.eval_env_runner_group.local_env_runner.module
        result = algo.train()
        assert "total_loss" not in result["learners"]["new"]  # nobody is mapped to it yet
        with pytest.raises(ValueError, match="already"):
            algo.add_module("new", RLModuleSpec())
        with pytest.raises(ValueError, match="agents are mapped"):
            algo.remove_module(
                "default_policy", new_agent_to_module_mapping_fn=lambda *args, **kwargs: "default_policy"
            )

        left = algo.remove_module(
            "default_policy",
            new_agent_to_module_mapping_fn=lambda agent_id, episode, **kwargs: "new",
            new_should_module_be_updated=["new"],
        )
        assert list(left.rl_module_specs) == ["new"] == algo.config.policy_ids
        assert algo.get_module() is None
        result = algo.train()
        assert result["learners"]["new"]["default_optimizer_learning_rate"] == 0.1
        assert "default_policy" not in result["learners"]
        assert weights_agree(algo, "new")
        assert algo.evaluate(2)["env_runners"]["num_episodes"] == 2
        with pytest.raises(KeyError, match="default_policy"):
            algo.remove_module("default_policy")


def test_evaluation_keeps_its_settings_when_modules_change():
    config = small().evaluation(evaluation_config={"clip_rewards": 3.0})
    with config.build_algo() as algo:
        algo.evaluate(1)
        algo.add_module("new", RLModuleSpec(model_config={"fcnet_hiddens": [4]}))
        for group, explore, clip in ((algo.env_runner_group, True, None), (algo.eval_env_runner_group, False, 3.0)):
            assert group.config.policy_ids == list(group.module_set) == ["default_policy", "new"]
            assert (group.config.explore, group.config.clip_rewards) == (explore, clip)


def test_what_is_refused_changes_nothing_anywhere():
    with small().build_algo() as algo:
        config = algo.config
        with pytest.raises(ValueError, match="agents are mapped to module 'other'"):
            algo.add_module("new", RLModuleSpec(), new_agent_to_module_mapping_fn=lambda *args, **kwargs: "other")
        assert algo.config is config
        assert list(algo.learner_group.module_set) == list(algo.env_runner_group.module_set) == ["default_policy"]
        algo.train()


def test_a_module_that_only_acts():
    def to_rule(agent_id, episode, **kwargs):
        return "rule"

    with small().build_algo() as algo:
        algo.add_module(
            "rule",
            RLModuleSpec(CartPoleHeuristicRLModule),
            add_to_learners=False,
            new_agent_to_module_mapping_fn=to_rule,
        )
        assert "rule" not in algo.learner_group.learner.module
        assert algo.evaluate(2)["env_runners"]["episode_return_mean"] > 100
        algo.remove_module("rule", new_agent_to_module_mapping_fn=lambda *args, **kwargs: "default_policy")
        assert "total_loss" in algo.train()["learners"]["default_policy"]


def test_a_module_for_learners_only():
    with small().build_algo() as algo:
        algo.add_module("critic", RLModuleSpec(), add_to_env_runners=False)
        assert algo.get_module("critic") is None
        assert "critic" in algo.learner_group.learner.module
        algo.train()


@pytest.mark.filterwarnings("ignore:policy_mapping_fn")
def test_a_checkpoint_with_more_modules_than_the_config(tmp_path):
    with small().build_algo() as algo:
        algo.add_module("new", RLModuleSpec(model_config={"fcnet_hiddens": [4]}))
        algo.train()
        path = algo.save_to_path(tmp_path / "c")
        reference = algo.learner_group.learner.get_state()
        with small().build_algo() as other:
            other.restore_from_path(path)
            assert other.config.policy_ids == ["default_policy", "new"]
            for module_id in ("default_policy", "new"):
                assert weights_agree(other, module_id)
            restored = other.learner_group.learner.get_state()["rl_module"]
            for module_id, state in reference["rl_module"].items():
                assert all(np.array_equal(value, restored[module_id][name]) for name, value in state.items())
            other.train()
        with Algorithm.from_checkpoint(path) as third:
            assert weights_agree(third, "new")
            third.train()


def test_a_mapping_is_passed_again_where_a_checkpoint_could_only_name_it(tmp_path):
    def to_new(agent_id, episode):
        return "new"

    with small().build_algo() as algo:
        algo.add_module("new", RLModuleSpec(), new_agent_to_module_mapping_fn=to_new)
        path = algo.save_to_path(tmp_path / "c")
        with pytest.raises(CheckpointError, match=r"from_checkpoint\(path, policy_mapping_fn=function\)"):
            Algorithm.from_checkpoint(path)
        with Algorithm.from_checkpoint(path, policy_mapping_fn=to_new, num_epochs=2) as other:
            assert other.config.policy_mapping_fn is to_new
            assert other.config.num_epochs == 2
            assert other.env_runner_group.acting_id == "new"
            assert weights_agree(other, "new")


def test_other_modules_are_used_and_trained_without_a_change_of_modules():
    with small().build_algo() as algo:
        algo.add_module("new", RLModuleSpec())
        spec = algo.change_modules(
            new_agent_to_module_mapping_fn=lambda agent_id, episode: "new", new_should_module_be_updated=["new"]
        )
        assert list(spec.specs_by_id()) == ["default_policy", "new"]
        result = algo.train()
        assert "total_loss" in result["learners"]["new"]
        assert "total_loss" not in result["learners"].get("default_policy", {})
        assert algo.learner_group.learner.config.policies_to_train == ["new"]
        algo.change_modules(new_should_module_be_updated=[])
        before = algo.get_module("new").get_state()
        algo.train()
        assert all(np.array_equal(value, before[name]) for name, value in algo.get_module("new").get_state().items())
        config = algo.config
        with pytest.raises(ConfigError, match=r"new_should_module_be_updated names module 'nev'.*Did you mean 'new'"):
            algo.change_modules(new_should_module_be_updated=["nev"])
        with pytest.raises(ConfigError, match="agents are mapped to module 'nev'"):
            algo.change_modules(new_agent_to_module_mapping_fn=lambda agent_id, episode: "nev")
        assert algo.config is config


def test_a_checkpoint_of_another_width(tmp_path):
    with small().build_algo() as algo:
        path = algo.save_to_path(tmp_path / "c")
    with small().rl_module(model_config={"fcnet_hiddens": [16]}).build_algo() as other:
        with pytest.warns(UserWarning, match="built differently"):
            other.restore_from_path(path)
        assert weights_agree(other, "default_policy")
        other.train()
        assert other.evaluate(1)["env_runners"]["num_episodes"] == 1


# -- builders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["config", "spaces", "env", "vector env", "config's env"])
def test_a_learner_without_an_algorithm(how):
    config = ACConfig().rl_module(model_config={"fcnet_hiddens": [8]})
    arguments = {}
    if how == "config":
        config.environment(observation_space=OBS, action_space=ACT)
    elif how == "config's env":
        config.environment("CartPole-v1")
    elif how == "spaces":
        arguments["spaces"] = {"default_policy": (OBS, ACT)}
    elif how == "env":
        arguments["env"] = gym.make("CartPole-v1")
    else:
        arguments["env"] = gym.make_vec("CartPole-v1", num_envs=2)
    learner = config.build_learner(**arguments)
    assert isinstance(learner, Learner)
    learner.build()
    group = config.build_learner_group(**arguments)
    assert isinstance(group, LearnerGroup)
    for one in (learner, group.learner):
        assert one.module["default_policy"].observation_space.shape == (4,)
        assert one.config is not config


def test_a_learner_for_unknown_spaces():
    with pytest.raises(SpecError, match="observation space is unknown"):
        ACConfig().build_learner()


def test_a_group_with_another_spec():
    spec = MultiRLModuleSpec(rl_module_specs={"p0": RLModuleSpec(), "p1": RLModuleSpec()})
    config = BCConfigTest().environment("CartPole-v1").multi_agent(policies=["p0", "p1"])
    group = config.build_learner_group(rl_module_spec=spec)
    assert list(group.learner.module.keys()) == ["p0", "p1"]
    rows = {"obs": np.zeros((4, 4), np.float32), "actions": np.zeros(4, np.int64)}
    result = group.update(batch={"p0": rows, "p1": rows})
    assert {"p0", "p1"} <= set(result)
    group.add_module(module_id="p2", module_spec=RLModuleSpec())
    assert group.config.policy_ids == ["p0", "p1", "p2"]


@pytest.mark.parametrize(
    ("section", "old", "value", "new"),
    [
        ("resources", "num_learner_workers", 0, "num_learners"),
        ("resources", "num_gpus_per_learner_worker", 0, "num_gpus_per_learner"),
        ("training", "model", {"fcnet_hiddens": [7]}, "model_config"),
        ("training", "num_sgd_iter", 3, "num_epochs"),
        ("training", "sgd_minibatch_size", 16, "minibatch_size"),
        ("rl_module", "model_config_dict", {"fcnet_hiddens": [7]}, "model_config"),
        (
            "experimental",
            "_torch_lr_scheduler_classes",
            [lambda optimizer: None],
            "torch_lr_scheduler_classes",
        ),
    ],
)
def test_older_names_mean_the_new_ones_with_one_note(section, old, value, new):
    config = ACConfig()
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        getattr(config, section)(**{old: value})
    assert len(notes) == 1
    assert old in str(notes[0].message)
    assert new in str(notes[0].message)
    if new == "model_config":
        assert config.model_config["fcnet_hiddens"] == [7]
        learner = config.build_learner(spaces={"default_policy": (OBS, ACT)})
        learner.build()
        assert any(p.shape[0] == 7 for p in learner.module.parameters())
    else:
        assert config[new] == value


def test_settings_that_say_where_learners_are_stay_together():
    config = ACConfig().resources(num_learners=0).learners(on_nonfinite="skip")
    assert config.num_learners == 0
    assert config.on_nonfinite == "skip"
