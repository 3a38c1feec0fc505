"""Every method of a driver is called, when the reference says so and with the keywords that it lists."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_core import Columns, ModuleAPI, RLModuleSpec, hookimpl
from rlkit_core.data import Rollout
from rlkit_core.plugins.host import PluginHost, use_host
from rlkit_core.rl_module.apis.driver_contract import EVENTS
from rlkit_core.testing import BCConfigTest, DiscreteBCTorchModule

OBS, ACT = gym.spaces.Box(-1.0, 1.0, (4,), np.float32), gym.spaces.Discrete(2)
UPDATE = ["on_rollout", "before_update", "compute_loss", "extra_loss", "after_update"]


class NotedAPI:
    """A mixin whose modules are served by all that a driver may do."""


class Noted(DiscreteBCTorchModule, NotedAPI):
    """A module with it."""


class NotingDriver:
    """Notes what it is called with."""

    calls: list[tuple[str, frozenset[str]]] = []

    @staticmethod
    def on_module_built(**kwargs):
        NotingDriver.calls.append(("on_module_built", frozenset(kwargs)))


def noting(event):
    def method(self, **kwargs):
        self.calls.append((event, frozenset(kwargs)))
        if event == "compute_loss":
            return sum(p.square().sum() for p in kwargs["module"].parameters())
        if event == "extra_loss":
            return next(kwargs["module"].parameters()).sum()
        return {"kept": 3} if event == "get_state" else None

    return method


for name in EVENTS:
    if name != "on_module_built":
        setattr(NotingDriver, name, noting(name))


class Plugin:
    rlkit_api = "1.0"

    @hookimpl
    def rlkit_module_apis(self):
        return [ModuleAPI("noted", NotedAPI, NotingDriver)]


def rollout():
    shape = (5, 2)
    flags = torch.zeros(shape, dtype=torch.bool)
    columns = {
        Columns.OBS: torch.zeros(*shape, 4),
        Columns.ACTIONS: torch.zeros(shape, dtype=torch.int64),
        Columns.REWARDS: torch.zeros(shape),
        Columns.TERMINATEDS: flags,
        Columns.TRUNCATEDS: flags,
    }
    return Rollout(columns, bootstrap_obs=torch.zeros(2, 4))


@pytest.fixture(scope="module")
def stages():
    """What was called at each stage of a learner's life, in order."""
    stages = {}

    def stage(name):
        stages[name], NotingDriver.calls = NotingDriver.calls, []

    NotingDriver.calls = []
    with use_host(PluginHost()) as host, host.temporary(Plugin()):
        spec = RLModuleSpec(Noted, OBS, ACT, model_config={"fcnet_hiddens": [8]})
        config = BCConfigTest().environment(observation_space=OBS, action_space=ACT).learners(compile=None)
        learner = config.rl_module(rl_module_spec=spec).build_learner()
        learner.build()
        stage("built")
        learner.update(rollouts={"default_policy": rollout()})
        stage("updated")
        state = learner.get_state()
        learner.set_state(state)
        stage("restored")
        learner.add_module(module_id="other", module_spec=spec)
        stage("joined")
        learner.remove_module("other")
        stage("left")
    return stages


@pytest.mark.covers("driver:on_module_built", "driver:on_build")
def test_modules_that_are_built_and_join(stages):
    for stage in ("built", "joined"):
        assert [event for event, _ in stages[stage]] == ["on_module_built", "on_build"]


@pytest.mark.covers("driver:on_rollout", "driver:before_update", "driver:compute_loss", "driver:extra_loss")
@pytest.mark.covers("driver:after_update")
def test_an_update_made_of_a_rollout(stages):
    assert [event for event, _ in stages["updated"]] == UPDATE


@pytest.mark.covers("driver:get_state", "driver:set_state")
def test_a_state_that_is_saved_and_restored(stages):
    assert [event for event, _ in stages["restored"]] == ["get_state", "set_state"]


@pytest.mark.covers("driver:on_remove")
def test_modules_that_leave(stages):
    assert [event for event, _ in stages["left"]] == ["on_remove"]


@pytest.mark.parametrize("event", EVENTS)
def test_it_is_given_its_keywords_and_no_others(stages, event):
    given = [keywords for stage in stages.values() for name, keywords in stage if name == event]
    assert given
    assert all(keywords == set(EVENTS[event]) for keywords in given)
