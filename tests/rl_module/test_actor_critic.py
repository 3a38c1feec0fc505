"""The actor-critic module: outputs, inference-only, masks, recurrence, initial weights."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_core import ActorCriticTorchRLModule, RLModule, RLModuleSpec
from rlkit_core.errors import ConfigError
from rlkit_core.rl_module import ActionSampler

BOX = gym.spaces.Box
OBS, ACT = BOX(-1.0, 1.0, (4,)), gym.spaces.Discrete(3)
SMALL = {"fcnet_hiddens": [8], "fusionnet_hiddens": [8], "lstm_cell_size": 6}


def build(obs=OBS, act=ACT, inference_only=False, **settings) -> ActorCriticTorchRLModule:
    return RLModuleSpec(
        ActorCriticTorchRLModule, obs, act, model_config=SMALL | settings, inference_only=inference_only
    ).build()


def test_outputs_and_values() -> None:
    module = build(vf_share_layers=False)
    batch = {"obs": torch.randn(1024, 4)}
    out = module.forward_train(batch)
    assert set(out) == {"action_dist_inputs", "embeddings"}
    assert out["action_dist_inputs"].shape == (1024, 3)
    values = module.compute_values(batch)
    assert values.shape == (1024,)
    assert torch.equal(values, module.compute_values(batch, embeddings=out["embeddings"]))
    acting = module.forward_exploration(batch)
    assert torch.allclose(acting["action_dist_inputs"], out["action_dist_inputs"])
    assert not acting["action_dist_inputs"].requires_grad
    dist = module.get_train_action_dist_cls().from_logits(out["action_dist_inputs"])
    (values.mean() - dist.logp(torch.zeros(1024, dtype=torch.long)).mean()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_acting_never_runs_the_critic() -> None:
    module = build(vf_share_layers=False)

    def boom(*args, **kwargs):
        raise AssertionError("the critic ran")

    module.encoder.critic_encoder.forward = boom
    module.vf.forward = boom
    module.forward_exploration({"obs": torch.zeros(1, 4)})
    module.forward_inference({"obs": torch.zeros(1, 4)})
    with pytest.raises(AssertionError):
        module.forward_train({"obs": torch.zeros(1, 4)})


@pytest.mark.parametrize("share", [True, False])
def test_inference_only(share) -> None:
    torch.manual_seed(0)
    full, small = build(vf_share_layers=share), build(vf_share_layers=share, inference_only=True)
    assert full.get_non_inference_attributes() == (["vf"] if share else ["vf", "encoder.critic_encoder"])
    assert not hasattr(small, "vf")
    assert not any("critic" in name for name in small.get_state())
    state = full.get_state(inference_only=True)
    assert set(state) == set(small.get_state())
    small.set_state(state)
    batch = {"obs": torch.randn(5, 4)}
    for method in ("forward_exploration", "forward_inference"):
        outs = [getattr(module, method)(batch)["action_dist_inputs"] for module in (full, small)]
        assert torch.equal(*outs)
    with pytest.raises(RuntimeError, match="inference_only"):
        small.compute_values(batch)


def test_initial_weights_for_policy_gradients() -> None:
    module = build(vf_share_layers=False, fcnet_hiddens=[64, 64])
    hidden = module.encoder.actor_encoder.net.layers[1].weight
    assert torch.allclose(hidden @ hidden.T, 2 * torch.eye(64), atol=1e-4)
    pi, vf = module.pi.net.layers[-1], module.vf.net.layers[-1]
    assert torch.allclose(pi.weight @ pi.weight.T, 1e-4 * torch.eye(3), atol=1e-7)
    assert vf.weight.norm().item() == pytest.approx(1.0, abs=1e-5)
    for layer in (pi, vf, module.encoder.actor_encoder.net.layers[0]):
        assert not layer.bias.any()


@pytest.mark.parametrize("key", ["head_fcnet_kernel_initializer", "head_output_kernel_initializer"])
def test_users_initializers_win(key) -> None:
    module = build(**{key: "ones_", "fcnet_kernel_initializer": "zeros_"})
    assert (module.pi.net.layers[-1].weight == 1).all()
    assert (module.vf.net.layers[-1].weight == 1).all()
    assert not module.encoder.encoder.net.layers[0].weight.any()
    one = build(pi_head_output_kernel_initializer="ones_")
    assert (one.pi.net.layers[-1].weight == 1).all()
    assert not (one.vf.net.layers[-1].weight == 1).all()


SPACES = [
    BOX(-1.0, 1.0, (4,)),
    BOX(0, 255, (42, 42, 1), np.uint8),
    gym.spaces.Discrete(5),
    gym.spaces.MultiDiscrete([2, 3]),
    gym.spaces.MultiBinary(4),
    gym.spaces.Dict({"a": BOX(-1.0, 1.0, (3,)), "b": gym.spaces.Tuple((gym.spaces.Discrete(2), BOX(0.0, 1.0, (2,))))}),
]
ACTIONS = [
    gym.spaces.Discrete(3, start=2),
    gym.spaces.MultiDiscrete([2, 3]),
    gym.spaces.MultiBinary(3),
    BOX(-2.0, 2.0, (2,)),
    BOX(-np.inf, np.inf, (2, 2)),
    gym.spaces.Dict({"a": gym.spaces.Discrete(2), "b": BOX(0.0, 1.0, (1,))}),
    gym.spaces.Tuple((gym.spaces.Discrete(2), gym.spaces.MultiBinary(2))),
]
PAIRS = [(o, ACTIONS[0]) for o in SPACES] + [(SPACES[0], a) for a in ACTIONS[1:]]


@pytest.mark.parametrize(("obs", "act"), PAIRS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("recurrent", [{}, {"use_lstm": True}, {"use_gru": True, "vf_share_layers": False}])
def test_spaces(obs, act, recurrent) -> None:
    module = build(obs, act, **recurrent)
    obs.seed(0)
    samples = [obs.sample() for _ in range(2)]
    state = None
    for sample in samples:
        action, state = module.compute_single_action(sample, state, explore=True)
        assert act.contains(action)
    assert bool(state) is bool(recurrent)


@pytest.mark.parametrize("kind", ["use_lstm", "use_gru"])
@pytest.mark.parametrize("share", [True, False])
def test_recurrent_training_form_equals_acting_step_by_step(kind, share) -> None:
    torch.manual_seed(0)
    module = build(vf_share_layers=share, **{kind: True})
    runner = build(vf_share_layers=share, inference_only=True, **{kind: True})
    runner.set_state(module.get_state(inference_only=True))
    assert module.is_stateful()
    obs = torch.randn(3, 5, 4)
    state = _batched(module.get_initial_state(), 3)
    out = module.forward_train({"obs": obs, "state_in": state})
    assert out["action_dist_inputs"].shape == (3, 5, 3)
    values = module.compute_values({"obs": obs, "state_in": state})
    assert values.shape == (3, 5)
    assert torch.allclose(values, module.compute_values({}, embeddings=out["embeddings"]))
    sampler = ActionSampler(runner, explore=False)
    steps = []
    for t in range(5):
        step = sampler({"obs": obs[:, t], "state_in": state})
        state = step["state_out"]
        steps.append(step["action_dist_inputs"])
    assert torch.allclose(torch.stack(steps, 1), out["action_dist_inputs"], atol=1e-5)
    for mine, final in zip(_leaves(state), _leaves(out["state_out"]), strict=True):
        assert torch.allclose(mine, final, atol=1e-5)


def _batched(state, rows: int):
    if isinstance(state, dict):
        return {key: _batched(value, rows) for key, value in state.items()}
    return torch.as_tensor(state).expand(rows, *state.shape)


def _leaves(state) -> list:
    return [leaf for value in state.values() for leaf in _leaves(value)] if isinstance(state, dict) else [state]


MASKED = gym.spaces.Dict({"observations": BOX(-1.0, 1.0, (4,)), "action_mask": gym.spaces.MultiBinary(3)})


def test_action_mask_holds_in_every_phase_and_is_no_input() -> None:
    module = build(MASKED, ACT)
    mask = torch.tensor([[0, 1, 1], [1, 0, 0], [1, 1, 0]], dtype=torch.int8)
    batch = {"obs": {"observations": torch.randn(3, 4), "action_mask": mask}}
    dist_cls = module.get_train_action_dist_cls()
    for out in (
        module.forward_train(batch),
        module.forward_exploration(batch),
        module.forward_inference(batch),
    ):
        dist = dist_cls.from_logits(out["action_dist_inputs"])
        for action in range(3):
            p = dist.logp(torch.full((3,), action)).exp()
            assert torch.equal(p > 0, mask[:, action].bool())
    sampler = ActionSampler(module, explore=True)
    drawn = torch.stack([sampler(batch)["actions"] for _ in range(50)])
    assert mask.bool()[torch.arange(3), drawn].all()
    changed = {"obs": {**batch["obs"], "action_mask": torch.ones_like(mask)}}
    assert torch.equal(module.compute_values(batch), module.compute_values(changed))
    assert [c["path"] for c in module.component_trace() if c["kind"] == "encoder"] == [[], ["observations"]]


def test_action_mask_needs_a_maskable_distribution() -> None:
    module = build(gym.spaces.Dict({"o": OBS, "action_mask": gym.spaces.MultiBinary(2)}), BOX(-1.0, 1.0, (2,)))
    batch = {"obs": {"o": torch.zeros(1, 4), "action_mask": torch.ones(1, 2)}}
    with pytest.raises(ConfigError, match="action mask"):
        module.forward_inference(batch)


def test_normalisation_travels_and_acting_does_not_change_it(tmp_path) -> None:
    from rlkit_core.models import observation_normalizers

    module = build(normalize_observations=True)
    obs = torch.randn(500, 4) * 3 + 5
    for normalizer in observation_normalizers(module):
        normalizer.update_statistics(obs)
    before = module.get_state()
    module.forward_exploration({"obs": obs})
    module.forward_train({"obs": obs})
    assert all(np.array_equal(before[k], v) for k, v in module.get_state().items())
    module.save_to_path(tmp_path / "m")
    again = RLModule.from_checkpoint(tmp_path / "m")
    row = obs[0].numpy()
    assert again.compute_single_action(row)[0] == module.compute_single_action(row)[0]
    out, out2 = (m.forward_inference({"obs": obs})["action_dist_inputs"] for m in (module, again))
    assert torch.equal(out, out2)


def test_encoder_without_only_and_subclass_parts() -> None:
    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(4, 8)

        def forward(self, batch):
            features = self.net(batch["obs"])
            return {"encoder_out": {"actor": features, "critic": features}}

    class Mine(ActorCriticTorchRLModule):
        def setup(self) -> None:
            super().setup()
            self.encoder = Own()

    module = Mine(observation_space=OBS, action_space=ACT, model_config={"fcnet_hiddens": [8]})
    batch = {"obs": torch.zeros(2, 4)}
    assert module.forward_exploration(batch)["action_dist_inputs"].shape == (2, 3)
    assert module.compute_values(batch).shape == (2,)
