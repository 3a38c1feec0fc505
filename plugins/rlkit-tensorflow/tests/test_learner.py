"""TfLearner: steps by tape and Keras optimizers, clipping, schedules, several modules, state."""

from __future__ import annotations

import copy
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from rlkit_tensorflow import BCTfLearner, TfRLModule, parameter_of

from rlkit_core import Columns, Learner, MultiRLModuleSpec, RLModuleSpec
from rlkit_core.errors import ConfigError, NonFiniteError
from rlkit_core.learner import TfLearner
from rlkit_core.testing import BCConfigTest, DiscreteBCTfModule

START, GOAL = 0.69, 0.57
MODULE = "default_policy"


def rows(count=512, seed=0):
    generator = np.random.default_rng(seed)
    obs = generator.uniform(-1, 1, (count, 4)).astype(np.float32)
    noise = generator.uniform(-0.3, 0.3, count)
    return {Columns.OBS: obs, Columns.ACTIONS: (obs[:, 2] + 0.5 * obs[:, 3] + noise > 0).astype(np.int64)}


def bc(ids=(MODULE,), **training):
    config = BCConfigTest().framework("tf2").environment("CartPole-v1").training(**{"lr": 1e-3, **training})
    config.debugging(seed=2)
    if len(ids) > 1:
        config.multi_agent(policies=ids)
        config.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs={mid: RLModuleSpec() for mid in ids}))
    return config


def built(config):
    learner = config.build_learner()
    learner.build()
    return learner


def weights(learner, mid=MODULE):
    return learner.module[mid].get_state()


def loss_of(learner, batch, mid=MODULE):
    dist = learner.module[mid].forward_train(batch)["action_dist"]
    return float(-tf.reduce_mean(dist.logp(batch[Columns.ACTIONS])))


@pytest.mark.parametrize("ids", [(MODULE,), ("p0", "p1")])
def test_a_bare_learner_clones_a_policy(ids):
    learner = built(bc(ids))
    assert isinstance(learner, TfLearner)
    assert isinstance(learner, Learner)
    batch = rows()
    losses = {mid: [] for mid in ids}
    for _ in range(400):
        result = learner.update(dict.fromkeys(ids, batch))
        for mid in ids:
            losses[mid].append(result[mid]["total_loss"])
        if all(np.mean(losses[mid][-10:]) < GOAL for mid in ids):
            break
    for mid in ids:
        assert losses[mid][0] == pytest.approx(START, abs=0.15)
        assert np.mean(losses[mid][-10:]) < GOAL, f"{mid} after {len(losses[mid])} updates"
    counts = result["__all_modules__"]
    assert counts["num_trainable_parameters"] == len(ids) * (4 * 32 + 32 + 32 * 2 + 2)


def test_without_a_seed_of_torch_two_learners_are_equal():
    one, other = built(bc()), built(bc())
    for _ in range(3):
        one.update({MODULE: rows()}, num_epochs=2, minibatch_size=64, shuffle_batch_per_epoch=True)
        other.update({MODULE: rows()}, num_epochs=2, minibatch_size=64, shuffle_batch_per_epoch=True)
    for name, value in weights(one).items():
        np.testing.assert_array_equal(value, weights(other)[name])


@pytest.mark.parametrize("how", ["value", "norm", "global_norm", None])
def test_clipping(how):
    c = 0.05
    config = bc().learners() if how is None else bc(grad_clip=c, grad_clip_by=how)
    learner = built(config)
    with tf.GradientTape() as tape:
        out = learner.module[MODULE].forward_train(rows())
        loss = -tf.reduce_mean(out["action_dist"].logp(rows()[Columns.ACTIONS]))
    variables = learner.module[MODULE].trainable_variables
    raw = [np.asarray(g) for g in tape.gradient(loss, [v.value for v in variables])]
    whole = np.sqrt(sum((g**2).sum() for g in raw))
    assert whole > c
    expected = {
        None: raw,
        "value": [np.clip(g, -c, c) for g in raw],
        "norm": [g * min(1, c / np.linalg.norm(g)) for g in raw],
        "global_norm": [g * c / whole for g in raw],
    }[how]
    _, _, gradients = learner.clipped_gradients({MODULE: {k: torch.tensor(v) for k, v in rows().items()}})
    for variable, wanted in zip(variables, expected, strict=True):
        np.testing.assert_allclose(gradients[parameter_of(variable)], wanted, atol=1e-6)
    logged = learner.metrics.peek((MODULE, "gradients_default_optimizer_global_norm"))
    assert logged == pytest.approx(whole, rel=1e-5)


def test_schedules_move_the_learning_rate():
    learner = built(bc(lr=[[0, 0.01], [100, 0.002]]))
    optimizer = learner.get_optimizer()
    assert isinstance(optimizer, keras.optimizers.Adam)
    assert float(optimizer.learning_rate.numpy()) == pytest.approx(0.01)
    result = learner.update({MODULE: rows()}, timesteps={"num_env_steps_sampled_lifetime": 50})
    assert result[MODULE]["default_optimizer_learning_rate"] == pytest.approx(0.006)
    learner.update({MODULE: rows()}, timesteps={"num_env_steps_sampled_lifetime": 500})
    assert float(optimizer.learning_rate.numpy()) == pytest.approx(0.002)


class TwoOptimizers(BCTfLearner):
    """A loss for the first layer, another for the second."""

    def configure_optimizers_for_module(self, module_id, config=None):
        variables = self.module[module_id].trainable_variables
        sgd = keras.optimizers.SGD(0.1)
        self.register_optimizer(module_id=module_id, optimizer_name="first", optimizer=sgd, params=variables[:2])
        self.register_optimizer(
            module_id=module_id, optimizer_name="second", params=variables[2:], lr_or_lr_schedule=0.01
        )

    def compute_loss_for_module(self, *, fwd_out, **kwargs):
        loss = super().compute_loss_for_module(fwd_out=fwd_out, **kwargs)
        return {"first": 2.0 * loss} if self.weights_seq_no else {"second": loss}


def test_a_loss_for_each_optimizer():
    learner = built(bc().learners(learner_class=TwoOptimizers))
    before = weights(learner)
    learner.update({MODULE: rows()})
    between = weights(learner)
    assert {k for k in before if (before[k] != between[k]).any()} == {"policy.1.kernel", "policy.1.bias"}
    learner.update({MODULE: rows()})
    after = weights(learner)
    assert {k for k in before if (after[k] != between[k]).any()} == {"policy.0.kernel", "policy.0.bias"}
    assert [name for name, _ in learner.get_optimizers_for_module(MODULE)] == [
        "default_policy_first",
        "default_policy_second",
    ]


def test_sgd_does_what_it_says():
    class Plain(BCTfLearner):
        def configure_optimizers_for_module(self, module_id, config=None):
            sgd = keras.optimizers.SGD(0.5)
            self.register_optimizer(
                module_id=module_id, optimizer=sgd, params=self.module[module_id].trainable_variables
            )

    learner = built(bc().learners(learner_class=Plain))
    before, minibatch = weights(learner), {MODULE: {k: torch.tensor(v) for k, v in rows().items()}}
    _, _, gradients = learner.clipped_gradients(minibatch)
    learner.update({MODULE: rows()})
    for (name, parameter), value in zip(
        learner.module[MODULE].named_parameters(), weights(learner).values(), strict=True
    ):
        np.testing.assert_allclose(value, before[name] - 0.5 * gradients[parameter].numpy(), atol=1e-6)


class Broken(BCTfLearner):
    def compute_loss_for_module(self, **kwargs):
        return super().compute_loss_for_module(**kwargs) * float("nan")


@pytest.mark.parametrize("what", ["raise", "skip", "zero"])
def test_what_is_not_finite(what, tmp_path):
    learner = built(bc().learners(learner_class=Broken, on_nonfinite=what))
    learner.report_dir = tmp_path
    before = weights(learner)
    if what == "raise":
        with pytest.raises(NonFiniteError, match="the loss is nan"):
            learner.update({MODULE: rows()})
    else:
        result = learner.update({MODULE: rows()})
        assert result[MODULE]["num_nonfinite_updates_lifetime"] == 1
    for name, value in weights(learner).items():
        np.testing.assert_array_equal(value, before[name])


def test_modules_that_are_not_trained_stay_and_others_join_and_leave():
    config = bc(("p0", "p1")).multi_agent(policies_to_train=["p0"])
    learner = built(config)
    before = {mid: weights(learner, mid) for mid in ("p0", "p1")}
    learner.update({mid: rows() for mid in ("p0", "p1")})
    assert (weights(learner, "p0")["policy.0.bias"] != before["p0"]["policy.0.bias"]).any()
    assert (weights(learner, "p1")["policy.0.bias"] == before["p1"]["policy.0.bias"]).all()
    learner.add_module(module_id="p2", new_should_module_be_updated=["p2"], module_spec=RLModuleSpec())
    assert isinstance(learner.module["p2"], DiscreteBCTfModule)
    start = weights(learner, "p2")
    learner.update({"p2": rows()})
    assert (weights(learner, "p2")["policy.0.bias"] != start["policy.0.bias"]).any()
    learner.remove_module("p2")
    assert "p2" not in learner.module
    assert [r.module_id for r in learner.optimizers] == ["p0", "p1"]


def test_a_continued_learner_equals_one_that_was_not_interrupted(tmp_path):
    one = built(bc(lr=[[0, 0.01], [100, 0.002]]))
    for step in (10, 20):
        one.update({MODULE: rows()}, timesteps={"num_env_steps_sampled_lifetime": step})
    one.save_to_path(tmp_path / "learner")
    other = built(bc(lr=[[0, 0.01], [100, 0.002]]))
    other.restore_from_path(tmp_path / "learner")
    state = copy.deepcopy(one.get_state())
    third = built(bc(lr=[[0, 0.01], [100, 0.002]]))
    third.set_state(state)
    for learner in (one, other, third):
        learner.update({MODULE: rows(seed=1)}, timesteps={"num_env_steps_sampled_lifetime": 30})
    for name, value in weights(one).items():
        np.testing.assert_array_equal(value, weights(other)[name])
        np.testing.assert_array_equal(value, weights(third)[name])
    built_anew = Learner.from_checkpoint(tmp_path / "learner")
    assert type(built_anew) is BCTfLearner


def test_what_is_refused():
    with pytest.raises(ConfigError, match="mixed_precision"):
        built(bc().learners(mixed_precision="bf16"))
    with pytest.raises(ConfigError, match="capturable"):
        built(bc().learners(compile="capture"))
    spec = RLModuleSpec(module_class=DiscreteBCTfModule, model_config={"fcnet_hiddens": [4]})
    with pytest.raises(ConfigError, match="framework 'tf2', expected 'torch'"):
        built(BCConfigTest().environment("CartPole-v1").rl_module(rl_module_spec=spec))
    with pytest.raises(ConfigError, match="takes batch= or rollouts="):
        built(bc()).update(episodes=[])

    class NoNumber(BCTfLearner):
        def compute_loss_for_module(self, **kwargs):
            return tf.zeros(3)

    with pytest.raises(ConfigError, match="expected one number"):
        built(bc().learners(learner_class=NoNumber)).update({MODULE: rows()})
    learner = built(bc())
    with pytest.raises(ConfigError, match=r"expected a keras\.optimizers\.Optimizer"):
        learner.register_optimizer(optimizer=torch.optim.SGD([torch.zeros(1, requires_grad=True)]), params=[])
    from rlkit_ppo import PPOConfig

    with pytest.raises(ConfigError, match="has no learner for PPOConfig, only for BCConfigTest"):
        PPOConfig().framework("tf2").environment("CartPole-v1").validate()


def test_nothing_is_said_of_recordings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner = built(bc())
    assert type(learner.engine).__name__ == "Eager"
    assert TfRLModule.framework == TfLearner.framework == "tf2"
