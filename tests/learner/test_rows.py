"""What losses log per row: order, several modules, what is cleared when, and the same in every kind of step."""

from __future__ import annotations

import importlib.util

import gymnasium as gym
import numpy as np
import pytest
import torch

from actor_critic import ACConfig, ACLearner
from rlkit_core.errors import ConfigError

SPACES = (gym.spaces.Box(-1.0, 1.0, (4,), np.float32), gym.spaces.Discrete(2))
RECORDED = ["capture"] if importlib.util.find_spec("rlkit_capture") else []  # the core alone has no such engine
STEPS = [None, *RECORDED]
SLOW = [pytest.param(name, marks=[pytest.mark.slow, pytest.mark.timeout(600)]) for name in ["inductor"] if RECORDED]
EVERY_STEP = [*STEPS, "auto", *SLOW]


class LogsRows(ACLearner):
    """Logs each row's own number, something that depends on weights, and a vector per row."""

    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        logits = fwd_out["action_dist_inputs"]
        self.log_rows(module_id, "number", batch["value_targets"] * 1.0)
        self.log_rows(module_id, "logits", logits)
        self.log_rows(module_id, "gap", logits[:, 0] - logits[:, 1])
        return super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)


def build(compile, modules=("default_policy",), **settings):
    config = (
        ACConfig()
        .training(lr=0.01, minibatch_size=16)
        .learners(compile=compile, learner_class=LogsRows, **settings)
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .debugging(seed=2)
    )
    if modules != ("default_policy",):
        config.multi_agent(policies=list(modules), policy_mapping_fn=lambda agent, *_, **__: agent)
    learner = config.build_learner(spaces=dict.fromkeys(modules, SPACES))
    learner.build()
    return learner


def rows(count, first=0.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "obs": torch.randn(count, 4, generator=generator),
        "actions": torch.randint(2, (count,), generator=generator),
        "action_logp": torch.full((count,), -0.7),
        "advantages": torch.randn(count, generator=generator),
        "value_targets": torch.arange(count) + first,
    }


@pytest.mark.parametrize("compile", EVERY_STEP)
def test_rows_come_in_the_order_of_the_batch_and_once(compile):
    learner, eager = build(compile), build(None)
    for first in (0.0, 100.0):  # the second update replays what the first one recorded
        batch = {"default_policy": rows(64, first)}
        learner.update(batch, minibatch_size=16)
        eager.update(batch, minibatch_size=16)
        taken, expected = learner.take_rows()["default_policy"], eager.take_rows()["default_policy"]
        assert list(taken) == ["number", "logits", "gap"]
        assert torch.equal(taken["number"], torch.arange(64) + first)
        assert taken["logits"].shape == (64, 2)
        for name in taken:
            assert not taken[name].requires_grad
            torch.testing.assert_close(taken[name], expected[name], rtol=1e-4, atol=1e-5)
        assert learner.take_rows() == {}


@pytest.mark.parametrize("compile", STEPS)
def test_an_update_begins_without_rows(compile):
    learner = build(compile)
    for first in (0.0, 50.0):
        learner.update({"default_policy": rows(32, first)}, minibatch_size=16)
    assert learner.take_rows()["default_policy"]["number"].tolist() == [*range(50, 82)]
    learner.update({"default_policy": rows(32)})
    learner.update({"default_policy": rows(0)})
    assert learner.take_rows() == {}


@pytest.mark.parametrize("compile", STEPS)
def test_modules_keep_their_rows_apart(compile):
    learner = build(compile, ("a", "b"))
    for _ in range(2):
        learner.update({"a": rows(32), "b": rows(32, 100.0)}, minibatch_size=8)
        taken = learner.take_rows()
    assert taken["a"]["number"].tolist() == [*range(32)]
    assert taken["b"]["number"].tolist() == [*range(100, 132)]
    learner.update({"b": rows(16)})
    assert list(learner.take_rows()) == ["b"]


@pytest.mark.parametrize("compile", STEPS)
def test_rows_of_a_skipped_minibatch_are_there_too(compile):
    learner = build(compile, on_nonfinite="skip")
    batch = rows(48)
    learner.update({"default_policy": batch}, minibatch_size=16)
    batch["advantages"][20] = float("nan")
    result = learner.update({"default_policy": batch}, minibatch_size=16)
    assert result["default_policy"]["num_nonfinite_updates_lifetime"] == 1
    assert learner.take_rows()["default_policy"]["number"].tolist() == [*range(48)]


@pytest.mark.parametrize("value", [torch.tensor(1.0), 3.0, [1.0, 2.0]])
def test_what_has_no_rows_is_refused(value):
    learner = build(None)
    with pytest.raises(ConfigError, match=r"log_rows\('p', 'x'.*one entry per row"):
        learner.log_rows("p", "x", value)
