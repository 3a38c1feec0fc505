"""learners(mixed_precision="bf16"): the forward pass of training in bfloat16, all else in float32."""

from __future__ import annotations

import logging

import gymnasium as gym
import numpy as np
import pytest
import torch

from actor_critic import ACConfig
from rlkit_core import Learner, RLModuleSpec
from rlkit_core.errors import ConfigError
from rlkit_core.testing import DiscreteBCTorchModule

SPACES = {"default_policy": (gym.spaces.Box(-1.0, 1.0, (4,), np.float32), gym.spaces.Discrete(2))}


class SeesDtypes(DiscreteBCTorchModule):
    def _forward_train(self, batch, **kwargs):
        logits = self.policy(batch["obs"])
        self.computed_in = logits.dtype
        return {"logits": logits, "nested": (logits, {"deep": logits}), "counts": batch["actions"]}


class CloningLearner(Learner):
    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        self.seen = [fwd_out["logits"].dtype, fwd_out["nested"][0].dtype, fwd_out["nested"][1]["deep"].dtype]
        self.seen.append(fwd_out["counts"].dtype)
        self.autocast_in_loss = torch.is_autocast_enabled("cpu")
        return torch.nn.functional.cross_entropy(fwd_out["logits"], batch["actions"])


def built(precision, compile=None):
    config = (
        ACConfig()
        .training(grad_clip=None, lr=0.01)
        .learners(learner_class=CloningLearner, mixed_precision=precision, compile=compile)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=SeesDtypes), model_config={"fcnet_hiddens": [64]})
        .debugging(seed=1)
    )
    learner = config.build_learner(spaces=SPACES)
    learner.build()
    return learner


def rows(count=256, seed=0):
    obs = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return {"default_policy": {"obs": obs, "actions": (obs[:, 0] > 0).long()}}


def test_the_forward_pass_is_in_bfloat16_and_all_else_in_float32():
    learner = built("bf16")
    learner.update(rows())
    assert learner.module["default_policy"].computed_in is torch.bfloat16
    assert learner.seen == [torch.float32, torch.float32, torch.float32, torch.int64]
    assert not learner.autocast_in_loss
    kept = [*learner.module.parameters(), *(p.grad for p in learner.module.parameters())]
    kept += [value for r in learner.optimizers for value in r.optimizer.state_dict()["state"][0].values()]
    assert {tensor.dtype for tensor in kept} == {torch.float32}


def test_loss_and_gradients_are_those_of_torchs_own_autocast():
    learner, batch = built("bf16"), rows()["default_policy"]
    module = learner.module["default_policy"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = module.forward_train(batch)["logits"]
    expected = torch.nn.functional.cross_entropy(logits.float(), batch["actions"])
    gradients = torch.autograd.grad(expected, list(module.parameters()))
    _, losses, got = learner.clipped_gradients({"default_policy": batch})
    assert torch.equal(losses["default_policy"], expected)
    for ours, torchs in zip(got.values(), gradients, strict=True):
        assert torch.equal(ours, torchs)
    plain = built(None).clipped_gradients({"default_policy": batch})[1]["default_policy"]
    assert plain != expected
    torch.testing.assert_close(plain, expected, rtol=0.02, atol=0.02)


def test_it_learns_as_in_float32():
    last = {}
    for precision in (None, "bf16"):
        learner = built(precision)
        last[precision] = [learner.update(rows(seed=k))["default_policy"]["total_loss"] for k in range(150)][-1]
    assert last["bf16"] < 0.15
    assert last["bf16"] == pytest.approx(last[None], abs=0.02)


def test_recorded_steps_are_the_same_bits():
    eager, recorded = built("bf16"), built("bf16", compile="auto")
    for k in range(60):
        eager.update(rows(seed=k))
        recorded.update(rows(seed=k))
    assert recorded.engine.steps
    for ours, theirs in zip(recorded.module.parameters(), eager.module.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_says_so_where_the_cpu_has_no_bfloat16(caplog):
    with caplog.at_level(logging.WARNING):
        built(None)
        assert "bfloat16" not in caplog.text
        built("bf16")
    can = getattr(torch.cpu, "get_capabilities", dict)()
    assert ("no bfloat16 arithmetic" in caplog.text) == (bool(can) and not (can["avx512_bf16"] or can["amx_bf16"]))


def test_other_precisions_are_refused():
    with pytest.raises(ConfigError, match=r"mixed_precision='fp16'.*'bf16'"):
        ACConfig().learners(mixed_precision="fp16")
