"""Losses as a dict: one for each optimizer, differentiated for that optimizer's parameters alone."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from three_optimizers import NAMES, ThreeOptimizers, ThreeParts, config_for, learner_for, rows
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from rlkit_core import ModuleAPI, hookimpl
from rlkit_core.apis import SelfSupervisedLossAPI
from rlkit_core.columns import ALL_MODULES
from rlkit_core.errors import ConfigError, NonFiniteError, PluginError
from rlkit_core.plugins.host import default_host

MID = "default_policy"


def weights(learner, mid=MID):
    return {name: p.detach().clone() for name, p in learner.module[mid].named_parameters()}


def changed(learner, before, mid=MID):
    """Which parts have other weights than ``before``."""
    after = weights(learner, mid)
    return {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}


class Chosen(ThreeOptimizers):
    """Gives the losses of ``names`` only."""

    names = NAMES

    def compute_loss_for_module(self, **given):
        losses = super().compute_loss_for_module(**given)
        return {name: losses[name] for name in self.names}


# -- what is differentiated -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flat", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_equals_three_separate_gradients(flat):
    learner = learner_for()
    twin = ThreeParts(observation_space=None, action_space=None)
    twin.load_state_dict(learner.module[MID].state_dict())
    moments: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    if not flat:
        for registered in learner.optimizers:
            registered.unflatten()
    for k in range(1, 5):
        result = learner.update({MID: rows(k)})[MID]
        losses, parts = twin.losses(twin.forward_train(rows(k)), rows(k)), twin.parts()
        gradients = {n: torch.autograd.grad(losses[n], parts[n], retain_graph=True) for n in NAMES}
        for name, gradient in gradients.items():
            norm = torch.cat([g.reshape(-1) for g in gradient]).norm()
            assert result[f"gradients_{name}_global_norm"] == pytest.approx(norm.item(), rel=1e-5)
            for index, parameter in enumerate(parts[name]):  # Adam, as its paper has it
                g, key = gradient[index] * (0.5 / norm).clamp(max=1.0), f"{name}{index}"
                mean, square = moments.get(key, (torch.zeros_like(g), torch.zeros_like(g)))
                mean, square = moments[key] = (0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g * g)
                step = 0.01 * (mean / (1 - 0.9**k)) / ((square / (1 - 0.999**k)).sqrt() + 1e-8)
                parameter.data -= step
        assert result["total_loss"] == pytest.approx(sum(losses.values()).item(), rel=1e-5)
        for name, value in weights(learner).items():
            torch.testing.assert_close(value, twin.state_dict()[name], rtol=1e-5, atol=1e-5)


class Products(TorchDispatchMode):
    """Shapes of all matrix products."""

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # asking the compiler to stay away would import it first

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            self.shapes.append(tuple(out.shape))
        return out


def test_the_actors_loss_makes_no_gradient_of_the_critic():
    class ActorOnly(Chosen):
        names = ("actor",)

    learner = learner_for(ActorOnly)
    module, seen = learner.module[MID], []
    for parameter in (*module.qf.parameters(), *module.trunk.parameters()):
        parameter.register_hook(seen.append)
    before = weights(learner)
    with Products() as products:
        learner.update({MID: rows(count=32)})
    assert seen == []
    assert changed(learner, before) == {"pi"}
    # Forward: trunk, pi, twice the critic. Backward: through the critic to the actions, and pi's weight; no product of
    # the shape of a weight of critic or trunk.
    assert products.shapes.count((2, 8)) == 1
    assert not {(8, 10), (10, 8), (1, 8), (8, 1), (8, 4), (4, 8)} & set(products.shapes)
    assert len(products.shapes) == 6 + 3


def test_an_optimizer_without_entry_is_not_stepped_whatever_its_momentum():
    learner = learner_for(Chosen)
    learner.update({MID: rows()})
    for names in (("actor",), ("critic", "alpha"), ()):
        type(learner).names = names
        before = weights(learner)
        learner.update({MID: rows(1)})
        expected = {"actor": {"pi"}, "critic": {"trunk", "qf"}, "alpha": {"log_alpha"}}
        assert changed(learner, before) == set().union(*(expected[n] for n in names))
    type(learner).names = NAMES
    assert all(registered.flat for registered in learner.optimizers)
    steps = {r.short_name: float(r.get_state()["groups"][0]["state"]["step"][0]) for r in learner.optimizers}
    assert steps == {"actor": 2, "critic": 2, "alpha": 2}


def test_a_loss_without_gradient_steps_nothing():
    class Constant(ThreeOptimizers):
        def compute_loss_for_module(self, **given):
            losses = super().compute_loss_for_module(**given)
            return {**losses, "alpha": torch.zeros(())}

    learner = learner_for(Constant)
    before = weights(learner)
    learner.update({MID: rows()})
    assert changed(learner, before) == {"pi", "trunk", "qf"}


def test_graphs_are_let_go():
    graphs = []

    class Watched(ThreeOptimizers):
        def compute_loss_for_module(self, *, fwd_out, **given):
            graphs.append(weakref.ref(fwd_out["features"]))
            return super().compute_loss_for_module(fwd_out=fwd_out, **given)

    learner = learner_for(Watched)
    gc.disable()
    try:
        learner.update({MID: rows()})
        assert [graph() for graph in graphs] == [None]
    finally:
        gc.enable()


# -- together with other things ---------------------------------------------------------------------------------------


class Mixed(ThreeOptimizers):
    """The module ``summed`` has one loss for all, as RLlib has it."""

    def compute_loss_for_module(self, *, module_id, **given):
        losses = super().compute_loss_for_module(module_id=module_id, **given)
        return sum(losses.values()) if module_id == "summed" else losses


def test_modules_with_dicts_and_modules_with_tensors():
    batch = {"summed": rows(1), "keyed": rows(2)}
    both = learner_for(Mixed, ids=("summed", "keyed"))
    alone = {mid: learner_for(Mixed, ids=(mid,)) for mid in batch}
    for mid, learner in alone.items():
        learner.module[mid].load_state_dict(both.module[mid].state_dict())
    for _ in range(3):
        result = both.update(batch)
        for mid, learner in alone.items():
            assert learner.update({mid: batch[mid]})[mid] == result[mid]
    for mid, learner in alone.items():
        ours, theirs = weights(both, mid), weights(learner, mid)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_an_optimizer_that_spans_modules():
    class Spanning(ThreeOptimizers):
        def configure_optimizers(self):
            for name in NAMES:
                params = [p for module in self.module.values() for p in module.parts()[name]]
                adam = torch.optim.Adam(params, fused=True)
                self.register_optimizer(optimizer_name=name, optimizer=adam, params=params, lr_or_lr_schedule=0.01)

        def compute_loss_for_module(self, *, module_id, **given):
            losses = super().compute_loss_for_module(module_id=module_id, **given)
            return {name: losses[name] for name in (("actor", "critic") if module_id == "a" else ("actor",))}

    learner = learner_for(Spanning, ids=("a", "b"))
    assert len(learner.params_of(ALL_MODULES, "actor")) == 4
    before = {mid: weights(learner, mid) for mid in "ab"}
    learner.update({"a": rows(), "b": rows(1)})
    assert changed(learner, before["a"], "a") == {"pi", "trunk", "qf"}
    assert changed(learner, before["b"], "b") == {"pi"}


def test_params_of():
    learner = learner_for()
    for name, params in learner.module[MID].parts().items():
        ours = learner.params_of(MID, name)
        assert len(ours) == len(params)
        assert all(a is b for a, b in zip(ours, params, strict=True))
    with pytest.raises(KeyError, match=r"default_policy_actr.*default_policy_actor"):
        learner.params_of(MID, "actr")


def test_what_optimizers_leave_is_the_default_optimizers():
    class WithPredictor(ThreeParts):
        def setup(self):
            super().setup()
            self.predictor = nn.Linear(4, 1)

    learner = learner_for(config=config_for(module_class=WithPredictor))
    predictor = list(learner.module[MID].predictor.parameters())
    assert all(a is b for a, b in zip(learner.params_of(MID), predictor, strict=True))
    before = weights(learner)
    learner.update({MID: rows()})
    assert "predictor" not in changed(learner, before)


@pytest.mark.parametrize("what", ["raise", "skip", "zero"])
def test_a_loss_of_one_optimizer_that_is_not_finite(what):
    class Bad(ThreeOptimizers):
        def compute_loss_for_module(self, **given):
            losses = super().compute_loss_for_module(**given)
            return {**losses, "critic": losses["critic"] * torch.inf}

    learner = learner_for(config=config_for(Bad).learners(on_nonfinite=what))
    before = weights(learner)
    if what == "raise":
        with pytest.raises(NonFiniteError, match="the loss is inf"):
            learner.update({MID: rows()})
    else:
        assert learner.update({MID: rows()})[MID]["num_nonfinite_updates_lifetime"] == 1
    assert changed(learner, before) == ({"pi", "log_alpha"} if what == "zero" else set())


def test_a_checkpoint_continues(tmp_path):
    config = config_for().learners(learner_config_dict={"delayed": True})
    learner = learner_for(config=config)
    for k in range(3):
        learner.update({MID: rows(k)})
    learner.save_to_path(tmp_path / "saved")
    again = learner_for(config=config)
    again.restore_from_path(tmp_path / "saved")
    for k in range(3):
        assert learner.update({MID: rows(k)}) == again.update({MID: rows(k)})
    ours, theirs = weights(learner), weights(again)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


# -- drivers ----------------------------------------------------------------------------------------------------------


class ExtraAPI:
    """A mixin whose driver adds a term."""


class ExtraDriver:
    names = ()

    def extra_loss(self, *, module, fwd_out):
        term = module.log_alpha * 2.0 + module.pi[1].bias.sum()
        return dict.fromkeys(self.names, term) if self.names else term


class ExtraPlugin:
    rlkit_api = "1.0"

    @hookimpl
    def rlkit_module_apis(self):
        return [ModuleAPI("extra", ExtraAPI, ExtraDriver)]


class WithExtra(ThreeParts, ExtraAPI):
    pass


@pytest.fixture
def extra(monkeypatch):
    with default_host().temporary(ExtraPlugin()):
        yield lambda *names: monkeypatch.setattr(ExtraDriver, "names", names)


def test_a_drivers_tensor_needs_a_default_optimizer(extra):
    learner = learner_for(config=config_for(module_class=WithExtra))
    with pytest.raises(ConfigError, match=r"extra_loss.*'default_optimizer'.*'actor', 'critic', 'alpha'"):
        learner.update({MID: rows()})


def test_a_drivers_entries_are_added(extra):
    extra("alpha")
    learner, plain = learner_for(config=config_for(module_class=WithExtra)), learner_for()
    plain.module[MID].load_state_dict(learner.module[MID].state_dict())
    before = weights(learner)
    ours, theirs = learner.update({MID: rows()})[MID], plain.update({MID: rows()})[MID]
    assert ours["total_loss"] != theirs["total_loss"]
    assert torch.equal(weights(learner)["pi.1.bias"], weights(plain)["pi.1.bias"])  # it was for alpha alone
    # d(loss)/d(log_alpha) has another sign with 2 * log_alpha in it.
    moved = [float(weights(one)["log_alpha"] - before["log_alpha"]) for one in (learner, plain)]
    assert moved[0] < 0 < moved[1]


def test_a_drivers_entry_beside_a_tensor(extra):
    """The tensor is for all, the entry for its optimizer."""

    class Summed(ThreeOptimizers):
        def compute_loss_for_module(self, **given):
            return sum(super().compute_loss_for_module(**given).values())

    extra("alpha")
    learner, plain = learner_for(config=config_for(Summed, module_class=WithExtra)), learner_for(Summed)
    plain.module[MID].load_state_dict(learner.module[MID].state_dict())
    for one in (learner, plain):
        one.update({MID: rows()})
    ours, theirs = weights(learner), weights(plain)
    assert {name for name in ours if not torch.equal(ours[name], theirs[name])} == {"log_alpha"}


class OwnLosses(ThreeParts, SelfSupervisedLossAPI):
    """Brings the losses of two of its optimizers itself."""

    def compute_self_supervised_loss(self, *, batch, fwd_out, **kwargs):
        losses = self.losses(fwd_out, batch)
        return {"critic": losses["critic"], "alpha": losses["alpha"]}


def test_a_modules_own_loss_may_have_entries():
    learner = learner_for(config=config_for(module_class=OwnLosses))
    before = weights(learner)
    learner.update({MID: rows()})
    assert changed(learner, before) == {"trunk", "qf", "log_alpha"}


# -- errors -----------------------------------------------------------------------------------------------------------


def test_an_unknown_name_is_refused(extra):
    class Misspelt(ThreeOptimizers):
        def compute_loss_for_module(self, **given):
            losses = super().compute_loss_for_module(**given)
            return {"actr": losses["actor"]}

    with pytest.raises(ConfigError, match=r"Misspelt.*'actr'.*'actor', 'critic', 'alpha'.*did you mean 'actor'"):
        learner_for(Misspelt).update({MID: rows()})
    extra("beta")
    with pytest.raises(PluginError, match=r"extra_loss.*'beta'.*'actor', 'critic', 'alpha'"):
        learner_for(config=config_for(module_class=WithExtra)).update({MID: rows()})


def test_a_loss_with_axes_is_refused():
    class Rows(ThreeOptimizers):
        def compute_loss_for_module(self, *, fwd_out, **given):
            return {"actor": fwd_out["actions"].sum(-1)}

    with pytest.raises(ConfigError, match=r"shape \(32,\) for 'actor'"):
        learner_for(Rows).update({MID: rows()})
