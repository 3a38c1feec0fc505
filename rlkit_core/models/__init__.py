"""Networks: configs that describe them, and the encoders and heads that configs build."""

from __future__ import annotations

from rlkit_core.models.actor_critic import (
    ActorCriticEncoder,
    ActorCriticEncoderConfig,
    StatefulActorCriticEncoder,
)
from rlkit_core.models.base import PREV_ACTIONS, PREV_REWARDS, Encoder, Head, Model, ModelConfig
from rlkit_core.models.default_config import (
    DefaultModelConfig,
    effective_model_config,
    model_config_dict,
    slot_model_config,
)
from rlkit_core.models.initializers import get_activation, get_initializer, initialize
from rlkit_core.models.mlp import (
    FreeLogStdMLPHead,
    FreeLogStdMLPHeadConfig,
    MLPEncoder,
    MLPEncoderConfig,
    MLPHead,
    MLPHeadConfig,
)

__all__ = [
    "PREV_ACTIONS",
    "PREV_REWARDS",
    "ActorCriticEncoder",
    "ActorCriticEncoderConfig",
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
    "StatefulActorCriticEncoder",
    "effective_model_config",
    "get_activation",
    "get_initializer",
    "initialize",
    "model_config_dict",
    "slot_model_config",
]
