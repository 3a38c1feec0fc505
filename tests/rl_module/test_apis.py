"""API mixins, their drivers, and those of a third party."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import gymnasium as gym
import pytest
import torch
from torch import nn

from rlkit_core import ModuleAPI, TorchRLModule
from rlkit_core.apis import (
    InferenceOnlyAPI,
    QNetAPI,
    SelfSupervisedLossAPI,
    TargetNetworkAPI,
    ValueFunctionAPI,
)
from rlkit_core.errors import ModuleAPIError, StateError
from rlkit_core.learner import make_target_network, update_target_network
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.records import Origin, Registered
from rlkit_core.rl_module.apis import check_required_apis, drivers_for, loss_replacement
from rlkit_core.rl_module.apis.target_network import TargetNetworkDriver

KW = {"observation_space": gym.spaces.Box(-1.0, 1.0, (4,)), "action_space": gym.spaces.Discrete(2)}


class Everything:
    """Implements every API of the core."""

    def setup(self) -> None:
        self.net = nn.Linear(4, 2)
        self.vf = nn.Linear(4, 1)

    def get_non_inference_attributes(self):
        return ["vf", "target"]

    def compute_values(self, batch, embeddings=None):
        return self.vf(batch["obs"]).squeeze(-1)

    def compute_q_values(self, batch):
        return {"qf_preds": self.net(batch["obs"])}

    def compute_self_supervised_loss(self, *, learner, module_id, config, batch, fwd_out, **kwargs):
        return fwd_out["loss"] * 2

    def make_target_networks(self):
        self.target = make_target_network(self.net)

    def get_target_network_pairs(self):
        return [(self.net, self.target)]

    def forward_target(self, batch):
        return {"qf_preds": self.target(batch["obs"])}


APIS = (InferenceOnlyAPI, QNetAPI, SelfSupervisedLossAPI, TargetNetworkAPI, ValueFunctionAPI)
ORDERS = [*itertools.islice(itertools.permutations([TorchRLModule, *APIS]), 0, 720, 41)]


@pytest.mark.parametrize("order", range(len(ORDERS)))
def test_mixins_compose_in_any_order(order) -> None:
    cls = type("Composed", (Everything, *ORDERS[order]), {})
    module = cls(**KW)
    assert {record.name for record in drivers_for(module)} == {
        "inference_only",
        "q_net",
        "self_supervised_loss",
        "target_network",
        "value_function",
    }
    assert not hasattr(cls(**KW, inference_only=True), "vf")
    assert module.compute_advantage_distribution({"obs": torch.zeros(1, 4)})["qf_preds"].shape == (1, 2)


def test_abstract_methods_are_demanded() -> None:
    class Lacks(TorchRLModule, ValueFunctionAPI):
        pass

    with pytest.raises(TypeError, match="compute_values"):
        Lacks(**KW)


def test_required_apis() -> None:
    class NoValues(TorchRLModule):
        pass

    with pytest.raises(
        ModuleAPIError, match=r"'p0'.*ValueFunctionAPI, which NoValues does not implement.*compute_values\(\)"
    ):
        check_required_apis(NoValues(**KW), "p0", [ValueFunctionAPI])
    check_required_apis(type("Ok", (Everything, TorchRLModule, ValueFunctionAPI), {})(**KW), "p0", [ValueFunctionAPI])


def test_target_networks() -> None:
    main = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    target = make_target_network(main)
    assert target is not main
    assert not any(parameter.requires_grad for parameter in target.parameters())
    with torch.no_grad():
        main[0].weight += 1
        main[1].running_mean += 2
    main[1].num_batches_tracked += 3
    before = target[0].weight.clone()
    assert not torch.equal(before, main[0].weight)
    update_target_network(main_net=main, target_net=target, tau=0.25)
    assert torch.allclose(target[0].weight, 0.25 * main[0].weight + 0.75 * before)
    assert torch.allclose(target[1].running_mean, torch.full((2,), 0.5))
    assert int(target[1].num_batches_tracked) == 3
    update_target_network(main_net=main, target_net=target)
    assert torch.equal(target[0].weight, main[0].weight)
    for tau in (0.0, 1.5):
        with pytest.raises(ValueError, match="tau"):
            update_target_network(main_net=main, target_net=target, tau=tau)
    with pytest.raises(ValueError, match="expected a torch"):
        make_target_network(object())
    with pytest.raises(ValueError, match="only one of them has"):
        update_target_network(main_net=main, target_net=nn.Linear(2, 2))


def learner(freq: int, tau: float):
    config = SimpleNamespace(target_network_update_freq=freq, tau=tau)
    logged: dict = {}
    metrics = SimpleNamespace(log_value=lambda key, value, **kw: logged.__setitem__(key, value), logged=logged)
    return SimpleNamespace(config=SimpleNamespace(get_config_for_module=lambda module_id: config), metrics=metrics)


def test_target_driver_syncs_by_frequency_and_tau_and_keeps_its_counters() -> None:
    module = type("Q", (Everything, TorchRLModule, TargetNetworkAPI), {})(**KW)
    driver, owner = TargetNetworkDriver(), learner(freq=100, tau=0.5)
    driver.on_build(learner=owner, module_id="p", module=module)
    assert torch.equal(module.target.weight, module.net.weight)
    assert not module.target.weight.requires_grad

    def step(timesteps) -> torch.Tensor:
        with torch.no_grad():
            module.net.weight += 1
        driver.after_update(learner=owner, module_id="p", module=module, timesteps=timesteps)
        return (module.net.weight - module.target.weight).mean().item()

    assert step(60) == pytest.approx(1)
    assert step(100) == pytest.approx(1)  # two behind, half of it made up
    assert owner.metrics.logged == {("p", "num_target_updates"): 1, ("p", "last_target_update_ts"): 100}
    assert step({"num_env_steps_sampled_lifetime": 199}) == pytest.approx(2)
    again = TargetNetworkDriver()
    again.set_state(driver.get_state())
    driver = again
    assert step({"num_env_steps_trained_lifetime": 200}) == pytest.approx(1.5)
    assert owner.metrics.logged[("p", "num_target_updates")] == 2
    driver.on_remove(learner=owner, module_id="p")
    assert driver.get_state() == {"last_update": {}, "num_updates": {}}


def test_targets_are_not_made_on_inference_only_modules() -> None:
    module = type("Q", (Everything, TorchRLModule, TargetNetworkAPI), {})(**KW, inference_only=True)
    TargetNetworkDriver().on_build(learner=None, module_id="p", module=module)
    assert not hasattr(module, "target")


def test_an_inference_only_module_takes_the_state_of_one_with_targets() -> None:
    q = type("Q", (Everything, TorchRLModule, TargetNetworkAPI), {})
    trained, acting = q(**KW), q(**KW, inference_only=True)
    trained.make_target_networks()
    state = trained.get_state()
    assert any(name.startswith("target.") for name in state)
    acting.set_state(state)
    assert torch.equal(acting.net.weight, trained.net.weight)
    with pytest.raises(StateError, match=r"missing: net\.weight"):
        acting.set_state({name: value for name, value in state.items() if name != "net.weight"})


class CuriosityAPI:
    """A third party's mixin: a plain class without a constructor."""

    def curiosity(self):
        raise NotImplementedError


class CuriosityDriver:
    built: list = []

    @staticmethod
    def on_module_built(module):
        CuriosityDriver.built.append(module)

    def compute_loss(self, *, learner, module_id, module, config, batch, fwd_out):
        return module.curiosity()


@pytest.fixture
def host():
    third = Registered(ModuleAPI("curiosity", CuriosityAPI, CuriosityDriver), Origin("my-lab", "1.0"))
    return SimpleHost((*default_host().module_apis, third))


class SimpleHost:
    def __init__(self, module_apis) -> None:
        self.module_apis = module_apis
        self.origin_of = default_host().origin_of


def test_third_party_api_is_found_and_told(host, monkeypatch) -> None:
    monkeypatch.setattr("rlkit_core.rl_module.apis.default_host", lambda: host)

    class Outer(TorchRLModule, CuriosityAPI):
        def __init__(self, **kwargs) -> None:
            super().__init__(**kwargs)
            self.made_late = True

    CuriosityDriver.built.clear()
    module = Outer(**KW)
    assert CuriosityDriver.built == [module]
    assert module.made_late
    assert loss_replacement(module, host).name == "curiosity"


def test_two_loss_replacements_are_refused_unless_the_class_says(host) -> None:
    both = type("Both", (Everything, TorchRLModule, SelfSupervisedLossAPI, CuriosityAPI), {})
    with pytest.raises(
        ModuleAPIError,
        match=r"Both implements 'self_supervised_loss' \(rlkit-core\) and 'curiosity' \(my-lab\)",
    ):
        loss_replacement(both(**KW), host)
    for said, name in (
        ("curiosity", "curiosity"),
        ("rlkit-core/self_supervised_loss", "self_supervised_loss"),
    ):
        chosen = type("Chosen", (both,), {"loss_api": said})
        assert loss_replacement(chosen(**KW), host).name == name
    with pytest.raises(ModuleAPIError, match=r"loss_api = 'q_net'.*those that do: self_supervised_loss, curiosity"):
        loss_replacement(type("Wrong", (both,), {"loss_api": "q_net"})(**KW), host)
    assert loss_replacement(type("None_", (Everything, TorchRLModule), {})(**KW), host) is None


def test_unusable_mixins_cost_only_themselves() -> None:
    broken = [
        Registered(ModuleAPI("gone", "no_such_package:API"), Origin("broken", "1")),
        Registered(ModuleAPI("init", "collections:Counter"), Origin("broken", "1")),
    ]
    host = SimpleHost((*default_host().module_apis, *broken))
    module = type("M", (Everything, TorchRLModule, ValueFunctionAPI), {})(**KW)
    with pytest.warns(Warning, match="without it") as caught:
        assert [record.name for record in drivers_for(module, host)] == ["value_function"]
    assert {name for name in ("gone", "init") for w in caught if name in str(w.message)} == {"gone", "init"}


def test_self_supervised_driver_passes_the_loss_on() -> None:
    module = type("S", (Everything, TorchRLModule, SelfSupervisedLossAPI), {})(**KW)
    driver = loss_replacement(module).load("driver")()
    loss = driver.compute_loss(
        learner=None, module_id="p", module=module, config=None, batch={}, fwd_out={"loss": torch.tensor(3.0)}
    )
    assert float(loss) == 6.0
