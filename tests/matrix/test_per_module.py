"""Settings that may differ between modules do what they say, for the one module; the others are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracle_envs import Ragged

from rlkit_core import get_algorithm_config
from rlkit_core.algorithm.config.per_module import OF_ALL_MODULES, may_differ
from rlkit_core.envs import EnvRunner
from rlkit_core.errors import ConfigError

PAIR = (Ragged.observation_space, Ragged.action_space)
OF_THE_CORE = {"gamma": 0.1, "lr": 0.05, "grad_clip": 1e-3, "grad_clip_by": "value", "torch_lr_scheduler_classes": []}
#: What each algorithm's own settings are for the one module.
OWN = {
    "ppo": {
        "lambda_": 0.1,
        "clip_param": 0.01,
        "use_critic": False,
        "vf_loss_coeff": 3.0,
        "vf_clip_param": 1e-3,
        "value_clip": 1e-4,
        "entropy_coeff": 0.5,
        "use_kl_loss": False,
        "kl_coeff": 5.0,
        "kl_target": 1e-12,
        "normalize_advantages": None,
        "reward_scaling": True,
        "adam_epsilon": 0.1,
    },
    "impala": {
        "vtrace_clip_rho_threshold": 0.3,
        "vtrace_clip_pg_rho_threshold": 0.3,
        "vf_loss_coeff": 3.0,
        "entropy_coeff": 0.5,
    },
    "appo": {
        "vtrace_clip_rho_threshold": 0.3,
        "vtrace_clip_pg_rho_threshold": 0.3,
        "vf_loss_coeff": 3.0,
        "entropy_coeff": 0.5,
        "clip_param": 0.01,
        "target_worker_clipping": 0.3,
        "use_kl_loss": False,
        "kl_coeff": 5.0,
        "kl_target": 1e-12,
        "target_network_update_freq": 10**6,
        "tau": 0.5,
    },
    "dqn": {
        "double_q": False,
        "dueling": False,
        "num_atoms": 5,
        "v_min": -3.0,
        "v_max": 3.0,
        "noisy": True,
        "sigma0": 0.1,
        "hiddens": [3],
        "epsilon": 0.7,
        "target_network_update_freq": 10**6,
        "tau": 0.5,
        "td_error_loss_fn": "mse",
        "adam_epsilon": 0.1,
        "warmup": None,  # of acting: rlkit-offpolicy's test_warmup.py
        # Of the buffer, which the algorithm has: test_dqn_agents.py.
        "n_step": None,
        "burn_in_len": None,
        "replay_buffer_config": None,
        # They have one value only.
        "categorical_distribution_temperature": None,
        "before_learn_on_batch": None,
    },
}
SHARED = {
    "ppo": set(),
    "impala": {"learner_queue_size", "broadcast_interval"},
    "appo": {
        *("learner_queue_size", "broadcast_interval", "use_circular_buffer", "circular_buffer_num_batches"),
        "circular_buffer_iterations_per_batch",
    },
    "dqn": {"num_steps_sampled_before_learning_starts", "training_intensity"},
}
#: What else all modules have, where a setting says nothing without it.
BESIDE = {"v_min": {"num_atoms": 5}, "v_max": {"num_atoms": 5}, "sigma0": {"noisy": True}}


def config_of(algorithm, **training):
    config = get_algorithm_config(algorithm).environment(Ragged).debugging(seed=1)
    if algorithm in ("ppo", "appo"):
        config.training(use_kl_loss=True)
    config.training(lr=0.01, grad_clip=0.02, **training).multi_agent(policies=["p0", "p1"])
    config.rl_module(model_config={"fcnet_hiddens": [6]}).env_runners(num_envs_per_env_runner=2)
    return config.learners(compile=None)


@pytest.fixture(scope="module")
def rollouts():
    runner = EnvRunner(get_algorithm_config("ppo").environment(Ragged).env_runners(num_envs_per_env_runner=2))
    rollout = runner.sample(num_timesteps=24)["default_policy"].clone()
    runner.stop()
    return {"p0": rollout, "p1": rollout}


def rows_of(rollout):
    """Rows of a replay buffer, near enough."""
    flat = rollout.flat()
    return {
        "obs": flat["obs"],
        "new_obs": flat["obs"].flip(0),
        "actions": flat["actions"],
        "rewards": 5.0 * flat["rewards"],
        "discount": torch.full_like(flat["rewards"], 0.9),
    }


def learned(config, rollouts):
    """What there is to be seen of each module after two updates."""
    learner = config.build_learner(spaces={"p0": PAIR, "p1": PAIR})
    learner.build()
    for k in (1, 2):
        steps = {"num_env_steps_sampled_lifetime": 10_000 * k, "num_env_steps_trained_lifetime": 10_000 * k}
        if type(config).__name__ == "DQNConfig":
            learner.update({mid: rows_of(rollout) for mid, rollout in rollouts.items()}, timesteps=steps)
        else:
            learner.update(rollouts=rollouts, timesteps=steps, num_epochs=2)
    weights = learner.get_state()["rl_module"]
    kl = learner.get_state().get("kl_coeff", {})
    return {mid: (weights[mid], kl.get(mid), learner.module[mid].unwrapped().model_config) for mid in ("p0", "p1")}


def same(one, other):
    weights, others = one[0], other[0]
    alike = weights.keys() == others.keys() and all(np.array_equal(weights[name], others[name]) for name in weights)
    return alike and one[1:] == other[1:]


@pytest.mark.parametrize("algorithm", OWN)
def test_every_setting_is_the_modules_or_that_of_all(algorithm):
    config = get_algorithm_config(algorithm)
    core = set(get_algorithm_config("ppo").known_settings()) & set(get_algorithm_config("dqn").known_settings())
    training = {n for n, item in config.known_settings().items() if item.section in ("training", "experimental")}
    own = training - core | (training & OWN[algorithm].keys())
    assert {name for name in own if may_differ(config, name)} == OWN[algorithm].keys()
    assert {name for name in own if not may_differ(config, name)} == SHARED[algorithm]
    assert training - own == OF_THE_CORE.keys() | OF_ALL_MODULES


@pytest.mark.parametrize("algorithm", OWN)
def test_a_setting_of_one_module_changes_that_module_only(algorithm, rollouts):
    plain = {}
    for name, value in {**OF_THE_CORE, **OWN[algorithm]}.items():
        if (value is None and name != "normalize_advantages") or (algorithm == "dqn" and name == "gamma"):
            continue  # of the buffer, or with one value
        beside = BESIDE.get(name, {})
        if str(beside) not in plain:
            plain[str(beside)] = learned(config_of(algorithm, **beside), rollouts)
        if name == "torch_lr_scheduler_classes":
            value = [lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.01)]
        config = config_of(algorithm, **beside)
        config.rl_module(algorithm_config_overrides_per_module={"p1": {name: value}})
        with_it = learned(config, rollouts)
        assert same(with_it["p0"], plain[str(beside)]["p0"]) or name == "noisy", name
        assert not same(with_it["p1"], plain[str(beside)]["p1"]), name


@pytest.mark.parametrize("algorithm", OWN)
def test_settings_that_are_read_once_are_refused_with_the_reason(algorithm):
    config = get_algorithm_config(algorithm)
    for name in config.known_settings():
        if may_differ(config, name):
            continue
        value = config.stored(name)
        with pytest.raises(ConfigError, match=f"module 'p1': {name} cannot differ between modules, since"):
            config.rl_module(algorithm_config_overrides_per_module={"p1": {name: value}})


def test_what_a_third_party_adds_may_differ_unless_it_says_otherwise():
    import attrs

    from rlkit_core import AlgorithmConfig
    from rlkit_core.settings import number, setting

    @attrs.define
    class Theirs(AlgorithmConfig):
        shared_settings = frozenset({"pace"})
        boldness: float = setting(0.5, section="training", help="How bold.", converter=number(ge=0))
        pace: float = setting(0.5, section="training", help="How fast.", converter=number(ge=0))

    config = Theirs().rl_module(algorithm_config_overrides_per_module={"p1": {"boldness": 1.0}})
    assert config.multi_agent(policies=["p0", "p1"]).get_config_for_module("p1").boldness == 1.0
    with pytest.raises(ConfigError, match="pace cannot differ between modules, since one update"):
        Theirs().rl_module(algorithm_config_overrides_per_module={"p1": {"pace": 1.0}})
