"""Weights of one component are not loaded into another one's place unless that is asked for."""

from __future__ import annotations

import gymnasium as gym
import pytest
import torch

from rlkit_core import ActorCriticTorchRLModule
from rlkit_core.errors import CheckpointError
from rlkit_core.models.mlp import MLPEncoder, MLPEncoderConfig

SPACES = {"observation_space": gym.spaces.Box(-1, 1, (4,)), "action_space": gym.spaces.Discrete(2)}
SMALL = {"fcnet_hiddens": [8], "vf_share_layers": True}


class Tilted(MLPEncoder):
    """As wide as the built-in one, and not the same function."""

    def forward(self, inputs):
        return {name: 2 * out for name, out in super().forward(inputs).items()}


class TiltedConfig(MLPEncoderConfig):
    def build(self, framework="torch"):
        return Tilted(self)


def module(**components: object) -> ActorCriticTorchRLModule:
    return ActorCriticTorchRLModule(**SPACES, model_config=SMALL, components=components)  # type: ignore[arg-type]


@pytest.fixture
def saved(tmp_path):
    return module().save_to_path(tmp_path / "saved")


def test_another_encoder_in_the_same_place_is_refused_and_both_are_named(saved):
    other = module(encoder=TiltedConfig)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"encoder 'rlkit-core/\w+' of rlkit-core==.*Tilted.*allow_component"):
        other.restore_from_path(saved)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())


def test_it_is_loaded_where_that_is_asked_for(saved):
    other, first = module(encoder=TiltedConfig), ActorCriticTorchRLModule.from_checkpoint(saved)
    other.restore_from_path(saved, allow_component_change=True)
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), first.parameters(), strict=True))


def test_the_same_components_load_as_ever(saved):
    module().restore_from_path(saved)
