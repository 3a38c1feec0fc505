"""What novelty is, what it is paid, and what it is scaled by, against computations by hand."""

from __future__ import annotations

from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_core import ActorCriticTorchRLModule, RLModuleSpec, TorchRLModule
from rlkit_core.data import Rollout
from rlkit_core.errors import RLKitError
from rlkit_core.models import observation_normalizers
from rlkit_core.testing import check_env
from rlkit_rnd.driver import NoveltyDriver
from rlkit_rnd.envs import CELLS, Uphill
from rlkit_rnd.returns import ReturnScale

BOX, DISCRETE = gym.spaces.Box(-1.0, 1.0, (4,)), gym.spaces.Discrete(2)


def module_for(space=BOX, base=ActorCriticTorchRLModule, **model_config):
    spec = RLModuleSpec(base, observation_space=space, action_space=DISCRETE, mixins=["rlkit-rnd/rnd"])
    spec.model_config = {"fcnet_hiddens": [8], **model_config}
    return spec.build()


def see(module, obs):
    for normalizer in observation_normalizers(module):
        normalizer.update_statistics(obs)


def test_the_error_falls_where_it_has_been_and_nowhere_else():
    cells = torch.eye(16)
    module = module_for(gym.spaces.Box(0.0, 1.0, (16,)))
    see(module, cells)
    seen, unseen = cells[:8], cells[8:]
    before = [module.novelty(obs).mean().item() for obs in (seen, unseen)]
    target = [p.clone() for p in module.rnd_target.parameters()]
    for _ in range(200):
        module.zero_grad()
        module.novelty(seen).mean().backward()
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.grad is not None:
                    parameter -= 0.5 * parameter.grad
    after = [module.novelty(obs).mean().item() for obs in (seen, unseen)]
    assert after[0] < 0.01 * before[0]
    assert after[1] > 0.8 * before[1]
    assert all(map(torch.equal, module.rnd_target.parameters(), target))
    learned = {name.partition(".")[0] for name, p in module.named_parameters() if p.grad is not None}
    assert learned == {"rnd_predictor"}


def test_nothing_is_new_before_observations_can_be_normalised():
    module, obs = module_for(), torch.randn(3, 4)
    assert module.novelty(obs).tolist() == [0.0, 0.0, 0.0]
    see(module, torch.randn(50, 4))
    assert (module.novelty(obs) > 0).all()
    assert module_for(gym.spaces.Discrete(3)).novelty(torch.tensor([0, 2])).min() > 0  # which need none


def test_a_module_without_catalog_is_refused():
    class Bare(TorchRLModule):
        pass

    with pytest.raises(RLKitError, match="made by the module's catalog, and there is none"):
        module_for(base=Bare)


def deviation_by_hand(rollouts, gamma, masks):
    """Of all discounted sums up to each step, one column after the other."""
    sums = []
    for n in range(rollouts[0].shape[1]):
        total = 0.0
        for rewards, mask in zip(rollouts, masks, strict=True):
            for reward, there in zip(rewards[:, n], mask[:, n], strict=True):
                if there:
                    total = gamma * total + reward
                    sums.append(total)
    return np.std(sums)


@pytest.mark.parametrize("masked", [False, True])
def test_novelty_is_scaled_by_the_deviation_of_its_discounted_sums(masked):
    rng = np.random.default_rng(0)
    rollouts = [rng.random((7, 3)).astype(np.float32) for _ in range(3)]
    masks = [rng.random((7, 3)) < (0.7 if masked else 2.0) for _ in rollouts]
    scale = ReturnScale(0.9)
    for k, (rewards, mask) in enumerate(zip(rollouts, masks, strict=True)):
        given = torch.from_numpy(mask) if masked else None
        deviation = scale.take_in(torch.from_numpy(rewards), given)
        assert deviation == pytest.approx(deviation_by_hand(rollouts[: k + 1], 0.9, masks[: k + 1]), rel=1e-5)
        scale = ReturnScale.from_state(scale.get_state())


def test_sums_begin_anew_with_other_columns_and_nothing_new_says_nothing():
    ones, scale = torch.ones(4, 2), ReturnScale(0.5)
    assert scale.take_in(torch.zeros(4, 2)) == 1.0
    assert scale.count == 0
    scale.take_in(ones)
    for fresh, novelty in [(True, ones), (False, torch.ones(4, 3))]:
        scale.take_in(novelty, fresh=fresh)
        assert scale.open.tolist() == [1.875] * novelty.shape[1]  # 1 + 1/2 + 1/4 + 1/8
    scale.take_in(torch.ones(1, 3))
    assert scale.open.tolist() == [1.9375] * 3


@pytest.mark.parametrize("mask", [None, torch.tensor([[True, True], [True, True], [True, False]])])
def test_what_is_paid_for_is_what_was_seen_after_each_step(mask):
    """Novelty is the observation itself here: column 0 is truncated in step 1, column 1 terminates in step 0."""
    obs = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).unsqueeze(-1)
    columns = {
        "obs": obs,
        "rewards": torch.full((3, 2), 100.0),
        "terminateds": torch.tensor([[False, True], [False, False], [False, False]]),
        "truncateds": torch.tensor([[False, False], [True, False], [False, False]]),
    }
    last, final = torch.tensor([[7.0], [8.0]]), torch.tensor([[9.0]])
    rollout = Rollout(columns, last, final_obs=final, final_index=torch.tensor([2]), loss_mask=mask)
    config = {"rnd_coeff": 0.5, "rnd_gamma": 0.9}
    module = SimpleNamespace(novelty=lambda obs: obs.sum(-1), model_config=config)
    logged = {}
    learner = SimpleNamespace(metrics=SimpleNamespace(log_dict=lambda values, key: logged.update({key: values})))
    driver = NoveltyDriver()
    driver.on_rollout(learner=learner, module_id="m", module=module, config=None, rollout=rollout)
    novelty = torch.tensor([[3.0, 0.0], [9.0, 6.0], [7.0, 8.0 if mask is None else 0.0]])
    expected = 100.0 + 0.5 * novelty / driver.scales["m"].deviation
    torch.testing.assert_close(rollout.columns["rewards"], expected)
    assert logged["m"]["rnd_novelty"] == pytest.approx(float(novelty.sum()) / (6 if mask is None else 5))
    driver.on_remove(learner=learner, module_id="m")
    assert driver.get_state() == {}


def test_the_top_is_where_the_ways_lead_and_chance_does_not():
    env = Uphill()
    env.reset(seed=0)
    for cell in range(CELLS - 1):
        obs, reward, top, *_ = env.step(env.ways[cell])
        assert obs.tolist() == np.eye(CELLS)[cell + 1].tolist()
        assert (reward, top) == ((1.0, True) if cell == CELLS - 2 else (0.0, False))
    env.reset(seed=0)
    env.step(env.ways[0])
    obs, *_ = env.step((env.ways[1] + 1) % 3)
    assert obs[0] == 1.0
    assert len(set(env.ways.tolist())) == 3
    assert list(check_env("rlkit-rnd/Uphill-v0").errors) == []
