"""IMPALA at work: in lock-step, with runners and learners in processes, saved and resumed, and its settings."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest
from oracle_envs import Ragged

from rlkit_core import Algorithm
from rlkit_core.errors import ConfigError, UnknownSettingError
from rlkit_impala import BatchQueue, IMPALAConfig
from rlkit_impala.batches import Batch, Gatherer

sys.path.insert(0, str(Path(__file__).parent))
from impala_envs import OneIsSlow, Picky

pytestmark = pytest.mark.usefixtures("next_step_resets")

LAG = "diff_num_grad_updates_vs_sampler_policy"


def make(env="CartPole-v1", model_config=None, **training):
    return (
        IMPALAConfig()
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


# -- lock-step -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runners", [0, 2])
def test_lock_step_gives_the_same_each_time(runners):
    found = []
    for _ in range(2):
        config = make(broadcast_interval=3).env_runners(num_env_runners=runners).execution(executor="local")
        with config.build_algo() as algo:
            results = [algo.train() for _ in range(2)]
            runners_say = {k: v for k, v in results[-1]["env_runners"].items() if "_sec_" not in k}
            found.append((weights(algo), results[-1]["learners"], runners_say))
    assert same(found[0][0], found[1][0])
    assert found[0][1:] == found[1][1:]


@pytest.mark.parametrize("interval", [1, 4])
def test_the_policy_lag_is_what_broadcast_interval_says(interval):
    with make(broadcast_interval=interval).build_algo() as algo:
        lags = []
        for _ in range(12):
            algo.training_step()
            lags.append(algo.last_learner_results["default_policy"][LAG])
    assert lags == [float(k % interval) for k in range(12)]


def test_a_resumed_run_equals_the_one_that_went_on(tmp_path):
    config = make(Ragged, {"use_gru": True, "lstm_cell_size": 6, "normalize_observations": True})
    config.training(broadcast_interval=3, train_batch_size=20)  # a rollout is two batches
    with config.build_algo() as algo:
        for _ in range(5):
            algo.training_step()
        path = algo.save_to_path(tmp_path / "checkpoint")
        with Algorithm.from_checkpoint(path) as other:
            for _ in range(2):
                mine, his = algo.train(), other.train()
            assert same(weights(algo), weights(other))
            assert mine["learners"] == his["learners"]
            assert other.timesteps == algo.timesteps
            assert mine["learners"]["__all_modules__"]["num_env_steps_dropped_lifetime"] == 0


# -- modules and spaces ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sync", "gymnasium_sync"])
@pytest.mark.parametrize("memory", [{}, {"use_lstm": True, "lstm_use_prev_action": True}], ids=["plain", "lstm"])
def test_pictures_dicts_and_masks_train(mode, memory):
    small = {"conv_filters": [[4, 4, 2]], "fusionnet_hiddens": [8], "lstm_cell_size": 8, "max_seq_len": 6}
    config = make(Picky, {**small, **memory}, lr=0.01).env_runners(gym_env_vectorize_mode=mode)
    with config.build_algo() as algo:
        before = weights(algo)
        result = algo.train()["learners"]["default_policy"]
        after = weights(algo)
        algo.evaluate(4)
    assert all(np.isfinite(value) for value in result.values())
    assert all(not np.array_equal(before[name], after[name]) for name in before if name.endswith("weight"))


@pytest.mark.parametrize(("size", "epochs"), [(20, 1), (None, 3), (10, 2)])
def test_minibatches_and_epochs_train(size, epochs):
    with make(minibatch_size=size, num_epochs=epochs).build_algo() as algo:
        taken = []
        engine = algo.learner_group.learner.engine
        step = engine.step
        engine.step = lambda minibatch: (
            taken.append(len(minibatch["default_policy"]["obs"])),
            step(minibatch),
        )
        algo.training_step()
    assert taken == [size or 40] * (40 // (size or 40) * epochs)


# -- processes -------------------------------------------------------------------------------------------------------


def test_runners_in_processes_train():
    config = make().env_runners(num_env_runners=2).training(learner_queue_size=2)
    with config.build_algo() as algo:
        before, lags, in_queue = weights(algo), [], 0
        for _ in range(40):
            algo.training_step()
            lags.append(algo.last_learner_results["default_policy"][f"{LAG}_max"])
            in_queue = max(in_queue, len(algo._batches))
        result = algo.train()
        assert not same(before, weights(algo))
    assert max(lags) > 0  # somebody sampled while the learner learned
    assert in_queue <= 2
    assert result["num_env_steps_sampled_lifetime"] >= 40 * 40
    assert np.isfinite(result["env_runners"]["episode_return_mean"])


@pytest.mark.parametrize("requests", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_the_lag_of_a_runner_is_bounded(requests):
    """By what is ahead of its rollout, however fast or slow either is; those of other runners come on top."""
    config = make(learner_queue_size=2).env_runners(num_env_runners=1, max_requests_in_flight_per_env_runner=requests)
    lags = []
    with config.build_algo() as algo:
        for k in range(40):
            algo.training_step()
            lags.append(algo.last_learner_results["default_policy"][f"{LAG}_max"])
            if k % 10 == 0:  # time for the runner to do all that it may
                time.sleep(0.1)
    # In the queue; sampled, but not fetched; and one that the learner has, whose weights are not there yet.
    assert max(lags) <= 2 + (requests - 1) + 1
    assert max(lags) >= (requests > 1)  # it sampled while the learner learned


@pytest.mark.slow
def test_the_learner_never_waits_for_the_slowest_runner(tmp_path):
    config = make(OneIsSlow).environment(OneIsSlow, env_config={"flag": str(tmp_path / "flag")})
    with config.env_runners(num_env_runners=2).build_algo() as algo:
        slow = []
        update = algo.learner_group.update

        def noted(**arguments):
            slow.append(any((r["obs"] == 1).any() for r in arguments["rollouts"]["default_policy"]))
            return update(**arguments)

        algo.learner_group.update = noted
        for _ in range(100):
            algo.training_step()
    assert sum(slow) < 20  # in turns it would have been half of them


def test_learners_in_processes_are_not_waited_for():
    config = make(broadcast_interval=2).env_runners(num_env_runners=1).learners(num_learners=1)
    with config.build_algo() as algo:
        before = weights(algo)
        results = [algo.train() for _ in range(3)]
        runner_version = results[-1]["env_runners"]["weights_seq_no"]
        assert not same(before, weights(algo))
    assert runner_version > 2
    learned = results[-1]["learners"]
    assert learned["default_policy"]["weights_seq_no"] >= runner_version
    assert "_rl_module_state_after_update" not in learned
    assert learned["__all_modules__"]["num_env_steps_dropped_lifetime"] >= 0


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


# -- batches ---------------------------------------------------------------------------------------------------------


def rollouts(num_envs):
    with make().env_runners(num_envs_per_env_runner=num_envs).build_algo() as algo:
        return algo.env_runner_group.sample_async()[0]


@pytest.mark.parametrize(
    ("num_envs", "batch_size", "per_batch", "parts"),
    [
        (4, 40, 1, 1),
        (4, 120, 3, 1),
        (4, 50, 1, 1),
        (4, 100, 2, 1),
        (4, 20, 1, 2),
        (6, 20, 1, 3),
        (2, 1, 1, 2),
    ],
)
def test_a_batch_is_the_number_of_rollouts_nearest_to_its_size(num_envs, batch_size, per_batch, parts):
    rollout = rollouts(num_envs)
    gatherer = Gatherer(batch_size)
    for _ in range(2):
        completed = [gatherer.add(rollout) for _ in range(per_batch)]
        assert [len(batches) for batches in completed] == [0] * (per_batch - 1) + [parts]
        for batch in completed[-1]:
            assert len(batch["default_policy"]) == per_batch
            assert batch["default_policy"][0].num_envs * parts == num_envs


def test_a_full_queue_drops_the_oldest_and_counts_its_steps():
    rollout = rollouts(4)["default_policy"]
    batches = [Batch({"default_policy": [rollout]}, 40) for _ in range(3)]
    queue = BatchQueue(2)
    for one in batches:
        queue.add(one)
    assert queue.is_full
    assert queue.num_steps_dropped == 40
    assert queue.take() is batches[1]
    assert queue.take() is batches[2]
    assert len(queue) == 0


def test_in_lock_step_nothing_is_dropped():
    with make(train_batch_size=10, learner_queue_size=1).build_algo() as algo:  # a rollout is four batches
        for _ in range(8):
            algo.training_step()
        assert algo.num_env_steps_sampled_lifetime == 80
        result = algo.last_learner_results
        assert result["__all_modules__"]["num_env_steps_dropped_lifetime"] == 0
        assert result["default_policy"][LAG] == 3.0


def test_what_is_a_matter_of_time_is_said():
    assert make().matters_of_time == []
    assert make().env_runners(num_env_runners=2).execution(executor="local").matters_of_time == []
    (runners,) = make().env_runners(num_env_runners=2).matters_of_time
    assert runners.startswith("runners sample while learners learn")
    (learners,) = make().learners(num_learners=1).matters_of_time
    assert learners.startswith("learners in processes are not waited for")


def test_rollouts_of_more_batches_than_may_wait_are_refused():
    config = make(train_batch_size=10, learner_queue_size=2).env_runners(num_env_runners=2)
    with pytest.raises(ConfigError, match=r"makes 4 train batches of 10 steps, but only 2 may wait"):
        config.validate()
    config.training(learner_queue_size=4).validate()


# -- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "training",
    [
        {"vtrace_clip_rho_threshold": 0.5},
        {"vtrace_clip_pg_rho_threshold": 0.5},
        {"vf_loss_coeff": 1.0},
        {"entropy_coeff": 0.1},
        {"entropy_coeff": [[0, 0.01], [100, 0.5]]},
        {"grad_clip": 0.01},
        {"broadcast_interval": 2},
        {"gamma": 0.9},
        {"lr": 0.01},
    ],
    ids=lambda training: "-".join(training),
)
def test_each_setting_changes_what_is_learned(training):
    found = []
    for changed in ({}, training):
        with make(**changed).build_algo() as algo:
            for _ in range(4):
                algo.training_step()
            found.append(weights(algo))
    assert not same(*found)


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({"minibatch_size": 15}, "multiple of that, 10"),
        ({"shuffle_batch_per_epoch": True}, "one after the other"),
    ],
)
def test_what_would_tear_trajectories_is_refused(training, words):
    with pytest.raises(ConfigError, match=words):
        make(**training).build_algo()


@pytest.mark.parametrize(
    "name", ["vtrace", "num_gpu_loader_threads", "timeout_s_sampler_manager", "opt_type", "replay_proportion"]
)
def test_settings_of_rllib_that_are_gone_say_what_replaces_them(name):
    with pytest.raises(UnknownSettingError, match=f"{name!r} is a setting of RLlib that rlkit does not have: "):
        IMPALAConfig().training(**{name: True})
