"""From module outputs to actions, and the methods a deployment calls."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from rlkit_core import ActorCriticTorchRLModule, TorchRLModule
from rlkit_core.distributions import Categorical, Deterministic
from rlkit_core.errors import ConfigError, ModuleAPIError
from rlkit_core.rl_module import ActionSampler
from rlkit_core.testing import DiscreteBCTorchModule
from simple_modules import CartPoleHeuristicRLModule, RandomRLModule

OBS = gym.spaces.Box(-1.0, 1.0, (4,))
ACT = gym.spaces.Discrete(3)
KW = {"observation_space": OBS, "action_space": ACT}
LOGITS = torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, 0.0]])


def returning(out: dict, cls: type = TorchRLModule, **kwargs) -> TorchRLModule:
    class Returns(cls):
        def _forward(self, batch, **kw):
            return dict(out)

    return Returns(**(KW | kwargs))


def act(module, explore: bool, batch=None, **kwargs) -> dict:
    return ActionSampler(module, explore=explore)(batch or {"obs": torch.zeros(2, 4)}, **kwargs)


def test_actions_that_are_arrays_become_tensors() -> None:
    out = act(returning({"actions": (np.array([2, 1]), {"arm": np.ones((2, 3), np.float32)})}), False)
    assert torch.equal(out["actions"][0], torch.tensor([2, 1]))
    assert torch.equal(out["actions"][1]["arm"], torch.ones(2, 3))


def test_actions_are_used_as_they_are() -> None:
    actions = torch.tensor([2, 2])
    for explore in (True, False):
        out = act(returning({"actions": actions, "action_dist_inputs": LOGITS, "extra": 1}), explore)
        assert out["actions"] is actions
        assert out["action_dist_inputs"] is LOGITS
        assert out["extra"] == 1


def test_inputs_are_sampled_when_exploring_and_maximised_otherwise() -> None:
    module = returning({"action_dist_inputs": LOGITS})
    assert act(module, False)["actions"].tolist() == [1, 0]
    sampler = ActionSampler(module, explore=True)
    torch.manual_seed(0)
    drawn = torch.stack([sampler({"obs": torch.zeros(2, 4)})["actions"] for _ in range(3000)])
    shares = torch.stack([(drawn == k).float().mean(0) for k in range(3)], dim=1)
    assert torch.allclose(shares, LOGITS.softmax(-1), atol=0.04)


def test_noise_makes_a_sample_a_function_of_it() -> None:
    module = returning({"action_dist_inputs": LOGITS})
    sampler = ActionSampler(module, explore=True)
    assert sampler.needs_noise
    noise = sampler.noise(5, 2)
    assert noise.shape[:2] == (5, 2)
    once, twice = (sampler({"obs": None}, noise=noise[0])["actions"] for _ in range(2))
    assert torch.equal(once, twice)
    assert not ActionSampler(module, explore=False).needs_noise
    own = ActionSampler(returning({"actions": torch.zeros(2)}), explore=True)
    own({"obs": None})
    assert not own.needs_noise


def test_live_torch_distributions() -> None:
    module = returning({"action_dist": torch.distributions.Categorical(logits=LOGITS)})
    out = act(module, False)
    assert out["actions"].tolist() == [1, 0]
    assert "action_logp" not in out
    assert "action_dist" not in out
    out = act(module, True)
    expected = LOGITS.log_softmax(-1).gather(1, out["actions"][:, None])[:, 0]
    assert torch.allclose(out["action_logp"], expected)
    assert torch.allclose(out["action_dist_inputs"].softmax(-1), LOGITS.softmax(-1))
    normal = torch.distributions.Independent(torch.distributions.Normal(torch.ones(2, 1), 2 * torch.ones(2, 1)), 1)
    out = act(returning({"action_dist": normal}, action_space=gym.spaces.Box(-1, 1, (1,))), False)
    assert out["actions"].tolist() == [[1.0], [1.0]]
    assert torch.allclose(out["action_dist_inputs"], torch.tensor([[1.0, np.log(2.0)]] * 2).float())


def test_live_rlkit_distribution_and_actions_with_a_live_one() -> None:
    dist = Categorical.from_logits(LOGITS)
    assert act(returning({"action_dist": dist}), False)["actions"].tolist() == [1, 0]
    out = act(returning({"action_dist": dist, "actions": torch.tensor([2, 1])}), True)
    assert out["actions"].tolist() == [2, 1]
    assert torch.allclose(out["action_logp"], dist.logp(torch.tensor([2, 1])))


def test_the_three_distribution_classes_may_differ() -> None:
    class Three(TorchRLModule):
        def _forward(self, batch, **kwargs):
            return {"action_dist_inputs": LOGITS}

        def get_exploration_action_dist_cls(self):
            return Deterministic

        def get_inference_action_dist_cls(self):
            return Categorical

    assert act(Three(**KW), True)["actions"] is LOGITS or torch.equal(act(Three(**KW), True)["actions"], LOGITS)
    assert act(Three(**KW), False)["actions"].tolist() == [1, 0]


def test_neither_key_names_module_method_and_keys_seen() -> None:
    with pytest.raises(ModuleAPIError, match=r"Returns\._forward_exploration must return.*returned 'logits'"):
        act(returning({"logits": 1}), True)
    with pytest.raises(ModuleAPIError, match=r"Returns\._forward_inference must return.*an empty dict"):
        act(returning({}), False)


def test_inputs_without_a_distribution_raise_the_reason() -> None:
    module = returning({"action_dist_inputs": LOGITS}, action_space=gym.spaces.MultiBinary(3))
    with pytest.raises(ConfigError, match="MultiBinary"):
        act(module, True)


def test_t_goes_only_to_forwards_that_take_it() -> None:
    class Takes(TorchRLModule):
        def _forward_exploration(self, batch, t=None):
            return {"actions": torch.tensor([t])}

        def _forward_inference(self, batch):
            return {"actions": torch.tensor([-1])}

    module = Takes(**KW)
    assert act(module, True, t=7)["actions"].tolist() == [7]
    assert act(module, False, t=7)["actions"].tolist() == [-1]


def test_module_dicts_are_not_changed() -> None:
    out = {"action_dist": Categorical.from_logits(LOGITS)}

    class Same(TorchRLModule):
        def _forward(self, batch, **kwargs):
            return out

    act(Same(**KW), True)
    assert list(out) == ["action_dist"]


class Counter(TorchRLModule):
    """Recurrent: its state counts the steps, its action is the count."""

    def get_initial_state(self):
        return {"count": np.zeros((1,), np.float32)}

    def _forward(self, batch, **kwargs):
        assert batch["obs"].shape[1] == 1
        count = batch["state_in"]["count"] + 1
        return {"actions": count.long()[:, None, 0], "state_out": {"count": count}}


def test_recurrent_modules_see_one_step_of_time() -> None:
    module = Counter(**KW)
    obs = np.zeros((2, 4), np.float32)
    actions, state = module.compute_actions(obs)
    assert actions.tolist() == [1, 1]
    actions, state = module.compute_actions(obs, state)
    assert actions.tolist() == [2, 2]
    assert state["count"].tolist() == [[2.0], [2.0]]
    action, state = module.compute_single_action(obs[0])
    assert (int(action), state["count"].tolist()) == (1, [1.0])
    assert int(module.compute_single_action(obs[0], state)[0]) == 2
    _, state, _ = module.compute_actions_from_input_dict({"obs": obs, "state_in": {"count": np.full((2, 1), 4.0)}})
    assert state["count"].tolist() == [[5.0], [5.0]]


def test_compute_methods_agree() -> None:
    torch.manual_seed(1)
    space = gym.spaces.Discrete(3, start=5)
    module = ActorCriticTorchRLModule(observation_space=OBS, action_space=space, model_config={"fcnet_hiddens": [8]})
    with torch.no_grad():
        module.pi.net.layers[0].weight.mul_(1000)
    obs = np.random.default_rng(0).normal(size=(6, 4))  # float64
    actions, state = module.compute_actions(obs)
    assert state == {}
    assert all(space.contains(action) for action in actions)
    assert actions.tolist() == [int(module.compute_single_action(row)[0]) for row in obs]
    assert actions.tolist() == module.compute_actions_from_input_dict({"obs": obs})[0].tolist()
    sampled, _, extra = module.compute_actions_from_input_dict({"obs": obs}, explore=True)
    logp = module.compute_log_likelihoods(sampled - 5, obs)
    assert np.allclose(extra["action_logp"], logp, atol=1e-6)
    assert np.allclose(extra["action_prob"], np.exp(logp), atol=1e-6)
    everything = np.stack([module.compute_log_likelihoods(np.full(6, k), obs) for k in range(3)])
    assert np.allclose(np.exp(everything).sum(0), 1, atol=1e-5)
    assert module.training


def test_log_likelihoods_need_inputs() -> None:
    with pytest.raises(ConfigError, match="action_dist_inputs"):
        returning({"actions": torch.zeros(2)}).compute_log_likelihoods(np.zeros(2), np.zeros((2, 4)))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [15.0, 20.0]),
        ({"normalize_actions": False}, [10.0, 10.0]),
        ({"clip_actions": False}, [15.0, 25.0]),
    ],
)
def test_bounded_boxes_are_scaled_and_clipped(settings, expected) -> None:
    box = gym.spaces.Box(10.0, 20.0, (1,))
    actions = torch.tensor([[0.0], [2.0]])
    module = returning({"actions": actions}, action_space=box, model_config=settings)
    assert module.compute_actions(np.zeros((2, 4), np.float32))[0][:, 0].tolist() == expected


def test_modules_without_parameters_act() -> None:
    space = gym.spaces.Dict({"a": gym.spaces.Discrete(3), "b": gym.spaces.Box(0.0, 5.0, (2,))})
    random = RandomRLModule(observation_space=OBS, action_space=space)
    actions, _ = random.compute_actions(np.zeros((3, 4), np.float32), explore=True)
    assert actions["a"].shape == (3,)
    assert actions["b"].shape == (3, 2)
    assert space.contains(random.compute_single_action(np.zeros(4, np.float32))[0])
    assert list(random.parameters()) == []
    env = gym.make("CartPole-v1")
    rule = CartPoleHeuristicRLModule(observation_space=env.observation_space, action_space=env.action_space)
    obs, _ = env.reset(seed=0)
    steps, done = 0, False
    while not done:
        obs, _, terminated, truncated, _ = env.step(int(rule.compute_single_action(obs)[0]))
        steps, done = steps + 1, terminated or truncated
    assert steps > 100


def test_bc_module_acts_by_hand() -> None:
    module = DiscreteBCTorchModule(**KW, model_config={"fcnet_hiddens": [8]})
    nn.init.zeros_(module.policy[2].weight)
    with torch.no_grad():
        module.policy[2].bias.copy_(torch.tensor([0.0, 0.0, 9.0]))
    assert module.compute_actions(np.zeros((2, 4), np.float32))[0].tolist() == [2, 2]


def test_observations_may_be_lists():
    space = gym.spaces.Dict({"x": gym.spaces.Box(-1.0, 1.0, (2,), np.float32), "k": gym.spaces.Discrete(3)})
    module = ActorCriticTorchRLModule(observation_space=space, action_space=gym.spaces.Discrete(2))
    exact, _ = module.compute_actions({"x": np.array([[0.1, 0.2]], np.float32), "k": np.array([1])})
    loose, _ = module.compute_actions({"x": [[0.1, 0.2]], "k": [1], "unused": 3})
    single, _ = module.compute_single_action({"x": [0.1, 0.2], "k": 1})
    assert exact.tolist() == loose.tolist() == [single]
    with pytest.raises(ValueError, match="expected a dict with"):
        module.compute_actions({"x": [[0.1, 0.2]]})
