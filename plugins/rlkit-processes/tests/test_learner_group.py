"""Groups of learners: equal to one learner, equal to each other, whatever is asked of them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from actor_critic import ACConfig, rows_to_clone
from rlkit_core import Columns, Learner, LearnerGroup, MultiRLModuleSpec, RLModuleSpec
from rlkit_core.data import Rollout
from rlkit_core.errors import ConfigError, RLKitError
from rlkit_core.execution import LocalExecutor
from rlkit_core.seeding import SeedTree
from rlkit_core.testing import BCConfigTest, DiscreteBCTorchModule
from rlkit_processes.learners.gloo import PeerError, Rendezvous
from rlkit_processes.learners.sharding import bounds, shard
from rlkit_processes.learners.team import make_one_of
from rows_learner import RowsLearner
from simple_modules import RandomRLModule

OBS = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
ACT = gym.spaces.Discrete(2)
MID = "default_policy"
GOAL = 0.57


def config_for(num_learners=0, learner_class=RowsLearner, **training):
    return (
        BCConfigTest()
        .environment(observation_space=OBS, action_space=ACT)
        .training(**{"lr": 0.01, "grad_clip": 0.1, **training})
        .learners(num_learners=num_learners, learner_class=learner_class)
        .debugging(seed=2)
    )


def rows(count=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    obs = torch.randn(count, 4, generator=generator)
    return {"obs": obs, "actions": (obs[:, 0] > 0).long()}


def weights_of(learner):
    return torch.cat([p.detach().reshape(-1) for p in learner.module.parameters()])


def assert_equal_everywhere(group):
    first, *others = group.foreach_learner(weights_of)
    for other in others:
        assert torch.equal(first, other)
    return first


@pytest.fixture(scope="module")
def shared_pair():
    """Two learners; tests leave them with the modules they had."""
    config = config_for(2).learners(on_nonfinite="skip", compile="auto", max_requests_in_flight_per_learner=2)
    group = config.build_learner_group()
    yield group, group.get_state()
    group.shutdown()


@pytest.fixture
def pair(shared_pair):
    group, state = shared_pair
    group.set_state(state)
    yield group
    group._under_way.clear()


@pytest.fixture
def whole(pair):
    """One learner with the state of the two."""
    learner = config_for().build_learner()
    learner.build()
    learner.set_state(pair.get_state()["learner"])
    return learner


# -- the same as one learner ----------------------------------------------------------------------------------------


@pytest.mark.covers("service:learner_group")
@pytest.mark.parametrize(("count", "masked"), [(32, False), (33, False), (33, True)])
def test_two_learners_on_halves_are_one_on_the_whole(pair, whole, count, masked):
    for k in range(5):
        batch = rows(count, k)
        if masked:
            batch[Columns.LOSS_MASK] = torch.rand(count, generator=torch.Generator().manual_seed(k)) < 0.3
        ours, theirs = (one.update({MID: batch}) for one in (pair, whole))
        assert ours[MID].keys() == theirs[MID].keys()
        assert ours[MID] == pytest.approx(theirs[MID], rel=1e-5)
        assert ours[MID]["gradients_default_optimizer_global_norm"] > 0.1  # so they were clipped
        assert ours["__all_modules__"] == theirs["__all_modules__"]
        torch.testing.assert_close(assert_equal_everywhere(pair), weights_of(whole), rtol=0, atol=1e-6)


def test_minibatches_of_unequal_shards(pair):
    """103 rows are 51 and 52: three minibatches of 26 would do for one learner, four for the other (two epochs)."""
    result = pair.update({MID: rows(103)}, num_epochs=2, minibatch_size=26, shuffle_batch_per_epoch=True)
    assert result[MID]["num_module_steps_trained"] == 103
    assert_equal_everywhere(pair)
    states = pair.foreach_learner(lambda learner: learner._get_optimizer_state())
    steps = [state[f"{MID}_default_optimizer"]["groups"][0]["state"]["step"][0] for state in states]
    assert [float(step) for step in steps] == [4.0, 4.0]


def test_a_local_group_is_a_bare_learner():
    group, learner = config_for().build_learner_group(), config_for().build_learner()
    learner.build()
    learner.set_state(group.get_state()["learner"])
    for one in (group, learner):
        one.add_module(module_id="p1", module_spec=RLModuleSpec(observation_space=OBS, action_space=ACT))
    for k in range(3):
        batch = {MID: rows(seed=k), "p1": rows(seed=k + 10)}
        assert group.update(batch) == learner.update(batch)
    assert bool(group)
    assert len(group) == 1
    assert group.is_local
    assert group.learner.module is not None
    with pytest.raises(ValueError, match="use update"):
        group.async_update({MID: rows()})


@pytest.mark.parametrize("num_learners", [1, 2])
def test_cloning_a_policy(num_learners, shared_pair):
    group, state = shared_pair if num_learners == 2 else (config_for(1).build_learner_group(), None)
    if state is not None:
        group.set_state(state)
    generator, losses, recorded = torch.Generator().manual_seed(0), [], rows_to_clone()
    assert len(group) == num_learners
    assert group.is_remote
    assert group
    while len(losses) < 1000 and not np.mean(losses[-10:] or [1.0]) < GOAL:
        chosen = torch.randint(0, len(recorded["obs"]), (512,), generator=generator)
        batch = {name: column[chosen] for name, column in recorded.items()}
        losses.append(group.update({MID: batch})[MID]["total_loss"])
        assert_equal_everywhere(group)
    assert losses[0] == pytest.approx(0.69, abs=0.05)
    assert np.mean(losses[-10:]) < GOAL
    if state is None:
        group.shutdown()
        group.shutdown()
        with pytest.raises(RLKitError, match="stopped"):
            group.update({MID: rows()})


# -- what learners agree on -------------------------------------------------------------------------------------------


def test_an_empty_shard_is_a_skip_on_all(pair):
    before = assert_equal_everywhere(pair)
    result = pair.update({MID: rows(1)})
    assert result["__all_modules__"]["num_empty_updates_lifetime"] == 1
    assert MID not in result
    assert torch.equal(before, assert_equal_everywhere(pair))


def test_a_loss_that_is_not_finite_on_one_is_a_skip_on_all(pair):
    before = assert_equal_everywhere(pair)
    bad = rows(16)
    bad["obs"][-1] = 100.0
    assert pair.update({MID: bad})[MID]["num_nonfinite_updates_lifetime"] == 1
    assert torch.equal(before, assert_equal_everywhere(pair))
    pair.update({MID: rows(16)})
    assert not torch.equal(before, assert_equal_everywhere(pair))


class OnlyWhereItIsWarm:
    """Trains a module whose batch has a large first observation."""

    def __call__(self, module_id, batch=None):
        return batch is None or float(batch["obs"][0, 0]) > 0


def test_modules_that_only_some_train_are_dropped(pair):
    pair.add_module(
        module_id="p1",
        module_spec=RLModuleSpec(observation_space=OBS, action_space=ACT),
        new_should_module_be_updated=OnlyWhereItIsWarm(),
    )
    warm, half = rows(8), rows(8)
    warm["obs"][:, 0] = 1.0
    half["obs"][:, 0] = torch.tensor([1.0] * 4 + [-1.0] * 4)
    result = pair.update({MID: warm, "p1": half})
    assert result[MID]["num_module_steps_trained"] == 8
    assert "total_loss" not in result.get("p1", {})
    assert_equal_everywhere(pair)
    assert "total_loss" in pair.update({MID: warm, "p1": warm})["p1"]
    pair.remove_module("p1", new_should_module_be_updated=[MID])


def test_a_schedule_that_looks_at_the_loss_is_the_same_everywhere(pair):
    """The first learner's loss falls by more than a tenth, the second's rows contradict each other."""

    def plateau(optimizer):
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.1)

    pair.add_module(
        module_id="p1",
        module_spec=RLModuleSpec(observation_space=OBS, action_space=ACT),
        config_overrides={"torch_lr_scheduler_classes": [plateau], "lr": 0.03},
        new_should_module_be_updated=["p1"],
    )
    batch = rows(16)
    batch["obs"][8:] = batch["obs"][8]
    batch["actions"][8:] = torch.arange(8) % 2
    for _ in range(12):
        pair.update({"p1": batch})
    rates = pair.foreach_learner(lambda learner: learner._get_optimizer_lr(learner.get_optimizer("p1")))
    assert rates[0] == rates[1]
    assert rates[0] < 0.03
    assert_equal_everywhere(pair)
    assert pair.foreach_learner(lambda one: one.mean_over_learners(float(one.peers.rank))) == [0.5, 0.5]
    pair.remove_module("p1", new_should_module_be_updated=[MID])


def test_a_step_that_does_not_average_is_refused(pair):
    pair.foreach_learner(lambda learner: setattr(learner, "alone", True))
    with pytest.raises(ConfigError, match="average_gradients"):
        pair.update({MID: rows()})
    pair.foreach_learner(lambda learner: setattr(learner, "alone", False))
    assert pair.update({MID: rows(seed=1)})[MID]["num_module_steps_trained"] == 32
    assert_equal_everywhere(pair)


# -- one source, many shards ------------------------------------------------------------------------------------------


def several_modules(group):
    """Two more modules, the last without parameters to train."""
    for module_id, module_class in (("p1", DiscreteBCTorchModule), ("rnd", RandomRLModule)):
        spec = RLModuleSpec(module_class, OBS, ACT, model_config={"fcnet_hiddens": [8]})
        group.add_module(module_id=module_id, module_spec=spec, new_should_module_be_updated=[MID, "p1"])


def test_modules_with_different_numbers_of_rows_are_one_learners_too(pair):
    """Whole batches: each module's rows are halved for itself, and a module without rows keeps still."""
    several_modules(pair)
    whole = config_for().build_learner()
    whole.build()
    whole.set_state(pair.get_state()["learner"])
    for k, (first, second) in enumerate(((32, 6), (7, 40), (20, 0), (0, 9), (3, 3))):
        batch = {MID: rows(first, k), "p1": rows(second, 10 + k), "rnd": rows(4, k)}
        before = pair.get_weights(inference_only=False).state
        ours, theirs = (one.update(batch) for one in (pair, whole))
        assert {mid for mid in (MID, "p1", "rnd") if "total_loss" in ours.get(mid, {})} == {
            mid for mid, count in ((MID, first), ("p1", second)) if count
        }
        for mid, count in ((MID, first), ("p1", second)):
            assert ours.get(mid, {}) == pytest.approx(theirs.get(mid, {}), rel=1e-4)
            if not count:
                after = pair.get_weights(inference_only=False).state[mid]
                assert all(np.array_equal(value, before[mid][name]) for name, value in after.items())
        assert ours["__all_modules__"] == theirs["__all_modules__"]
        torch.testing.assert_close(assert_equal_everywhere(pair), weights_of(whole), rtol=0, atol=1e-6)


def test_minibatches_of_modules_of_different_sizes_stay_equal_everywhere(pair):
    several_modules(pair)
    batch = {MID: rows(101), "p1": rows(9, 1)}
    result = pair.update(batch, num_epochs=2, minibatch_size=16, shuffle_batch_per_epoch=True)
    assert (result[MID]["num_module_steps_trained"], result["p1"]["num_module_steps_trained"]) == (101, 9)
    assert_equal_everywhere(pair)
    states = pair.foreach_learner(lambda learner: learner._get_optimizer_state())
    steps = [
        float(state[f"{mid}_default_optimizer"]["groups"][0]["state"]["step"][0])
        for state in states
        for mid in (MID, "p1")
    ]
    assert len(set(steps)) == 1  # the small module cycles through its rows


def test_fewer_rows_than_learners_leave_that_module_out(pair):
    several_modules(pair)
    result = pair.update({MID: rows(8), "p1": rows(1)})
    assert "total_loss" in result[MID]
    assert "total_loss" not in result.get("p1", {})
    assert_equal_everywhere(pair)


def rollout(steps, columns, seed, agents=False):
    generator = torch.Generator().manual_seed(seed)
    obs = torch.randn(steps + 1, columns, 4, generator=generator)
    flags = torch.zeros(steps, columns, dtype=torch.bool)
    return Rollout(
        columns={
            "obs": obs[:-1],
            "actions": (obs[:-1, :, 0] > 0).long(),
            "rewards": torch.zeros(steps, columns),
            "terminateds": flags,
            "truncateds": flags,
        },
        bootstrap_obs=obs[-1],
        cut=torch.zeros(columns, dtype=torch.bool) if agents else None,
    )


def test_rollouts_of_modules_with_different_numbers_of_columns(pair):
    """Several agents' modules have rollouts of their own T and N; one has none at all."""
    several_modules(pair)
    rollouts = {MID: rollout(8, 5, seed=1), "p1": rollout(3, 2, seed=2)}
    result = pair.update(rollouts=rollouts)
    assert result[MID]["num_module_steps_trained"] == 40
    assert result["p1"]["num_module_steps_trained"] == 6
    assert_equal_everywhere(pair)
    result = pair.update(rollouts={"p1": rollout(4, 2, seed=3)})
    assert "total_loss" not in result.get(MID, {})
    assert result["p1"]["num_module_steps_trained"] == 8
    with pytest.warns(UserWarning, match=r"'p1' had 1 column\(s\) of agents for 2 learners"):
        result = pair.update(
            rollouts={MID: rollout(4, 2, seed=4, agents=True), "p1": rollout(4, 1, seed=5, agents=True)}
        )
    assert "total_loss" in result[MID]
    assert "total_loss" not in result.get("p1", {})
    assert_equal_everywhere(pair)


def test_exactly_one_source(pair):
    for given in ({}, {"batch": {}, "episodes": []}, {"rollouts": {}, "batch": {}}):
        with pytest.raises(ConfigError, match="exactly one"):
            pair.update(**given)
        with pytest.raises(ConfigError, match="exactly one"):
            pair.async_update(**given)


def test_shards():
    assert [stop - start for start, stop in bounds(178, 3)] == [59, 59, 60]
    episodes = [{"obs": np.zeros((3, 4)), "actions": np.zeros(2), "rewards": np.ones(2)} for _ in range(178)]
    shards = shard(3, episodes=episodes)
    assert [len(own["episodes"]) for own in shards.arguments] == [59, 59, 60]
    assert shards.num_steps == 356
    shards = shard(3, batch={"p0": rows(7), "p1": rows(2)})
    assert [len(own["batch"]["p0"]["obs"]) for own in shards.arguments] == [2, 2, 3]
    assert all("p1" not in own["batch"] for own in shards.arguments)
    assert shards.num_steps == 7
    with pytest.raises(ConfigError, match="other numbers of rows"):
        shard(2, batch={"p0": {"obs": np.zeros((4, 2)), "actions": np.zeros(3)}})


def test_rows_come_back_in_their_order(pair):
    batch = rows(33)
    pair.update({MID: batch}, minibatch_size=6)
    assert torch.equal(pair.take_rows()[MID]["first"], batch["obs"][:, 0])


def test_rollouts_are_divided_by_envs(pair):
    config = ACConfig().environment("CartPole-v1").debugging(seed=3)
    config.env_runners(num_envs_per_env_runner=4).training(train_batch_size=20, minibatch_size=None)
    with config.build_algo() as algo:
        rollout = algo.env_runner_group.sample()[MID].clone()
        more = algo.env_runner_group.sample()[MID].clone()
    rollout.weights_version, more.weights_version = 0, -2
    expected = rollout["obs"][..., 0].reshape(-1)
    result = pair.update(rollouts={MID: rollout})
    assert result[MID]["num_module_steps_trained"] == 20
    assert torch.equal(pair.take_rows()[MID]["first"], expected)

    # Two rollouts: one each. Three: joined, and divided anew.
    name = "diff_num_grad_updates_vs_sampler_policy"
    result = pair.update(rollouts={MID: [rollout, more]})
    assert (result[MID][name], result[MID][f"{name}_max"]) == (2.0, 3.0)  # 1 and 3 updates ago
    joined = torch.cat((rollout["obs"][..., 0], more["obs"][..., 0]), 1)
    assert torch.equal(pair.take_rows()[MID]["first"], joined.reshape(-1))
    pair.update(rollouts={MID: [rollout, more, rollout]})
    joined = torch.cat((joined, rollout["obs"][..., 0]), 1)
    assert torch.equal(pair.take_rows()[MID]["first"], joined.reshape(-1))
    with pytest.raises(ConfigError, match="num_envs_per_env_runner"):
        pair.update(rollouts={MID: rollout.split(4)[0]})
    assert_equal_everywhere(pair)


def test_the_age_of_joined_rollouts(whole):
    config = ACConfig().environment("CartPole-v1").debugging(seed=3).training(train_batch_size=16)
    with config.training(minibatch_size=None).build_algo() as algo:
        parts = [algo.env_runner_group.sample()[MID].clone() for _ in range(3)]
    for version, part in zip((0, -3, None), parts, strict=True):
        part.weights_version = version
    result = whole.update(rollouts={MID: parts})[MID]
    name = "diff_num_grad_updates_vs_sampler_policy"
    assert (result[name], result[f"{name}_max"], result["num_module_steps_trained"]) == (1.5, 3.0, 48)


# -- modules, weights, state ------------------------------------------------------------------------------------------


def test_modules_come_and_go(pair):
    pair.update({MID: rows(33)}, num_epochs=2, minibatch_size=8, shuffle_batch_per_epoch=True)
    spec = pair.add_module(
        module_id="p1",
        module_spec=RLModuleSpec(observation_space=OBS, action_space=ACT),
        new_should_module_be_updated=[MID, "p1"],
    )
    assert isinstance(spec, MultiRLModuleSpec)
    assert set(spec.rl_module_specs) == {MID, "p1"}
    assert pair.config.policy_ids == [MID, "p1"] == pair.module_ids
    assert_equal_everywhere(pair)
    result = pair.update({MID: rows(seed=1), "p1": rows(seed=2)})
    assert {"total_loss"} <= set(result[MID]) & set(result["p1"])
    assert_equal_everywhere(pair)
    assert set(pair.remove_module("p1").rl_module_specs) == {MID}
    assert "p1" not in pair.update({MID: rows(seed=3)})
    with pytest.raises(KeyError):
        pair.remove_module("p1")
    assert_equal_everywhere(pair)


def test_save_load_and_go_on(pair, tmp_path):
    steps = {"num_epochs": 2, "minibatch_size": 8, "shuffle_batch_per_epoch": True}
    pair.update({MID: rows(33)}, **steps)
    path = pair.save_to_path(tmp_path / "group")
    result, after = pair.update({MID: rows(33, 1)}, **steps), pair.get_state()
    other = LearnerGroup.from_checkpoint(path, classes=[RowsLearner])
    try:
        assert len(other) == 2
        again, state = other.update({MID: rows(33, 1)}, **steps), other.get_state()
        assert again == result
        assert_same(state, after)
        # A part of it, into every learner.
        module = DiscreteBCTorchModule(observation_space=OBS, action_space=ACT, model_config={"fcnet_hiddens": [32]})
        saved = module.save_to_path(tmp_path / "module")
        other.restore_from_path(saved, component=f"learner/rl_module/{MID}")
        expected = torch.cat([p.detach().reshape(-1) for p in module.parameters()])
        assert torch.equal(assert_equal_everywhere(other), expected)
        with pytest.raises(RLKitError, match="nothing"):
            other.restore_from_path(saved, component="learner/nothing")
    finally:
        other.shutdown()
    # One learner goes on from it as well.
    one = LearnerGroup(config=config_for())
    one.restore_from_path(path)
    assert one.weights_seq_no == 1
    assert one.update({MID: rows()})[MID]["num_module_steps_trained_lifetime"] == 33 + 32


def assert_same(one, other):
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert np.array_equal(np.asarray(one), np.asarray(other))


def test_weights_go_in_and_out(pair):
    weights = pair.get_weights(inference_only=False)
    pair.update({MID: rows()})
    assert pair.get_weights().version == weights.version + 1 == pair.weights_seq_no
    pair.set_weights(weights)
    kept = pair.get_weights(inference_only=False).state[MID]
    assert all(np.array_equal(kept[name], value) for name, value in weights.state[MID].items())
    assert_equal_everywhere(pair)
    result = pair.update({MID: rows(seed=4)}, return_state=True)
    new = result["_rl_module_state_after_update"].state[MID]
    assert all(np.array_equal(pair.get_weights().state[MID][name], value) for name, value in new.items())


def test_each_learner_is_asked(pair):
    assert pair.foreach_learner(lambda learner: learner.peers.rank) == [0, 1]

    def fail(learner):
        if learner.peers.rank:
            raise ZeroDivisionError("on the second")
        return "first"

    first, second = pair.foreach_learner(fail, return_exceptions=True)
    assert first == "first"
    assert isinstance(second, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError, match="on the second"):
        pair.foreach_learner(fail)
    pair.update({MID: rows()})
    assert_equal_everywhere(pair)
    with pytest.raises(RLKitError, match="foreach_learner"):
        pair.learner


# -- not waiting ------------------------------------------------------------------------------------------------------


def finish(group):
    """Calls run in order: what was under way is done when this comes back."""
    group.foreach_learner(lambda learner: None)


def test_updates_that_are_not_waited_for(pair):
    pair.foreach_learner(lambda learner: setattr(learner, "pause", 0.3))
    dropped = pair.get_stats()["learner_group_ts_dropped_lifetime"]
    assert [pair.async_update({MID: rows(16, k)}) for k in range(4)] == [[], [], [], []]
    stats = pair.get_stats()
    assert stats["learner_group_ts_dropped_lifetime"] == dropped + 32
    assert stats["actor_manager_num_outstanding_async_reqs"] == 4
    finish(pair)
    pair.foreach_learner(lambda learner: setattr(learner, "pause", 0.0))
    results = pair.async_update({MID: rows(16, 9)}, return_state=True)
    assert [result[MID]["weights_seq_no"] for result in results] == [1, 2]
    assert pair.update({MID: rows(16)})[MID]["weights_seq_no"] == 4
    (last,) = pair.async_update({MID: rows(16)})
    assert last["_rl_module_state_after_update"].version == 3
    assert_equal_everywhere(pair)
    finish(pair)
    assert len(pair.async_update({})) == 1
    finish(pair)
    assert pair.async_update({})[0]["__all_modules__"]["num_empty_updates_lifetime"] == 1
    finish(pair)
    assert pair.get_stats()["learner_group_ts_dropped_lifetime"] == dropped + 32


def test_cloning_without_waiting(pair):
    losses = []
    assert pair.async_update({MID: rows(256)}) == []
    for k in range(1, 400):
        losses += [result[MID]["total_loss"] for result in pair.async_update({MID: rows(256, k)})]
        finish(pair)
        if losses and losses[-1] < 0.3:
            break
    assert losses[0] == pytest.approx(0.69, abs=0.15)
    assert losses[-1] < 0.3
    finish(pair)


# -- what is refused --------------------------------------------------------------------------------------------------


def test_learners_that_cannot_run_beside_each_other():
    with pytest.raises(ConfigError, match="one after the other"):
        config_for(2).execution(executor="local").build_learner_group()
    with pytest.raises(ConfigError, match="one after the other"):
        LearnerGroup(config=config_for(2), executor=LocalExecutor())
    with pytest.raises(ConfigError, match="one after the other"):
        ACConfig().learners(num_learners=2).execution(executor="local").validate()


def test_one_learner_may_be_an_actor_in_this_process():
    group = config_for(1).execution(executor="local").build_learner_group()
    assert group.is_remote
    assert len(group) == 1
    assert group.update({MID: rows()})[MID]["weights_seq_no"] == 1
    assert isinstance(group.foreach_learner(lambda learner: learner)[0], Learner)
    group.shutdown()


@pytest.mark.parametrize("how", ["capture", "inductor"])
def test_recordings_do_not_average(how):
    """(``"auto"`` takes eager steps then; the groups of these tests are made so.)"""
    with pytest.raises(ConfigError, match=f"compile={how!r}"):
        config_for(2).learners(compile=how).build_learner_group()
    with pytest.raises(ConfigError, match=f"compile={how!r}"):
        ACConfig().environment("CartPole-v1").learners(num_learners=2, compile=how).validate()
    ACConfig().environment("CartPole-v1").learners(num_learners=1, compile=how).validate()


def listening(pid):
    """``[address, ...]`` that a process's TCP sockets listen on."""
    own = {os.readlink(one.path) for one in os.scandir(f"/proc/{pid}/fd") if one.is_symlink()}
    tables = [Path(f"/proc/{pid}/net/{name}") for name in ("tcp", "tcp6")]
    found = [row.split() for table in tables if table.exists() for row in table.read_text().splitlines()]
    return [row[1].split(":")[0] for row in found if row[3] == "0A" and f"socket:[{row[9]}]" in own]


@pytest.mark.skipif(not os.path.exists("/proc/net/tcp"), reason="reads Linux's table of sockets")
def test_no_other_machine_reaches_learners_of_one_machine(pair):
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    first, second = (set(listening(actor.pid)) for actor in pair._team.actors)
    assert first  # where they meet
    assert first | second <= loopback
    with socket.create_server(("0.0.0.0", 0)):
        assert not set(listening(os.getpid())) <= loopback  # one that others do reach is seen


def test_learners_do_not_meet_where_this_machine_is_not():
    with pytest.raises(PeerError, match=r"'203\.0\.113\.7'"):  # kept for documentation (RFC 5737)
        Rendezvous("203.0.113.7")


def test_learners_with_a_gpu_each_take_their_own(monkeypatch):
    seen = []

    def pick(config):
        seen.append(config.local_gpu_idx)
        return torch.device("cpu")

    monkeypatch.setattr("rlkit_core.learner.learner.pick_device", pick)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    config = config_for().learners(num_gpus_per_learner=1, local_gpu_idx=1)
    for index in (0, 2):
        make_one_of(config, config.get_multi_rl_module_spec(), SeedTree(0), index)
    make_one_of(config.learners(num_gpus_per_learner=0.5), config.get_multi_rl_module_spec(), SeedTree(0), 1)
    assert seen == [1, 3, 1]

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")  # as an executor sets it that gives each actor its own
    config = config_for().learners(num_gpus_per_learner=1)
    make_one_of(config, config.get_multi_rl_module_spec(), SeedTree(0), 2, visible="0,1,2,3")
    make_one_of(config, config.get_multi_rl_module_spec(), SeedTree(0), 2, visible="3")
    assert seen[3:] == [0, 2]
