"""SAC's runs: what it takes, what it refuses, what comes back from a checkpoint."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple

from rlkit_core import Algorithm
from rlkit_core.errors import ConfigError, RLKitError
from rlkit_core.testing import MultiAgentEnv, RandomEnv
from rlkit_sac import SACConfig

ID = "default_policy"
BOX = Box(-1.0, 1.0, (3,), np.float32)
ACT = Box(np.float32([-2.0, 0.0]), np.float32([2.0, 6.0]))


def small(env=RandomEnv, observation_space=BOX, action_space=ACT, **training):
    spaces = {"observation_space": observation_space, "action_space": action_space} if env is RandomEnv else {}
    settings = {
        "num_steps_sampled_before_learning_starts": 8,
        "train_batch_size": 8,
        "replay_buffer_config": {"capacity": 200},
    }
    return (
        SACConfig()
        .environment(env, env_config=spaces)
        .env_runners(num_envs_per_env_runner=2)
        .training(**{**settings, **training})
        .rl_module(
            model_config={
                "fcnet_hiddens": [8],
                "qf_head_fcnet_hiddens": [8],
                "fusionnet_hiddens": [8],
                "conv_filters": [[2, 4, 4]],
            }
        )
        .reporting(min_sample_timesteps_per_iteration=24)
        .debugging(seed=1)
    )


def weights(algo):
    return {k: v.clone() for k, v in algo.learner_group.learner.module[ID].state_dict().items()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


SEEN = {
    "vector": BOX,
    "matrix": Box(0, 255, (16, 16), np.uint8),
    "image": Box(0, 255, (16, 16, 3), np.uint8),
    "discrete": Discrete(4, start=2),
    "choices": MultiDiscrete([2, 3]),
    "composed": Dict({"a": BOX, "b": Tuple((Discrete(3), Box(-1, 1, (2, 2), np.float32)))}),
}


@pytest.mark.parametrize("seen", SEEN)
def test_every_kind_of_observation(seen):
    with small(observation_space=SEEN[seen]).build_algo() as algo:
        before = weights(algo)
        result = algo.train()["learners"][ID]
        after = weights(algo)
        assert {n.partition(".")[0] for n in after if not torch.equal(after[n], before[n])} >= {"pi", "qf", "log_alpha"}
        assert all(np.isfinite(result[name]) for name in ("qf_loss", "policy_loss", "alpha_loss", "entropy"))
        action, _ = algo.compute_single_action(SEEN[seen].sample())
        assert ACT.contains(action)


@pytest.mark.parametrize("space", [Box(-1, 1, (), np.float32), Box(-1, 3, (2, 3), np.float64)])
def test_actions_of_every_shape(space):
    with small(action_space=space).build_algo() as algo:
        algo.train()
        action, _ = algo.compute_single_action(BOX.sample(), explore=True)
        assert space.contains(np.asarray(action, space.dtype))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda: small(action_space=Discrete(2)), r"SAC.*Discrete.*dqn|action_spaces|Box"),
        (lambda: small(action_space=Box(-np.inf, 1, (2,), np.float32)), "bounded in every element"),
        (lambda: small().rl_module(model_config={"use_lstm": True}), "recurrent|use_lstm"),
        (lambda: small(observation_space=Dict({"action_mask": Box(0, 1, (2,), np.int8), "a": BOX})), "action_mask"),
        (lambda: small(initial_alpha=0.0), "initial_alpha"),
        (lambda: small(target_entropy="low"), "target_entropy"),
        (lambda: small(num_epochs=2), "one step on each train batch"),
    ],
)
def test_what_it_cannot_take_is_refused_before_anything_starts(change, said):
    with pytest.raises(RLKitError, match=rf"(?s){said}"):
        change().build_algo()


def test_acting_at_random_fills_the_action_space_and_then_it_plays_by_its_policy():
    seen = []

    class Watched(RandomEnv):
        def step(self, action):
            seen.append(action)
            return super().step(action)

    config = small(num_steps_sampled_before_learning_starts=202, replay_buffer_config={"capacity": 500}).environment(
        Watched, env_config={"observation_space": BOX, "action_space": ACT}
    )
    with config.reporting(min_sample_timesteps_per_iteration=200).build_algo() as algo:
        assert algo.train()["learners"].get(ID, {}).get("qf_loss") is None
        actions = np.stack(seen)
        assert actions.min(0) == pytest.approx(ACT.low, abs=0.15)
        assert actions.max(0) == pytest.approx(ACT.high, abs=0.15)
        assert algo.train()["learners"][ID]["num_module_steps_trained_lifetime"] == 100 * 8


@pytest.mark.parametrize("kind", ["uniform", "prioritized"])
def test_a_resumed_run_is_the_uninterrupted_one(kind, tmp_path):
    config = small("Pendulum-v1", n_step=3, replay_buffer_config={"type": kind, "capacity": 200})
    config.checkpointing(store_buffer_in_checkpoints=True)
    with config.copy().build_algo() as algo:
        algo.train()
        saved = algo.save_to_path(tmp_path / "checkpoint")
        for _ in range(2):
            algo.train()
        expected = weights(algo)
    with Algorithm.from_checkpoint(saved) as again:
        for _ in range(2):
            again.train()
        assert equal(weights(again), expected)


def test_runners_and_checkpoints_have_the_actor_alone(tmp_path):
    with small().build_algo() as algo:
        algo.train()
        names = {name.partition(".")[0] for name in algo.get_module().get_state()}
        assert names == {"encoder", "pi"}
        deployed = algo.compute_single_action(BOX.low)[0]
        path = algo.save_to_path(tmp_path / "checkpoint")
    with Algorithm.from_checkpoint(path) as again:
        np.testing.assert_array_equal(again.compute_single_action(BOX.low)[0], deployed)


def test_n_steps_and_priorities_are_used():
    with small(n_step=[1, 3], replay_buffer_config={"type": "prioritized", "capacity": 200}).build_algo() as algo:
        algo.train()
        buffer = algo.replay_buffers[ID]
        batch = buffer.sample(64, beta=1.0)
        assert set(batch["n_step"].tolist()) == {1, 2, 3}
        assert batch["weights"].unique().numel() > 1


class Two(MultiAgentEnv):
    """Two agents, each with its own spaces."""

    possible_agents = ("a", "b")

    def __init__(self, config=None):
        super().__init__()
        self.agents = list(self.possible_agents)
        self.observation_spaces = {"a": BOX, "b": Box(-1, 1, (2,), np.float32)}
        self.action_spaces = {"a": ACT, "b": Box(-1, 1, (1,), np.float32)}
        self.rng = np.random.default_rng(0)

    def _seen(self):
        return {
            agent: self.rng.uniform(-1, 1, space.shape).astype(np.float32)
            for agent, space in self.observation_spaces.items()
        }

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return self._seen(), {}

    def step(self, actions):
        assert all(self.action_spaces[agent].contains(action) for agent, action in actions.items())
        self.t += 1
        over = {"__all__": self.t >= 9}
        return self._seen(), dict.fromkeys(actions, 1.0), over, {"__all__": False}, {}


def test_several_agents_learn_each_their_module():
    config = small(Two).multi_agent(policies=["a", "b"], policy_mapping_fn=lambda agent, *_, **__: agent)
    with config.build_algo() as algo:
        result = algo.train()
        assert {name for name in result["learners"] if "qf_loss" in result["learners"][name]} == {"a", "b"}
        assert set(algo.replay_buffers) == {"a", "b"}


@pytest.mark.slow
def test_with_runners_and_learners_elsewhere():
    pytest.importorskip("rlkit_processes")
    config = small(gym.spec("Pendulum-v1").id).env_runners(num_env_runners=2).learners(num_learners=2)
    with config.build_algo() as algo:
        for _ in range(2):
            result = algo.train()
        assert np.isfinite(result["learners"][ID]["qf_loss"])


def test_unknown_model_settings_are_refused():
    with pytest.raises(ConfigError):
        small().rl_module(model_config={"fcnet_hidens": [3]}).build_algo()


def test_targets_follow_every_update_however_many_a_round_earns():
    with small(training_intensity=12.0, tau=0.25, lr=0.01).build_algo() as algo:  # 24 rows for 2 steps: 3 updates
        while not algo.replay_buffers or algo.replay_buffers[ID].num_env_steps_added_lifetime < 8:
            algo.training_step()
        learner = algo.learner_group.learner
        pairs = learner.module[ID].get_target_network_pairs()
        followed, update = [], learner.update

        def watched(*args, **kwargs):
            before = [p.clone() for _, target in pairs for p in target.parameters()]
            result = update(*args, **kwargs)
            main = [p for net, _ in pairs for p in net.parameters()]
            now = [p for _, target in pairs for p in target.parameters()]
            expected = [0.25 * m + 0.75 * p for m, p in zip(main, before, strict=True)]
            torch.testing.assert_close(now, expected)
            followed.append(len(kwargs["batch"][ID]["rewards"]))
            return result

        learner.update = watched
        algo.training_step()
        assert followed == [8, 8, 8]


def test_the_lock_has_what_it_is_built_on_though_that_has_no_entry_points():
    with small().build_algo() as algo:
        assert {"rlkit-core", "rlkit-offpolicy", "rlkit-sac"} <= algo.what_is_used().versions.keys()
