"""Networks: configs that describe them, and the encoders and heads that configs build."""

from __future__ import annotations

from rlkit_core.models.acting import SMALL_ROWS, ActingPlan, SmallPlan
from rlkit_core.models.actor_critic import ActorCriticEncoderConfig
from rlkit_core.models.base import (
    Encoder,
    Head,
    Model,
    ModelConfig,
    SpaceEncoder,
    TorchModel,
    build_network,
    encoder_output,
    initial_state_of,
)
from rlkit_core.models.cnn import CNNEncoderConfig
from rlkit_core.models.cnn_transpose import CNNTransposeHeadConfig
from rlkit_core.models.default_config import (
    DefaultModelConfig,
    effective_model_config,
    encoder_model_config,
    slot_model_config,
)
from rlkit_core.models.grid import GridEncoderConfig
from rlkit_core.models.heads import FreeLogStdMLPHeadConfig, MLPHead, MLPHeadConfig
from rlkit_core.models.initializers import get_activation
from rlkit_core.models.mlp import MLPEncoderConfig, run_plan
from rlkit_core.models.multi_stream import MultiStreamEncoderConfig
from rlkit_core.models.networks import QNetwork, SlotNetwork
from rlkit_core.models.normalizer import NormalizedEncoderConfig, ObservationNormalizer, observation_normalizers
from rlkit_core.models.one_hot import OneHotEncoderConfig
from rlkit_core.models.previous import PreviousInputsEncoderConfig
from rlkit_core.models.recurrent import RecurrentEncoderConfig

__all__ = [
    "SMALL_ROWS",
    "ActingPlan",
    "ActorCriticEncoderConfig",
    "CNNEncoderConfig",
    "CNNTransposeHeadConfig",
    "DefaultModelConfig",
    "Encoder",
    "FreeLogStdMLPHeadConfig",
    "GridEncoderConfig",
    "Head",
    "MLPEncoderConfig",
    "MLPHead",
    "MLPHeadConfig",
    "Model",
    "ModelConfig",
    "MultiStreamEncoderConfig",
    "NormalizedEncoderConfig",
    "ObservationNormalizer",
    "OneHotEncoderConfig",
    "PreviousInputsEncoderConfig",
    "QNetwork",
    "RecurrentEncoderConfig",
    "SlotNetwork",
    "SmallPlan",
    "SpaceEncoder",
    "TorchModel",
    "build_network",
    "effective_model_config",
    "encoder_model_config",
    "encoder_output",
    "get_activation",
    "initial_state_of",
    "observation_normalizers",
    "run_plan",
    "slot_model_config",
]
