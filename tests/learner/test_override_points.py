"""The override points of a Learner: who is called, with what, and what the well-known changes look like."""

from __future__ import annotations

import functools

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from actor_critic import ACConfig, ACLearner
from rlkit_core import Columns, MultiRLModuleSpec, RLModuleSpec
from rlkit_core.columns import ALL_MODULES
from rlkit_core.errors import ConfigError
from rlkit_core.testing import BCConfigTest, BCTorchLearner, DiscreteBCTorchModule

OBS = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
ACT = gym.spaces.Discrete(2)


def learner_for(learner_class=BCTorchLearner, ids=("default_policy",), **training):
    specs = {mid: RLModuleSpec(DiscreteBCTorchModule, OBS, ACT) for mid in ids}
    config = BCConfigTest().learners(learner_class=learner_class).training(**{"lr": 0.01, **training})
    config.multi_agent(policies=ids).debugging(seed=5)
    learner = config.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs)).build_learner()
    learner.build()
    return learner


def rows(seed=0, count=32):
    obs = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return {"obs": obs, "actions": (obs[:, 0] > 0).long()}


def parameters(learner, mid="default_policy"):
    return [p.detach().clone() for p in learner.module[mid].parameters()]


def twin_of(learner, mid="default_policy"):
    twin = DiscreteBCTorchModule(observation_space=OBS, action_space=ACT, model_config={"fcnet_hiddens": [32]})
    twin.set_state(learner.module[mid].get_state())
    return twin


def cloning_loss(module, data):
    return -module.forward_train(data)["action_dist"].log_prob(data["actions"]).mean()


# -- who is called ----------------------------------------------------------------------------------------------------

STEPS = [
    "_update",
    "compute_losses",
    "compute_loss_for_module",
    "compute_gradients",
    "postprocess_gradients",
    "postprocess_gradients_for_module",
    "_get_clip_function",
    "apply_gradients",
]
AROUND = [
    "_make_module",
    "on_module_added",
    "configure_optimizers",
    "configure_optimizers_for_module",
    "register_optimizer",
    "_check_registered_optimizer",
    "get_parameters",
    "rl_module_is_compatible",
    "should_module_be_updated",
    "before_gradient_based_update",
    "after_gradient_based_update",
    "_set_optimizer_lr",
    "_get_optimizer_lr",
    "_get_optimizer_state",
    "_set_optimizer_state",
]


def noting(learner_class):
    """A subclass whose every override point notes that it was called."""

    def note(name):
        def method(self, *args, **kwargs):
            self.__dict__.setdefault("calls", []).append(name)
            return getattr(super(noted, self), name)(*args, **kwargs)

        return method

    noted = type("Noted", (learner_class,), {name: note(name) for name in (*STEPS, *AROUND)})
    return noted


def test_every_step_of_an_update_can_be_overridden():
    learner = learner_for(noting(BCTorchLearner), lr=[[0, 0.01], [10, 0.0]])
    for name in (
        "_make_module",
        "on_module_added",
        "configure_optimizers",
        "configure_optimizers_for_module",
        "register_optimizer",
        "_check_registered_optimizer",
        "get_parameters",
        "rl_module_is_compatible",
        "_set_optimizer_lr",
    ):
        assert name in learner.calls, name
    assert learner.calls.index("on_module_added") < learner.calls.index("configure_optimizers_for_module")
    learner.calls.clear()
    learner.update({"default_policy": rows()}, num_epochs=2, timesteps={"num_env_steps_sampled_lifetime": 5})
    known = [name for name in learner.calls if name in STEPS or name.endswith("_based_update")]
    assert known == ["before_gradient_based_update", *STEPS * 2, "after_gradient_based_update"]
    assert {"should_module_be_updated", "_set_optimizer_lr", "_get_optimizer_lr"} <= set(learner.calls)
    learner.set_state(learner.get_state())
    assert learner.calls[-2:] == ["_get_optimizer_state", "_set_optimizer_state"]


def test_small_tools():
    learner = learner_for()
    fixed, trained = learner._get_tensor_variable(2), learner._get_tensor_variable(3.0, trainable=True)
    assert (float(fixed), fixed.dtype, fixed.requires_grad) == (2.0, torch.float32, False)
    assert isinstance(trained, torch.nn.Parameter)
    assert learner.tensor_variable(1, torch.int64).dtype == torch.int64
    own = learner.get_parameters(learner.module["default_policy"])
    gradients = {learner.get_param_ref(p): torch.ones_like(p) for p in (*own, trained)}
    mine = learner.filter_param_dict_for_optimizer(gradients, learner.get_optimizer())
    assert len(mine) == len(own) == len(gradients) - 1
    with pytest.raises(KeyError, match="not registered"):
        learner.filter_param_dict_for_optimizer(gradients, torch.optim.SGD([trained]))
    with pytest.raises(ConfigError, match="one optimizer"):
        learner.register_optimizer(optimizer_name="again", optimizer=torch.optim.SGD(own), params=own)
    assert learner.build() is None
    assert learner.get_parameters(learner.module["default_policy"]) == own


def test_metrics_of_ones_own():
    class Logs(BCTorchLearner):
        def compute_loss_for_module(self, **kwargs):
            loss = super().compute_loss_for_module(**kwargs)
            self.metrics.log_value("calls", 1, reduce="lifetime_sum")
            self.metrics.log_dict({"twice": 2 * loss}, key=kwargs["module_id"])
            self.seen = self.metrics.peek((kwargs["module_id"], "twice"))
            return loss

    learner = learner_for(Logs)
    for number in (1, 2):
        result = learner.update({"default_policy": rows()})
        assert result["calls"] == number
        assert result["default_policy"]["twice"] == pytest.approx(2 * result["default_policy"]["total_loss"])
        assert learner.seen == pytest.approx(result["default_policy"]["twice"])


def test_norms_of_single_gradients_on_request():
    learner = learner_for()
    assert not any("policy" in key for key in learner.update({"default_policy": rows()})["default_policy"])
    learner.config = learner.config.copy(copy_frozen=False).reporting(log_gradients=True)
    twin = twin_of(learner)
    cloning_loss(twin, rows()).backward()
    result = learner.update({"default_policy": rows()})["default_policy"]
    for name, p in twin.named_parameters():
        assert result[f"gradients_{name}_norm"] == pytest.approx(float(p.grad.norm()), rel=1e-4)


# -- schedules --------------------------------------------------------------------------------------------------------

TORCH_SCHEDULES = {
    "class": lr_scheduler.ExponentialLR,
    "step": functools.partial(lr_scheduler.StepLR, step_size=2, gamma=0.5),
    "milestones": functools.partial(lr_scheduler.MultiStepLR, milestones=[1, 3], gamma=0.1),
    "lambda": functools.partial(lr_scheduler.LambdaLR, lr_lambda=lambda n: 1 / (1 + n)),
    "two": [
        functools.partial(lr_scheduler.ConstantLR, factor=0.5, total_iters=2),
        functools.partial(lr_scheduler.ExponentialLR, gamma=0.9),
    ],
}
TORCH_SCHEDULES["class"] = functools.partial(lr_scheduler.ExponentialLR, gamma=0.7)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("name", TORCH_SCHEDULES)
def test_torch_schedules_follow_torchs_own_loop(name):
    schedules = TORCH_SCHEDULES[name]
    listed = schedules if isinstance(schedules, list) else [schedules]
    config = BCConfigTest().environment("CartPole-v1").debugging(seed=5).training(lr=0.1)
    learner = config.experimental(torch_lr_scheduler_classes=listed).build_learner()
    learner.build()
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    loop = [make(sgd) for make in listed]
    continued = config.build_learner()
    continued.build()
    for number in range(6):
        if number == 3:
            continued.set_state(learner.get_state())
        sgd.step()
        for one in loop:
            one.step()
        for one in (learner, continued)[: 1 + (number >= 3)]:
            result = one.update({"default_policy": rows(number)})["default_policy"]
            assert result["default_optimizer_learning_rate"] == pytest.approx(sgd.param_groups[0]["lr"], rel=1e-6)


def test_a_schedule_that_follows_the_loss():
    class Flat(BCTorchLearner):
        def compute_loss_for_module(self, **kwargs):
            return super().compute_loss_for_module(**kwargs) * 0.0

        def configure_optimizers_for_module(self, module_id, config=None):
            params = self.get_parameters(self.module[module_id])
            sgd = torch.optim.SGD(params, lr=1.0)
            plateau = lr_scheduler.ReduceLROnPlateau(sgd, patience=1, factor=0.5)
            self.register_optimizer(module_id=module_id, optimizer=sgd, params=params, lr_or_lr_schedule=plateau)

    learner = learner_for(Flat)
    seen = [learner.update({"default_policy": rows()})["default_policy"] for _ in range(5)]
    assert [one["default_optimizer_learning_rate"] for one in seen] == [1.0, 1.0, 0.5, 0.5, 0.25]


def test_a_schedule_of_another_optimizer_is_refused():
    learner = learner_for()
    own = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    other = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    for schedule, what in (
        (lr_scheduler.ExponentialLR(other, 0.5), "another optimizer"),
        (lambda optimizer: 3, "it made a int"),
        ([[0, 1.0]], "at least two points"),
    ):
        with pytest.raises(ConfigError, match=what):
            learner.register_optimizer(
                optimizer_name="x",
                optimizer=own,
                params=own.param_groups[0]["params"],
                lr_or_lr_schedule=schedule,
            )


# -- well-known changes -----------------------------------------------------------------------------------------------


class WithPenalty(BCTorchLearner):
    """An extra loss term, by overriding."""

    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        loss = super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        penalty = sum(p.square().sum() for p in self.module[module_id].parameters())
        self.metrics.log_value((module_id, "penalty"), penalty)
        return loss + config.learner_config_dict["penalty"] * penalty


def test_an_extra_loss_term():
    config = BCConfigTest().environment("CartPole-v1").debugging(seed=5).training(lr=0.01)
    config.learners(learner_class=WithPenalty, learner_config_dict={"penalty": 0.1})
    learner = config.build_learner()
    learner.build()
    twin = twin_of(learner)
    adam = torch.optim.Adam(twin.parameters(), lr=0.01)
    for k in range(10):
        result = learner.update({"default_policy": rows(k)})["default_policy"]
        penalty = sum(p.square().sum() for p in twin.parameters())
        loss = cloning_loss(twin, rows(k)) + 0.1 * penalty
        adam.zero_grad()
        loss.backward()
        adam.step()
        assert result["penalty"] == pytest.approx(penalty.item(), rel=1e-3)
        assert result["total_loss"] == pytest.approx(loss.item(), rel=1e-3)


class SeparateValueOptimizer(ACLearner):
    """Policy and value function with optimizers, learning rates and schedules of their own."""

    def configure_optimizers_for_module(self, module_id, config=None):
        module = self.module[module_id]
        value = [p for name, p in module.named_parameters() if name.startswith(("vf", "encoder.critic"))]
        policy = [p for p in self.get_parameters(module) if all(p is not other for other in value)]
        for name, params, lr in (("policy", policy, config.lr), ("value", value, [[0, 1e-2], [100, 0.0]])):
            self.register_optimizer(
                module_id=module_id,
                optimizer_name=name,
                optimizer=torch.optim.Adam(params),
                params=params,
                lr_or_lr_schedule=lr,
            )


def test_a_separate_value_optimizer():
    config = ACConfig().environment(observation_space=OBS, action_space=ACT).debugging(seed=5)
    config.training(lr=0.0, grad_clip=None).learners(learner_class=SeparateValueOptimizer)
    learner = config.build_learner()
    learner.build()
    names = [name for name, _ in learner.get_optimizers_for_module("default_policy")]
    assert names == ["default_policy_policy", "default_policy_value"]
    batch = rows() | {
        Columns.ADVANTAGES: torch.ones(32),
        Columns.VALUE_TARGETS: torch.ones(32),
        Columns.ACTION_LOGP: torch.full((32,), -0.7),
    }
    module = learner.module["default_policy"]
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    for t in (50, 100, 150):
        result = learner.update({"default_policy": batch}, timesteps={"num_env_steps_sampled_lifetime": t})
    result = result["default_policy"]
    assert (result["policy_learning_rate"], result["value_learning_rate"]) == (0.0, 0.0)
    assert result["gradients_value_global_norm"] > 0 < result["gradients_policy_global_norm"]
    moved = {
        name.partition(".")[0] + name.partition(".")[2][:6]
        for name, p in module.named_parameters()
        if not torch.equal(p, before[name])
    }
    assert moved
    assert all(name.startswith(("vf", "encodercritic")) for name in moved)


class OneOptimizer(BCTorchLearner):
    """One optimizer for all modules."""

    def configure_optimizers(self):
        params = [p for _, _, p in self.module.unique_parameters()]
        adam = torch.optim.Adam(params)
        self.register_optimizer(module_id=ALL_MODULES, optimizer=adam, params=params, lr_or_lr_schedule=self.config.lr)


def test_one_optimizer_for_all_modules():
    """Its clipping sees the joint norm; a module without rows rests, one that is removed leaves it."""
    learner = learner_for(OneOptimizer, ids=("p0", "p1"), grad_clip=0.05)
    assert [name for name, _ in learner.get_optimizers_for_module()] == ["__all_modules___default_optimizer"]
    twins = {mid: twin_of(learner, mid) for mid in ("p0", "p1")}
    params = [p for twin in twins.values() for p in twin.parameters()]
    adam = torch.optim.Adam(params, lr=0.01)
    for k in range(8):
        batch = {"p0": rows(k), "p1": rows(100 + k)} if k % 3 else {"p1": rows(k)}
        result = learner.update(batch)
        adam.zero_grad()
        sum(cloning_loss(twins[mid], data) for mid, data in batch.items()).backward()
        norm = torch.nn.utils.clip_grad_norm_(params, 0.05)
        adam.step()
        assert result[ALL_MODULES]["gradients_default_optimizer_global_norm"] == pytest.approx(float(norm), rel=1e-3)
    for mid, twin in twins.items():
        for mine, theirs in zip(learner.module[mid].parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, atol=5e-5, rtol=0)
    state = learner.get_state()
    learner.remove_module("p0")
    assert len(learner.optimizers["__all_modules___default_optimizer"].parameters) == 4
    before = parameters(learner, "p1")
    learner.update({"p1": rows()})
    assert not torch.equal(before[0], parameters(learner, "p1")[0])
    assert "p0" in state["rl_module"]


class LearnsAVariable(BCTorchLearner):
    """A variable of the learner's own, with an optimizer of its own (as a temperature has)."""

    def on_module_added(self, module_id):
        super().on_module_added(module_id)
        self.log_alpha = self.tensor_variable(0.0, trainable=True)

    def configure_optimizers_for_module(self, module_id, config=None):
        super().configure_optimizers_for_module(module_id, config)
        adam = torch.optim.Adam([self.log_alpha])
        self.register_optimizer(
            module_id=module_id,
            optimizer_name="alpha",
            optimizer=adam,
            params=[self.log_alpha],
            lr_or_lr_schedule=0.1,
        )

    def compute_loss_for_module(self, **kwargs):
        return super().compute_loss_for_module(**kwargs) + self.log_alpha * 2.0


def test_a_variable_of_the_learners_own():
    learner = learner_for(LearnsAVariable)
    learner.update({"default_policy": rows()})
    assert learner.log_alpha.item() == pytest.approx(-0.1)


def test_gradients_that_are_left_out_keep_their_parameters():
    class HalfFrozen(BCTorchLearner):
        def postprocess_gradients_for_module(self, *, module_id, config, module_gradients_dict):
            gradients = super().postprocess_gradients_for_module(
                module_id=module_id, config=config, module_gradients_dict=module_gradients_dict
            )
            keep = self.get_parameters(self.module[module_id])[self.start :]
            return {p: gradients[p] for p in keep}

        start = 0

    learner = learner_for(HalfFrozen)
    learner.update({"default_policy": rows()})  # momentum everywhere
    learner.start = 2
    before = parameters(learner)
    learner.update({"default_policy": rows(1)})
    after = parameters(learner)
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, True, False, False]
    state = learner.get_state()
    other = learner_for(HalfFrozen)
    other.set_state(state)
    for one in (learner, other):
        one.start = 0
        one.update({"default_policy": rows(2)})
    for a, b in zip(parameters(learner), parameters(other), strict=True):
        torch.testing.assert_close(a, b)
