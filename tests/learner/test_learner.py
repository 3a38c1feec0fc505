"""The Learner's steps against arithmetic done by hand, and against torch's own loop."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from actor_critic import ACConfig, ACLearner
from rlkit_core import Learner
from rlkit_core.errors import ConfigError, ModuleAPIError, NonFiniteError, RLKitError
from rlkit_core.testing import DiscreteBCTorchModule

OBS = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
ACT = gym.spaces.Discrete(2)
SPACES = {"default_policy": (OBS, ACT)}


class BCLearner(Learner):
    """Behaviour cloning: minus the log-probability of the batch's actions."""

    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        return -fwd_out["action_dist"].log_prob(batch["actions"]).mean()


def config_for(learner_class=BCLearner, module_class=DiscreteBCTorchModule, **training):
    from rlkit_core import RLModuleSpec

    return (
        ACConfig()
        .training(**{"grad_clip": None, "lr": 0.01, **training})
        .learners(learner_class=learner_class)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=module_class), model_config={"fcnet_hiddens": [8]})
        .debugging(seed=1)
    )


def built(**kwargs):
    learner = config_for(**kwargs).build_learner(spaces=SPACES)
    learner.build()
    return learner


def rows(count=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    obs = torch.randn(count, 4, generator=generator)
    return {"default_policy": {"obs": obs, "actions": (obs[:, 0] > 0).long()}}


def test_cloning_learns():
    learner = built()
    losses = [learner.update(rows(256, seed=k))["default_policy"]["total_loss"] for k in range(150)]
    assert losses[0] == pytest.approx(0.69, abs=0.15)
    assert losses[-1] < 0.15


def test_gradients_of_the_sum_of_all_parameters_are_ones():
    learner = built()
    total = sum(p.sum() for p in learner.module.parameters())
    gradients = learner.compute_gradients({"default_policy": total})
    assert len(gradients) == 4
    assert all(torch.equal(g, torch.ones_like(p)) for p, g in gradients.items())


def test_a_loss_without_parameters_has_no_gradients():
    assert built().compute_gradients({"default_policy": torch.tensor(0.0)}) == {}


@pytest.mark.parametrize("by", ["value", "norm", "global_norm"])
@pytest.mark.parametrize("clip", [0.5, 1e6])
def test_clipping(by, clip):
    learner = built(grad_clip=clip, grad_clip_by=by)
    gradients = learner.compute_gradients({"default_policy": sum((p**2).sum() for p in learner.module.parameters())})
    before = [g.clone() for g in gradients.values()]
    after = list(learner.postprocess_gradients(gradients).values())
    joint = torch.sqrt(sum((g**2).sum() for g in before))
    for old, new in zip(before, after, strict=True):
        expected = {
            "value": old.clamp(-clip, clip),
            "norm": old * min(1.0, clip / float(old.norm() + 1e-12)),
            "global_norm": old * min(1.0, clip / float(joint)),
        }[by]
        torch.testing.assert_close(new, expected)


def test_adam_on_constant_gradients_steps_by_the_learning_rate():
    learner = built(lr=0.001)
    before = {name: p.detach().clone() for name, p in learner.module.named_parameters()}
    for _ in range(100):
        total = sum(p.sum() for p in learner.module.parameters())
        learner.apply_gradients(learner.postprocess_gradients(learner.compute_gradients({"default_policy": total})))
    for name, p in learner.module.named_parameters():
        torch.testing.assert_close(p.detach(), before[name] - 0.1, atol=1e-4, rtol=0)


def test_flat_buffers_change_no_result():
    """Thirty updates equal a plain torch loop over the same rows with unfused Adam and clip_grad_norm_."""
    learner = built(grad_clip=0.3)
    twin = DiscreteBCTorchModule(observation_space=OBS, action_space=ACT, model_config={"fcnet_hiddens": [8]})
    twin.set_state(learner.module["default_policy"].get_state())
    adam = torch.optim.Adam(twin.parameters(), lr=0.01)
    for k in range(30):
        batch = rows(seed=k)
        learner.update(batch)
        data = batch["default_policy"]
        loss = -twin.forward_train(data)["action_dist"].log_prob(data["actions"]).mean()
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.3)
        adam.step()
    mine = learner.module["default_policy"].get_state()
    for name, value in twin.get_state().items():
        np.testing.assert_allclose(mine[name], value, atol=2e-5)


def test_learning_rate_schedule():
    learner = built(lr=[[0, 0.1], [100, 0.0]])
    seen = [
        learner.update(rows(), timesteps={"num_env_steps_sampled_lifetime": t})["default_policy"][
            "default_optimizer_learning_rate"
        ]
        for t in (0, 25, 400)
    ]
    assert seen == pytest.approx([0.1, 0.075, 0.0])
    assert learner._get_optimizer_lr(learner.get_optimizer()) == 0.0


def test_state_continues_bit_for_bit():
    a, b = built(), built()
    for k in range(5):
        a.update(rows(seed=k), num_epochs=2, minibatch_size=8, shuffle_batch_per_epoch=True)
    b.set_state(a.get_state())
    for k in range(5):
        for learner in (a, b):
            learner.update(rows(seed=9 + k), num_epochs=2, minibatch_size=8, shuffle_batch_per_epoch=True)
    state_a, state_b = a.get_state(), b.get_state()
    for name, value in state_a["rl_module"]["default_policy"].items():
        assert np.array_equal(value, state_b["rl_module"]["default_policy"][name])
    assert state_a["weights_seq_no"] == state_b["weights_seq_no"] == 10


class Blows(BCLearner):
    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        loss = super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        return loss * batch["weight"].mean()


def blown(what):
    learner = config_for(Blows).learners(on_nonfinite=what).build_learner(spaces=SPACES)
    learner.build()
    batch = rows()
    batch["default_policy"]["weight"] = torch.full((32,), float("nan"))
    return learner, batch


def test_non_finite_gradients_raise_and_leave_the_weights_alone():
    learner, batch = blown("raise")
    before = learner.module["default_policy"].get_state()
    with pytest.raises(NonFiniteError, match=r"default_policy\.policy.*on_nonfinite"):
        learner.update(batch)
    after = learner.module["default_policy"].get_state()
    assert all(np.array_equal(before[k], after[k]) for k in before)


@pytest.mark.parametrize("what", ["skip", "zero"])
def test_non_finite_gradients_skipped_or_zeroed(what):
    learner, batch = blown(what)
    result = learner.update(batch)["default_policy"]
    assert result["num_nonfinite_updates_lifetime"] == 1
    state = learner.module["default_policy"].get_state()
    assert all(np.isfinite(v).all() for v in state.values())


def test_what_update_refuses():
    learner = built()
    with pytest.raises(ConfigError, match="exactly one"):
        learner.update()
    with pytest.raises(ConfigError, match=r"unknown modules.*other"):
        learner.update({"other": {}})
    config = config_for()
    unbuilt = config.learner_class(config=config, module_spec=config.get_multi_rl_module_spec(spaces=SPACES))
    with pytest.raises(RLKitError, match="not built"):
        unbuilt.update(rows())


def test_an_empty_batch_is_counted_and_changes_nothing():
    learner = built()
    empty = {"default_policy": {"obs": torch.zeros(0, 4), "actions": torch.zeros(0, dtype=torch.int64)}}
    assert learner.update(empty)["__all_modules__"]["num_empty_updates_lifetime"] == 1
    assert learner.weights_seq_no == 0


def test_an_actor_critic_refuses_a_module_without_values():
    with pytest.raises(ModuleAPIError, match=r"ValueFunctionAPI.*DiscreteBCTorchModule.*compute_values"):
        built(learner_class=ACLearner)


def test_optimizers_by_name():
    learner = built()
    assert [name for name, _ in learner.get_optimizers_for_module("default_policy")] == [
        "default_policy_default_optimizer"
    ]
    with pytest.raises(KeyError, match="registered are"):
        learner.get_optimizer("default_policy", "second")
    with pytest.raises(ConfigError, match="must be a list"):
        learner.register_optimizer(optimizer=torch.optim.SGD([torch.nn.Parameter(torch.ones(1))]), params=())
    with pytest.raises(ConfigError, match=r"torch\.optim\.Optimizer"):
        learner.register_optimizer(optimizer=object(), params=[])


class TwoOptimizers(BCLearner):
    def configure_optimizers_for_module(self, module_id, config=None):
        parameters = self.get_parameters(self.module[module_id])
        for name, params, lr in (("first", parameters[:2], 0.1), ("second", parameters[2:], 0.0)):
            self.register_optimizer(
                module_id=module_id,
                optimizer_name=name,
                optimizer=torch.optim.SGD(params, lr=1.0),
                params=params,
                lr_or_lr_schedule=lr,
            )


def test_two_optimizers_step_their_own_parameters():
    learner = built(learner_class=TwoOptimizers)
    before = learner.module["default_policy"].get_state()
    learner.update(rows())
    after = learner.module["default_policy"].get_state()
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    assert changed == list(before)[:2]
