"""A third party's plugin with an encoder for texts, as source; and a space that it fills a gap in."""

from __future__ import annotations

from gymnasium.spaces import Box, Dict, Text

LAB = """
import numpy as np
import gymnasium as gym
import torch
from rlkit_core import ActorCriticCatalog, Component, hookimpl
from rlkit_core.distributions import Categorical
from rlkit_core.models import Encoder, MLPEncoderConfig, MLPHeadConfig, ModelConfig

rlkit_api = "1.0"


class LabMLP(MLPEncoderConfig):
    pass


class LabHead(MLPHeadConfig):
    pass


class LabCategorical(Categorical):
    pass


class Letters(ModelConfig):
    output_dims = (3,)

    @classmethod
    def from_space(cls, space, model_config):
        return cls()

    @staticmethod
    def pack(space, observations):
        return {"length": np.array([[len(text)] for text in observations], np.float32)}

    def build(self, framework="torch"):
        return LettersNet(self)


class LettersNet(Encoder):
    def __init__(self, config):
        super().__init__(config)
        self.net = torch.nn.Linear(1, 3)

    def forward(self, batch, **kwargs):
        return {"encoder_out": self.net(batch["obs"]["length"])}


class LabCatalog(ActorCriticCatalog):
    components = (Component("lab-mlp", "encoder", LabMLP, (gym.spaces.Box,)),)

    def build_vf_head(self, framework="torch"):
        head = super().build_vf_head(framework)
        head.made_by = "lab"
        return head


@hookimpl
def rlkit_encoders():
    return [Component("mlp", "encoder", LabMLP, (gym.spaces.Box,), priority=99),
            Component("letters", "encoder", "lab_parts:Letters", (gym.spaces.Text,))]


@hookimpl
def rlkit_heads():
    return [Component("head", "head", LabHead, (gym.Space,), priority=99)]


@hookimpl
def rlkit_distributions():
    return [Component("categorical", "distribution", LabCategorical, (gym.spaces.Discrete,), priority=99)]
"""

MIXED = Dict({"x": Box(-1.0, 1.0, (2,)), "y": Box(-1.0, 1.0, (2,)), "say": Text(4)})
SMALL = {"fcnet_hiddens": [4], "fusionnet_hiddens": [4], "lstm_cell_size": 4, "max_seq_len": 4}
