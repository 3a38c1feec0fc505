"""An API mixin of an installed plugin is served by the real Learner as the core's own are."""

from __future__ import annotations

import importlib
import sys

import pytest

from actor_critic import ACConfig, ACModule
from rlkit_core import RLModuleSpec
from rlkit_core.errors import ModuleAPIError
from rlkit_core.plugins.discovery import scan
from rlkit_core.plugins.host import PluginHost, use_host

PLUGIN = """
from rlkit_core import ModuleAPI, hookimpl

rlkit_api = "1.0"
events = []


class BonusAPI:
    def bonus(self):
        raise NotImplementedError


class BonusDriver:
    def __init__(self):
        self.updates = 0

    @staticmethod
    def on_module_built(module):
        module.was_built = True

    def on_build(self, *, learner, module_id, module):
        events.append(("build", module_id, module.was_built))

    def before_update(self, *, learner, module_id, module, batch):
        events.append(("before", module_id))

    def extra_loss(self, *, learner, module_id, module, config, batch, fwd_out):
        events.append(("loss", config.lr))
        return 100.0 * module.bonus()

    def after_update(self, *, learner, module_id, module, timesteps):
        self.updates += 1

    def get_state(self):
        return {"updates": self.updates}

    def set_state(self, state):
        self.updates = state["updates"]


class OtherLossAPI:
    pass


class OtherLossDriver:
    def compute_loss(self, *, learner, module_id, module, config, batch, fwd_out):
        return module.bonus()


@hookimpl
def rlkit_module_apis():
    return [
        ModuleAPI("bonus", "api_lab:BonusAPI", "api_lab:BonusDriver"),
        ModuleAPI("other_loss", OtherLossAPI, OtherLossDriver),
    ]
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    (tmp_path / "api_lab.py").write_text(PLUGIN)
    info = tmp_path / "api_lab-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: api-lab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rlkit.plugins]\napi-lab = api_lab\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    with use_host(PluginHost(scan(sys.path))):
        yield importlib.import_module("api_lab")
    sys.modules.pop("api_lab", None)


def config_with(module_class):
    return (
        ACConfig()
        .environment("CartPole-v1")
        .rl_module(rl_module_spec=RLModuleSpec(module_class=module_class))
        .training(train_batch_size_per_learner=64, minibatch_size=32, num_epochs=1, lr=1e-2)
        .debugging(seed=1)
    )


@pytest.mark.covers("hook:rlkit_module_apis", "record:ModuleAPI")
def test_the_learner_serves_it(lab, tmp_path) -> None:
    class Mine(ACModule, lab.BonusAPI):
        def bonus(self):
            return (self.pi.net.layers[-1].bias - 3).square().mean()

    algo = config_with(Mine).build_algo()
    try:
        before = algo.get_module().bonus().item()
        algo.train()
        algo.train()
        assert lab.events[0] == ("build", "default_policy", True)
        assert lab.events.count(("before", "default_policy")) == 2
        assert lab.events.count(("loss", 1e-2)) == 4
        assert algo.get_module().bonus().item() < before - 0.1
        assert _find(algo.learner_group.get_state(), "api-lab/bonus") == {"updates": 2}
    finally:
        algo.stop()


def test_two_losses_are_refused_at_build_naming_both(lab) -> None:
    from rlkit_core.apis import SelfSupervisedLossAPI

    class Two(ACModule, lab.OtherLossAPI, SelfSupervisedLossAPI):
        def compute_self_supervised_loss(self, **kwargs):
            raise AssertionError

    with pytest.raises(
        ModuleAPIError, match=r"'other_loss' \(api-lab\) and 'self_supervised_loss' \(rlkit-core\)"
    ) as e:
        config_with(Two).build_algo()
    assert "loss_api" in str(e.value)


def test_a_module_without_a_required_api_is_refused_at_build() -> None:
    from rlkit_core.testing import DiscreteBCTorchModule

    config = config_with(DiscreteBCTorchModule)
    config.rl_module(model_config={"fcnet_hiddens": [8]})
    with pytest.raises(ModuleAPIError, match=r"ValueFunctionAPI, which DiscreteBCTorchModule.*compute_values\(\)"):
        config.build_algo()


def _find(tree, key):
    if isinstance(tree, dict):
        if key in tree:
            return tree[key]
        return next((found for value in tree.values() if (found := _find(value, key)) is not None), None)
    return None
