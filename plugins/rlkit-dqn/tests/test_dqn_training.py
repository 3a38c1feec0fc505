"""DQN's training loop: when it learns, on how much, and from what."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from oracle_envs import ConstantReward, Ragged, TwoKinds

from rlkit_core.errors import ConfigError
from rlkit_dqn import DQNConfig

sys.path.insert(0, str(Path(__file__).parent))
from dqn_envs import Masked, Spaces

pytestmark = pytest.mark.usefixtures("next_step_resets")

ID = "default_policy"


def small(env="CartPole-v1", **training):
    settings = {
        "num_steps_sampled_before_learning_starts": 16,
        "train_batch_size": 8,
        "hiddens": [8],
        "replay_buffer_config": {"capacity": 500},
    }
    return (
        DQNConfig()
        .environment(env)
        .training(**{**settings, **training})
        .rl_module(
            model_config={
                "fcnet_hiddens": [16],
                "fusionnet_hiddens": [16],
                "lstm_cell_size": 8,
                "max_seq_len": 6,
            }
        )
        .reporting(min_sample_timesteps_per_iteration=0)
        .debugging(seed=1)
    )


def weights(algo):
    return {k: v.clone() for k, v in algo.learner_group.learner.module[ID].state_dict().items()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def training_counts(config, rounds):
    """``[(env steps sampled, rows trained)]`` after each round."""
    counts = []
    with config.build_algo() as algo:
        for _ in range(rounds):
            result = algo.train()
            trained = result["learners"].get(ID, {}).get("num_module_steps_trained_lifetime", 0)
            counts.append((result["num_env_steps_sampled_lifetime"], int(trained)))
    return counts


# -- how much ----------------------------------------------------------------------------------------------------------


def test_learning_starts_once_the_buffer_holds_enough():
    counts = training_counts(small().env_runners(rollout_fragment_length=5), 6)
    assert counts == [(5, 0), (10, 0), (15, 0), (20, 8), (25, 16), (30, 24)]


@pytest.mark.parametrize(("intensity", "per_round"), [(None, 8), (2.0, 16), (1.0, 8), (0.5, 4), (3.3, 26.4)])
def test_training_intensity_is_rows_trained_per_step_sampled(intensity, per_round):
    config = small(training_intensity=intensity).env_runners(num_envs_per_env_runner=2)
    counts = training_counts(config, 22)
    rounds = [now[1] - before[1] for before, now in itertools.pairwise(counts[1:])]
    assert sum(rounds) == pytest.approx(20 * per_round, abs=8)
    assert max(rounds) - min(rounds) <= 8  # evenly spread
    assert all(rows % 8 == 0 for rows in rounds)


@pytest.mark.parametrize("tau", [1.0, 0.25])
def test_the_target_network_follows_as_often_and_as_far_as_asked(tau):
    config = small(target_network_update_freq=16, tau=tau, lr=0.01)
    moved = []
    with config.build_algo() as algo:
        module = algo.learner_group.learner.module[ID]
        pairs = module.get_target_network_pairs()
        assert len(pairs) == 3
        previous = [p.clone() for _, target in pairs for p in target.parameters()]
        for _ in range(16):
            algo.train()
            now = [p.clone() for _, target in pairs for p in target.parameters()]
            main = [p for net, _ in pairs for p in net.parameters()]
            expected = [tau * m + (1 - tau) * p for m, p in zip(main, previous, strict=True)]
            changed = not all(torch.equal(a, b) for a, b in zip(now, previous, strict=True))
            if changed:
                torch.testing.assert_close(now, expected)
                moved.append(algo.num_env_steps_sampled_lifetime)
            previous = now
    assert moved == [16, 32, 48, 64]


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"burn_in_len": 20}, "burn_in_len=20.*less than model_config..max_seq_len..=20"),
        ({"v_min": 3.0, "v_max": 3.0}, "v_min must lie below v_max"),
        ({"num_atoms": 5, "td_error_loss_fn": "mse"}, "trained with cross-entropy"),
        ({"replay_buffer_config": {"capacity": 100}}, "at least 1000"),
        ({"num_epochs": 2}, "one step on each train batch"),
        ({"categorical_distribution_temperature": 2.0}, "explore with epsilon"),
        ({"before_learn_on_batch": print}, "sample_train_batch"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        DQNConfig().environment("CartPole-v1").training(**settings).validate()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"td_error_loss_fn": "l1"}, "'huber', 'mse'"),
        ({"n_step": [3, 2]}, "lowest <= highest"),
        ({"n_step": 0}, "n_step"),
        ({"tau": 0.0}, "tau"),
        ({"epsilon": 1.5}, "epsilon"),
        ({"replay_buffer_config": {"type": "FifoReplayBuffer"}}, "expected one of"),
        ({"replay_buffer_config": {"size": 5}}, "unknown key 'size'"),
        ({"replay_buffer_config": {"type": "uniform", "alpha": 0.5}}, "alpha belongs to type 'prioritized'"),
        ({"replay_buffer_config": {"beta": 2.0}}, "beta=2.0"),
    ],
)
def test_values_that_mean_nothing_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        DQNConfig().training(**settings)


def test_buffer_types_of_rllib_are_understood():
    config = DQNConfig().training(replay_buffer_config={"type": "PrioritizedEpisodeReplayBuffer", "beta": 0.5})
    assert config.replay_buffer_config == {
        "type": "prioritized",
        "capacity": 50_000,
        "alpha": 0.6,
        "beta": 0.5,
    }
    config = DQNConfig().training(replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": 9})
    assert config.replay_buffer_config == {"type": "uniform", "capacity": 9}
    assert type(config.from_json(config.to_json())) is DQNConfig


def test_each_setting_of_the_learner_changes_what_is_learned():
    def trained(**settings):
        config = small(Ragged, **{"lr": 0.05, "target_network_update_freq": 60, **settings})
        with config.build_algo() as algo:
            for _ in range(28):
                algo.train()
            return {k: v for k, v in weights(algo).items() if not k.startswith("_target")}

    base = trained()
    changes = {
        "double_q": False,
        "n_step": 2,
        "gamma": 0.5,
        "td_error_loss_fn": "mse",
        "lr": 0.03,
        "adam_epsilon": 0.1,
        "grad_clip": 0.01,
        "epsilon": 0.0,
        "train_batch_size": 16,
        "tau": 0.5,
        "target_network_update_freq": 8,
        "replay_buffer_config": {"type": "uniform", "capacity": 500},
    }
    if not equal(base, trained()):
        pytest.fail("the same settings and seed gave two results")
    for name, value in changes.items():
        assert not equal(base, trained(**{name: value})), name
    for key, value in (("alpha", 1.0), ("beta", [[0, 0.1], [40, 1.0]]), ("capacity", 20)):
        assert not equal(base, trained(replay_buffer_config={"capacity": 500, key: value})), key


def test_settings_of_the_networks_change_their_shapes():
    def shapes(**settings):
        module = small(Ragged, **settings).build_learner(env=Ragged())
        module.build()
        return {k: tuple(v.shape) for k, v in module.module[ID].state_dict().items()}

    base = shapes()
    assert any(k.startswith("vf.") for k in base)
    assert not any(k.startswith("vf.") for k in shapes(dueling=False))
    assert shapes(hiddens=[])["af.net.layers.0.weight"] == (3, 16)
    assert shapes(num_atoms=5)["af.net.layers.1.weight"] == (15, 8)
    assert shapes(noisy=True)["af.net.layers.0.weight_mu"] == (8, 16)


# -- truncation --------------------------------------------------------------------------------------------------------


def q_values(env, mode, n_step, rounds=60, **settings):
    config = (
        small(
            env,
            gamma=0.8,
            lr=0.01,
            n_step=n_step,
            target_network_update_freq=40,
            train_batch_size=64,
            **settings,
        )
        .env_runners(num_envs_per_env_runner=4, rollout_fragment_length=8, gym_env_vectorize_mode=mode)
        .training(training_intensity=8.0)
        .rl_module(model_config={"fcnet_hiddens": [16]})
    )
    with config.build_algo() as algo:
        for _ in range(rounds):
            algo.train()
        module = algo.learner_group.learner.module[ID]
        with torch.no_grad():
            observations = torch.eye(algo.env_runner.observation_space.shape[0])
            return module.compute_q_values({"obs": observations})["qf_preds"].numpy()


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync"])
def test_the_value_of_a_constant_reward_reaches_its_limit(mode, n_step):
    np.testing.assert_allclose(q_values(ConstantReward, mode, n_step), 5.0, rtol=0.05)


@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync"])
def test_nothing_leaks_from_one_episode_into_the_last(mode):
    worthless, worth = q_values(TwoKinds, mode, 3)
    np.testing.assert_allclose(worthless, 0.0, atol=0.1)
    np.testing.assert_allclose(worth, 5.0, rtol=0.05)


# -- kinds of networks and spaces --------------------------------------------------------------------------------------

VECTOR = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
IMAGE = gym.spaces.Box(0, 255, (10, 10, 3), np.uint8)
COMPOSED = gym.spaces.Dict({"a": VECTOR, "b": gym.spaces.Tuple([gym.spaces.Discrete(3), VECTOR])})
TWO = gym.spaces.Discrete(2, start=3)


@pytest.mark.parametrize(
    ("env", "settings", "network"),
    [
        (lambda: Spaces(IMAGE, TWO), {"num_atoms": 5}, {}),
        (lambda: Spaces(COMPOSED, TWO), {"n_step": [1, 3]}, {}),
        (lambda: Spaces(VECTOR, gym.spaces.MultiDiscrete([2, 3])), {"noisy": True}, {}),
        (lambda: Spaces(gym.spaces.Discrete(4), TWO), {}, {"normalize_observations": False}),
        (lambda: Spaces(VECTOR, TWO), {}, {"normalize_observations": True}),
        (lambda: Spaces(VECTOR, TWO), {}, {"lstm_use_prev_action": True, "lstm_use_prev_reward": True}),
        (Masked, {}, {}),
        (Masked, {"num_atoms": 5, "noisy": True}, {}),
        (Masked, {"burn_in_len": 2, "n_step": 2}, {"use_lstm": True}),
        ("CartPole-v1", {"burn_in_len": 2}, {"use_gru": True}),
        (lambda: Spaces(COMPOSED, TWO), {"num_atoms": 5, "dueling": False}, {"use_lstm": True}),
        (
            lambda: Spaces(VECTOR, gym.spaces.MultiDiscrete([2, 2])),
            {"n_step": [1, 3]},
            {"use_lstm": True, "lstm_use_prev_action": True, "lstm_use_prev_reward": True},
        ),
    ],
)
@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync"])
def test_trains(env, settings, network, mode):
    config = small(env, **settings).env_runners(num_envs_per_env_runner=2, gym_env_vectorize_mode=mode)
    config.rl_module(model_config={**config._model_config, **network})
    with config.build_algo() as algo:
        before = weights(algo)
        for _ in range(8):
            result = algo.train()
        after = weights(algo)
        assert np.isfinite(result["learners"][ID]["qf_loss"])
        online = [k for k in before if not k.startswith("_target")]
        trainable = {k for k, _ in algo.learner_group.learner.module[ID].named_parameters()}
        assert all(not torch.equal(before[k], after[k]) for k in online if k in trainable)
        assert algo.evaluate(3)["env_runners"]["num_episodes"] == 3


def test_sequences_give_the_values_of_a_pass_step_by_step():
    config = small("CartPole-v1", n_step=2, burn_in_len=2, noisy=False).rl_module(
        model_config={"use_lstm": True, "lstm_cell_size": 8, "max_seq_len": 6, "fcnet_hiddens": [16]}
    )
    with config.build_algo() as algo:
        for _ in range(12):
            algo.train()
        batch = algo.sample_train_batch(3)[ID]
        module = algo.learner_group.learner.module[ID]
        module.train()
        with torch.no_grad():
            out = module.forward_train(batch)
            count, length = batch["loss_mask"].shape
            for b in range(count):
                seen = []
                for net in (module.compute_q_values, module.forward_target):
                    per_step = []
                    for t in range(int(batch["seq_lens"][b])):
                        steps = [batch["obs"][b, : t + 1], batch["new_obs"][b, t : t + 1]]
                        n = int(batch["n_step"][b, t])
                        between = batch["obs"][b, t + 1 : t + n]
                        obs = torch.cat([steps[0], between, steps[1]]).unsqueeze(0)
                        state = {k: v[b : b + 1] for k, v in batch["state_in"].items()}
                        q = net({"obs": obs, "state_in": state})["qf_preds"][0]
                        per_step.append((q[t], q[-1]))
                    seen.append(per_step)
                for t, (online, target) in enumerate(zip(*seen, strict=True)):
                    torch.testing.assert_close(out["qf_preds"][b, t], online[0])
                    torch.testing.assert_close(out["qf_next_preds"][b, t], online[1])
                    torch.testing.assert_close(out["qf_target_next_preds"][b, t], target[1])
        assert count == 3
        assert length == 6


# -- recorded steps, checkpoints ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "network"),
    [
        ({}, {}),
        ({"double_q": False, "dueling": False, "td_error_loss_fn": "mse"}, {}),
        ({"num_atoms": 5, "n_step": 3, "noisy": True}, {}),
        ({"burn_in_len": 2}, {"use_gru": True}),
    ],
)
def test_recorded_steps_equal_eager_ones(settings, network):
    results = []
    for mode in (None, "capture"):
        config = small(Ragged, **settings).learners(compile=mode)
        config.rl_module(model_config={**config._model_config, **network})
        with config.build_algo() as algo:
            for _ in range(20):
                algo.train()
            results.append(weights(algo))
    if settings.get("noisy"):  # recording draws once more, so the two see other noise
        assert all(bool(torch.isfinite(value).all()) for value in results[1].values())
    else:
        assert equal(*results)


@pytest.mark.parametrize("kind", ["prioritized", "uniform"])
@pytest.mark.parametrize("network", [{}, {"use_lstm": True}], ids=["mlp", "lstm"])
def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path, network, kind):
    config = small(
        Ragged,
        training_intensity=1.3,
        n_step=[1, 3],
        noisy=not network,
        epsilon=0.3,
        target_network_update_freq=24,
        replay_buffer_config={"type": kind, "capacity": 64},
    ).checkpointing(store_buffer_in_checkpoints=True)
    config.rl_module(model_config={**config._model_config, **network})
    with config.build_algo() as algo:
        for _ in range(20):
            algo.train()
        path = algo.save_to_path(tmp_path / "checkpoint")
        for _ in range(10):
            result = algo.train()
        expected = weights(algo)
    from rlkit_dqn import DQN

    with DQN.from_checkpoint(path) as resumed:
        for _ in range(10):
            again = resumed.train()
        assert equal(weights(resumed), expected)
        assert again["learners"] == result["learners"]
        assert again["env_runners"]["num_episodes_lifetime"] == result["env_runners"]["num_episodes_lifetime"]


def test_without_its_buffer_a_resumed_run_fills_it_first(tmp_path, caplog):
    from rlkit_dqn import DQN

    config = small(Ragged).env_runners(rollout_fragment_length=8).checkpointing(replay=False)
    with config.build_algo() as algo:
        for _ in range(4):
            algo.train()
        path = algo.save_to_path(tmp_path / "checkpoint")
        expected = weights(algo)
    with DQN.from_checkpoint(path) as resumed:
        assert not caplog.records  # who only evaluates need not know
        resumed.train()
        assert [r.message for r in caplog.records if "without the replay buffer" in r.message]
        assert equal(weights(resumed), expected)
        assert len(resumed.replay_buffers[ID]) == 8
        resumed.train()
        assert not equal(weights(resumed), expected)


def test_results_tell_of_the_buffer():
    with small(Ragged).build_algo() as algo:
        for _ in range(6):
            result = algo.train()
    assert result["replay_buffer"][ID]["num_env_steps_added_lifetime"] == 24
    assert result["replay_buffer"][ID]["num_env_steps_sampled_lifetime"] == 24
    assert {"qf_loss", "qf_mean", "qf_min", "qf_max", "td_error_mean"} <= result["learners"][ID].keys()


# -- several runners, several learners ---------------------------------------------------------------------------------


def trained_with(executor):
    config = small(Ragged, training_intensity=3.0, n_step=2)
    config.env_runners(num_env_runners=2, num_envs_per_env_runner=2).execution(executor=executor)
    with config.build_algo() as algo:
        for _ in range(8):
            result = algo.train()
        return weights(algo), result["num_env_steps_sampled_lifetime"], result["replay_buffer"][ID]


def test_runners_in_processes_fill_the_buffer_as_those_here_do():
    here, steps, counts = trained_with("local")
    there, *same = trained_with("process")
    assert equal(here, there)
    assert same == [steps, counts]
    assert counts["num_env_steps_added_lifetime"] == steps == 8 * 4 * 4


@pytest.mark.slow
@pytest.mark.parametrize("network", [{}, {"use_gru": True}], ids=["mlp", "gru"])
def test_several_learners_share_an_update(network):
    config = small(Ragged, train_batch_size=16).learners(num_learners=2)
    config.rl_module(model_config={**config._model_config, **network})
    with config.build_algo() as algo:
        for _ in range(8):
            result = algo.train()
        ours, theirs = algo.learner_group.foreach_learner(lambda learner: learner.module[ID].get_state())
    assert all(np.array_equal(ours[key], theirs[key]) for key in ours)
    assert result["learners"][ID]["weights_seq_no"] == 5
    assert result["replay_buffer"][ID]["max_priority"] > 1.0
