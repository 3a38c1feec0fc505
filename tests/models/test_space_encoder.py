"""Encoders in one class: sizes are seen, settings read, and a catalog builds them like any other."""

from __future__ import annotations

import random

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_core import ActorCriticCatalog, Component
from rlkit_core.columns import ENCODER_OUT, Columns
from rlkit_core.errors import ConfigError
from rlkit_core.models import SpaceEncoder
from rlkit_core.settings import setting
from rlkit_core.testing.contracts import EncoderContract

VECTOR = gym.spaces.Box(-1, 1, (3,), np.float32)
PARTS = gym.spaces.Dict({"a": VECTOR, "b": gym.spaces.Discrete(4)})


class Linear(SpaceEncoder):
    def setup(self, space, model_config):
        self.layer = torch.nn.Linear(space.shape[0], model_config.get("width", 5))

    def forward(self, batch):
        return {ENCODER_OUT: self.layer(batch[Columns.OBS].float())}


class OfParts(SpaceEncoder):
    def setup(self, space, model_config):
        self.layer, self.table = torch.nn.Linear(3, 2), torch.nn.Embedding(4, 2)

    def forward(self, batch):
        obs = batch[Columns.OBS]
        return {ENCODER_OUT: torch.cat([self.layer(obs["a"]), self.table(obs["b"].long())], -1)}


class OfText(SpaceEncoder):
    def setup(self, space, model_config):
        self.layer = torch.nn.Linear(1, 7)

    @staticmethod
    def pack(space, observations):
        return {"length": np.array([[len(text)] for text in observations], np.float32)}

    def forward(self, batch):
        return {ENCODER_OUT: self.layer(batch[Columns.OBS]["length"])}


class Flattens(Linear):
    def forward(self, batch):
        return {ENCODER_OUT: super().forward(batch)[ENCODER_OUT].reshape(-1)}


class TestLinear(EncoderContract):
    component = Component("linear", "encoder", Linear, [gym.spaces.Box], settings={"width": setting(5, help="Width.")})
    spaces = [VECTOR]


class TestOfParts(EncoderContract):
    component = OfParts
    spaces = [PARTS]


class TestOfText(EncoderContract):
    component = OfText
    spaces = [gym.spaces.Text(6)]


@pytest.mark.parametrize(
    ("encoder", "space", "settings", "dims"),
    [
        (Linear, VECTOR, {}, (5,)),
        (Linear, VECTOR, {"width": 9}, (9,)),
        (OfParts, PARTS, {}, (4,)),
        (OfText, gym.spaces.Text(6), {}, (7,)),
    ],
)
def test_its_output_is_seen(encoder, space, settings, dims):
    config = encoder.from_space(space, settings)
    assert config.output_dims == dims
    assert isinstance(config.build(), encoder)
    assert config.build() is not config.build()


def test_looking_draws_nothing():
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    before = torch.get_rng_state(), repr(np.random.get_state()), random.getstate()
    Linear.from_space(VECTOR, {})
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (repr(np.random.get_state()), random.getstate())


def test_what_is_said_is_not_looked_for():
    class Said(SpaceEncoder):
        output_dims = (11,)

    assert Said.from_space(VECTOR, {}).output_dims == (11,)
    with pytest.raises(NotImplementedError, match=r"Said has no setup\(space, model_config\)"):
        Said.from_space(VECTOR, {}).build()


def test_a_lost_batch_axis_is_named():
    with pytest.raises(ConfigError, match=r"Flattens for Box.*has shape \(5,\), expected \(1, ...\)"):
        Flattens.from_space(VECTOR, {})


def test_shapes_are_checked_where_that_is_asked():
    encoder = Linear.from_space(VECTOR, {"always_check_shapes": True}).build()
    with pytest.raises(ConfigError, match=r"expected an input of shape \(..., 3\)"):
        encoder({Columns.OBS: torch.zeros(2, 4)})


def test_a_catalog_builds_it_behind_a_memory():
    component = Component("linear", "encoder", Linear, [gym.spaces.Box])
    settings = {"use_lstm": True, "lstm_cell_size": 6}

    class Mine(ActorCriticCatalog):
        components = (component,)

    encoder = Mine(VECTOR, gym.spaces.Discrete(2), settings).build_actor_critic_encoder()
    assert any(isinstance(part, Linear) for part in encoder.modules())
