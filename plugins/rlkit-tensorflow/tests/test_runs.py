"""Whole runs with modules of TensorFlow: sampling, training, checkpoints, evaluation; and torch runs beside them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from rlkit_tensorflow import BCTfLearner, DiscreteBCTfModule, TfRLModule

import rlkit_core
from rlkit_core import Columns, RLModuleSpec
from rlkit_core.testing import BCConfigTest, MultiAgentCartPole

MODULE = "default_policy"


def balance(obs):
    return (obs[:, 2] + 0.5 * obs[:, 3] > 0).astype(np.int64)


def config(framework="tf2", **env_runners):
    return (
        BCConfigTest()
        .framework(framework)
        .environment("CartPole-v1")
        .env_runners(num_envs_per_env_runner=8, **env_runners)
        .training(expert=balance, lr=0.02, train_batch_size=512, num_epochs=4, minibatch_size=128)
        .debugging(seed=1)
    )


def state_of(algo):
    return algo.get_module().get_state()


def test_the_algorithm_clones_an_expert():
    with config().evaluation(evaluation_duration=5).build_algo() as algo:
        assert isinstance(algo.get_module(), DiscreteBCTfModule)
        assert algo.config.learner_class is BCTfLearner
        first = algo.train()["learners"][MODULE]["total_loss"]
        for _ in range(14):
            result = algo.train()
        assert result["learners"][MODULE]["total_loss"] < 0.7 * first
        assert result["env_runners"]["episode_return_mean"] > 100
        assert algo.evaluate()["env_runners"]["episode_return_mean"] > 150


def test_runs_of_one_seed_are_equal_and_a_resumed_one_goes_on_exactly(tmp_path):
    with config().build_algo() as one, config().build_algo() as other:
        for algo in (one, other):
            algo.train()
        one.save_to_path(tmp_path / "saved")
        one.train()
        other.train()
        with config().build_algo() as resumed:
            resumed.restore_from_path(tmp_path / "saved")
            resumed.train()
            for name, value in state_of(one).items():
                np.testing.assert_array_equal(value, state_of(other)[name])
                np.testing.assert_array_equal(value, state_of(resumed)[name])


def test_runners_in_processes_act_with_it():
    with config(num_env_runners=1).build_algo() as algo:
        result = algo.train()
        assert result["learners"][MODULE]["num_module_steps_trained"] > 0
        assert algo.train()["env_runners"]["num_env_steps_sampled"] >= 512


def test_a_policy_is_loaded_from_its_run(tmp_path):
    with config().build_algo() as algo:
        algo.train()
        algo.save_to_path(tmp_path / "saved")
        expected = algo.get_module()
        policy = rlkit_core.load_policy(tmp_path / "saved")
        env = gym.make("CartPole-v1")
        obs, _ = env.reset(seed=3)
        for _ in range(20):
            action = policy(obs)
            assert action == expected.compute_single_action(obs)[0]
            obs, *_ = env.step(action)


def test_the_framework_is_part_of_what_a_run_uses(tmp_path):
    with config().build_algo() as algo:
        algo.save_to_path(tmp_path / "saved")
    metadata = (tmp_path / "saved" / "metadata.json").read_text()
    assert "rlkit-tensorflow" in metadata
    assert json.loads(metadata)


DIGEST = """
import hashlib, sys
import numpy as np
from rlkit_core.plugins.host import default_host
from rlkit_ppo import PPOConfig
default_host().load()
config = PPOConfig().environment("CartPole-v1").env_runners(num_envs_per_env_runner=2)
config.training(train_batch_size=128, minibatch_size=64, num_epochs=2).debugging(seed=3)
digest = hashlib.sha256()
with config.build_algo() as algo:
    for _ in range(2):
        algo.train()
    for name, value in sorted(algo.get_module().get_state().items()):
        digest.update(name.encode() + np.ascontiguousarray(value).tobytes())
print(digest.hexdigest(), "tensorflow" in sys.modules, bool(default_host().services("framework")))
"""


@pytest.fixture(scope="module")
def digests():
    found = {}
    for disabled in ("", "rlkit-tensorflow"):
        env = {**os.environ, "RLKIT_PLUGINS_DISABLE": disabled, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-c", DIGEST], env=env, capture_output=True, text=True, check=True)
        found[disabled] = done.stdout.split()
    return found


def test_a_torch_run_beside_it_is_the_same_to_the_last_bit_and_imports_no_tensorflow(digests):
    (with_it, imported, there), (without, _, absent) = digests[""], digests["rlkit-tensorflow"]
    assert (with_it, imported) == (without, "False")
    assert (there, absent) == ("True", "False")
    assert len(with_it) == len(hashlib.sha256().hexdigest())


def own_policy(agent_id, episode, **kwargs):
    return f"p{agent_id}"


def test_agents_with_a_module_each():
    several = config().environment(MultiAgentCartPole, env_config={"num_agents": 2})
    several.multi_agent(policies=["p0", "p1"], policy_mapping_fn=own_policy)
    with several.build_algo() as algo:
        first = algo.train()["learners"]
        for _ in range(5):
            last = algo.train()["learners"]
    for mid in ("p0", "p1"):
        assert last[mid]["total_loss"] < first[mid]["total_loss"]


class Remembering(TfRLModule):
    """Recurrent, and trained to be sure of what it did."""

    def setup(self):
        self.cell, self.pi = keras.layers.GRUCell(8), keras.layers.Dense(2)
        self.cell.build((None, 4))
        self.pi.build((None, 8))

    def get_initial_state(self):
        return {"h": np.zeros(8, np.float32)}

    def _forward(self, batch, **kwargs):
        outs, h = [], batch[Columns.STATE_IN]["h"]
        for t in range(batch[Columns.OBS].shape[1]):
            out, (h,) = self.cell(batch[Columns.OBS][:, t], [h])
            outs.append(out)
        return {Columns.ACTION_DIST_INPUTS: self.pi(tf.stack(outs, 1)), Columns.STATE_OUT: {"h": h}}


def test_a_learner_takes_rollouts_and_sequences_of_recurrent_modules():
    plain, recurrent = config(), config()
    spec = RLModuleSpec(module_class=Remembering, model_config={"max_seq_len": 8})
    recurrent.rl_module(rl_module_spec=spec)
    for one in (plain, recurrent):
        with one.build_algo() as algo:
            rollouts = algo.env_runner_group.sample()
        learner = one.build_learner()
        learner.build()
        columns = rollouts[MODULE].columns
        scored = np.asarray(columns[Columns.ACTION_LOGP])
        assert (scored < 0).all()
        np.testing.assert_allclose(columns[Columns.ACTION_PROB], np.exp(scored), rtol=1e-5)
        losses = [learner.update(rollouts=rollouts)[MODULE]["total_loss"] for _ in range(20)]
        assert losses[-1] < losses[0]
