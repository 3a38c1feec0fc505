"""What the Q network returns, in every phase and for every kind of space."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_core import RLModuleSpec
from rlkit_core.errors import ConfigError
from rlkit_core.rl_module.acting import ActionSampler
from rlkit_core.spaces import nested_map
from rlkit_dqn import DQNCatalog, DQNTorchRLModule, NoisyLinear
from rlkit_dqn.actions import ActionTable

BOX = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
IMAGE = gym.spaces.Box(0, 255, (10, 10, 3), np.uint8)
DICT = gym.spaces.Dict({"a": BOX, "b": gym.spaces.Discrete(3)})
SMALL = {"fcnet_hiddens": [8], "fusionnet_hiddens": [8], "head_fcnet_hiddens": [8]}


def make(observation_space=BOX, action_space=None, *, trainable=True, **settings):
    torch.manual_seed(0)
    spec = RLModuleSpec(
        module_class=DQNTorchRLModule,
        catalog_class=DQNCatalog,
        observation_space=observation_space,
        action_space=action_space or gym.spaces.Discrete(3),
        model_config={**SMALL, **settings},
    )
    module = spec.build()
    if trainable:
        module.make_target_networks()
    return module


def rows(space, count, *, seed=0):
    space.seed(seed)
    samples = [space.sample() for _ in range(count)]
    return nested_map(lambda *x: torch.from_numpy(np.stack([np.asarray(i) for i in x])), samples[0], *samples[1:])


def train_batch(space, count):
    return {"obs": rows(space, count), "new_obs": rows(space, count, seed=1)}


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("atoms", [1, 5])
@pytest.mark.parametrize("dueling", [True, False])
@pytest.mark.parametrize("double_q", [True, False])
@pytest.mark.parametrize("space", [BOX, IMAGE, DICT], ids=["box", "image", "dict"])
def test_every_phase_returns_what_is_documented(space, double_q, dueling, atoms, batch_size):
    module = make(space, double_q=double_q, dueling=dueling, num_atoms=atoms)
    out = module.forward_train(train_batch(space, batch_size))
    expected = {"qf_preds": (batch_size, 3), "qf_target_next_preds": (batch_size, 3)}
    if double_q:
        expected["qf_next_preds"] = (batch_size, 3)
    if atoms > 1:
        wide = (batch_size, 3, atoms)
        expected |= {"atoms": (atoms,), "qf_logits": wide, "qf_probs": wide, "qf_target_next_probs": wide}
    assert {name: tuple(value.shape) for name, value in out.items()} == expected
    assert out["qf_preds"].requires_grad
    assert not out["qf_target_next_preds"].requires_grad

    with torch.no_grad():
        q = module.compute_q_values({"obs": rows(space, batch_size)})["qf_preds"]
    inferred = module.forward_inference({"obs": rows(space, batch_size)})
    assert inferred["actions"].tolist() == q.argmax(-1).tolist()
    explored = module.forward_exploration({"obs": rows(space, batch_size)}, t=0)
    assert set(explored) == {"actions"}
    assert explored["actions"].shape == (batch_size,)


def test_each_atom_has_a_value_stream_of_its_own():
    module = make(num_atoms=5, dueling=True)
    assert module.vf.net.layers[-1].out_features == 5
    batch = {"obs": rows(BOX, 2)}
    embeddings = module.encoder(batch)["encoder_out"]
    values, advantages = module.vf(embeddings), module.af(embeddings).view(2, 3, 5)
    for k in range(5):
        expected = values[:, k : k + 1] + advantages[..., k] - advantages[..., k].mean(-1, keepdim=True)
        torch.testing.assert_close(module.compute_q_values(batch)["qf_logits"][..., k], expected)
    stream = module.compute_advantage_distribution(batch)
    torch.testing.assert_close(stream["qf_logits"], advantages)
    torch.testing.assert_close(stream["qf_probs"].sum(-1), torch.ones(2, 3))


# -- epsilon -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("t", "share"), [(0, 1.0), (50, 0.6), (100, 0.2), (10_000, 0.2), (None, 0.2)])
def test_epsilon_follows_its_schedule_row_by_row(t, share):
    module = make(epsilon=[[0, 1.0], [100, 0.2]])
    obs = rows(BOX, 1).expand(20_000, 4)
    best = int(module.forward_inference({"obs": obs})["actions"][0])
    actions = module.forward_exploration({"obs": obs}, t=t)["actions"]
    counts = torch.bincount(actions, minlength=3) / len(actions)
    for action in range(3):
        assert counts[action] == pytest.approx(share / 3 + (1 - share) * (action == best), abs=0.02)


def test_a_recurrent_module_explores_row_by_row():
    module = make(epsilon=1.0, use_lstm=True, lstm_cell_size=8)
    state = nested_map(lambda x: torch.as_tensor(x).expand(3000, *x.shape), module.get_initial_state())
    out = ActionSampler(module, explore=True)({"obs": rows(BOX, 1).expand(3000, 4), "state_in": state}, t=0)
    assert out["actions"].shape == (3000,)
    assert torch.bincount(out["actions"], minlength=3).min() > 900
    assert out["state_out"]["h"].shape == (3000, 1, 8)


# -- masks -------------------------------------------------------------------------------------------------------------


def masked_space(width):
    return gym.spaces.Dict({"action_mask": gym.spaces.Box(0, 1, (width,), np.int8), "obs": BOX})


@pytest.mark.parametrize("atoms", [1, 5])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0])
def test_only_allowed_actions_are_taken(atoms, epsilon):
    module = make(masked_space(4), gym.spaces.Discrete(4), num_atoms=atoms, epsilon=epsilon)
    mask = torch.tensor([[1, 0, 0, 1], [0, 1, 1, 0]], dtype=torch.int8).repeat(500, 1)
    batch = {"obs": {"action_mask": mask, "obs": rows(BOX, 1000)}}
    for actions in (module.forward_exploration(batch, t=0), module.forward_inference(batch)):
        assert bool(mask.gather(1, actions["actions"].unsqueeze(1)).all())
    if epsilon == 1.0:
        counts = torch.bincount(module.forward_exploration(batch, t=0)["actions"], minlength=4)
        assert counts.min() > 200
    q = module.compute_q_values(batch)["qf_preds"]
    assert bool((q[mask == 0] == torch.finfo(q.dtype).min).all())
    assert bool((q[mask == 1].abs() < 1e3).all())


@pytest.mark.parametrize("atoms", [1, 5])
def test_actions_that_are_not_allowed_do_not_bootstrap(atoms):
    module = make(masked_space(4), gym.spaces.Discrete(4), num_atoms=atoms, double_q=False)
    batch = train_batch(masked_space(4), 6)
    batch["obs"]["action_mask"].fill_(1)
    batch["new_obs"]["action_mask"].zero_()
    batch["new_obs"]["action_mask"][:, 2] = 1
    assert module.forward_train(batch)["qf_target_next_preds"].argmax(-1).tolist() == [2] * 6
    batch["new_obs"]["action_mask"].zero_()  # after an episode's end, say
    assert bool((module.forward_train(batch)["qf_target_next_preds"].abs() < 1e3).all())


# -- action spaces -----------------------------------------------------------------------------------------------------


def test_multi_discrete_is_one_joint_table():
    space = gym.spaces.MultiDiscrete([2, 3, 2])
    table = ActionTable(space)
    entries = table.actions(torch.arange(12))
    assert len({tuple(row) for row in entries.tolist()}) == 12
    assert all(space.contains(row.numpy()) for row in entries)
    assert table.index(entries).tolist() == list(range(12))
    mask = torch.tensor([1, 0, 0, 1, 1, 1, 1])  # the first component 0, the second 1 or 2
    allowed = [a == 0 and b > 0 for a, b, _ in entries.tolist()]
    assert table.legal(mask).tolist() == allowed

    module = make(masked_space(7), space)
    batch = {"obs": {"action_mask": mask.expand(5, 7), "obs": rows(BOX, 5)}}
    assert module.compute_q_values(batch)["qf_preds"].shape == (5, 12)
    actions = module.forward_inference(batch)["actions"]
    assert actions.shape == (5, 3)
    assert bool((actions[:, 0] == 0).all())
    env_actions, _ = module.compute_actions({k: v.numpy() for k, v in batch["obs"].items()})
    assert all(space.contains(row) for row in env_actions)


def test_a_discrete_space_may_start_elsewhere():
    module = make(action_space=gym.spaces.Discrete(3, start=-1))
    actions, _ = module.compute_actions(rows(BOX, 20).numpy(), explore=True)
    assert set(actions.tolist()) <= {-1, 0, 1}


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (gym.spaces.Box(-1.0, 1.0, (2,)), "must be Discrete or MultiDiscrete"),
        (gym.spaces.MultiBinary(3), "must be Discrete or MultiDiscrete"),
        (gym.spaces.MultiDiscrete([11, 10, 10]), "1100 combinations.*at most 1000"),
        (gym.spaces.MultiDiscrete([10**6] * 8), "combinations.*at most 1000"),
    ],
)
def test_other_action_spaces_are_refused(space, said):
    with pytest.raises(ConfigError, match=said):
        make(action_space=space)


# -- noise -------------------------------------------------------------------------------------------------------------


def test_noisy_layers_are_the_papers():
    torch.manual_seed(1)
    linear = torch.nn.Linear(16, 4)
    layer = NoisyLinear(linear, sigma0=0.4)
    assert bool((layer.weight_sigma == 0.4 / 4.0).all())
    assert bool((layer.bias_sigma == 0.4 / 4.0).all())
    x = torch.randn(8, 16)
    torch.testing.assert_close(layer.eval()(x), linear(x))
    assert not torch.equal(layer.train()(x), linear(x))
    layer.noisy = False
    torch.testing.assert_close(layer(x), linear(x))
    layer.eval().noisy = True
    torch.manual_seed(2)
    y = layer(x)
    torch.manual_seed(2)
    noise = torch.randn(20)
    f = noise.sign() * noise.abs().sqrt()
    weight = layer.weight_mu + layer.weight_sigma * torch.outer(f[16:], f[:16])
    expected = x @ weight.T + layer.bias_mu + layer.bias_sigma * f[16:]
    torch.testing.assert_close(y, expected)


def test_noise_explores_trains_and_leaves_inference_alone():
    module = make(noisy=True, epsilon=0.0, sigma0=4.0)
    obs = rows(BOX, 1)
    noisy = {int(module.forward_exploration({"obs": obs}, t=0)["actions"]) for _ in range(50)}
    assert len(noisy) > 1
    assert len({int(module.forward_inference({"obs": obs})["actions"]) for _ in range(50)}) == 1
    batch = train_batch(BOX, 4)
    first, second = module.forward_train(batch), module.forward_train(batch)
    for name in ("qf_preds", "qf_next_preds", "qf_target_next_preds"):
        assert not torch.equal(first[name], second[name])
    first["qf_preds"].square().sum().backward()
    for head in (module.af, module.vf):
        assert all(bool(p.grad.abs().sum() > 0) for p in head.parameters())


def test_a_deeper_module_acts_as_it_computes():
    for settings in ({}, {"noisy": True}, {"num_atoms": 3}, {"dueling": False}):
        module = make(trainable=False, epsilon=0.0, **settings)
        obs = rows(BOX, 200)
        q = module.compute_q_values({"obs": obs})["qf_preds"]
        assert torch.equal(module.forward_inference({"obs": obs})["actions"], q.argmax(-1))
