"""SAC's losses against the paper's equations, written down once more, and whose gradients they make."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import nn

from rlkit_core import Columns
from rlkit_offpolicy import DISCOUNT, NEW, TD_ERROR, WEIGHTS
from rlkit_sac import SACConfig

ID = "default_policy"
OBS, ACT = Box(-1.0, 1.0, (4,), np.float32), Box(np.float32([-2.0, 0.0]), np.float32([2.0, 6.0]))
SMALL = {"fcnet_hiddens": [8], "qf_head_fcnet_hiddens": [8]}


def learner_of(model=SMALL, space=OBS, **training):
    config = SACConfig().environment(observation_space=space, action_space=ACT).debugging(seed=3)
    learner = config.training(**training).rl_module(model_config=model).build_learner()
    learner.build()
    return learner


def rows(count=16, seed=0, weights=False):
    generator = torch.Generator().manual_seed(seed)
    batch = {
        Columns.OBS: torch.randn(count, 4, generator=generator),
        NEW + Columns.OBS: torch.randn(count, 4, generator=generator),
        Columns.ACTIONS: torch.rand(count, 2, generator=generator) * 2 - 1,
        Columns.REWARDS: torch.randn(count, generator=generator),
        DISCOUNT: 0.9 * (torch.rand(count, generator=generator) > 0.2),
    }
    return {**batch, WEIGHTS: torch.rand(count, generator=generator)} if weights else batch


def net(sequential, x):
    """A stack of linear layers with relu between, by its parameters alone."""
    parameters = list(sequential.parameters())
    for index in range(0, len(parameters), 2):
        x = x @ parameters[index].T + parameters[index + 1]
        x = x.relu() if index + 2 < len(parameters) else x
    return x


def drawn(module, obs, noise):
    """Actions and log-probabilities of the squashed Gaussian, naively: the density divided by the slope of tanh."""
    both = net(nn.ModuleList([module.encoder, module.pi]), obs)
    mean, std = both[:, :2], both[:, 2:].clamp(-20, 2).exp()
    u = mean + std * noise
    density = -0.5 * ((u - mean) / std) ** 2 - std.log() - 0.5 * math.log(2 * math.pi)
    return u.tanh(), (density - (1 - u.tanh() ** 2).log()).sum(-1)


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("twin", [True, False])
def test_equals_the_paper(twin, weights):
    learner = learner_of(twin_q=twin, initial_alpha=0.3, target_entropy=-1.5)
    module, batch = learner.module[ID], rows(weights=weights)
    with learner.rng.scope():
        torch.manual_seed(7)
        out = module.forward_train(batch)
        losses = learner.compute_loss_for_module(module_id=ID, config=learner.config, batch=batch, fwd_out=out)
        torch.manual_seed(7)
        first, second = torch.randn(16, 2), torch.randn(16, 2)  # what follows is drawn for first
    critics = [module.qf, module.qf_twin][: 1 + twin]
    targets = [target for _, target in module.get_target_network_pairs()]
    assert len(targets) == 1 + twin

    def values(nets, obs, actions):
        return torch.stack([net(one, torch.cat((obs, actions), -1)).squeeze(-1) for one in nets])

    next_actions, next_logp = drawn(module, batch[NEW + Columns.OBS], first)
    soft = values(targets, batch[NEW + Columns.OBS], next_actions).amin(0) - 0.3 * next_logp
    target = (batch[Columns.REWARDS] + batch[DISCOUNT] * soft).detach()
    errors = values(critics, batch[Columns.OBS], batch[Columns.ACTIONS]) - target
    actions, logp = drawn(module, batch[Columns.OBS], second)
    expected = {
        "critic": 0.5 * (errors.square() * batch.get(WEIGHTS, torch.ones(16))).mean(-1).sum(),
        "actor": (0.3 * logp - values(critics, batch[Columns.OBS], actions).amin(0)).mean(),
        "alpha": -(module.log_alpha * (logp - 1.5)).mean(),
    }
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=2e-4, atol=2e-5, msg=name)
    kept = learner.take_rows().get(ID, {})
    if weights:
        torch.testing.assert_close(kept[TD_ERROR], errors.detach().abs().mean(0), rtol=2e-4, atol=2e-5)
    else:
        assert kept == {}


def test_no_loss_makes_gradients_of_what_others_step():
    learner = learner_of()
    module = learner.module[ID]
    made = Counter()
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            parameter.register_hook(lambda gradient, name=name: made.update([name]))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    learner.update({ID: rows()})
    parts = {name.partition(".")[0] for name in made}
    assert parts == {"encoder", "pi", "qf", "qf_twin", "log_alpha"}
    assert set(made.values()) == {1}  # the critics' by the critics' loss; the actor's, through them, makes none
    changed = {n.partition(".")[0] for n, value in module.state_dict().items() if not torch.equal(value, before[n])}
    assert changed == parts | {"_target_qf", "_target_qf_twin"}


def test_each_part_has_its_optimizer_and_rate():
    learner = learner_of(lr=1e-3, actor_lr=2e-4, alpha_lr=[[0, 3e-4], [100, 1e-4]])
    module = learner.module[ID]
    critics = [*module.qf.parameters(), *module.qf_twin.parameters()]
    assert learner.params_of(ID, "critic") == critics
    assert learner.params_of(ID, "alpha") == [module.log_alpha]
    assert learner.params_of(ID, "actor") == [*module.encoder.parameters(), *module.pi.parameters()]
    rates = [learner.get_optimizer(ID, name).param_groups[0]["lr"] for name in ("actor", "critic", "alpha")]
    assert rates == pytest.approx([2e-4, 1e-3, 3e-4])


@pytest.mark.parametrize(("target", "direction"), [(100.0, 1), (-100.0, -1)])
def test_the_temperature_moves_entropy_to_its_target(target, direction):
    learner = learner_of(target_entropy=target)
    learner.update({ID: rows()})
    assert math.copysign(1, learner.module[ID].log_alpha.item()) == direction


def test_a_temperature_may_stay_and_auto_is_minus_the_actions_size():
    learner = learner_of(alpha_lr=0, initial_alpha=0.2)
    result = learner.update({ID: rows()})[ID]
    assert result["alpha_value"] == pytest.approx(0.2)
    assert learner.module[ID].log_alpha.item() == pytest.approx(math.log(0.2))
    # d(loss)/d(log alpha) = entropy - target, and the target is -2
    assert result["gradients_alpha_global_norm"] == pytest.approx(abs(result["entropy"] + 2.0), rel=1e-4)


def test_with_rewards_of_one_the_critics_find_the_return():
    learner = learner_of(lr=3e-3, alpha_lr=0, initial_alpha=1e-6, tau=0.05)
    batch = rows(64)
    batch |= {Columns.REWARDS: torch.ones(64), DISCOUNT: torch.full((64,), 0.5)}
    for step in range(600):
        result = learner.update({ID: batch}, timesteps={"num_env_steps_sampled_lifetime": step})[ID]
    assert result["qf_mean"] == pytest.approx(2.0, abs=0.05)


def test_a_step_that_is_recorded_is_the_same():
    pytest.importorskip("rlkit_capture")
    states = []
    for compile in (None, "capture"):
        config = SACConfig().environment(observation_space=OBS, action_space=ACT).debugging(seed=3)
        learner = config.rl_module(model_config=SMALL).learners(compile=compile).build_learner()
        learner.build()
        for step in range(6):
            learner.update({ID: rows(seed=step)}, timesteps={"num_env_steps_sampled_lifetime": step})
        states.append(learner.module[ID].state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-5, atol=1e-6, msg=name)
