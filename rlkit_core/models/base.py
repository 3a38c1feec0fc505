"""What every encoder and head is: a config that knows its output and builds a network, and the network."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, TypeVar

import gymnasium as gym
import numpy as np
import torch
from attrs import Attribute, define, field
from torch import nn

from rlkit_core.columns import ENCODER_OUT, Columns
from rlkit_core.errors import ConfigError, PluginError
from rlkit_core.frameworks import TORCH, check_installed
from rlkit_core.plugins.guard import in_use, safe_text
from rlkit_core.plugins.quarantine import random_states_kept
from rlkit_core.spaces import describe, map_space

ConfigT = TypeVar("ConfigT", bound="ModelConfig")

#: Columns of the previous step's raw action and reward, zero at an episode's start (see ``previous.py``).
PREV_ACTIONS = "prev_actions"
PREV_REWARDS = "prev_rewards"


class ModelConfig(ABC):
    """Describes a network: what goes in, what comes out, how to build it.

    Only ``build`` and ``output_dims`` must be given. A subclass may be a plain class, an attrs class or a
    dataclass. An encoder that the catalog is to build for a space has ``from_space``, a head ``from_dims``.
    """

    input_dims: Any = None

    #: Compare the shape of every input with ``input_dims`` and name both where they differ (slower).
    always_check_shapes: bool = False

    #: Whose component made this config, as messages name it; the catalog notes it, unless it is the core's.
    made_by: str | None = None

    #: For which (kind, slot, path) it was made; the catalog notes it, and its network bears it.
    place: tuple[str, str, tuple[str, ...]] | None = None

    #: True where the built encoder carries state from step to step and takes ``(B, T, ...)``.
    recurrent: bool = False

    @property
    @abstractmethod
    def output_dims(self) -> Any:
        """Shape of the output without the batch axis."""

    @abstractmethod
    def build(self, framework: str = "torch") -> Any:
        """Return a new ``nn.Module`` on every call."""

    def checked_dims(self) -> Any:
        """Trailing shape that ``always_check_shapes`` asks of an input; None: it cannot be told."""
        return self.input_dims


def build_network(config: ModelConfig, framework: str = "torch") -> Any:
    """``config.build(framework)``, for a config that may be a plugin's: what it raises says whose it is.

    Raises:
        PluginError: it built no ``nn.Module``.
    """
    who = getattr(config, "made_by", None)
    with nullcontext() if who is None else in_use(f"{who}, build()"):
        network = config.build(framework=framework)
    if framework == "torch" and not isinstance(network, nn.Module):
        name = f"{who}, build()" if who else f"{type(config).__name__}.build()"
        raise PluginError(f"{name} returned {safe_text(network, 80)}, expected a torch.nn.Module")
    place = getattr(config, "place", None)
    if place is not None:
        network.place = place
    return network


def _model_config(instance: object, attribute: Attribute[Any], value: object) -> None:
    if not hasattr(value, "build") or not hasattr(value, "output_dims"):
        raise ConfigError(f"{attribute.name}: expected a ModelConfig (with build() and output_dims), got {value!r}")


@define(slots=False, kw_only=True)
class WrapperConfig(ModelConfig):
    """Something round an encoder; dims and recurrence are the encoder's unless said otherwise.

    Args:
        base_encoder_config: the encoder's config.
    """

    base_encoder_config: Any = field(validator=_model_config)
    always_check_shapes: bool = False

    @property
    def input_dims(self) -> Any:
        """Input shape of the encoder."""
        return getattr(self.base_encoder_config, "input_dims", None)

    @property
    def recurrent(self) -> bool:  # type: ignore[override]
        """Whether the encoder is recurrent."""
        return bool(getattr(self.base_encoder_config, "recurrent", False))

    @property
    def output_dims(self) -> Any:
        """Output shape of the encoder."""
        return self.base_encoder_config.output_dims


class Model(nn.Module):
    """Base of the networks that configs build; subclasses override ``forward`` (or ``_forward``)."""

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        self.config = config
        if getattr(config, "always_check_shapes", False):
            self.register_forward_pre_hook(_check_input_shape)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run ``_forward``."""
        return self._forward(*args, **kwargs)

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must override forward (or _forward)")

    def get_initial_state(self) -> dict[str, Any]:
        """Return the state before an episode's first step, without batch axis; empty when stateless."""
        return {}

    def get_num_parameters(self) -> tuple[int, int]:
        """Return the numbers of (trainable, frozen) parameters."""
        trainable = sum(p.numel() for p in self.parameters() if p.requires_grad)
        frozen = sum(p.numel() for p in self.parameters() if not p.requires_grad)
        return trainable, frozen

    def _set_to_dummy_weights(self, value_sequence: Sequence[float] = (-0.02, -0.01, 0.01, 0.02)) -> None:
        """Fill each parameter with one of ``value_sequence`` in turn, so that tests know the outputs."""
        with torch.no_grad():
            for i, parameter in enumerate(self.parameters()):
                parameter.fill_(value_sequence[i % len(value_sequence)])


class TorchModel(Model):
    """A :class:`Model`, which is torch's by itself; beside it a class may derive from ``Encoder`` or ``Head`` too."""


class Encoder(Model):
    """A network from ``{"obs": ...[, "state_in": ...]}`` to ``{"encoder_out": ...[, "state_out": ...]}``."""

    #: Columns of the batch that it reads; a recurrent encoder folds the time axis of these for its tokenizer.
    input_columns: tuple[str, ...] = (Columns.OBS,)


class SpaceEncoder(Encoder):
    """An encoder without a config class of its own: a component's target is the subclass itself::

        class Linear(SpaceEncoder):
            def setup(self, space, model_config):
                self.layer = torch.nn.Linear(space.shape[0], 64)

            def forward(self, batch):
                return {"encoder_out": self.layer(batch["obs"].float())}

    One that is recurrent, or asks for encoders of sub-spaces, has a :class:`ModelConfig` instead.

    Attributes:
        output_dims: shape of ``encoder_out`` without the batch axis. Where it is None, a network is made and tried on
            one observation when a catalog chooses the encoder; random states are put back.
    """

    output_dims: ClassVar[tuple[int, ...] | None] = None

    def __init__(self, config: SpaceEncoderConfig) -> None:
        super().__init__(config)
        self.setup(config.space, config.model_config)

    def setup(self, space: Any, model_config: Mapping[str, Any]) -> None:
        """Make the layers, from the observation space and the settings."""
        raise NotImplementedError(f"{type(self).__name__} has no setup(space, model_config): make its layers there")

    @classmethod
    def from_space(cls, space: gym.Space[Any], model_config: Mapping[str, Any]) -> SpaceEncoderConfig:
        """What the catalog asks for: a config that builds it.

        Raises:
            ConfigError: it gives no ``encoder_out`` of shape ``(B, ...)``.
        """
        return SpaceEncoderConfig(network=cls, space=space, model_config=model_config)


@define(slots=False, kw_only=True)
class SpaceEncoderConfig(ModelConfig):
    """What :meth:`SpaceEncoder.from_space` returns.

    Args:
        network: the encoder's class.
        space: of the observations.
        model_config: the effective model config.
    """

    network: type[SpaceEncoder]
    space: Any
    model_config: Mapping[str, Any]
    _seen: tuple[int, ...] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._seen = _seen_dims(self) if self.network.output_dims is None else None

    @property
    def output_dims(self) -> Any:
        """What the class says, or what was seen."""
        return self.network.output_dims or self._seen

    @property
    def input_dims(self) -> Any:
        """Shape of an observation; None where it has several or none."""
        return self.space.shape

    @property
    def always_check_shapes(self) -> bool:  # type: ignore[override]
        """As the model config says."""
        return bool(self.model_config.get("always_check_shapes", False))

    def build(self, framework: str = "torch") -> SpaceEncoder:
        """Return a new network."""
        check_framework(self, framework)
        return self.network(self)


class Head(Model):
    """A network from an encoder's output tensor to a tensor (action distribution inputs, values, ...)."""


def _seen_dims(config: SpaceEncoderConfig) -> tuple[int, ...]:
    """Shape of a row of what a network gives for one observation."""
    with random_states_kept(), torch.no_grad():
        network = config.build().eval()
        out = encoder_output(network({Columns.OBS: _example(config.network, config.space)}), network)
    shape = tuple(getattr(out, "shape", ()))
    if len(shape) < 2 or shape[0] != 1:
        raise ConfigError(
            f"{config.network.__name__} for {describe(config.space)}: 'encoder_out' of one observation has shape "
            f"{shape}, expected (1, ...): keep the batch axis, and return features behind it"
        )
    return shape[1:]


def _example(network: type[SpaceEncoder], space: gym.Space[Any]) -> Any:
    """One observation as a batch, packed where the encoder packs."""
    space = copy.deepcopy(space)
    space.seed(0)
    one = space.sample()
    pack = getattr(network, "pack", None)
    if pack is not None:
        return {name: torch.as_tensor(value) for name, value in pack(space, [one]).items()}
    return map_space(lambda leaf, value: torch.as_tensor(np.asarray(value, leaf.dtype)[None]), space, one)


def _check_input_shape(module: nn.Module, args: tuple[Any, ...]) -> None:
    config: Any = module.config
    dims = config.checked_dims()
    x = args[0].get(Columns.OBS) if isinstance(args[0], Mapping) else args[0]
    if dims is None or not isinstance(x, torch.Tensor):
        return
    expected, lead = tuple(dims), max(x.dim() - len(dims), 0)
    if tuple(x.shape[lead:]) != expected:
        raise ConfigError(
            f"{type(module).__name__}: expected an input of shape (..., {', '.join(map(str, expected))}), "
            f"got {tuple(x.shape)}"
        )


def check_framework(config: ModelConfig, framework: str) -> None:
    """Refuse any framework but torch, of a config that no other has a network for.

    Raises:
        PluginNotFoundError: nothing installed has the framework.
        ConfigError: it is installed.
    """
    if framework != TORCH:
        check_installed(framework)
        raise ConfigError(f"{type(config).__name__}: it has no network in framework {framework!r}; use 'torch'")


def input_columns_of(module: nn.Module) -> tuple[str, ...]:
    """Columns of a batch that an encoder reads; the observations unless it says so."""
    return tuple(getattr(module, "input_columns", (Columns.OBS,)))


def initial_state_of(module: nn.Module) -> dict[str, Any]:
    """``module.get_initial_state()`` where it has one, else an empty dict."""
    getter: Callable[[], Mapping[str, Any]] = getattr(module, "get_initial_state", dict)
    return dict(getter() or {})


def encoder_output(out: object, encoder: nn.Module) -> Any:
    """Take ``encoder_out`` from what an encoder returned.

    Raises:
        ConfigError: the encoder returned something else.
    """
    if isinstance(out, Mapping) and ENCODER_OUT in out:
        return out[ENCODER_OUT]
    seen = sorted(out) if isinstance(out, Mapping) else type(out).__name__
    raise ConfigError(f"encoder {type(encoder).__name__} must return a dict with {ENCODER_OUT!r}; it returned {seen}")
