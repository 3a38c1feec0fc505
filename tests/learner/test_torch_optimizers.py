"""Torch's optimizers look as they were registered, whatever buffers lie below; updates without effect are said."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_core import MultiRLModuleSpec, RLModuleSpec
from rlkit_core.testing import BCConfigTest, BCTorchLearner, DiscreteBCTorchModule

OBS = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
ACT = gym.spaces.Discrete(2)


def learner_for(learner_class=BCTorchLearner, ids=("default_policy",), lr=0.01):
    specs = {mid: RLModuleSpec(DiscreteBCTorchModule, OBS, ACT) for mid in ids}
    config = BCConfigTest().learners(learner_class=learner_class).training(lr=lr).debugging(seed=5)
    config.multi_agent(policies=ids).rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs))
    learner = config.build_learner()
    learner.build()
    return learner


def rows(seed=0, count=32):
    obs = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return {"obs": obs, "actions": (obs[:, 0] > 0).long()}


def parameters(learner, mid="default_policy"):
    return [p.detach().clone() for p in learner.module[mid].parameters()]


class Walks(BCTorchLearner):
    """Does by hand, over the param groups of the optimizers, what a learner does."""

    def compute_gradients(self, loss_per_module, **kwargs):
        for _, optimizer in self.get_optimizers_for_module():
            optimizer.zero_grad()
        sum(loss_per_module.values()).backward()
        groups = [group for _, optimizer in self.get_optimizers_for_module() for group in optimizer.param_groups]
        return {p: p.grad for group in groups for p in group["params"]}


class WalksAndSteps(Walks):
    def apply_gradients(self, gradients_dict):
        for _, optimizer in self.get_optimizers_for_module():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = gradients_dict[parameter]
            optimizer.step()


@pytest.mark.parametrize("learner_class", [Walks, WalksAndSteps])
def test_an_override_may_walk_the_param_groups(learner_class, caplog):
    plain, walks = learner_for(), learner_for(learner_class)
    (group,) = walks.get_optimizer().param_groups
    expected = walks.get_parameters(walks.module["default_policy"])
    assert len(group["params"]) == len(expected)
    assert all(ours is theirs for ours, theirs in zip(group["params"], expected, strict=True))
    for k in range(5):
        ours, theirs = (one.update({"default_policy": rows(k)})["default_policy"] for one in (plain, walks))
        assert ours == pytest.approx(theirs, rel=1e-5)
    for ours, theirs in zip(parameters(plain), parameters(walks), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    for parameter in expected:
        assert walks.get_optimizer().state[parameter]["exp_avg"].shape == parameter.shape
        assert float(walks.get_optimizer().state[parameter]["step"]) == 5
    assert not caplog.records


def test_a_torch_optimizer_of_ones_own_over_registered_parameters():
    class Own(BCTorchLearner):
        def apply_gradients(self, gradients_dict):
            if not hasattr(self, "own"):
                self.own = torch.optim.SGD(self.params_of("default_policy"), lr=0.1)
            super().apply_gradients({})
            for parameter, gradient in gradients_dict.items():
                parameter.grad = gradient
            self.own.step()

    learner = learner_for(Own)
    twin = learner_for()
    twin.module.load_state_dict(learner.module.state_dict())
    copied = twin.params_of("default_policy")
    for k in range(3):
        learner.update({"default_policy": rows(k)})
        _, _, gradients = twin.clipped_gradients({"default_policy": rows(k)})
        for parameter in copied:
            parameter.data -= 0.1 * gradients[parameter]
    for ours, theirs in zip(parameters(learner), copied, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_parameters_that_are_added_to_a_torch_optimizer_are_trained():
    class Shifted(BCTorchLearner):
        def on_module_added(self, module_id):
            super().on_module_added(module_id)
            self.shift = self.tensor_variable(1.0, trainable=True)

        def compute_loss_for_module(self, *, fwd_out, batch, **given):
            logp = fwd_out["action_dist"].log_prob(batch["actions"])
            return -logp.mean() + self.shift.square()

    learner = learner_for(Shifted)
    learner.update({"default_policy": rows()})
    assert learner.shift == 1.0
    learner.get_optimizer().add_param_group({"params": [learner.shift], "lr": 0.5})
    before = parameters(learner)
    learner.update({"default_policy": rows()})
    assert learner.shift.item() == pytest.approx(0.5)
    assert all(not torch.equal(a, b) for a, b in zip(before, parameters(learner), strict=True))
    assert learner.params_of("default_policy")[-1] is learner.shift


def test_an_update_that_changes_nothing_is_said_once(caplog):
    class Loses(BCTorchLearner):
        keep = False

        def apply_gradients(self, gradients_dict):
            super().apply_gradients(gradients_dict if self.keep else {})

    learner = learner_for(Loses, ids=("a", "b"))
    for _ in range(2):
        learner.update({"a": rows()})
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "Loses: the first update of module 'a' changed none of its parameters" in caplog.text
    learner.keep = True
    learner.update({"a": rows(), "b": rows()})
    assert len(caplog.records) == 1


def test_a_learning_rate_that_begins_at_zero_is_no_fault(caplog):
    learner = learner_for(lr=[[0, 0.0], [100, 0.1]])
    for step in (0, 50, 50):
        learner.update({"default_policy": rows()}, timesteps={"num_env_steps_sampled_lifetime": step})
    assert not caplog.records
