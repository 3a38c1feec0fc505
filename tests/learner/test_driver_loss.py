"""An extra loss term from an API's driver equals the one written into the learner."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
import torch

from rlkit_core import RLModuleSpec
from rlkit_core.plugins.discovery import scan
from rlkit_core.plugins.host import PluginHost, use_host
from rlkit_core.testing import BCConfigTest, BCTorchLearner, DiscreteBCTorchModule

PLUGIN = """
from rlkit_core import ModuleAPI, hookimpl

rlkit_api = "1.0"


class SmallWeightsAPI:
    weight_penalty = 0.1


class SmallWeightsDriver:
    def extra_loss(self, *, learner, module_id, module, config, batch, fwd_out):
        loss = module.weight_penalty * sum(p.square().sum() for p in module.parameters())
        learner.metrics.log_value((module_id, "penalty"), loss)
        return loss


@hookimpl
def rlkit_module_apis():
    return [ModuleAPI("small-weights", SmallWeightsAPI, SmallWeightsDriver)]
"""


class Written(BCTorchLearner):
    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        loss = super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        return loss + 0.1 * sum(p.square().sum() for p in self.module[module_id].parameters())


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    (tmp_path / "small_lab.py").write_text(PLUGIN)
    info = tmp_path / "small_lab-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: small-lab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rlkit.plugins]\nsmall-lab = small_lab\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    with use_host(PluginHost(scan(sys.path))):
        yield importlib.import_module("small_lab")
    sys.modules.pop("small_lab", None)


def test_a_drivers_extra_loss_equals_a_written_one(plugin):
    class Small(DiscreteBCTorchModule, plugin.SmallWeightsAPI):
        pass

    learners = []
    for learner_class, module_class in ((BCTorchLearner, Small), (Written, DiscreteBCTorchModule)):
        config = BCConfigTest().environment("CartPole-v1").learners(learner_class=learner_class).debugging(seed=4)
        config.rl_module(rl_module_spec=RLModuleSpec(module_class=module_class))
        learner = config.build_learner()
        learner.build()
        learners.append(learner)
    for k in range(5):
        obs = torch.randn(16, 4, generator=torch.Generator().manual_seed(k))
        batch = {"default_policy": {"obs": obs, "actions": (obs[:, 0] > 0).long()}}
        ours, theirs = (learner.update(batch)["default_policy"] for learner in learners)
        assert ours["total_loss"] == theirs["total_loss"]
        assert ours["penalty"] > 0
    states = [learner.module["default_policy"].get_state() for learner in learners]
    assert all(np.array_equal(value, states[1][name]) for name, value in states[0].items())
