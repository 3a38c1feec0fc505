"""The loop of off-policy algorithms: what updates get, when there are some, warm-up, variants, checkpoints."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from rlkit_core import Columns, RLModuleSpec, TorchRLModule
from rlkit_core.errors import ConfigError
from rlkit_offpolicy import N_STEP, WEIGHTS, OffPolicyAlgorithm, OffPolicyConfig, PrioritizedReplayBuffer, ReplayBuffer

sys.path.insert(0, str(Path(__file__).parent))
from toy import Line, ToyConfig, ToyLearner, ToyModule, toy

ID = "default_policy"


@pytest.fixture(autouse=True)
def nothing_seen():
    ToyLearner.seen.clear()


def rounds(algo, count):
    for _ in range(count):
        algo.training_step()


# -- updates -----------------------------------------------------------------------------------------------------------


def test_a_batch_holds_what_losses_need_and_no_more():
    with toy().build_algo() as algo:
        rounds(algo, 20)
        columns = {name: shape for mid, seen in ToyLearner.seen for name, shape in seen.items()}
    assert columns == {
        "obs": (8, 2),
        "new_obs": (8, 2),
        "actions": (8, 2),
        "rewards": (8,),
        "discount": (8,),
        "terminateds": (8,),
    }


def test_weights_are_there_where_the_buffer_is_prioritised_and_errors_become_priorities():
    with toy(replay_buffer_config={"type": "prioritized"}).build_algo() as algo:
        rounds(algo, 20)
        assert ToyLearner.seen[0][1][WEIGHTS] == (8,)
        buffer = algo.replay_buffers[ID]
        assert isinstance(buffer, PrioritizedReplayBuffer)
        assert buffer.max_priority > 1.0


@pytest.mark.parametrize(("intensity", "expected"), [(None, 11), (8.0, 11), (16.0, 22), (2.0, 2)])
def test_with_one_env_and_one_step_a_round_each_step_earns_its_updates(intensity, expected):
    with toy(training_intensity=intensity).build_algo() as algo:
        rounds(algo, 30)
        assert algo.num_env_steps_sampled_lifetime == 30
        assert len(ToyLearner.seen) == expected
        updates = algo.learner_group.weights_seq_no
    assert updates == (expected if intensity != 16.0 else 11)  # those of a round are one call


def test_actions_are_stored_as_they_were_sampled():
    with toy().build_algo() as algo:
        rounds(algo, 30)
        batch = algo.replay_buffers[ID].sample(64)
    raw, rewards = batch[Columns.ACTIONS], batch[Columns.REWARDS]
    assert torch.all((raw - 0.25).abs() < 0.1)
    in_units = torch.stack((2.0 * raw[:, 0], 3.0 + 3.0 * raw[:, 1]), -1)
    torch.testing.assert_close(in_units.sum(-1), rewards)


# -- variants ----------------------------------------------------------------------------------------------------------


class Kept(OffPolicyAlgorithm):
    def make_buffer(self, module_id):
        return ReplayBuffer(64, seed=3, columns=[Columns.ACTION_LOGP])

    def sample_batch(self, buffer, module_id, num_updates):
        batch = buffer.sample(4, num_batches=num_updates)
        batch[Columns.REWARDS] = torch.full_like(batch[Columns.REWARDS], 7.0)
        return batch


def test_a_variant_keeps_and_samples_what_it_likes():
    config = ToyConfig(algo_class=Kept).environment(Line).debugging(seed=1)
    config.training(training_intensity=16.0, train_batch_size=4, num_steps_sampled_before_learning_starts=4)
    with config.learners(compile=None).build_algo() as algo:
        rounds(algo, 5)
        batch = algo.sample_train_batch(3)[ID]
        assert batch[Columns.ACTION_LOGP].shape == (12,)
        assert set(batch[Columns.REWARDS].tolist()) == {7.0}
        assert ToyLearner.seen[0][1][N_STEP] == (4,)
        assert algo.replay_buffers[ID].capacity == 64


def test_a_module_without_enough_is_left_out():
    class Empty(OffPolicyAlgorithm):
        def sample_batch(self, buffer, module_id, num_updates):
            return {}

    with ToyConfig(algo_class=Empty).environment(Line).debugging(seed=1).build_algo() as algo:
        rounds(algo, 25)
        assert algo.learner_group.weights_seq_no == 0


# -- warm-up -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fragment", [1, 3])
@pytest.mark.parametrize("runners", [0, 2])
def test_random_actions_fill_the_space_until_learning_starts(fragment, runners):
    config = toy(warmup="random", num_steps_sampled_before_learning_starts=240)
    config.env_runners(num_env_runners=runners, num_envs_per_env_runner=2, rollout_fragment_length=fragment)
    with config.execution(executor="local").build_algo() as algo:
        buffer_steps = 0
        while buffer_steps < 480:
            algo.training_step()
            buffer_steps = algo.num_env_steps_sampled_lifetime
        actions = algo.replay_buffers[ID].sample(2000)[Columns.ACTIONS]
        order = algo.replay_buffers[ID].last_indices
        policy = (actions - 0.25).abs().amax(-1) < 0.1
        envs = 2 * max(1, runners)
        early = order // envs * envs < 240
        assert not policy[early].float().mean() > 0.05
        assert bool(policy[~early].all())
        assert actions[early].min() < -0.9
        assert actions[early].max() > 0.9


def test_a_resumed_run_does_not_warm_up_again(tmp_path):
    with toy(warmup="random").checkpointing(replay=False).build_algo() as algo:
        rounds(algo, 30)
        path = algo.save_to_path(tmp_path / "checkpoint")
    with OffPolicyAlgorithm.from_checkpoint(path, classes=[ToyConfig, ToyModule, ToyLearner]) as resumed:
        rounds(resumed, 10)
        assert len(resumed.replay_buffers[ID]) == 10
        actions = resumed.replay_buffers[ID].sample(32)[Columns.ACTIONS]
    assert torch.all((actions - 0.25).abs() < 0.1)


class Plain(TorchRLModule):
    """A module that cannot act at random."""


def test_a_module_that_cannot_act_at_random_is_refused():
    config = toy(warmup="random").rl_module(rl_module_spec=RLModuleSpec(module_class=Plain))
    with pytest.raises(ConfigError, match=r"'default_policy' is a Plain.*RandomWarmup"):
        config.build_algo()
    with pytest.raises(ConfigError, match="'explore', 'random'"):
        ToyConfig().training(warmup="uniform")


# -- settings and checkpoints ------------------------------------------------------------------------------------------


def test_a_subclass_has_its_own_buffer_where_keys_are_missing():
    assert ToyConfig().training(replay_buffer_config={"capacity": 30}).replay_buffer_config == {
        "type": "uniform",
        "capacity": 30,
    }
    assert OffPolicyConfig().replay_buffer_config["type"] == "prioritized"
    prioritized = ToyConfig().training(replay_buffer_config={"type": "prioritized"}).replay_buffer_config
    assert prioritized == {"type": "prioritized", "capacity": 1000, "alpha": 0.6, "beta": 0.4}


def test_problems_name_the_algorithm():
    with pytest.raises(ConfigError, match="Toy takes one step on each train batch"):
        toy(num_epochs=2).validate()
    with pytest.raises(ConfigError, match="at least 20"):
        toy(replay_buffer_config={"capacity": 10}).validate()


@pytest.mark.parametrize("kept", [True, False])
def test_checkpoints_hold_the_buffer_where_told(tmp_path, kept):
    config = toy(training_intensity=3.3).checkpointing(store_buffer_in_checkpoints=kept)
    with config.build_algo() as algo:
        rounds(algo, 30)
        path = algo.save_to_path(tmp_path / "checkpoint")
        rounds(algo, 10)
        expected = algo.learner_group.learner.module[ID].state_dict()
        with OffPolicyAlgorithm.from_checkpoint(path, classes=[ToyConfig, ToyModule, ToyLearner]) as resumed:
            rounds(resumed, 10)
            found = resumed.learner_group.learner.module[ID].state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected) is kept
