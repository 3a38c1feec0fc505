"""What people who come from RLlib write, and what becomes of it: taken, or refused with what to write instead."""

from __future__ import annotations

import dataclasses
import logging
import math
import warnings

import attrs
import gymnasium as gym
import numpy as np
import pytest
import torch
from rllib_defaults_page import ALGORITHMS, PAGE, page, rows

import rlkit_core
from rlkit_core import (
    DEFAULT_MODULE_ID,
    Algorithm,
    AlgorithmConfig,
    DefaultModelConfig,
    Learner,
    MultiRLModuleSpec,
    RLModuleSpec,
    TorchLearner,
    get_algorithm_config,
)
from rlkit_core.columns import Columns
from rlkit_core.errors import ConfigError, MissingColumnError, StateError, UnknownSettingError
from rlkit_core.learner.metrics import Metrics
from rlkit_core.models import DefaultModelConfig as ModelConfig
from rlkit_core.models import Encoder, Head, TorchModel
from rlkit_core.settings import setting
from rlkit_core.testing import BCConfigTest, DiscreteBCTorchModule

ppo = pytest.importorskip("rlkit_ppo")
SMALL = {"train_batch_size": 128, "num_epochs": 1}


def config(**training):
    return ppo.PPOConfig().environment("CartPole-v1").training(**{**SMALL, **training}).debugging(seed=1)


@pytest.fixture(scope="module")
def algo():
    with config().build() as made:
        made.train()
        yield made


# -- algorithms and configs -------------------------------------------------------------------------------------------


def test_cloning_builds_without_a_teacher_and_says_so_when_it_trains():
    made = (
        BCConfigTest()
        .environment("CartPole-v1")
        .rl_module(
            model_config={"fcnet_hiddens": [32, 32]}, rl_module_spec=RLModuleSpec(module_class=DiscreteBCTorchModule)
        )
    )
    with made.build() as algo, pytest.raises(ConfigError, match=r"nobody to clone.*expert=.*rows_path="):
        algo.train()


def test_a_default_minibatch_is_no_larger_than_the_batch():
    assert config().prepared().minibatch_size is None
    with config().build() as algo:
        assert math.isfinite(algo.train()["learners"][DEFAULT_MODULE_ID]["total_loss"])
    with pytest.raises(ConfigError, match=r"minibatch_size=256 is larger") as error:
        config(minibatch_size=256).validate()
    assert str(error.value).count("minibatch_size=256") == 1


def test_the_plain_config_takes_the_parts_of_its_algorithm():
    made = AlgorithmConfig(algo_class=ppo.PPO).environment("CartPole-v1").training(lr=0.01, train_batch_size=128)
    with made.build() as algo:
        assert type(algo) is ppo.PPO
        assert (algo.config.lr, algo.config.clip_param) == (0.01, ppo.PPOConfig().clip_param)


def test_a_subclass_of_an_algorithm_has_its_default_config():
    class Mine(ppo.PPO):
        pass

    assert type(ppo.PPO.get_default_config()) is ppo.PPOConfig
    assert Mine.get_default_config().algo_class is Mine

    class OfAnotherKind(AlgorithmConfig):
        algo_class = Algorithm

    with pytest.raises(NotImplementedError, match=r"override Lonely\.get_default_config"):
        type("Lonely", (Algorithm,), {}).get_default_config()


def test_metrics_of_an_algorithm(algo):
    assert algo.training_iteration == algo.iteration == 1
    assert algo.metrics.peek(("env_runners", "num_episodes")) > 0
    assert algo.metrics.peek("nothing", default=3) == 3
    with pytest.raises(KeyError):
        algo.metrics.peek("nothing")


def test_what_a_training_step_logs_is_in_the_result_and_in_checkpoints(tmp_path):
    class Logs(ppo.PPO):
        def training_step(self):
            super().training_step()
            self.metrics.log_value(("mine", "ratio"), 0.25)
            self.metrics.log_value(("env_runners", "seen"), 2, reduce="lifetime_sum")

    made = AlgorithmConfig(algo_class=Logs).environment("CartPole-v1").training(train_batch_size=128)
    with made.build() as algo:
        result = [algo.train(), algo.train()][-1]
        assert result["mine"] == {"ratio": 0.25}
        assert result["env_runners"]["seen"] == 4
        assert algo.metrics.peek(("mine", "ratio")) == 0.25
        state = algo.get_state()
    with made.build() as other:
        other.set_state(state)
        assert other.train()["env_runners"]["seen"] == 6


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_rllibs_defaults(algorithm):
    """All that the table has differs here, is taken by one call, and gives way to what was set."""
    for name, ours, theirs, why in rows(algorithm):
        assert ours != theirs, f"{name} does not differ"
        assert why
    taken = get_algorithm_config(algorithm).training(lr=0.123).rllib_defaults()
    taken.environment("Pendulum-v1" if algorithm == "sac" else "CartPole-v1").validate()
    assert taken.lr == 0.123
    for name, _, theirs, _ in rows(algorithm):
        if name != "lr":
            assert (taken[name] if name in taken else taken.model_config[name]) == theirs


def test_the_page_of_defaults_is_not_stale():
    assert PAGE.read_text(encoding="utf-8") == page(), "make reference writes it anew"


@pytest.mark.parametrize(
    ("algorithm", "given", "needed"),
    [
        ("ppo", {"kl_coeff": 0.5}, "use_kl_loss"),
        ("ppo", {"use_critic": False, "vf_loss_coeff": 1.0}, "use_critic"),
        ("ppo", {"grad_clip": None, "grad_clip_by": "value"}, "grad_clip"),
        ("appo", {"kl_target": 0.5}, "use_kl_loss"),
        ("appo", {"use_circular_buffer": False, "circular_buffer_num_batches": 3}, "use_circular_buffer"),
        ("dqn", {"v_min": -3.0}, "num_atoms"),
        ("dqn", {"sigma0": 0.3}, "noisy"),
    ],
)
def test_a_setting_without_effect_is_said(algorithm, given, needed, caplog):
    made = get_algorithm_config(algorithm).environment("CartPole-v1").training(**given)
    with caplog.at_level(logging.WARNING, "rlkit_core"):
        made.validate()
    (said,) = [r.getMessage() for r in caplog.records if "changes nothing" in r.getMessage()]
    assert list(given)[-1] in said
    assert needed in said


def test_settings_that_have_effect_are_not_mentioned(caplog):
    with caplog.at_level(logging.WARNING, "rlkit_core"):
        config(use_kl_loss=True, kl_coeff=0.5, vf_loss_coeff=1.0).validate()
    assert "changes nothing" not in caplog.text


@pytest.mark.parametrize(
    ("method", "given", "instead"),
    [
        ("checkpointing", {"export_native_model_files": True}, "torch.nn.Module"),
        ("checkpointing", {"checkpoint_trainable_policies_only": True}, "save_to_path"),
        ("python_environment", {"extra_python_environs_for_worker": {}}, "environment variables"),
        ("framework", {"torch_ddp_kwargs": {}}, "num_learners"),
        ("framework", {"torch_compile_learner": True}, "compile="),
        ("multi_agent", {"observation_fn": None}, "wrapper"),
        ("multi_agent", {"policy_map_capacity": 3}, "stay in memory"),
        ("multi_agent", {"replay_mode": "independent"}, "replay buffer of its own"),
        ("resources", {"num_cpus_per_worker": 2}, "executor"),
        ("fault_tolerance", {"worker_health_probe_timeout_s": 2}, "executor"),
        ("env_runners", {"update_worker_filter_stats": True}, "normalisation"),
        ("debugging", {"log_sys_usage": True}, "writers"),
        ("training", {"vf_share_layers": True}, r"rl_module\(model_config=\{'vf_share_layers'"),
        ("training", {"pi_head_fcnet_hiddens": [3]}, r"rl_module\(model_config=\{'pi_head_fcnet_hiddens'"),
    ],
)
def test_settings_that_are_not_here_say_what_is(method, given, instead):
    with pytest.raises(UnknownSettingError, match=instead):
        getattr(ppo.PPOConfig(), method)(**given)


@pytest.mark.parametrize(
    ("method", "given", "taken"),
    [
        ("fault_tolerance", {"recreate_failed_workers": False}, "restart_failed_env_runners"),
        ("fault_tolerance", {"max_num_worker_restarts": 3}, "max_num_env_runner_restarts"),
        ("env_runners", {"num_rollout_workers": 3}, "num_env_runners"),
        ("evaluation", {"evaluation_num_episodes": 7}, "evaluation_duration"),
    ],
)
def test_older_names_are_taken_with_a_note(method, given, taken):
    with pytest.warns(UserWarning, match=f"older name of '{taken}'"):
        made = getattr(ppo.PPOConfig(), method)(**given)
    assert made[taken] == next(iter(given.values()))


def test_an_undeclared_setting_shows_the_line_that_declares_it():
    class Plain(AlgorithmConfig):
        def __init__(self, algo_class=None):
            super().__init__(algo_class=algo_class)
            self.beta = 3

    with pytest.raises(UnknownSettingError, match=r"beta: int = setting\(3, section='training', help='...'\)"):
        Plain()

    with pytest.raises(UnknownSettingError, match=r"Did you mean 'lr'\?$"):
        AlgorithmConfig().learning_rate = 0.1

    @attrs.define
    class Declared(AlgorithmConfig):
        beta: int = setting(3, section="training", help="...")

    assert Declared().beta == 3


# -- specs, catalogs, networks ----------------------------------------------------------------------------------------


def test_overrides_of_catalog_methods_with_and_without_framework():
    class Required(ppo.PPOCatalog):
        def get_action_dist_cls(self, framework):
            return super().get_action_dist_cls(framework=framework)

        def build_pi_head(self, framework):
            return super().build_pi_head(framework=framework)

    class Left(ppo.PPOCatalog):
        def get_action_dist_cls(self):
            return super().get_action_dist_cls()

        def build_vf_head(self):
            return super().build_vf_head()

    for catalog in (Required, Left):
        with config().rl_module(rl_module_spec=RLModuleSpec(catalog_class=catalog)).build() as algo:
            assert algo.train()["training_iteration"] == 1


def test_model_config_is_a_dataclass_to_who_asks():
    given = DefaultModelConfig(fcnet_hiddens=[7])
    assert dataclasses.is_dataclass(given)
    assert dataclasses.asdict(given) == given.to_dict()
    assert dataclasses.replace(given, vf_share_layers=False).fcnet_hiddens == [7]
    assert {field.name for field in dataclasses.fields(ModelConfig)} == set(ModelConfig.known_settings())


def test_an_algorithms_default_may_be_a_spec_of_several_modules():
    class Mine(ppo.PPOConfig):
        def get_default_rl_module_spec(self):
            return MultiRLModuleSpec(rl_module_specs={"a": RLModuleSpec(module_class=ppo.PPOTorchRLModule)})

    two = Mine().environment("rlkit_core.testing:MultiAgentCartPole", env_config={"num_agents": 1}).training(**SMALL)
    with two.multi_agent(policies=["a"]).build() as algo:
        assert list(algo.train()["learners"]) == ["a", "__all_modules__"]
    with pytest.raises(rlkit_core.errors.SpecError, match="specs of 'a', and none of 'b'"):
        Mine().environment("CartPole-v1").multi_agent(policies=["b"]).build()


def test_a_state_of_shared_encoders_says_which_line_to_write(algo):
    spaces = {"observation_space": gym.spaces.Box(-1, 1, (4,)), "action_space": gym.spaces.Discrete(2)}
    alone = RLModuleSpec(module_class=ppo.PPOTorchRLModule, model_config={"fcnet_hiddens": [64, 64]}, **spaces).build()
    with pytest.raises(StateError, match=r"model_config=\{'vf_share_layers': True\}"):
        algo.learner_group.learner.module[DEFAULT_MODULE_ID].set_state(alone.get_state())
    with pytest.raises(StateError, match=r"model_config=\{'vf_share_layers': False\}"):
        alone.set_state(algo.learner_group.learner.module[DEFAULT_MODULE_ID].get_state())


class MaskedEnv(gym.Env):
    """Ten steps; the middle one of three actions is never allowed."""

    observation_space = gym.spaces.Dict(
        {"observations": gym.spaces.Box(-1, 1, (4,)), "action_mask": gym.spaces.Box(0, 1, (3,), np.int8)}
    )
    action_space = gym.spaces.Discrete(3)

    def __init__(self, env_config=None):
        self.t = 0

    def _seen(self):
        row = self.np_random.uniform(-1, 1, 4).astype(np.float32)
        return {"observations": row, "action_mask": np.array([1, 0, 1], np.int8)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._seen(), {}

    def step(self, action):
        assert action != 1, "masked"
        self.t += 1
        return self._seen(), 1.0, self.t == 10, False, {}


class OwnMask(ppo.PPOTorchRLModule):
    """Masks by itself: its networks see the observations alone, and it has the whole space again after setup()."""

    def setup(self):
        whole, self.observation_space = self.observation_space, self.observation_space["observations"]
        super().setup()
        self.observation_space = whole

    def _forward(self, batch, **kwargs):
        return self._without_masked(super()._forward(self._seen(batch), **kwargs), batch)

    def _forward_train(self, batch, **kwargs):
        return self._without_masked(super()._forward_train(self._seen(batch), **kwargs), batch)

    def compute_values(self, batch, embeddings=None):
        return super().compute_values(self._seen(batch), embeddings)

    def _seen(self, batch):
        return {**batch, Columns.OBS: batch[Columns.OBS]["observations"]}

    def _without_masked(self, out, batch):
        mask = batch[Columns.OBS]["action_mask"].bool()
        out[Columns.ACTION_DIST_INPUTS] = out[Columns.ACTION_DIST_INPUTS].masked_fill(~mask, -1e9)
        return out


def test_a_module_that_masks_by_itself_is_let_alone():
    made = ppo.PPOConfig().environment(MaskedEnv).training(**SMALL)
    with made.rl_module(rl_module_spec=RLModuleSpec(module_class=OwnMask)).build() as algo:
        assert algo.train()["env_runners"]["episode_return_mean"] == 10


# -- learners ---------------------------------------------------------------------------------------------------------


def test_bases_beside_which_mixins_derive_from_the_neutral_class():
    class Mixin(Learner):
        pass

    class Mine(TorchLearner, Mixin):
        pass

    class Both(TorchModel, Encoder):
        pass

    class Top(TorchModel, Head):
        pass

    assert issubclass(ppo.PPOTorchLearner, TorchLearner)
    assert Mine.__mro__.index(TorchLearner) < Mine.__mro__.index(Mixin)
    assert issubclass(Both, Encoder)
    assert issubclass(Top, Head)


def test_a_learner_comes_built_and_its_weights_are_a_mapping(algo):
    learner = config().build_learner(env=gym.make("CartPole-v1"))
    assert list(learner.module) == [DEFAULT_MODULE_ID]
    weights = algo.learner_group.get_weights()
    assert list(weights) == [DEFAULT_MODULE_ID]
    assert weights[DEFAULT_MODULE_ID] is weights.state[DEFAULT_MODULE_ID]
    assert dict(weights) == weights.state


def test_the_base_of_a_loss_is_zero_to_who_calls_it():
    class Nothing(TorchLearner):
        def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
            above = super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
            return above + fwd_out[Columns.ACTION_DIST_INPUTS].square().mean()

    with config().learners(learner_class=Nothing).build() as algo:
        assert algo.train()["learners"][DEFAULT_MODULE_ID]["total_loss"] > 0
    learner = config().learners(learner_class=TorchLearner).build_learner(env=gym.make("CartPole-v1"))
    with pytest.raises(NotImplementedError, match="must override compute_loss_for_module"):
        learner.update(batch={DEFAULT_MODULE_ID: {"obs": torch.zeros(4, 4)}})


@pytest.mark.parametrize("algorithm", ["ppo", "appo", "impala", "dqn"])
def test_a_batch_without_what_the_loss_reads_says_what_it_lacks(algorithm):
    columns = {"obs": torch.zeros(8, 4), "actions": torch.zeros(8, dtype=torch.int64)}
    learner = get_algorithm_config(algorithm).environment("CartPole-v1").build_learner(env=gym.make("CartPole-v1"))
    with pytest.raises(MissingColumnError, match=r"of 'default_policy': actions, obs\).*update\(rollouts=") as error:
        learner.update(batch={DEFAULT_MODULE_ID: columns})
    assert isinstance(error.value, KeyError)
    assert isinstance(error.value.__cause__, KeyError)


def test_a_key_error_of_another_kind_stays():
    class Wrong(TorchLearner):
        def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
            return {}[7]

    learner = config().learners(learner_class=Wrong).build_learner(env=gym.make("CartPole-v1"))
    with pytest.raises(KeyError, match="7") as error:
        learner.update(batch={DEFAULT_MODULE_ID: {"obs": torch.zeros(4, 4)}})
    assert type(error.value) is KeyError


def test_rllibs_arguments_of_log_value():
    metrics = Metrics()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.log_value("mean", 1.0, clear_on_reduce=True)
        for value in (1.0, 3.0):
            metrics.log_value("latest", value, window=1)
            metrics.log_value("none", value, reduce=None)
            metrics.log_value("total", value, reduce="sum", clear_on_reduce=False)
        metrics.log_dict({"a": 1.0}, key="m", window=1)
    with pytest.warns(UserWarning, match=r"ema_coeff=0.1\) changes nothing"):
        metrics.log_value("smooth", 2.0, ema_coeff=0.1)
    assert metrics.reduce() == {
        "mean": 1.0, "latest": 3.0, "none": 3.0, "total": 4.0, "m": {"a": 1.0}, "smooth": 2.0
    }  # fmt: skip
    metrics.log_value("total", 1.0, reduce="lifetime_sum")
    assert metrics.reduce() == {"total": 5.0}
    with pytest.raises(TypeError, match="no argument 'windw'"):
        metrics.log_value("x", 1.0, windw=1)
    with pytest.raises(ValueError, match="reduce='median'"):
        metrics.log_value("x", 1.0, reduce="median")


def test_a_recorded_step_logs_the_same(algo):
    class Logs(ppo.PPOTorchLearner):
        def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
            self.metrics.log_value((module_id, "twos"), torch.tensor(2.0), window=1)
            return super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)

    for compile_ in (None, "capture"):
        with config().learners(learner_class=Logs, compile=compile_).build() as made:
            assert made.train()["learners"][DEFAULT_MODULE_ID]["twos"] == 2.0


def test_an_asynchronous_update_is_asked_for_by_its_name(algo):
    rollouts = algo.env_runner_group.sample()
    with pytest.raises(ConfigError, match=r"use async_update\(\.\.\.\)"):
        algo.learner_group.update(rollouts=rollouts, async_update=True)
    assert algo.learner_group.update(rollouts=rollouts, timesteps=algo.timesteps, async_update=False)


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "name", "instead"),
    [
        ("algo", "workers", "env_runner_group"),
        ("algo", "get_policy", r"get_module\(\)"),
        ("algo", "save", r"save_to_path\(\)"),
        ("env_runner_group", "foreach_worker", r"foreach_env_runner\(\)"),
        ("learner_group", "load_module_state", r"set_weights\(\)"),
        ("learner", "entropy_coeff_schedulers_per_module", "curr_entropy_coeff"),
    ],
)
def test_attributes_that_only_rllibs_have_say_what_to_use(algo, of, name, instead):
    owner = {"algo": algo, "learner": algo.learner_group.learner}.get(of) or getattr(algo, of)
    with pytest.raises(AttributeError, match=f"{name!r}; it is RLlib's: use .*{instead}"):
        getattr(owner, name)
    assert not hasattr(owner, "nothing_of_the_kind")


def test_result_keys_are_those_of_results(algo):
    from rlkit_core import result_keys

    keys = {name: value for name, value in vars(result_keys).items() if name.isupper()}
    assert all(getattr(rlkit_core, name) is value for name, value in keys.items())
    said = {name for name in keys if name in rlkit_core.__all__}
    assert said == set(keys)

    def names(result):
        return set(result) | {k for v in result.values() if isinstance(v, dict) for k in names(v)}

    algo.evaluate(1)
    here = names({**algo.train(), "evaluation": algo.evaluate(1)})
    elsewhere = {"STOPPED_BY", "IS_SUCCESS_MEAN", "AGENT_EPISODE_RETURNS_MEAN", "MODULE_EPISODE_RETURNS_MEAN"}
    assert {name for name, value in keys.items() if value not in here} <= elsewhere


def test_names_that_are_exported():
    for name in ("ACTOR", "ALL_MODULES", "CRITIC", "DEFAULT_MODULE_ID", "ENCODER_OUT"):
        assert isinstance(getattr(rlkit_core, name), str)
    with pytest.raises(ImportError, match=r"learners\(compile='auto'\)"):
        from rlkit_core import TorchCompileConfig  # noqa: F401


@pytest.mark.slow
def test_a_module_is_current_when_it_is_asked_for_though_runners_are_elsewhere():
    with config().env_runners(num_env_runners=1).build() as algo:
        held = algo.get_module()
        before = held.get_state()
        algo.train()
        assert algo.get_module() is held
        after = held.get_state()
        learned = algo.learner_group.get_weights()[DEFAULT_MODULE_ID]
    assert any(not np.array_equal(after[name], before[name]) for name in after)
    assert all(np.array_equal(after[name], learned[name]) for name in after)
