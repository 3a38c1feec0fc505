"""A restored learner's schedules are where those of the saved one were, whoever keeps them and wherever."""

from __future__ import annotations

import importlib
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch

from actor_critic import ACConfig
from rlkit_core import MultiRLModuleSpec, RLModuleSpec
from rlkit_core.learner import Scheduler
from rlkit_core.plugins.discovery import scan
from rlkit_core.plugins.host import PluginHost, use_host
from rlkit_core.testing import BCTorchLearner, DiscreteBCTorchModule

OBS = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
ACT = gym.spaces.Discrete(2)
POINTS = [[0, 1.0], [1000, 0.0]]
NOW = "num_env_steps_sampled_lifetime"


class Scheduled(BCTorchLearner):
    """Weighs its loss by a schedule, which subclasses keep in their own way."""

    def schedule_of(self, module_id):
        raise NotImplementedError

    def compute_loss_for_module(self, *, module_id, **kwargs):
        loss = super().compute_loss_for_module(module_id=module_id, **kwargs)
        return loss * (0.1 + self.schedule_of(module_id).value)

    def after_gradient_based_update(self, *, timesteps):
        super().after_gradient_based_update(timesteps=timesteps)
        for module_id in self.module:
            self.schedule_of(module_id).update(timesteps[NOW])


class InInit(Scheduled):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.schedule = Scheduler(POINTS)

    def schedule_of(self, module_id):
        return self.schedule


class InBuild(InInit):
    def build(self):
        super().build()
        self.schedule = Scheduler([[0, 2.0], [500, 1.0]])


class InDict(Scheduled):
    def on_module_added(self, module_id):
        super().on_module_added(module_id)
        self.__dict__.setdefault("_kept", {})[module_id] = Scheduler(POINTS, device=self.device)

    def schedule_of(self, module_id):
        return self._kept[module_id]


class Annealer:
    def __init__(self):
        self.parts = [0, (Scheduler(0.5), Scheduler(POINTS))]

    def __call__(self):
        return self.parts[1][1]


class Slotted:
    __slots__ = ("schedule",)

    def __init__(self):
        self.schedule = Scheduler(POINTS)

    def __call__(self):
        return self.schedule


class InObject(Scheduled):
    helper = Annealer

    def on_module_added(self, module_id):
        super().on_module_added(module_id)
        self.kept = self.helper()

    def schedule_of(self, module_id):
        return self.kept()


class InSlots(InObject):
    helper = Slotted


class AtFirstUse(Scheduled):
    """What is not there yet when a state comes begins where the learner is."""

    made = None

    def schedule_of(self, module_id):
        self.made = self.made or Scheduler(POINTS)
        return self.made


class ByUpdates(InInit):
    """Moved by another count than that of env steps."""

    def after_gradient_based_update(self, *, timesteps):
        BCTorchLearner.after_gradient_based_update(self, timesteps=timesteps)
        self.schedule.update(100 * self.weights_seq_no)


class NotYetMoved(InInit):
    """Waits for what has not happened."""

    def after_gradient_based_update(self, *, timesteps):
        BCTorchLearner.after_gradient_based_update(self, timesteps=timesteps)
        if timesteps[NOW] > 500:
            self.schedule.update(timesteps[NOW])


class OfModule(DiscreteBCTorchModule):
    def setup(self):
        super().setup()
        self.weight = Scheduler(POINTS)


class InModule(Scheduled):
    module_class = OfModule

    def schedule_of(self, module_id):
        return self.module[module_id].unwrapped().weight


class RateOnly(BCTorchLearner):
    """The learning rate, which the core moves."""


class TorchRate(BCTorchLearner):
    rate = [lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)]


KINDS = [
    InInit,
    InBuild,
    InDict,
    InObject,
    InSlots,
    AtFirstUse,
    ByUpdates,
    NotYetMoved,
    InModule,
    RateOnly,
    TorchRate,
]


def learner_of(kind, *ids, module_class=None):
    module_class = module_class or getattr(kind, "module_class", DiscreteBCTorchModule)
    spec = RLModuleSpec(module_class, OBS, ACT, model_config={"fcnet_hiddens": [8]})
    ids = ids or ("default_policy",)
    config = (
        ACConfig()
        .training(lr=[[0, 0.01], [900, 0.001]], grad_clip=None)
        .learners(learner_class=kind)
        .experimental(torch_lr_scheduler_classes=getattr(kind, "rate", None))
        .rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=dict.fromkeys(ids, spec)))
        .debugging(seed=1)
    )
    if ids != ("default_policy",):
        config.multi_agent(policies=list(ids))
    learner = config.build_learner()
    learner.build()
    return learner


def updates(learner, first, last):
    """Results of updates number ``first`` up to ``last``, as learned from then."""
    results = []
    for k in range(first, last):
        obs = torch.randn(16, 4, generator=torch.Generator().manual_seed(k))
        batch = {mid: {"obs": obs, "actions": (obs[:, 0] > 0).long()} for mid in learner.module}
        results.append(learner.update(batch, timesteps={NOW: 90 * (k + 1)}))
    return results


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_restored_learner_goes_on_as_the_saved_one(kind):
    whole, saved = learner_of(kind), learner_of(kind)
    expected = updates(whole, 0, 8)
    updates(saved, 0, 3)
    restored = learner_of(kind)
    restored.set_state(saved.get_state())
    assert updates(restored, 3, 8) == expected[3:]
    assert updates(saved, 3, 8) == expected[3:]  # asking for the state changes nothing
    again = learner_of(kind)
    updates(again, 0, 7)
    again.set_state(saved.get_state())
    assert updates(again, 8, 9) == updates(whole, 8, 9)


def test_another_state_brings_schedules_back_to_before_their_first_update():
    fresh = learner_of(NotYetMoved).get_state()
    learner = learner_of(NotYetMoved)
    updates(learner, 0, 8)
    learner.set_state(fresh)
    assert learner.schedule.get_current_value() == 1.0
    assert learner.schedule.timestep == 0
    assert updates(learner, 0, 8) == updates(learner_of(NotYetMoved), 0, 8)


PLUGIN = """
from rlkit_core import ModuleAPI, hookimpl
from rlkit_core.learner import Scheduler

rlkit_api = "1.0"


class PenaltyAPI:
    pass


class PenaltyDriver:
    def on_build(self, *, learner, module_id, module):
        self.__dict__.setdefault("weights", {})[module_id] = Scheduler([[0, 1.0], [1000, 0.0]])

    def extra_loss(self, *, module_id, module):
        return self.weights[module_id].value * sum(p.square().sum() for p in module.parameters())

    def after_update(self, *, module_id, timesteps):
        self.weights[module_id].update(timesteps["num_env_steps_sampled_lifetime"])


@hookimpl
def rlkit_module_apis():
    return [ModuleAPI("penalty", PenaltyAPI, PenaltyDriver)]
"""


def test_schedules_of_drivers(tmp_path, monkeypatch):
    (tmp_path / "penalty_lab.py").write_text(PLUGIN)
    info = tmp_path / "penalty_lab-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: penalty-lab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rlkit.plugins]\npenalty-lab = penalty_lab\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    with use_host(PluginHost(scan(sys.path))):
        api = importlib.import_module("penalty_lab").PenaltyAPI
        module_class = type("Penalised", (DiscreteBCTorchModule, api), {})
        whole, saved, restored = (learner_of(BCTorchLearner, module_class=module_class) for _ in range(3))
        expected = updates(whole, 0, 6)
        updates(saved, 0, 3)
        restored.set_state(saved.get_state())
        assert updates(restored, 3, 6) == expected[3:]
    sys.modules.pop("penalty_lab", None)


def test_schedules_of_modules_that_came_later():
    """They begin where the learner's other schedules are, saved in between or not."""
    whole, saved = (learner_of(InDict, "a") for _ in range(2))
    for learner in (whole, saved):
        updates(learner, 0, 3)
        learner.add_module(
            module_id="b",
            module_spec=RLModuleSpec(DiscreteBCTorchModule, OBS, ACT, model_config={"fcnet_hiddens": [8]}),
        )
    assert whole.schedule_of("b").get_current_value() == whole.schedule_of("a").get_current_value() < 1.0
    restored = learner_of(InDict, "a")
    restored.set_state(saved.get_state())
    assert updates(restored, 3, 6) == updates(whole, 3, 6)


def test_a_part_of_a_state_leaves_schedules_alone():
    saved, other = learner_of(InInit), learner_of(InInit)
    updates(saved, 0, 5)
    other.set_state(saved.get_state(components="rl_module"))
    assert other.schedule.get_current_value() == 1.0


def of_rate(lr):
    spec = RLModuleSpec(DiscreteBCTorchModule, OBS, ACT, model_config={"fcnet_hiddens": [8]})
    config = (
        ACConfig()
        .training(lr=lr, grad_clip=None)
        .learners(learner_class=BCTorchLearner)
        .rl_module(rl_module_spec=spec)
        .debugging(seed=1)
    )
    learner = config.build_learner()
    learner.build()
    return learner


def options(learner):
    return learner.get_optimizer().param_groups[0]


@pytest.mark.parametrize(
    ("before", "now", "at_once"),
    [
        (1e-3, 1e-5, 1e-5),
        (1e-3, [[0, 0.1], [540, 0.0]], 0.05),  # the state is of 270 env steps
        ([[0, 0.1], [540, 0.0]], 1e-5, 1e-5),
        ([[0, 0.1], [540, 0.0]], [[0, 0.2], [540, 0.0]], 0.1),
        ([[0, 0.1], [540, 0.0]], [[0, 0.1], [540, 0.0]], 0.05),
    ],
)
def test_a_rate_that_the_config_changes_on_resume_counts(before, now, at_once):
    saved, restored = of_rate(before), of_rate(now)
    updates(saved, 0, 3)
    restored.set_state(saved.get_state())
    assert options(restored)["lr"] == pytest.approx(at_once)
    again = of_rate(now)  # and goes on counting when that one is saved in its turn
    again.set_state(restored.get_state())
    assert options(again)["lr"] == pytest.approx(at_once)


def test_a_rate_that_somebody_set_while_it_trained_is_restored():
    saved, restored = of_rate(1e-3), of_rate(1e-3)
    options(saved)["lr"] = 7e-4
    restored.set_state(saved.get_state())
    assert options(restored)["lr"] == 7e-4


class Decayed(BCTorchLearner):
    decay = 0.1

    def configure_optimizers_for_module(self, module_id, config=None):
        params = self.get_parameters(self.module[module_id])
        adam = torch.optim.AdamW(params, weight_decay=self.decay)
        self.register_optimizer(module_id=module_id, optimizer=adam, params=params, lr_or_lr_schedule=1e-3)


class Undecayed(Decayed):
    decay = 0.0


def test_any_option_of_an_optimizer_that_is_another_now_counts():
    saved, restored = learner_of(Decayed), learner_of(Undecayed)
    options(saved)["betas"] = (0.5, 0.9)
    restored.set_state(saved.get_state())
    assert options(restored)["weight_decay"] == 0.0
    assert options(restored)["betas"] == (0.5, 0.9)
