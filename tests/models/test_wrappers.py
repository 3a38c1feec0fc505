"""Observation normalisation and previous inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit_core.errors import ConfigError
from rlkit_core.models import (
    ActorCriticEncoderConfig,
    MLPEncoderConfig,
    NormalizedEncoderConfig,
    ObservationNormalizer,
    PreviousInputsEncoderConfig,
    RecurrentEncoderConfig,
    observation_normalizers,
)

VECTOR = spaces.Box(-np.inf, np.inf, (3,))


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 20), min_size=1, max_size=6),
    offset=st.floats(-1e6, 1e6),
    spread=st.floats(1e-3, 1e3),
    seed=st.integers(0, 100),
)
def test_statistics_equal_numpy_over_all_batches(sizes, offset, spread, seed):
    rng = np.random.default_rng(seed)
    batches = [offset + spread * rng.standard_normal((n, 3)) for n in sizes]
    normalizer = ObservationNormalizer(VECTOR)
    for batch in batches:
        normalizer.update_statistics(torch.as_tensor(batch))
    everything = np.concatenate(batches)
    assert int(normalizer.count) == len(everything)
    if len(everything):
        np.testing.assert_allclose(normalizer.mean.numpy(), everything.mean(0), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(normalizer.var.numpy(), everything.var(0), rtol=1e-6, atol=1e-9)


def test_merging_learners_equals_one_batch():
    data = torch.randn(12, 3, dtype=torch.float64) * 4 + 7
    one, several = ObservationNormalizer(VECTOR), ObservationNormalizer(VECTOR)
    one.update_statistics(data)
    several.merge(torch.stack([several.moments(part) for part in data.split(4)]))
    for name in ("mean", "var", "count"):
        torch.testing.assert_close(getattr(several, name), getattr(one, name))
    masked = ObservationNormalizer(VECTOR)
    mask = torch.arange(12).reshape(3, 4) % 2 == 0
    masked.update_statistics(data.reshape(3, 4, 3), mask)
    torch.testing.assert_close(masked.mean, data[::2].mean(0))


def test_normalised_values_clip_and_leave_other_leaves_alone():
    space = spaces.Dict({"v": spaces.Box(-1, 1, (2, 2)), "n": spaces.Discrete(3), "t": spaces.Tuple((VECTOR,))})
    normalizer = ObservationNormalizer(space, clip=2.0)
    obs = {
        "v": torch.randn(50, 2, 2) * 3 + 5,
        "n": torch.arange(50) % 3,
        "t": (torch.randn(50, 3),),
        "action_mask": torch.ones(50, 2),
    }
    kept = obs["v"].clone()
    normalizer.update_statistics(obs)
    out = normalizer(obs)
    assert (obs["v"] == kept).all()
    assert out["n"] is obs["n"]
    assert out["action_mask"] is obs["action_mask"]
    expected = (kept - kept.mean(0)) / kept.std(0, correction=0)
    torch.testing.assert_close(out["v"], expected.clamp(-2, 2), atol=1e-5, rtol=1e-5)
    assert out["t"][0].abs().max() <= 2
    one = {k: (v[0][:1],) if isinstance(v, tuple) else v[:1] for k, v in obs.items()}
    torch.testing.assert_close(normalizer(one)["v"], out["v"][:1])
    with pytest.raises(ConfigError, match="no Box of floats"):
        ObservationNormalizer(spaces.Discrete(2))


def test_acting_never_changes_statistics_and_state_restores_behaviour():
    base = MLPEncoderConfig(input_dims=(3,), hidden_layer_dims=(4,))
    config = NormalizedEncoderConfig.from_encoder(base, VECTOR, {"observation_clip": 1.5})
    net, twin = config.build(), config.build()
    assert config.clip == 1.5
    obs = torch.randn(20, 3) * 10 + 3
    net.normalizer.update_statistics(obs)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    out = net({"obs": obs})["encoder_out"]
    assert all((before[k] == v).all() for k, v in net.state_dict().items())
    twin.load_state_dict(net.state_dict())
    assert torch.equal(twin({"obs": obs})["encoder_out"], out)
    assert not any(p.requires_grad for p in net.normalizer.parameters())


def test_normaliser_wraps_recurrent_and_actor_critic_encoders():
    base = MLPEncoderConfig(input_dims=(3,), hidden_layer_dims=(4,))
    inside = RecurrentEncoderConfig(
        tokenizer_config=NormalizedEncoderConfig(base_encoder_config=base, observation_space=VECTOR)
    )
    assert inside.build()({"obs": torch.randn(2, 5, 3)})["encoder_out"].shape == (2, 5, 256)
    outside = NormalizedEncoderConfig(
        base_encoder_config=ActorCriticEncoderConfig(base_encoder_config=inside, shared=False),
        observation_space=VECTOR,
    )
    net = outside.build()
    assert outside.recurrent
    assert set(net.get_initial_state()) == {"actor", "critic"}
    assert set(net({"obs": torch.randn(2, 5, 3)}, only="actor")["encoder_out"]) == {"actor"}
    assert len(observation_normalizers(net)) == 3


ACTIONS = spaces.Dict(
    {
        "a": spaces.Discrete(3),
        "b": spaces.Box(-1, 1, (2,)),
        "c": spaces.Tuple((spaces.MultiDiscrete([2, 2]),)),
    }
)


def previous_batch(*lead):
    return {
        "obs": torch.randn(*lead, 3),
        "prev_actions": {
            "a": torch.full(lead, 2),
            "b": torch.full((*lead, 2), 0.5),
            "c": (torch.zeros(*lead, 2, dtype=torch.int64),),
        },
        "prev_rewards": torch.full(lead, -3.0),
    }


def test_previous_inputs_are_appended():
    base = MLPEncoderConfig(input_dims=(3,), hidden_layer_dims=())
    both = {"lstm_use_prev_action": True, "lstm_use_prev_reward": True}
    config = PreviousInputsEncoderConfig.from_encoder(base, ACTIONS, both)
    assert config.output_dims == (3 + 3 + 2 + 4 + 1,)
    batch = previous_batch(2)
    out = config.build()(batch)["encoder_out"]
    assert out[:, 3:].tolist() == [[0, 0, 1, 0.5, 0.5, 1, 0, 1, 0, -3.0]] * 2
    batch["prev_actions"]["a"][:] = -1
    assert config.build()(batch)["encoder_out"][0, 3:6].tolist() == [0, 0, 0]
    reward_only = PreviousInputsEncoderConfig.from_encoder(base, ACTIONS, {"lstm_use_prev_reward": True})
    assert reward_only.output_dims == (4,)
    del batch["prev_rewards"]
    with pytest.raises(ConfigError, match="prev_rewards"):
        reward_only.build()(batch)
    with pytest.raises(ConfigError, match="tokenizer"):
        PreviousInputsEncoderConfig(
            base_encoder_config=RecurrentEncoderConfig(input_dims=(3,)), action_space=ACTIONS
        ).build()


def test_previous_inputs_under_recurrence_and_normalisation():
    base = MLPEncoderConfig(input_dims=(3,), hidden_layer_dims=(4,))
    previous = PreviousInputsEncoderConfig(base_encoder_config=base, action_space=ACTIONS)
    normalized = NormalizedEncoderConfig(base_encoder_config=previous, observation_space=VECTOR)
    net = RecurrentEncoderConfig(hidden_dim=6, tokenizer_config=normalized).build()
    batch = previous_batch(2, 5)
    out = net(batch)["encoder_out"]
    assert out.shape == (2, 5, 6)
    batch["prev_rewards"] = batch["prev_rewards"] + 1
    assert not torch.equal(net(batch)["encoder_out"], out)
