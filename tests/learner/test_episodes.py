"""Episodes as arrays and as lists of steps, against rollouts written by hand."""

from __future__ import annotations

from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch

from actor_critic import ACConfig, ACLearner
from rlkit_core import Columns
from rlkit_core.data import Rollout, gae
from rlkit_core.errors import ConfigError
from rlkit_core.learner import rollout_from_episodes

OBS = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
ACT = gym.spaces.Discrete(2)


def episode(length, *, seed=0, **flags):
    rng = np.random.default_rng(seed)
    return {
        "obs": rng.uniform(-1, 1, (length + 1, 3)).astype(np.float32),
        "actions": rng.integers(0, 2, length),
        "rewards": rng.normal(size=length),
        "terminated": False,
        "truncated": False,
        **flags,
    }


def as_steps(data, form):
    length = len(data["actions"])
    steps = []
    for t in range(length):
        step = {"obs": data["obs"][t], "action": data["actions"][t], "reward": data["rewards"][t]}
        step["terminated"] = data["terminated"] and t == length - 1
        step["truncated"] = data["truncated"] and t == length - 1
        if form == "next_obs":
            step["next_obs"] = data["obs"][t + 1]
        steps.append(step)
    return steps if form == "next_obs" else [*steps, {"obs": data["obs"][-1]}]


FORMS = {
    "dict": lambda e: e,
    "object": lambda e: SimpleNamespace(**e),
    "steps with next_obs": lambda e: as_steps(e, "next_obs"),
    "a last step with obs only": lambda e: as_steps(e, "last"),
    "lists": lambda e: {
        **e,
        "obs": list(e["obs"]),
        "actions": list(e["actions"]),
        "rewards": list(e["rewards"]),
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_a_rollout_holds_the_episodes_one_after_the_other(form):
    ended, cut, open_ = episode(3, terminated=True), episode(2, seed=1, truncated=True), episode(4, seed=2)
    rollout = rollout_from_episodes([FORMS[form](e) for e in (ended, cut, open_)], OBS)
    assert (rollout.num_steps, rollout.num_envs) == (9, 1)
    for name, key in ((Columns.OBS, "obs"), (Columns.ACTIONS, "actions"), (Columns.REWARDS, "rewards")):
        parts = [e[key][: len(e["actions"])] for e in (ended, cut, open_)]
        np.testing.assert_allclose(rollout[name][:, 0].numpy(), np.concatenate(parts), rtol=1e-6)
    assert rollout[Columns.REWARDS].dtype == torch.float32
    assert rollout[Columns.TERMINATEDS][:, 0].nonzero().flatten().tolist() == [2]
    assert rollout[Columns.TRUNCATEDS][:, 0].nonzero().flatten().tolist() == [4, 8]
    assert rollout.final_index.tolist() == [4, 8]
    np.testing.assert_array_equal(rollout.final_obs.numpy(), [cut["obs"][-1], open_["obs"][-1]])


def test_nested_observations_in_both_forms():
    space = gym.spaces.Dict({"a": OBS, "b": gym.spaces.Tuple((gym.spaces.Discrete(5), OBS))})
    space.seed(1)
    observations = [space.sample() for _ in range(4)]
    rest = {"actions": [0, 1, 0], "rewards": [1.0, 2.0, 3.0], "terminated": True}
    listed = rollout_from_episodes([{"obs": observations, **rest}], space)
    arrays = {
        "a": np.stack([o["a"] for o in observations]),
        "b": (np.array([o["b"][0] for o in observations]), np.stack([o["b"][1] for o in observations])),
    }
    stacked = rollout_from_episodes([{"obs": arrays, **rest}], space)
    for one in (listed, stacked):
        assert one[Columns.OBS]["b"][0].flatten().tolist() == [o["b"][0] for o in observations[:3]]
        np.testing.assert_array_equal(one[Columns.OBS]["a"][:, 0].numpy(), arrays["a"][:3])
        np.testing.assert_array_equal(one.bootstrap_obs["b"][1].numpy()[0], observations[-1]["b"][1])


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        ({"obs": np.zeros((3, 3))}, "T \\+ 1, T and T"),
        ({"rewards": None}, "no 'rewards'"),
        ({"actions": np.zeros(0)}, "0 actions"),
    ],
)
def test_what_does_not_fit_is_said_with_the_episode(broken, what):
    with pytest.raises(ConfigError, match=f"episode 1.*{what}"):
        rollout_from_episodes([episode(3), {**episode(3), **broken}], OBS)


def test_steps_that_do_not_make_an_episode():
    steps = as_steps(episode(3, terminated=True), "last")
    with pytest.raises(ConfigError, match="observation after the last action is missing"):
        rollout_from_episodes([steps[:-1]], OBS)
    steps[0]["terminated"] = True
    with pytest.raises(ConfigError, match="before the last one ends it"):
        rollout_from_episodes([steps], OBS)
    with pytest.raises(ConfigError, match="all need the same"):
        rollout_from_episodes([episode(2), {**episode(2), "action_logp": np.zeros(2)}], OBS)


def learner_for(learner_class=ACLearner, **training):
    config = ACConfig().environment(observation_space=OBS, action_space=ACT).debugging(seed=3)
    config.training(normalize_advantages=False, **training).learners(learner_class=learner_class)
    learner = config.build_learner()
    learner.build()
    return learner


class Keeps(ACLearner):
    def build_train_batch(self, module_id, rollout):
        self.rows = super().build_train_batch(module_id, rollout)
        return self.rows


def test_a_learner_gets_each_episodes_own_advantages():
    """GAE over each episode alone, with the value of its own last observation."""
    learner = learner_for(Keeps)
    module = learner.module["default_policy"]
    episodes = [episode(5, terminated=True), episode(3, seed=1, truncated=True), episode(4, seed=2)]
    learner.update_from_episodes(episodes)
    expected_advantages, expected_targets = [], []
    fresh = learner_for().module["default_policy"]
    for e in episodes:
        values = fresh.compute_values({"obs": torch.from_numpy(e["obs"])}).detach()
        length = len(e["actions"])
        ends = torch.zeros(length, 1, dtype=torch.bool)
        ends[-1] = e["terminated"]
        advantages, targets = gae(
            torch.tensor(e["rewards"], dtype=torch.float32)[:, None],
            values[:-1, None],
            values[-1:],
            ends,
            torch.zeros_like(ends),
            None,
            0.99,
            0.95,
        )
        expected_advantages.append(advantages[:, 0])
        expected_targets.append(targets[:, 0])
    torch.testing.assert_close(learner.rows[Columns.ADVANTAGES], torch.cat(expected_advantages))
    torch.testing.assert_close(learner.rows[Columns.VALUE_TARGETS], torch.cat(expected_targets))
    out = fresh.forward_train({"obs": learner.rows[Columns.OBS]})
    logp = torch.log_softmax(out["action_dist_inputs"], -1).gather(-1, learner.rows["actions"][:, None])[:, 0]
    torch.testing.assert_close(learner.rows[Columns.ACTION_LOGP], logp.detach())
    assert not torch.equal(next(module.vf.parameters()), next(fresh.vf.parameters()))


def test_given_log_probabilities_are_kept():
    learner = learner_for(Keeps)
    logp = np.full(4, -0.25, np.float32)
    learner.update(episodes={"default_policy": [{**episode(4), "extra_model_outputs": {"action_logp": logp}}]})
    assert (learner.rows[Columns.ACTION_LOGP] == -0.25).all()


def test_a_recurrent_module_takes_episodes():
    config = ACConfig().environment(observation_space=OBS, action_space=ACT).debugging(seed=3)
    config.rl_module(model_config={"use_lstm": True, "max_seq_len": 4})
    learner = config.build_learner()
    learner.build()
    extra = {"action_logp": np.full(5, -0.7, np.float32)}
    result = learner.update_from_episodes([{**episode(5, terminated=True), **extra}, {**episode(5, seed=1), **extra}])
    assert result["default_policy"]["num_module_steps_trained"] == 10


def test_how_old_the_acting_weights_were():
    learner = learner_for()
    key = "diff_num_grad_updates_vs_sampler_policy"
    for updates in range(3):
        result = learner.update_from_episodes([{**episode(4), "weights_version": 0}])
        assert result["default_policy"][key] == updates
    assert key not in learner.update_from_episodes([episode(4)])["default_policy"]
    rollout = rollout_from_episodes([{**episode(4), "action_logp": np.full(4, -0.7, np.float32)}], OBS)
    rollout.weights_version, rollout.episode_starts = 1, None
    assert isinstance(rollout, Rollout)
    assert learner.update(rollouts={"default_policy": rollout})["default_policy"][key] == 3


def test_exactly_one_source():
    learner = learner_for()
    for given in ({}, {"batch": {}, "episodes": []}, {"rollouts": {}, "batch": {}}):
        with pytest.raises(ConfigError, match="exactly one"):
            learner.update(**given)
    assert learner.update(episodes=[])["__all_modules__"]["num_empty_updates_lifetime"] == 1


def test_a_group_takes_episodes_too():
    config = ACConfig().environment(observation_space=OBS, action_space=ACT).debugging(seed=3)
    group, learner = config.build_learner_group(), config.build_learner()
    learner.build()
    learner.set_state(group.get_state()["learner"])
    results = [one.update_from_episodes([episode(6, terminated=True)]) for one in (group, learner)]
    assert results[0] == results[1]
    assert group.get_stats()["learner_group_ts_dropped_lifetime"] == 0
