"""Groups of learners when something goes wrong: nobody waits for ever, the error is the true one, nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from attrs import evolve

from rlkit_core import RLModuleSpec
from rlkit_core.errors import ActorError, NonFiniteError
from rlkit_core.testing import BCConfigTest, BCTorchLearner
from rlkit_processes.learners.sharding import Shards

OBS = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
ACT = gym.spaces.Discrete(2)
MID = "default_policy"


class OwnError(Exception):
    """A user's."""


class FragileLearner(BCTorchLearner):
    """An observation above 40 is an error, one above 50 has no finite loss; above 60 the process ends, once.

    Updates of the second learner take ``pause`` seconds longer.
    """

    pause = 0.0

    def before_gradient_based_update(self, *, timesteps):
        time.sleep(self.pause * self.peers.rank)

    def compute_loss_for_module(self, *, batch, **kwargs):
        loss = super().compute_loss_for_module(batch=batch, **kwargs)
        largest = float(batch["obs"].max())
        if largest > 60 and self.peers.rank != 0 and not Path(self.config.learner_config_dict["mark"]).exists():
            Path(self.config.learner_config_dict["mark"]).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if 40 < largest < 50:
            raise OwnError("row 40")
        return loss * torch.nan if 50 < largest < 60 else loss


def config_for(tmp_path, **learners):
    return (
        BCConfigTest()
        .environment(observation_space=OBS, action_space=ACT)
        .training(lr=0.01)
        .learners(
            num_learners=2,
            learner_class=FragileLearner,
            learner_config_dict={"mark": str(tmp_path / "died")},
            **learners,
        )
        .debugging(seed=2, nonfinite_dir=tmp_path)
    )


def rows(count=32, seed=0, last=None):
    obs = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    actions = (obs[:, 0] > 0).long()
    if last is not None:
        obs[-1, -1] = last
    return {MID: {"obs": obs, "actions": actions}}


def weights_of(learner):
    return torch.cat([p.detach().reshape(-1) for p in learner.module.parameters()])


def assert_equal_everywhere(group):
    first, other = group.foreach_learner(weights_of)
    assert torch.equal(first, other)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    group = config_for(tmp_path_factory.mktemp("pair")).build_learner_group()
    yield group
    group.shutdown()


def test_what_one_loss_raises_is_raised_and_the_group_goes_on(pair):
    number = pair.weights_seq_no
    for minibatch_size in (None, 4):
        with pytest.raises(OwnError, match="row 40") as caught:
            pair.update(rows(last=45.0), minibatch_size=minibatch_size)
        assert "compute_loss_for_module" in str(caught.value.__cause__)
        assert_equal_everywhere(pair)
    assert pair.update(rows())[MID]["weights_seq_no"] == number + 1
    assert_equal_everywhere(pair)
    assert pair.get_stats()["num_learner_restarts"] == 0


def test_the_learner_with_the_bad_loss_reports_it(pair):
    before = pair.foreach_learner(weights_of)[0]
    with pytest.raises(NonFiniteError, match="the loss is nan") as caught:
        pair.update(rows(last=55.0))
    report = Path(caught.value.report_path)
    assert report.is_dir()
    assert [folder.name for folder in report.parent.iterdir() if folder.is_dir()] == [report.name]
    assert torch.equal(before, pair.foreach_learner(weights_of)[0])
    assert_equal_everywhere(pair)


def test_an_update_that_was_not_waited_for_fails_later(pair):
    dropped = pair.get_stats()["learner_group_ts_dropped_lifetime"]
    assert pair.async_update(rows(last=45.0)) == []
    assert pair.async_update(rows()) == []
    for future in pair._under_way[-1].futures:
        future.exception()
    with pytest.raises(OwnError):
        pair.async_update({})
    stats = pair.get_stats()
    assert stats["actor_manager_num_outstanding_async_reqs"] == 0
    assert stats["learner_group_ts_dropped_lifetime"] == dropped + 64
    pair.update(rows())
    assert_equal_everywhere(pair)


def test_what_cannot_be_sent_hangs_nobody(pair):
    with pytest.raises(TypeError):
        pair.update(rows(), timesteps={"num_env_steps_sampled_lifetime": (n for n in ())})
    pair.update(rows())
    assert_equal_everywhere(pair)


def test_a_killed_learner_is_started_again(pair):
    pair.add_module(module_id="p1", module_spec=RLModuleSpec(observation_space=OBS, action_space=ACT))
    number = pair.update({**rows(), "p1": rows()[MID]})[MID]["weights_seq_no"]
    before = pair.foreach_learner(lambda learner: learner._get_optimizer_state())[0]
    # Between updates: found out by the next call, whatever it is.
    os.kill(pair._team.actors[0].pid, signal.SIGKILL)
    assert pair._team.actors[0].call("get_weights").exception() is not None
    assert pair.weights_seq_no == number
    after = pair.foreach_learner(lambda learner: learner._get_optimizer_state())
    for state in after:
        moments = [s[f"{MID}_default_optimizer"]["groups"][0]["state"]["exp_avg"] for s in (before, state)]
        assert all(torch.equal(a, b) for a, b in zip(*moments, strict=True))
    assert pair.get_stats()["num_learner_restarts"] == 1
    # While it updates: the update is done again.
    result = pair.update({**rows(last=70.0), "p1": rows()[MID]})
    assert result[MID]["weights_seq_no"] == number + 1
    assert "total_loss" in result["p1"]
    assert pair.get_stats()["num_learner_restarts"] == 2
    assert_equal_everywhere(pair)
    pair.remove_module("p1")


def test_a_survivor_that_dies_while_its_state_is_asked_for_is_not_the_last_one(pair):
    restarts = pair.get_stats()["num_learner_restarts"]
    expected = pair.foreach_learner(weights_of)[1]
    pair._team.actors[0].call(lambda learner: setattr(learner, "get_state", lambda: os.kill(os.getpid(), 9))).result()
    pair._team.disband()
    assert all(torch.equal(found, expected) for found in pair.foreach_learner(weights_of))
    assert pair.get_stats()["num_learner_restarts"] == restarts + 1
    assert_equal_everywhere(pair)


def dies_once(learner, rank, mark):
    """What a learner of one rank does not survive, the first time."""
    if learner.peers.rank == rank and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return learner.peers.rank


def test_a_question_is_asked_once_more_where_a_learner_dies_meanwhile(pair, tmp_path):
    restarts = pair.get_stats()["num_learner_restarts"]
    assert pair.call_first(dies_once, 0, str(tmp_path / "first")) == 0
    assert pair._team.all_alike(dies_once, 1, str(tmp_path / "alike")) == [0, 1]
    assert pair.get_stats()["num_learner_restarts"] == restarts + 2
    with pytest.raises(ActorError, match="SIGKILL"):  # the other one has done it: it may not be done twice
        pair.foreach_learner(lambda learner, mark=str(tmp_path / "each"): dies_once(learner, 1, mark))
    pair.update(rows(seed=3))
    pair._team.actors[1].call(lambda learner: os.kill(os.getpid(), signal.SIGKILL)).exception()
    assert pair.take_rows() == {}
    assert pair.get_stats()["num_learner_restarts"] == restarts + 4
    assert_equal_everywhere(pair)


def test_a_learner_that_does_not_come_back_is_ended(pair, monkeypatch):
    monkeypatch.setattr("rlkit_processes.learners.team.PATIENCE", 0.5)
    pair._team.executor._stop_timeout = 0.5
    pair.foreach_learner(lambda learner: setattr(learner, "pause", 600.0))
    restarts = pair.get_stats()["num_learner_restarts"]
    with pytest.raises(TypeError):  # the first learner's alone
        pair._result(pair._start(Shards([{"batch": 1}, {"batch": rows()}], {}, 0), {}, False))
    assert pair.update(rows(seed=3))[MID]["num_module_steps_trained"] == 32
    assert pair.get_stats()["num_learner_restarts"] == restarts + 1
    assert_equal_everywhere(pair)


def test_updates_on_their_way_when_a_learner_dies_are_lost_and_counted(pair):
    pair.foreach_learner(lambda learner: setattr(learner, "pause", 0.2))
    stats = pair.get_stats()
    assert [pair.async_update(rows(seed=k)) for k in range(2)] == [[], []]
    os.kill(pair._team.actors[1].pid, signal.SIGKILL)
    assert pair._team.actors[1].call("get_weights").exception() is not None
    number = pair.weights_seq_no  # starts it again
    assert pair.async_update(rows()) == []
    after = pair.get_stats()
    assert after["learner_group_ts_dropped_lifetime"] == stats["learner_group_ts_dropped_lifetime"] + 64
    assert after["num_learner_restarts"] == stats["num_learner_restarts"] + 1
    pair.foreach_learner(lambda learner: None)
    (result,) = pair.async_update({})
    assert result[MID]["weights_seq_no"] == number + 1
    assert_equal_everywhere(pair)
    pair._under_way.clear()


def test_a_learner_that_dies_again_as_soon_as_it_was_started_is_started_once_more(pair, monkeypatch):
    """As where an executor places it on a machine of which it does not know yet that it is gone."""
    group, restart = pair._team, pair._team.restart

    def into_nothing(numbers):
        monkeypatch.setattr(group, "restart", restart)
        restart(numbers)
        assert group.actors[1].call(lambda learner: os.kill(os.getpid(), signal.SIGKILL)).exception() is not None

    restarts = pair.get_stats()["num_learner_restarts"]
    monkeypatch.setattr(group, "cap", evolve(group.cap, restarts=restarts + 2))
    monkeypatch.setattr(group, "restart", into_nothing)
    os.kill(group.actors[1].pid, signal.SIGKILL)
    assert pair.update(rows(seed=5))[MID]["num_module_steps_trained"] == 32
    assert pair.get_stats()["num_learner_restarts"] == restarts + 2
    assert_equal_everywhere(pair)


def test_restarts_are_capped(pair, monkeypatch):
    group = pair._team
    monkeypatch.setattr(group, "cap", evolve(group.cap, restarts=pair.get_stats()["num_learner_restarts"]))
    os.kill(pair._team.actors[1].pid, signal.SIGKILL)
    with pytest.raises(ActorError, match=r"learner 1 of 2 is gone.*max_num_learner_restarts=.*SIGKILL"):
        pair.update(rows())
    os.kill(pair._team.actors[0].pid, signal.SIGKILL)
    assert pair._team.actors[0].call("get_weights").exception() is not None
    with pytest.raises(ActorError, match=r"no learner of 2 is left.*checkpoint.*SIGKILL"):
        pair.update(rows())


def test_the_cap_is_the_configs(tmp_path):
    config = config_for(tmp_path).learners(num_learners=1).fault_tolerance(max_num_learner_restarts=3)
    group = config.execution(executor="local").build_learner_group()
    assert group._team.cap.restarts == 3
    group.shutdown()


DRIVER = """
    import os, signal, sys, time
    import numpy as np, gymnasium as gym, torch
    from rlkit_core.testing import BCConfigTest, BCTorchLearner

    class Stuck(BCTorchLearner):
        def compute_loss_for_module(self, **kwargs):
            if self.peers.rank:
                print("stuck", os.getpid(), flush=True)
                time.sleep(600)
            return super().compute_loss_for_module(**kwargs)

    how = sys.argv[1]
    config = BCConfigTest().environment(
        observation_space=gym.spaces.Box(-1.0, 1.0, (4,), np.float32), action_space=gym.spaces.Discrete(2)
    )
    config.learners(num_learners=2, learner_class=Stuck if how == "stuck" else None).debugging(seed=1)
    group = config.build_learner_group()
    rows = {"obs": torch.randn(8, 4), "actions": torch.zeros(8, dtype=torch.int64)}
    group.async_update({"default_policy": rows})
    if how != "stuck":
        print(group.update({"default_policy": rows})["default_policy"]["weights_seq_no"], flush=True)
    if how == "raise":
        raise ValueError("the driver fails")
    time.sleep(600)
"""


def marked(mark):
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if mark.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")
@pytest.mark.parametrize("how", [pytest.param("raise", marks=pytest.mark.slow), "stuck"])
def test_nothing_outlives_a_driver(tmp_path, how):
    """One that ends by an exception, and one that is killed while one learner waits for the other."""
    mark = uuid.uuid4().hex
    script = tmp_path / "driver.py"
    script.write_text(textwrap.dedent(DRIVER))
    before = {path.name for path in Path("/dev/shm").glob("*")}
    driver = subprocess.Popen(
        [sys.executable, str(script), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RLKIT_TEST_MARK": mark},
        start_new_session=True,
    )
    try:
        line = driver.stdout.readline()
        assert line.startswith("2.0" if how == "raise" else "stuck"), driver.stderr.read()
        if how == "stuck":
            assert len(marked(mark)) == 3
            driver.kill()
        _, errors = driver.communicate(timeout=60)
        assert ("the driver fails" in errors) == (how == "raise")
        deadline = time.monotonic() + 20
        while marked(mark) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert marked(mark) == []
        mine = {path.name for path in Path("/dev/shm").glob("*")} - before
        assert not [name for name in mine if "gloo" in name or "torch" in name]
    finally:
        driver.kill()
