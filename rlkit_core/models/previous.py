"""The previous action and reward as inputs: appended to an encoder's output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch
from attrs import define, field
from gymnasium import spaces
from torch import nn

from rlkit_core.columns import ENCODER_OUT
from rlkit_core.distributions.units import raw_action_layout
from rlkit_core.errors import ConfigError
from rlkit_core.models.actions import ActionPart, action_parts, actions_as_numbers, width_of
from rlkit_core.models.base import (
    PREV_ACTIONS,
    PREV_REWARDS,
    Encoder,
    ModelConfig,
    WrapperConfig,
    build_network,
    check_framework,
    encoder_output,
    input_columns_of,
)
from rlkit_core.models.default_config import effective_model_config
from rlkit_core.spaces import map_space

if TYPE_CHECKING:
    import gymnasium as gym


@define(slots=False, kw_only=True)
class PreviousInputsEncoderConfig(WrapperConfig):
    """Appends the previous raw action (integers as one-hot vectors) and reward to an encoder's output.

    They come as the batch columns ``"prev_actions"`` (in the structure of the action space) and
    ``"prev_rewards"``, with the leading axes of the observations. At the first step of an episode they are zero;
    an integer action of -1 becomes a vector of zeros, so that "no action yet" differs from action 0.

    Args:
        base_encoder_config: a stateless encoder's config.
        action_space: space of one action.
    """

    action_space: Any = field()
    use_prev_action: bool = True
    use_prev_reward: bool = True

    @classmethod
    def from_encoder(
        cls, base_encoder_config: ModelConfig, action_space: gym.Space[Any], model_config: Mapping[str, Any]
    ) -> PreviousInputsEncoderConfig:
        """Wrap an encoder's config, from ``lstm_use_prev_action`` and ``lstm_use_prev_reward``."""
        config = effective_model_config(model_config)
        return cls(
            base_encoder_config=base_encoder_config,
            action_space=action_space,
            use_prev_action=config["lstm_use_prev_action"],
            use_prev_reward=config["lstm_use_prev_reward"],
        )

    def action_parts(self) -> tuple[ActionPart, ...]:
        """One for each leaf of the action.

        Raises:
            ConfigError: an action space of another kind.
        """
        return action_parts(self.action_space, type(self).__name__)

    @property
    def output_dims(self) -> tuple[int, ...]:
        """Width of the wrapped encoder's output and what is appended."""
        width = int(self.base_encoder_config.output_dims[0])
        if self.use_prev_action:
            width += width_of(self.action_parts())
        return (width + int(self.use_prev_reward),)

    def _validate(self, framework: str = "torch") -> None:
        check_framework(self, framework)
        name = type(self).__name__
        if getattr(self.base_encoder_config, "recurrent", False):
            raise ConfigError(f"{name}: wrap the tokenizer, not the recurrent encoder")
        if len(self.base_encoder_config.output_dims) != 1:
            raise ConfigError(
                f"{name}: the encoder's output must have one axis, got {self.base_encoder_config.output_dims}"
            )

    def build(self, framework: str = "torch") -> PreviousInputsEncoder:
        """Return a new :class:`PreviousInputsEncoder`."""
        self._validate(framework)
        return PreviousInputsEncoder(self, framework)


class PreviousInputsEncoder(Encoder):
    """``{"obs", "prev_actions", "prev_rewards"}`` to ``{"encoder_out": (B, D)}``."""

    def __init__(self, config: PreviousInputsEncoderConfig, framework: str = "torch") -> None:
        super().__init__(config)
        self.encoder: nn.Module = build_network(config.base_encoder_config, framework)
        self._parts = config.action_parts() if config.use_prev_action else ()
        self._reward = config.use_prev_reward
        added = [c for c, on in ((PREV_ACTIONS, config.use_prev_action), (PREV_REWARDS, self._reward)) if on]
        self.input_columns = (*input_columns_of(self.encoder), *added)

    def forward(self, batch: Mapping[str, Any], **kwargs: object) -> dict[str, Any]:
        """Encode observations and append.

        Raises:
            ConfigError: the batch lacks a column.
        """
        out = encoder_output(self.encoder(batch), self.encoder)
        pieces = [out]
        if self._parts:
            pieces += actions_as_numbers(self._column(batch, PREV_ACTIONS), self._parts, out)
        if self._reward:
            pieces.append(self._column(batch, PREV_REWARDS).to(out.dtype).unsqueeze(-1))
        return {ENCODER_OUT: torch.cat(pieces, -1)}

    def _column(self, batch: Mapping[str, Any], name: str) -> Any:
        try:
            return batch[name]
        except KeyError:
            raise ConfigError(
                f"{type(self).__name__}: the batch has no {name!r} (zeros at an episode's first step); it has "
                f"{sorted(batch)}"
            ) from None


class ActsRaw(Protocol):
    """What is asked of a module that reads its previous action."""

    action_space: gym.Space[Any] | None

    def get_exploration_action_dist_cls(self) -> Any:
        """The distribution class that its actions come of."""


def no_previous_action(module: ActsRaw, rows: int) -> Any:
    """The previous raw action at an episode's start, ``(rows, ...)``: -1 for integers that name a choice, else 0."""
    space = module.action_space
    assert space is not None
    try:
        layout = module.get_exploration_action_dist_cls().action_shape_dtype(space)
    except Exception:  # of a module that returns actions itself
        layout = raw_action_layout(space)

    def leaf(space: gym.Space[Any], raw: tuple[tuple[int, ...], object]) -> torch.Tensor:
        shape = (rows, *raw[0])
        names_a_choice = isinstance(space, spaces.Discrete | spaces.MultiDiscrete)
        return torch.full(shape, -1, dtype=torch.int64) if names_a_choice else torch.zeros(shape)

    return map_space(leaf, space, layout)
