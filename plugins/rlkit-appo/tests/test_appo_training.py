"""APPO at work: the target policy, the circular buffer, KL control, processes, checkpoints, and its settings."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from oracle_envs import ConstantReward, Ragged, TwoKinds

from rlkit_appo import APPOConfig, CircularBuffer
from rlkit_core import ActorCriticTorchRLModule, Algorithm, RLModuleSpec
from rlkit_core.errors import ConfigError, ModuleAPIError
from rlkit_core.seeding import SeedTree
from rlkit_impala.batches import Batch

sys.path.insert(0, str(Path(__file__).parents[2] / "rlkit-impala" / "tests"))
from impala_envs import Picky

pytestmark = pytest.mark.usefixtures("next_step_resets")

DIST_INPUTS = "target_network_action_dist_inputs"
LAG = "diff_num_grad_updates_vs_sampler_policy_max"


def make(env="CartPole-v1", model_config=None, **training):
    return (
        APPOConfig()
        .environment(env)
        .env_runners(num_envs_per_env_runner=4, rollout_fragment_length=10)
        .training(**{"train_batch_size": 40, **training})
        .reporting(min_sample_timesteps_per_iteration=200)
        .rl_module(model_config={"fcnet_hiddens": [8], **(model_config or {})})
        .debugging(seed=3)
    )


def weights(algo):
    state = algo.learner_group.get_weights(inference_only=False).state["default_policy"]
    return {name: np.asarray(value).copy() for name, value in state.items()}


def same(one, other):
    return all(np.array_equal(value, other[name]) for name, value in one.items())


# -- the target policy -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("training", "updates_between"),
    [
        ({"use_circular_buffer": False, "target_network_update_freq": 3}, 3),
        ({}, 2 * 2),
        (
            {
                "circular_buffer_num_batches": 1,
                "circular_buffer_iterations_per_batch": 3,
                "target_network_update_freq": 1,
            },
            3,
        ),
    ],
)
def test_the_target_policy_follows_every_so_many_batches(training, updates_between):
    with make(**training).build_algo() as algo:
        module = algo.learner_group.learner.module["default_policy"]
        start = [p.clone() for p in module._old_pi.parameters()]
        equal = []
        for _ in range(2 * updates_between):
            algo.training_step()
            pairs = list(zip(module.pi.parameters(), module._old_pi.parameters(), strict=True))
            equal.append(all(torch.equal(new, old) for new, old in pairs))
            if len(equal) < updates_between:
                assert all(torch.equal(p, old) for p, (_, old) in zip(start, pairs, strict=True))
        result = algo.last_learner_results["default_policy"]
    assert equal == ([False] * (updates_between - 1) + [True]) * 2
    assert result["num_target_updates"] == 2


def test_tau_moves_the_target_policy_only_so_far():
    config = make(tau=0.25, use_circular_buffer=False, target_network_update_freq=1)
    with config.build_algo() as algo:
        module = algo.learner_group.learner.module["default_policy"]
        before = module._old_pi.state_dict()
        before = {name: value.clone() for name, value in before.items()}
        algo.training_step()
        for name, new in module.pi.state_dict().items():
            expected = before[name].lerp(new, 0.25)
            torch.testing.assert_close(module._old_pi.state_dict()[name], expected)


def test_runners_never_have_the_target_policy_and_optimizers_never_step_it():
    with make().build_algo() as algo:
        learner = algo.learner_group.learner
        full = learner.module["default_policy"]
        names = list(algo.learner_group.get_weights().state["default_policy"])
        assert names
        assert not [name for name in names if "_old" in name or name.startswith("vf")]
        assert not hasattr(algo.get_module(), "_old_pi")
        stepped = {id(p) for p in learner.get_parameters(full)}
        for main, target in full.get_target_network_pairs():
            assert all(id(p) not in stepped for p in target.parameters())
            assert all(id(p) in stepped for p in main.parameters())
        assert any("_old_encoder" in name for name in full.get_state())


def test_a_module_without_a_target_policy_is_refused():
    spec = RLModuleSpec(ActorCriticTorchRLModule)
    with pytest.raises(ModuleAPIError, match="TargetNetworkAPI"):
        make().rl_module(rl_module_spec=spec).build_algo()


# -- the circular buffer ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("uses", [1, 3])
def test_each_rollout_is_used_so_many_times(uses):
    with make(circular_buffer_iterations_per_batch=uses).build_algo() as algo:
        for _ in range(2 * uses):
            algo.training_step()
        assert algo.num_env_steps_sampled_lifetime == 2 * 40
        assert algo.timesteps["num_env_steps_trained_lifetime"] == 2 * uses * 40


def test_the_buffer_drops_the_oldest_and_counts_what_was_never_used():
    with make().build_algo() as algo:
        rollout = algo.env_runner_group.sample_async()[0]["default_policy"]
    batches = [Batch({"default_policy": [rollout]}, 40) for _ in range(5)]
    buffer = CircularBuffer(2, 2, SeedTree(1))
    for batch in batches[:3]:
        buffer.add(batch)
    assert (len(buffer), buffer.is_full, buffer.num_steps_dropped) == (2, True, 40)
    first = buffer.take()
    other = batches[1] if first is batches[2] else batches[2]
    taken = [first] + [buffer.take() for _ in range(3)]
    assert sorted(map(id, taken)) == sorted([id(first)] * 2 + [id(other)] * 2)
    assert len(buffer) == 0
    buffer.add(batches[3])
    buffer.add(batches[4])
    buffer.take()
    assert buffer.clear() == 40
    assert len(buffer) == 0


def test_the_order_of_batches_is_random_and_the_same_for_a_seed():
    def order(seed):
        buffer = CircularBuffer(8, 4, SeedTree(seed))
        batches = [{"k": k} for k in range(8)]
        for batch in batches:
            buffer.add(batch)
        return [buffer.take()["k"] for _ in range(32)]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert sorted(order(1)) == sorted(list(range(8)) * 4)
    assert order(1) != sorted(order(1))


# -- KL --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kl_target", "factor"), [(1e-12, 1.5), (1e6, 0.5)])
def test_the_weight_of_the_penalty_moves_when_the_target_policy_does(kl_target, factor):
    config = make(use_kl_loss=True, kl_coeff=0.8, kl_target=kl_target, lr=0.01)
    config.training(use_circular_buffer=False, target_network_update_freq=2)
    with config.build_algo() as algo:
        coeffs = []
        for _ in range(5):
            algo.training_step()
            coeffs.append(algo.last_learner_results["default_policy"]["curr_kl_coeff"])
    assert coeffs == pytest.approx([0.8, 0.8 * factor, 0.8 * factor, 0.8 * factor**2, 0.8 * factor**2])


# -- modules, spaces, truncation -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync"])
@pytest.mark.parametrize("memory", [{}, {"use_gru": True, "lstm_use_prev_action": True}], ids=["plain", "gru"])
def test_pictures_dicts_and_masks_train(mode, memory):
    small = {"conv_filters": [[4, 4, 2]], "fusionnet_hiddens": [8], "lstm_cell_size": 8, "max_seq_len": 6}
    config = make(Picky, {**small, **memory}, lr=0.01, use_kl_loss=True)
    with config.env_runners(gym_env_vectorize_mode=mode).build_algo() as algo:
        before = weights(algo)
        result = algo.train()["learners"]["default_policy"]
        after = weights(algo)
        algo.evaluate(4)
    assert all(np.isfinite(value) for value in result.values())
    trained = [name for name in before if name.endswith("weight") and not name.startswith("_old")]
    assert all(not np.array_equal(before[name], after[name]) for name in trained)


@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync"])
@pytest.mark.parametrize("env", [ConstantReward, TwoKinds])
def test_values_of_states_are_the_known_ones(env, mode):
    config = (
        make(env, {"fcnet_hiddens": [16]}, gamma=0.8, entropy_coeff=0.0, lr=[[0, 0.03], [4000, 0.003]])
        .training(train_batch_size=64)
        .env_runners(rollout_fragment_length=16, gym_env_vectorize_mode=mode)
    )
    with config.build_algo() as algo:
        for _ in range(130):
            algo.training_step()
        module = algo.learner_group.learner.module["default_policy"]
        with torch.no_grad():
            values = module.compute_values({"obs": torch.eye(env.observation_space.shape[0])}).numpy()
    np.testing.assert_allclose(values, [5.0] if env is ConstantReward else [0.0, 5.0], atol=0.15)


# -- the same each time, resumed, in processes -----------------------------------------------------------------------


def test_lock_step_gives_the_same_each_time():
    found = []
    for _ in range(2):
        with make(circular_buffer_iterations_per_batch=3).build_algo() as algo:
            for _ in range(2):
                result = algo.train()
            found.append((weights(algo), result["learners"]))
    assert same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_a_resumed_run_equals_the_one_that_went_on(tmp_path):
    config = make(Ragged, {"use_gru": True, "lstm_cell_size": 6}, use_kl_loss=True, kl_target=1e-4, lr=0.01)
    config.training(
        train_batch_size=20, circular_buffer_num_batches=2, broadcast_interval=3, target_network_update_freq=1
    )
    with config.build_algo() as algo:
        for _ in range(7):
            algo.training_step()
        path = algo.save_to_path(tmp_path / "checkpoint")
        with Algorithm.from_checkpoint(path) as other:
            for _ in range(2):
                mine, his = algo.train(), other.train()
            assert same(weights(algo), weights(other))
            assert mine["learners"] == his["learners"]
    assert mine["learners"]["default_policy"]["curr_kl_coeff"] != 1.0


@pytest.mark.slow
def test_runners_in_processes_train():
    config = make(circular_buffer_num_batches=3).env_runners(num_env_runners=2)
    with config.build_algo() as algo:
        before, lags = weights(algo), []
        for _ in range(40):
            algo.training_step()
            lags.append(algo.last_learner_results["default_policy"][LAG])
        assert len(algo._batches) <= 3
        assert not same(before, weights(algo))
        assert algo.num_env_steps_sampled_lifetime > 0
    assert max(lags) > 0


def test_the_lag_of_a_runner_is_bounded():
    """By what the buffer holds and gets while a rollout is in it; those of other runners come on top."""
    lags = []
    with make(circular_buffer_num_batches=3).env_runners(num_env_runners=1).build_algo() as algo:
        for k in range(60):
            algo.training_step()
            lags.append(algo.last_learner_results["default_policy"][LAG])
            if k % 10 == 0:  # time for the runner to do all that it may
                time.sleep(0.1)
    # Each twice: 3 batches in the buffer, one that is sampled and not fetched, and 2 that come later and leave the
    # rollout in its place; its own first use; and one that the learner has, whose weights are not there yet.
    assert max(lags) <= 2 * (3 + 1 + 2) + 1 + 1
    assert max(lags) > 0


@pytest.mark.parametrize("memory", [{}, {"use_lstm": True, "lstm_cell_size": 8}], ids=["plain", "lstm"])
def test_a_learner_learns_from_episodes(memory):
    rng = np.random.default_rng(0)
    episodes = [
        {
            "obs": rng.normal(size=(steps + 1, 4)).astype(np.float32),
            "actions": rng.integers(0, 2, steps),
            "rewards": np.ones(steps, np.float32),
            "terminateds": terminated,
        }
        for steps, terminated in ((7, True), (5, False), (9, False))
    ]
    with make(model_config=memory).build_algo() as algo:
        before = weights(algo)
        result = algo.learner_group.update(episodes=episodes, timesteps=algo.timesteps)["default_policy"]
        assert not same(before, weights(algo))
    assert result["num_module_steps_trained"] == 21
    assert np.isfinite(result["total_loss"])


# -- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "training",
    [
        {"clip_param": 0.001},
        {"target_worker_clipping": 0.5},
        {"use_kl_loss": True},
        {"use_kl_loss": True, "kl_coeff": 30.0},
        {"use_circular_buffer": False},
        {"circular_buffer_num_batches": 1},
        {"circular_buffer_iterations_per_batch": 1},
        {"target_network_update_freq": 1},
        {"tau": 0.5},
    ],
    ids=lambda training: "-".join(training),
)
def test_each_setting_changes_what_is_learned(training):
    base = {"circular_buffer_num_batches": 2, "circular_buffer_iterations_per_batch": 2, "lr": 0.01}
    base["target_network_update_freq"] = 2
    if "kl_coeff" in training:
        base["use_kl_loss"] = True
    found = []
    for changed in ({}, training):
        with make(**{**base, **changed}).build_algo() as algo:
            while algo.num_env_steps_sampled_lifetime < 400:
                algo.training_step()
            found.append(weights(algo))
    assert not same(*found)


def test_a_queue_size_needs_a_queue():
    with pytest.raises(ConfigError, match="circular_buffer_num_batches"):
        make(learner_queue_size=4).build_algo()
    with make(learner_queue_size=4, use_circular_buffer=False).build_algo() as algo:
        algo.training_step()
        assert algo._batches._size == 4
