"""AlgorithmConfig: RLlib's fluent names, refusals that say what to do, freezing, copying, JSON."""

from __future__ import annotations

import json
import logging
from typing import Any

import attrs
import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlkit_core.algorithm import AlgorithmConfig
from rlkit_core.columns import module_id_problem
from rlkit_core.errors import ConfigError, PluginError, UnknownSettingError
from rlkit_core.models.default_config import DefaultModelConfig
from rlkit_core.settings import UNSET, number, setting


class Recorder:
    """Stands where an Algorithm would: keeps the config it is given."""

    def __init__(self, config: AlgorithmConfig) -> None:
        self.config = config


@attrs.define
class DemoConfig(AlgorithmConfig):
    algo_class = Recorder
    beta: float = setting(0.5, section="training", help="A setting of its own.", converter=number(ge=0))


def test_rllib_style_chain_sets_what_it_names() -> None:
    config = (
        DemoConfig()
        .api_stack(enable_rl_module_and_learner=True, enable_env_runner_and_connector_v2=True)
        .framework("torch")
        .environment("CartPole-v1", env_config={"max_episode_steps": 50}, normalize_actions=False)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=8, rollout_fragment_length=16)
        .learners(num_learners=0, learner_config_dict={"my": 1})
        .training(gamma=0.9, lr=[[0, 1e-3], [1000, 1e-4]], train_batch_size_per_learner=128, minibatch_size=32)
        .rl_module(model_config={"fcnet_hiddens": [32]})
        .multi_agent(policies={"p0", "p1"}, policy_mapping_fn=lambda agent_id, episode, **kw: "p0")
        .evaluation(evaluation_interval=2, evaluation_duration=5)
        .reporting(min_sample_timesteps_per_iteration=10)
        .callbacks(on_train_result=lambda result: None)
        .checkpointing()
        .fault_tolerance()
        .experimental()
        .resources(torch_threads=1)
        .debugging(seed=3, log_level="ERROR")
        .execution(executor="local")
    )
    assert (config.env, config.num_envs_per_env_runner, config.gamma, config.seed) == (
        "CartPole-v1",
        8,
        0.9,
        3,
    )
    assert config.lr == [[0, 1e-3], [1000, 1e-4]]
    assert config.train_batch_size_per_learner == config.total_train_batch_size == 128
    assert config.policies == ["p0", "p1"]
    assert config.is_multi_agent
    assert config.framework_str == config["framework"] == config.get("framework") == "torch"
    assert config.policy_mapping_fn("agent", None) == "p0"


def test_unset_arguments_are_left_alone() -> None:
    config = AlgorithmConfig().training(gamma=0.5).training(lr=1e-3, gamma=UNSET)
    assert config.gamma == 0.5


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda c: c.training(learning_rate=1e-3), "Did you mean 'lr'?"),
        (lambda c: c.training(gamm=1), "Did you mean 'gamma'?"),
        (lambda c: c.env_runners(n_steps=1), "Did you mean 'rollout_fragment_length'?"),
        (lambda c: c.training(num_learners=1), "belongs to learners(num_learners=...)"),
        (lambda c: c.env_runners(env_to_module_connector=print), "no connector pipelines"),
        (lambda c: c.training(lr_schedule=[[0, 1]]), "write the schedule as lr=[[0, start], [step, end]]"),
        (lambda c: c.callbacks(on_episode_step=print), "wrap the env instead"),
        (lambda c: c.callbacks(on_episode_ended=print), "Did you mean 'on_episode_end'?"),
        (lambda c: c.fault_tolerance(env_runner_restore_timeout_s=1), "up to the executor"),
        (lambda c: c.checkpointing(zzz=1), "Settings of checkpointing(): every, keep, best, replay."),
        (lambda c: c.rollouts(), "use env_runners(...)"),
        (lambda c: c.trainin(), "Did you mean 'training'?"),
        (lambda c: setattr(c, "gama", 1), "Did you mean 'gamma'?"),
        (lambda c: c["gama"], "Did you mean 'gamma'?"),
        (lambda c: c.overrides(gama=1), "Did you mean 'gamma'?"),
        (lambda c: c.update_from_dict({"gama": 1}), "Did you mean 'gamma'?"),
        (lambda c: c.evaluation(evaluation_config={"explor": True}), "Did you mean 'explore'?"),
        (
            lambda c: c.rl_module(algorithm_config_overrides_per_module={"p0": {"gama": 1}}),
            "module 'p0': AlgorithmConfig has no setting 'gama'. Did you mean 'gamma'?",
        ),
    ],
)
def test_unknown_names_say_what_is_meant(call: Any, says: str) -> None:
    config = AlgorithmConfig()
    with pytest.raises(UnknownSettingError) as caught:
        call(config)
    assert says in str(caught.value)
    assert config == AlgorithmConfig()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda c: c.framework(2), "expected 'torch', or the name of a framework"),
        (lambda c: c.api_stack(enable_rl_module_and_learner=False), "there is only the RLModule API"),
        (lambda c: c.training(gamma=1.5), "training(gamma=1.5): expected a number >= 0 and <= 1"),
        (lambda c: c.training(train_batch_size=0), "expected a whole number >= 1"),
        (lambda c: c.env_runners(rollout_fragment_length="all"), "'auto', or a whole number >= 1"),
        (lambda c: c.environment(gym.make("CartPole-v1")), "a ready env"),
        (lambda c: c.environment(observation_space=3), "expected a gymnasium space"),
        (lambda c: c.multi_agent(policies=["a/b"]), str(module_id_problem("a/b"))),
        (lambda c: c.multi_agent(policies=["end."]), str(module_id_problem("end."))),
        (lambda c: c.rl_module(components={"encode": "x"}), "'encode' names no place"),
        (lambda c: c.rl_module(rl_module_spec={}), "expected an RLModuleSpec"),
        (lambda c: c.learners(learner_class=dict), "expected a Learner subclass"),
        (lambda c: c.evaluation(evaluation_config={"gamma": 7}), "gamma=7"),
        (lambda c: c.callbacks(on_train_result=3), "expected a function"),
        (lambda c: c.debugging(seed=-1), "expected a whole number"),
    ],
)
def test_bad_values_name_the_setting(call: Any, says: str) -> None:
    config = AlgorithmConfig()
    with pytest.raises(ConfigError) as caught:
        call(config)
    assert says in str(caught.value)
    assert config == AlgorithmConfig()


def test_one_bad_value_changes_nothing() -> None:
    config = AlgorithmConfig()
    with pytest.raises(ConfigError):
        config.training(gamma=0.5, lr=-1)
    assert config.gamma == 0.99
    assert config.set_by_user() == set()


@pytest.mark.parametrize(
    ("section", "old", "value", "new"),
    [
        ("training", "num_sgd_iter", 4, "num_epochs"),
        ("training", "sgd_minibatch_size", 8, "minibatch_size"),
        ("training", "model", {"fcnet_hiddens": [8]}, "model_config"),
        ("rl_module", "model_config_dict", {"fcnet_hiddens": [8]}, "model_config"),
        ("resources", "num_learner_workers", 0, "num_learners"),
        ("env_runners", "num_workers", 0, "num_env_runners"),
    ],
)
def test_older_names_are_taken_with_a_note(section: str, old: str, value: Any, new: str) -> None:
    config = AlgorithmConfig()
    with pytest.warns(UserWarning, match=f"'{old}' is an older name of '{new}'"):
        getattr(config, section)(**{old: value})
    assert config[new] == value


@pytest.mark.filterwarnings("ignore:'num_sgd_iter' is an older name")
def test_an_older_name_beside_the_present_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="means 'num_epochs', which is given too"):
        AlgorithmConfig().training(num_epochs=1, num_sgd_iter=2)


def test_frozen_configs_refuse_and_copies_thaw() -> None:
    config = AlgorithmConfig().training(gamma=0.5)
    config.freeze()
    assert config.is_frozen
    for change in (lambda: config.training(gamma=0.6), lambda: setattr(config, "gamma", 0.6)):
        with pytest.raises(AttributeError, match="frozen"):
            change()
    assert config.copy().is_frozen
    assert config.copy(copy_frozen=False).training(gamma=0.6).gamma == 0.6
    assert config.gamma == 0.5


def test_copies_share_leaves_but_no_containers() -> None:
    live = torch.nn.Linear(1, 1)
    config = AlgorithmConfig().rl_module(model_config={"encoder": live, "deep": {"list": [1]}})
    twin = config.copy()
    assert twin.model_config["encoder"] is live
    twin._model_config["deep"]["list"].append(2)
    assert config.model_config["deep"]["list"] == [1]


def test_the_users_dicts_are_copied_when_set() -> None:
    mine = {"a": {"b": 1}}
    config = AlgorithmConfig().environment(env_config=mine)
    mine["a"]["b"] = 2
    assert config.env_config == {"a": {"b": 1}}


def test_mapping_methods() -> None:
    config = DemoConfig().training(beta=2)
    assert config["beta"] == 2
    assert config.get("nothing", 7) == 7
    assert "beta" in config
    assert "betta" not in config
    assert dict(config.items()) == config.to_dict()
    assert DemoConfig.from_dict(config.to_dict()) == config
    assert DemoConfig.from_dict(config.to_dict()).set_by_user() == {"beta"}
    assert config.overrides(gamma=0.1) == {"gamma": 0.1}
    assert config.diff(DemoConfig()) == {"beta": (2.0, 0.5)}
    assert AlgorithmConfig().diff(DemoConfig()) == {"beta": (UNSET, 0.5)}
    with pytest.raises(KeyError):
        config["nothing"]
    assert not hasattr(config, "nothing")


def test_per_module_configs_are_kept_and_renewed() -> None:
    config = AlgorithmConfig().multi_agent(policies=["p0", "p1"])
    config.rl_module(algorithm_config_overrides_per_module={"p0": AlgorithmConfig.overrides(gamma=0.1)})
    assert config.get_config_for_module("p1") is config
    own = config.get_config_for_module("p0")
    assert (own.gamma, own.is_frozen, config.gamma) == (0.1, True, 0.99)
    assert config.get_config_for_module("p0") is own
    config.training(lr=0.5)
    assert config.get_config_for_module("p0").lr == 0.5


def test_evaluation_config_does_not_explore_unless_it_says_so() -> None:
    config = AlgorithmConfig().evaluation(evaluation_config={"env_config": {"x": 1}})
    assert config.explore
    assert not config.get_evaluation_config_object().explore
    assert config.get_evaluation_config_object().env_config == {"x": 1}
    config.evaluation(evaluation_config=AlgorithmConfig().env_runners(explore=True))
    assert config.get_evaluation_config_object().explore


def test_model_config_unites_and_a_dataclass_counts_only_what_was_set() -> None:
    class Own(AlgorithmConfig):
        @property
        def _model_config_auto_includes(self) -> dict[str, Any]:
            return super()._model_config_auto_includes | {"vf_share_layers": False}

    config = Own().rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[8]))
    assert config.model_config == {"vf_share_layers": False, "fcnet_hiddens": [8]}
    assert config.model_config | {"x": 1} == {"vf_share_layers": False, "fcnet_hiddens": [8], "x": 1}
    assert config.environment(clip_actions=False).model_config["clip_actions"] is False


@pytest.mark.parametrize(
    ("batch", "workers", "envs", "expected"),
    [
        (2048, 0, 8, [256]),
        (100, 0, 8, [13]),
        (1636, 0, 1, [1636]),
        (4096, 20, 1, [None, *[205] * 16, *[204] * 4]),
        (3, 8, 2, [None, 1, 1, 1]),
    ],
)
def test_auto_fragment_length(batch: int, workers: int, envs: int, expected: list[int | None]) -> None:
    config = AlgorithmConfig().training(train_batch_size=batch)
    config.env_runners(num_env_runners=workers, num_envs_per_env_runner=envs)
    for index, length in enumerate(expected):
        if length is not None:
            assert config.get_rollout_fragment_length(index) == length
    assert config.env_runners(rollout_fragment_length=7).get_rollout_fragment_length(3) == 7


def test_validate_reports_every_problem_at_once() -> None:
    config = (
        AlgorithmConfig()
        .env_runners(batch_mode="complete_episodes")
        .evaluation(evaluation_parallel_to_training=True)
        .training(train_batch_size=16, minibatch_size=32)
        .multi_agent(policies_to_train=["p9"])
        .rl_module(model_config={"fcnet_hidden": [8]}, algorithm_config_overrides_per_module={"p8": {"lr": 1}})
    )
    with pytest.raises(ConfigError) as caught:
        config.validate()
    text = str(caught.value)
    assert "has 6 problems" in text
    for part in (
        "batch_mode='complete_episodes'",
        "evaluation_num_env_runners=1",
        "minibatch_size=32",
        "'p9'",
        "'p8'",
        "'fcnet_hiddens'",
    ):
        assert part in text


@pytest.mark.parametrize("name", ["pi_head_fcnet_hiddens", "qf_head_fcnet_hiddens", "qf_fcnet_hiddens"])
def test_settings_of_one_slot_are_no_misspelt_ones(name):
    """They resemble the setting that they are of."""
    config = AlgorithmConfig().environment("CartPole-v1")
    config.rl_module(model_config={name: [8]}).validate()
    with pytest.raises(ConfigError, match=r"no such key\. Did you mean"):
        config.rl_module(model_config={name.replace("fcnet", "fcnt"): [8]}).validate()


def test_keys_of_a_users_own_network_are_free() -> None:
    from rlkit_core.rl_module.spec import RLModuleSpec

    config = AlgorithmConfig().rl_module(model_config={"fcnet_hidden": [8]}, rl_module_spec=RLModuleSpec())
    config.validate()
    AlgorithmConfig().rl_module(model_config={"quite_my_own": 1}).validate()


def test_plugins_are_asked_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from rlkit_core.plugins import host as host_module
    from rlkit_core.plugins.registry import Origin

    def ask(hook: str, distributions: Any, kwargs: Any) -> list[Any]:
        assert (hook, "rlkit-core" in distributions) == ("rlkit_check_config", True)
        return [(Origin("my-lab", "1.0"), f"gamma {kwargs()['config'].gamma} is odd")]

    host = host_module.default_host()
    monkeypatch.setattr(host, "is_heard", lambda hook: True)
    monkeypatch.setattr(host, "ask", ask)
    with pytest.raises(ConfigError, match=r"gamma 0.99 is odd \(said by my-lab\)"):
        AlgorithmConfig().validate()


def test_build_gives_the_algorithm_a_frozen_validated_copy() -> None:
    config = DemoConfig().training(beta=1)
    for algo in (config.build(), config.build_algo(env="CartPole-v1"), DemoConfig(Recorder).build()):
        assert isinstance(algo, Recorder)
        assert algo.config.is_frozen
        assert algo.config is not config
    assert config.build_algo(env="CartPole-v1").config.env == "CartPole-v1"
    assert config.env is None
    with pytest.raises(ConfigError, match="minibatch_size"):
        DemoConfig().training(train_batch_size=1, minibatch_size=2).build()
    with pytest.raises(ConfigError, match="builds no algorithm"):
        AlgorithmConfig().build()


def test_prepared_validates_once_and_never_trusts_a_frozen_config_unseen() -> None:
    bad = AlgorithmConfig().training(train_batch_size=1, minibatch_size=2)
    bad.freeze()
    with pytest.raises(ConfigError, match="minibatch_size"):
        bad.prepared()
    ready = AlgorithmConfig().prepared()
    assert ready.prepared() is ready
    assert ready.prepared("CartPole-v1") is not ready
    changed = ready.copy(copy_frozen=False).training(train_batch_size=1, minibatch_size=2)
    changed.freeze()
    with pytest.raises(ConfigError, match="minibatch_size"):
        changed.prepared()


def test_algo_class_by_name_by_argument_and_by_property() -> None:
    class ByName(AlgorithmConfig):
        algo_class = "collections:OrderedDict"

    class ByProperty(AlgorithmConfig):
        @property
        def algo_class(self) -> Any:
            return Recorder

    class Other(Recorder):
        pass

    from collections import OrderedDict

    assert ByName().algo_class is OrderedDict
    assert ByProperty().algo_class is Recorder
    assert DemoConfig(algo_class=Other).algo_class is Other
    assert DemoConfig().algo_class is Recorder


def test_log_level_is_applied_when_prepared() -> None:
    logger = logging.getLogger("rlkit_core")
    before = logger.level
    try:
        AlgorithmConfig().debugging(log_level="ERROR").prepared()
        assert logger.level == logging.ERROR
    finally:
        logger.setLevel(before)


# JSON

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "env": st.sampled_from([None, "CartPole-v1", gym.Env]),
    "env_config": st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.text(max_size=3), inner),
            max_leaves=6,
        ),
        max_size=4,
    ),
    "observation_space": st.sampled_from([None, spaces.Box(-1, np.inf, (3,)), spaces.Dict({"a": spaces.Discrete(3)})]),
    "clip_rewards": st.none() | st.booleans() | st.floats(0.1, 10),
    "rollout_fragment_length": st.just("auto") | st.integers(1, 10**6),
    "gamma": st.floats(0, 1),
    "lr": st.floats(0, 1) | st.tuples(st.floats(0, 1), st.floats(0, 1)).map(lambda v: [[0, v[0]], [100, v[1]]]),
    "grad_clip": st.none() | st.floats(0.001, 1e6),
    "minibatch_size": st.none() | st.integers(1, 10**9),
    "model_config": st.fixed_dictionaries({}, optional={"fcnet_hiddens": st.lists(st.integers(1, 9)), "x": st.text()}),
    "policies": st.none() | st.lists(st.sampled_from(["p0", "p1", "train"]), min_size=1, unique=True),
    "evaluation_config": st.fixed_dictionaries({}, optional={"explore": st.booleans(), "gamma": st.floats(0, 1)}),
    "seed": st.none() | st.integers(0, 2**32 - 1),
    "beta": st.floats(0, 1e300),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.fixed_dictionaries({}, optional=VALUES))
def test_json_round_trip(values: dict[str, Any]) -> None:
    config = DemoConfig().update_from_dict(values)
    text = config.to_json()
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    again = AlgorithmConfig.from_json(text)
    assert type(again) is DemoConfig
    assert again.diff(config) == {}
    assert again.set_by_user() == config.set_by_user() == set(values)
    assert again.to_json() == text


def test_json_of_functions_names_them_and_takes_them_again() -> None:
    def mapping_fn(agent_id: Any, episode: Any, **kwargs: Any) -> str:
        return "p0"

    config = DemoConfig().multi_agent(policy_mapping_fn=mapping_fn).callbacks(on_train_result=lambda result: None)
    text = config.to_json()
    with pytest.warns(UserWarning, match="on_train_result: functions are not stored"):
        again = DemoConfig.from_json(text)
    assert again.on_train_result == []
    with pytest.raises(Exception, match="mapping_fn"):
        again.policy_mapping_fn("a", None)
    assert DemoConfig.from_json(text, policy_mapping_fn=mapping_fn, on_train_result=[]).policy_mapping_fn is mapping_fn


def test_json_refuses_live_networks_and_other_classes() -> None:
    with pytest.raises(ConfigError, match=r"rl_module\(model_config=\.\.\.\) .*nn\.Module"):
        DemoConfig().rl_module(model_config={"encoder": torch.nn.Linear(1, 1)}).to_json()
    with pytest.raises(ConfigError, match="this is a AlgorithmConfig, expected a DemoConfig"):
        DemoConfig.from_json(AlgorithmConfig().to_json())
    for text in ("{", "[]", "{}", '{"class": {"$class": "os:system"}, "settings": {}}'):
        with pytest.raises(ConfigError, match=r"this is no config|cannot read this config"):
            DemoConfig.from_json(text)


def test_a_missing_algorithm_class_is_no_missing_setting():
    class Config(AlgorithmConfig):
        algo_class = "rlkit_core.testing:NoSuchAlgorithm"

    with pytest.raises(PluginError, match=r"Config\.algo_class is 'rlkit_core\.testing:NoSuchAlgorithm'"):
        Config().algo_class
