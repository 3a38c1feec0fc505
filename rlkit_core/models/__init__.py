"""Networks: configs that describe them, and the encoders and heads that configs build."""

from __future__ import annotations

from rlkit_core.models.actor_critic import (
    ActingPlan,
    ActorCriticEncoder,
    ActorCriticEncoderConfig,
    StatefulActorCriticEncoder,
)
from rlkit_core.models.base import (
    PREV_ACTIONS,
    PREV_REWARDS,
    Encoder,
    Head,
    Model,
    ModelConfig,
    encoder_output,
    initial_state_of,
)
from rlkit_core.models.cnn import CNNEncoder, CNNEncoderConfig
from rlkit_core.models.cnn_transpose import CNNTransposeHead, CNNTransposeHeadConfig
from rlkit_core.models.default_config import (
    DefaultModelConfig,
    effective_model_config,
    model_config_dict,
    slot_model_config,
)
from rlkit_core.models.heads import (
    FreeLogStdMLPHead,
    FreeLogStdMLPHeadConfig,
    MLPHead,
    MLPHeadConfig,
)
from rlkit_core.models.initializers import get_activation, get_initializer, initialize
from rlkit_core.models.mlp import MLPEncoder, MLPEncoderConfig, run_plan
from rlkit_core.models.multi_stream import MultiStreamEncoder, MultiStreamEncoderConfig
from rlkit_core.models.normalizer import (
    NormalizedEncoder,
    NormalizedEncoderConfig,
    ObservationNormalizer,
    observation_normalizers,
)
from rlkit_core.models.one_hot import OneHotEncoder, OneHotEncoderConfig
from rlkit_core.models.previous import PreviousInputsEncoder, PreviousInputsEncoderConfig
from rlkit_core.models.recurrent import RecurrentEncoder, RecurrentEncoderConfig

__all__ = [
    "PREV_ACTIONS",
    "PREV_REWARDS",
    "ActingPlan",
    "ActorCriticEncoder",
    "ActorCriticEncoderConfig",
    "CNNEncoder",
    "CNNEncoderConfig",
    "CNNTransposeHead",
    "CNNTransposeHeadConfig",
    "DefaultModelConfig",
    "Encoder",
    "FreeLogStdMLPHead",
    "FreeLogStdMLPHeadConfig",
    "Head",
    "MLPEncoder",
    "MLPEncoderConfig",
    "MLPHead",
    "MLPHeadConfig",
    "Model",
    "ModelConfig",
    "MultiStreamEncoder",
    "MultiStreamEncoderConfig",
    "NormalizedEncoder",
    "NormalizedEncoderConfig",
    "ObservationNormalizer",
    "OneHotEncoder",
    "OneHotEncoderConfig",
    "PreviousInputsEncoder",
    "PreviousInputsEncoderConfig",
    "RecurrentEncoder",
    "RecurrentEncoderConfig",
    "StatefulActorCriticEncoder",
    "effective_model_config",
    "encoder_output",
    "get_activation",
    "get_initializer",
    "initial_state_of",
    "initialize",
    "model_config_dict",
    "observation_normalizers",
    "run_plan",
    "slot_model_config",
]
