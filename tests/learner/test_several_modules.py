"""Several modules in one learner: their own settings, frozen ones, parameters they share, rows they lack."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from actor_critic import ACConfig
from rlkit_core import Columns, Learner, MultiRLModuleSpec, RLModuleSpec
from rlkit_core.errors import ConfigError
from rlkit_core.testing import (
    BCTorchMultiAgentModuleWithSharedEncoder,
    BCTorchRLModuleWithSharedGlobalEncoder,
    DiscreteBCTorchModule,
)
from simple_modules import RandomRLModule

OBS = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
ACT = gym.spaces.Discrete(2)
PARTS = gym.spaces.Dict({"global": gym.spaces.Box(-1, 1, (3,)), "local": gym.spaces.Box(-1, 1, (2,))})


class BCLearner(Learner):
    """Behaviour cloning that notes the calls it gets."""

    def build(self):
        self.calls, self.sizes = [], []
        super().build()

    def before_gradient_based_update(self, *, timesteps):
        self.calls.append("before")

    def after_gradient_based_update(self, *, timesteps):
        super().after_gradient_based_update(timesteps=timesteps)
        self.calls.append("after")

    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        self.sizes.append((module_id, len(batch["actions"])))
        return -fwd_out["action_dist"].log_prob(batch["actions"]).mean()


def learner_for(specs, *, learner_class=BCLearner, multi_class=None, **settings):
    overrides = settings.pop("overrides", {})
    config = (
        ACConfig()
        .training(**{"lr": 0.01, "grad_clip": None, **settings.pop("training", {})})
        .learners(learner_class=learner_class)
        .multi_agent(policies=list(specs), **settings)
        .rl_module(
            rl_module_spec=MultiRLModuleSpec(multi_rl_module_class=multi_class, rl_module_specs=specs),
            algorithm_config_overrides_per_module=overrides,
        )
        .debugging(seed=1)
    )
    learner = config.build_learner()
    learner.build()
    return learner


def bc(module_class=DiscreteBCTorchModule, width=8):
    return RLModuleSpec(module_class, OBS, ACT, model_config={"fcnet_hiddens": [width]})


def rows(count=32, seed=0):
    obs = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return {"obs": obs, "actions": (obs[:, 0] > 0).long()}


def arrays(learner, module_id):
    return {name: p.detach().clone() for name, p in learner.module[module_id].named_parameters()}


def unchanged(before, after):
    return all(torch.equal(before[name], after[name]) for name in before)


def test_settings_of_each_module():
    """lr, clipping and gamma are the module's own, and no other's."""
    learner = learner_for(
        {"p0": bc(), "p1": bc()},
        overrides={"p1": {"lr": [[0, 0.2], [100, 0.0]], "grad_clip": 1e-9, "grad_clip_by": "value", "gamma": 0.5}},
    )
    assert learner.config.get_config_for_module("p0") is learner.config
    assert learner.config.get_config_for_module("p1").gamma == 0.5
    result = learner.update({"p0": rows(), "p1": rows()}, timesteps={"num_env_steps_sampled_lifetime": 50})
    assert result["p0"]["default_optimizer_learning_rate"] == 0.01
    assert result["p1"]["default_optimizer_learning_rate"] == pytest.approx(0.1)
    losses = {
        mid: out["action_dist"].logits.sum()
        for mid, out in learner.module.forward_train({"p0": rows(), "p1": rows()}).items()
    }
    gradients = learner.postprocess_gradients(learner.compute_gradients(losses))
    largest = {mid: max(float(gradients[p].abs().max()) for p in learner.module[mid].parameters()) for mid in losses}
    assert largest["p0"] > 1e-3
    assert largest["p1"] <= 1e-9


def test_small_modules_cycle_through_exact_minibatches():
    learner = learner_for({"p0": bc(), "p1": bc()})
    learner.update({"p0": rows(50), "p1": rows(7)}, num_epochs=2, minibatch_size=20, shuffle_batch_per_epoch=True)
    assert learner.sizes == [("p0", 20), ("p1", 20)] * 5


def test_modules_without_parameters_act_and_are_never_stepped():
    learner = learner_for({"p0": bc(), "rnd": bc(RandomRLModule)})
    assert [name for name, _ in learner.get_optimizers_for_module()] == ["p0_default_optimizer"]
    result = learner.update({"p0": rows(), "rnd": rows()})
    assert "rnd" not in result
    assert learner.sizes == [("p0", 32)]
    action, _ = learner.module["rnd"].compute_actions(np.zeros((3, 4), np.float32))
    assert all(a in (0, 1) for a in action)


@pytest.mark.parametrize("to_train", [["p0"], lambda mid, batch: mid == "p0"])
def test_modules_that_are_not_trained_stay_bit_for_bit(to_train):
    learner = learner_for({"p0": bc(), "p1": bc()}, policies_to_train=["p0", "p1"])
    learner.update({"p0": rows(), "p1": rows()})  # p1's Adam has momentum now
    config = learner.config.copy(copy_frozen=False).multi_agent(policies_to_train=to_train)
    learner.config = config
    before = arrays(learner, "p1")
    result = learner.update({"p0": rows(seed=1), "p1": rows(seed=1)})
    assert unchanged(before, arrays(learner, "p1"))
    assert learner.trained_modules != ("p0", "p1")
    assert "total_loss" in result["p0"]
    assert "total_loss" not in result.get("p1", {})


class ReadsTheOther(BCLearner):
    """The loss of p0 also pulls at the weights of p1."""

    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        loss = super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        return loss + sum(p.square().sum() for p in self.module["p1"].parameters())


@pytest.mark.parametrize("trained", [True, False])
def test_a_loss_that_reaches_into_another_module(trained):
    """Its gradients arrive there, though it has no rows of its own; unless that module is not trained."""
    learner = learner_for(
        {"p0": bc(), "p1": bc()},
        learner_class=ReadsTheOther,
        policies_to_train=["p0", "p1"] if trained else ["p0"],
        training={"lr": 0.001},
    )
    before = arrays(learner, "p1")
    learner.update({"p0": rows()})
    after = arrays(learner, "p1")
    if not trained:
        assert unchanged(before, after)
    for name in before if trained else ():  # Adam's first step is lr * sign
        torch.testing.assert_close(after[name], before[name] - 0.001 * before[name].sign(), atol=1e-5, rtol=0)


def test_a_module_without_rows_keeps_still_whatever_its_momentum():
    learner = learner_for({"p0": bc(), "p1": bc()})
    learner.update({"p0": rows(), "p1": rows()})
    before = arrays(learner, "p1")
    learner.update({"p0": rows(seed=1), "p1": rows(0)})
    assert unchanged(before, arrays(learner, "p1"))
    assert learner.sizes[-1][0] == "p0"


def test_an_update_with_nothing_to_do_calls_no_hook():
    learner = learner_for({"p0": bc(), "p1": bc()}, policies_to_train=["p0"])
    learner.update({"p0": rows()})
    learner.calls.clear()
    before = learner.get_state()
    for number, batch in enumerate(({}, {"p0": rows(0)}, {"p1": rows()}, {"p0": rows(0), "p1": rows()})):
        result = learner.update(batch)
        assert result["__all_modules__"]["num_empty_updates_lifetime"] == number + 1
    assert learner.calls == []
    assert learner.weights_seq_no == 1
    after = learner.get_state()
    assert np.array_equal(before["rng"], after["rng"])


# -- parameters that modules share ------------------------------------------------------------------------------------


def shared_rows(count=256, seed=0):
    generator = torch.Generator().manual_seed(seed)
    obs = {
        "global": torch.randn(count, 3, generator=generator),
        "local": torch.randn(count, 2, generator=generator),
    }
    return {"obs": obs, "actions": (obs["global"][:, 0] + obs["local"][:, 0] > 0).long()}


def shared_learner(ids=("p0", "p1"), **settings):
    specs = {
        mid: RLModuleSpec(
            observation_space=PARTS,
            action_space=ACT,
            model_config={"fcnet_hiddens": [16]},
            module_class=BCTorchRLModuleWithSharedGlobalEncoder,
        )
        for mid in ids
    }
    return learner_for(specs, multi_class=BCTorchMultiAgentModuleWithSharedEncoder, **settings)


def test_a_shared_encoder_trains():
    learner = shared_learner()
    losses = [learner.update({mid: shared_rows(seed=k + i) for i, mid in enumerate(("p0", "p1"))}) for k in range(120)]
    for mid in ("p0", "p1"):
        assert losses[0][mid]["total_loss"] > 0.6
        assert losses[-1][mid]["total_loss"] < 0.3


def test_shared_parameters_are_counted_stepped_and_clipped_once():
    """A plain torch loop over the sum of both losses, its parameters grouped as the learner groups them."""
    learner = shared_learner(training={"grad_clip": 0.05, "lr": 0.01})
    modules = [learner.module["p0"], learner.module["p1"]]
    encoder = list(modules[0].encoder.parameters())
    first, second = (learner.optimizers[f"{mid}_default_optimizer"].parameters for mid in ("p0", "p1"))
    assert all(any(p is q for q in first) for p in encoder)
    assert not any(p is q for q in second for p in encoder)
    counted = learner.update({"p0": shared_rows(0), "p1": shared_rows(0)})  # nothing: no rows
    assert "p0" not in counted
    assert learner.members.parameter_counts["num_trainable_parameters"] == len(
        torch.cat([p.reshape(-1) for p in {id(p): p for m in modules for p in m.parameters()}.values()])
    )

    import copy

    twins = copy.deepcopy(modules)  # one deepcopy keeps what they share
    groups = [
        list(twins[0].parameters()),
        [p for p in twins[1].parameters() if all(p is not q for q in twins[0].parameters())],
    ]
    adams = [torch.optim.Adam(group, lr=0.01) for group in groups]
    for k in range(20):
        data = [shared_rows(32, seed=k), shared_rows(32, seed=100 + k)]
        learner.update({"p0": data[0], "p1": data[1]})
        loss = sum(
            -twin.forward_train(part)["action_dist"].log_prob(part["actions"]).mean()
            for twin, part in zip(twins, data, strict=True)
        )
        for adam in adams:
            adam.zero_grad()
        loss.backward()
        for group, adam in zip(groups, adams, strict=True):
            torch.nn.utils.clip_grad_norm_(group, 0.05)
            adam.step()
    for module, twin in zip(modules, twins, strict=True):
        for mine, theirs in zip(module.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=0)


def test_with_rows_for_the_second_module_only_the_first_ones_head_rests():
    learner = shared_learner()
    learner.update({mid: shared_rows() for mid in ("p0", "p1")})
    before = arrays(learner, "p0")
    learner.update({"p1": shared_rows(seed=1)})
    after = arrays(learner, "p0")
    moved = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"encoder"}


def test_a_shared_parameter_belongs_to_the_first_trained_module():
    learner = shared_learner(policies_to_train=["p1"])
    encoder = list(learner.module["p0"].encoder.parameters())
    owner = learner.optimizers["p1_default_optimizer"]
    assert all(owner.owns(p) for p in encoder)
    before = arrays(learner, "p0")
    learner.update({mid: shared_rows() for mid in ("p0", "p1")})
    after = arrays(learner, "p0")
    assert unchanged(*({n: v for n, v in part.items() if n.startswith("policy_head")} for part in (before, after)))
    assert not torch.equal(before["encoder.0.weight"], after["encoder.0.weight"])


def test_removing_the_owner_hands_shared_parameters_on():
    learner, whole = shared_learner(), shared_learner()
    for one in (learner, whole):
        one.update({mid: shared_rows() for mid in ("p0", "p1")})
    learner.remove_module("p0")
    encoder = list(learner.module["p1"].encoder.parameters())
    assert all(learner.optimizers["p1_default_optimizer"].owns(p) for p in encoder)
    for k in range(3):  # the moments went along: it trains on as it would have
        for one in (learner, whole):
            one.update({"p1": shared_rows(seed=k)})
    for mine, theirs in zip(learner.module["p1"].parameters(), whole.module["p1"].parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_episodes_of_several_modules_need_ids():
    learner = learner_for({"p0": bc(), "p1": bc()})
    with pytest.raises(ConfigError, match="module id"):
        learner.update_from_episodes([{Columns.OBS: np.zeros((2, 4))}])


# -- an actor-critic with several modules -----------------------------------------------------------------------------


def actor_critics(**overrides):
    specs = {"p0": RLModuleSpec(), "p1": RLModuleSpec(), "rnd": RLModuleSpec(module_class=RandomRLModule)}
    config = ACConfig().environment(observation_space=OBS, action_space=ACT).debugging(seed=2)
    config.multi_agent(policies=list(specs))
    config.rl_module(
        rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs),
        algorithm_config_overrides_per_module=overrides,
    )
    learner = config.build_learner()
    learner.build()
    return learner


def episode_of(length, reward, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "obs": rng.uniform(-1, 1, (length + 1, 4)).astype(np.float32),
        "actions": rng.integers(0, 2, length),
        "rewards": np.full(length, reward, np.float32),
        "terminated": True,
    }


def test_discounts_are_each_modules_own():
    learner = actor_critics(p1={"gamma": 0.0, "lambda_": 0.0})
    episodes = {mid: [episode_of(40, 1.0)] for mid in ("p0", "p1", "rnd")}
    result = learner.update_from_episodes(episodes, num_epochs=3, minibatch_size=20)
    assert result["p0"]["vf_loss"] > result["p1"]["vf_loss"]  # a sum of up to 40 rewards is not learned so fast
    assert "rnd" not in result
    assert learner.config.get_config_for_module("p1").gamma == 0.0


def test_a_module_that_cannot_be_trained_gets_no_optimizer_and_only_acts():
    """A module without the APIs that a loss needs is fine where nobody wants to train it."""
    specs = {"p0": RLModuleSpec(), "old": bc()}
    config = ACConfig().environment(observation_space=OBS, action_space=ACT).debugging(seed=2)
    config.multi_agent(policies=list(specs), policies_to_train=["p0"])
    learner = config.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs)).build_learner()
    learner.build()
    assert not learner.rl_module_is_compatible(learner.module["old"])
    assert learner.rl_module_is_compatible(learner.module["p0"])
    assert learner.get_optimizers_for_module("old") == []
    before = arrays(learner, "old")
    learner.update_from_episodes({mid: [episode_of(8, 1.0)] for mid in specs})
    assert unchanged(before, arrays(learner, "old"))
