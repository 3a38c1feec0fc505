"""Catalogs: which component serves which space, and how an algorithm's networks are put together from them."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import gymnasium as gym

from rlkit_core.catalog.scope import CURRENT, IN_SETUP, Scope, current_scope
from rlkit_core.distributions import DiagGaussian
from rlkit_core.errors import ConfigError
from rlkit_core.frameworks import TORCH, get_framework
from rlkit_core.models import (
    ActorCriticEncoderConfig,
    ModelConfig,
    NormalizedEncoderConfig,
    PreviousInputsEncoderConfig,
    RecurrentEncoderConfig,
    build_network,
    effective_model_config,
    encoder_model_config,
    slot_model_config,
)
from rlkit_core.models.actions import action_parts, width_of
from rlkit_core.models.networks import QNetwork, SlotNetwork, joined_width
from rlkit_core.plugins.choices import ENCODER_SLOT
from rlkit_core.plugins.records import Component
from rlkit_core.plugins.registry import Choice
from rlkit_core.settings.of_parts import Part, declared_by

#: Initializers that policy gradients learn well with (Andrychowicz et al. 2021, section 3.2): orthogonal hidden
#: layers of gain sqrt(2), a policy output near zero, a value output of gain 1. They apply to each group of layers
#: for which the model config names no initializer.
RL_INITIALIZERS: Mapping[str, tuple[str, float]] = {
    "fcnet": ("kernel", 2.0**0.5),
    "conv": ("kernel", 2.0**0.5),
    "fusionnet": ("kernel", 2.0**0.5),
    "head_fcnet": ("kernel", 2.0**0.5),
    "pi_head_output": ("kernel", 0.01),
    "vf_head_output": ("kernel", 1.0),
}


class Catalog:
    """Makes an encoder and an action distribution for two spaces.

    Nothing is chosen before it is asked for, so a module that brings its own encoder never meets the error of a space
    that no encoder serves. Subclasses may carry ``components`` (which come before the built-in ones) and override any
    method.

    Args:
        observation_space: space of one observation; an ``action_mask`` at the root of a Dict is not encoded.
        action_space: space of one action.
        model_config_dict: settings above the defaults of ``DefaultModelConfig``.
    """

    #: Components of this catalog.
    components: ClassVar[tuple[Component, ...]] = ()
    #: What it reads from ``model_config`` beside the built-in settings: ``{name: setting(default, help=...)}``. A
    #: subclass that says nothing itself may read anything.
    settings: ClassVar[Mapping[str, Any] | None] = {}
    #: Registered name of the algorithm this catalog belongs to.
    algorithm: ClassVar[str | None] = None

    def __init__(
        self,
        observation_space: Any,
        action_space: Any,
        model_config_dict: Any = None,
        *,
        view_requirements: Any = None,
    ) -> None:
        scope = CURRENT.get()  # of make_catalog, which knows what the config chooses
        if scope is None or scope.owner is not None:
            scope = Scope.for_class(type(self))
        scope.owner = self
        scope.algorithm = scope.algorithm or type(self).algorithm
        self._scope = scope
        self.observation_space = observation_space
        self.action_space = action_space
        self._model_config_dict = self._effective(model_config_dict)
        declared = declared_by(type(self))
        if declared:
            self._model_config_dict = declared.filled(self._model_config_dict)
        scope.model_config = self._model_config_dict
        scope.action_space = action_space
        self._latent_dims: Any = None
        self._encoder_configs: dict[str, Any] = {}
        with self.working():
            self._determine_components_hook()

    @staticmethod
    def _effective(model_config: Mapping[str, Any]) -> dict[str, Any]:
        return effective_model_config(model_config)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Make this catalog's choices the current ones, which the class methods read."""
        token = CURRENT.set(self._scope)
        try:
            yield
        finally:
            CURRENT.reset(token)

    @property
    def model_config_dict(self) -> dict[str, Any]:
        """The effective model config: the defaults with what was set above them."""
        return self._model_config_dict

    def activate(self) -> None:
        """Make this catalog's choices the current ones until the running ``setup()`` ends."""
        if IN_SETUP.get():
            CURRENT.set(self._scope)

    def check_slots(self) -> None:
        """Refuse ``components={...}`` for a slot of which nothing was built, once all is built.

        Raises:
            ConfigError: names the key, and the slots that there are.
        """
        self._scope.check_slots()

    @property
    def parts(self) -> list[Part]:
        """What has a say in which settings there are: this catalog, and each component chosen so far."""
        name = f"catalog {type(self).__name__}"
        chosen = {choice.id: choice.component.record.settings for choice in self.trace}
        return [Part(name, declared_by(type(self))), *(Part(*component) for component in chosen.items())]

    def distribution_settings(self) -> Mapping[str, Any]:
        """The model config as the action distribution reads it."""
        return self._scope.distribution_settings()

    @property
    def trace(self) -> list[Choice]:
        """Every choice made so far, in order."""
        return list(self._scope.trace.values())

    # -- what subclasses may override --------------------------------------------------------------------------

    def _determine_components_hook(self) -> None:
        """Prepare; a subclass may set ``self._encoder_config`` and ``self.latent_dims`` here."""
        self._action_dist_class_fn: Callable[..., Any] = functools.partial(
            self._get_dist_cls_from_action_space, action_space=self.action_space
        )

    @functools.cached_property
    def _encoder_config(self) -> Any:
        """The encoder's config, chosen on first access."""
        with self.working():
            return self._get_encoder_config(
                observation_space=without_action_mask(self.observation_space),
                action_space=self.action_space,
                model_config_dict=self._model_config_dict,
            )

    @property
    def latent_dims(self) -> Any:
        """Shape of the encoder's output without the batch axis."""
        return self._latent_dims if self._latent_dims is not None else self._encoder_config.output_dims

    @latent_dims.setter
    def latent_dims(self, dims: Sequence[int]) -> None:
        self._latent_dims = dims

    def encoder_config(self, slot: str = ENCODER_SLOT, **settings: object) -> Any:
        """The config of the encoder for a slot, chosen on first access, or anew where ``settings`` are given.

        Slots beside the catalog's own, ``"encoder"``, are the caller's to name (``"qf"``, say). Their settings are
        those of the model config with ``{slot}_x`` in place of ``x``, and ``settings`` on top; their components those
        that ``components={"encoder@qf": ...}`` names, else those of every slot.
        """
        if slot == ENCODER_SLOT and not settings:
            return self._encoder_config
        if slot in self._encoder_configs and not settings:
            return self._encoder_configs[slot]
        if not slot.isidentifier():
            raise ConfigError(f"{type(self).__name__}: encoder slot {slot!r}, expected a name such as 'qf'")
        model_config = encoder_model_config(self._model_config_dict, slot) | settings
        with self.working(), self._scope.building_encoder(slot):
            config = self._get_encoder_config(
                observation_space=without_action_mask(self.observation_space),
                action_space=self.action_space,
                model_config_dict=model_config,
            )
        if not settings:
            self._encoder_configs[slot] = config
        return config

    @classmethod
    def _get_encoder_config(
        cls,
        observation_space: Any,
        model_config_dict: Any = None,
        action_space: Any = None,
        view_requirements: Any = None,
    ) -> Any:
        """Return the config of the whole encoder: the tokenizer, with recurrence round it where asked for."""
        settings = effective_model_config(model_config_dict)
        tokenizer = cls.get_tokenizer_config(observation_space, settings)
        return wrapped(tokenizer, observation_space, action_space, settings)

    @classmethod
    def get_tokenizer_config(
        cls,
        observation_space: gym.Space[Any],
        model_config_dict: Mapping[str, Any] | None = None,
        view_requirements: object = None,
    ) -> Any:
        """Return the config of the encoder chosen for the space, without any wrapper."""
        return current_scope(cls).encoder_config(observation_space, effective_model_config(model_config_dict))

    @classmethod
    def _get_dist_cls_from_action_space(cls, action_space: gym.Space[Any], *, framework: str | None = "torch") -> Any:
        """Return the distribution class chosen for an action space, ready for ``from_logits(logits)``.

        Raises:
            ConfigError: there is no action space, or the framework has no such distribution.
            PluginNotFoundError: nothing installed has the framework.
            NoComponentError: no distribution serves the space.
        """
        if framework is None:
            return None
        other = None if framework == TORCH else get_framework(framework)
        if action_space is None:
            raise ConfigError(f"{cls.__name__}: an action distribution needs an action_space, and it is None")
        chosen = current_scope(cls).dist_cls(action_space)
        return chosen if other is None else other.distribution(chosen)

    # -- building ----------------------------------------------------------------------------------------------

    def build_encoder(self, framework: str = "torch", *, slot: str = ENCODER_SLOT, **settings: object) -> Any:
        """Return a new encoder; see :meth:`encoder_config` for slots and settings."""
        config = self.encoder_config(slot, **settings)
        with self.working():
            return build_network(config, framework)

    def build_slot_network(self, slot: str, outputs: int, framework: str = "torch", **settings: object) -> SlotNetwork:
        """Return a new network, ``network(batch)`` (B, outputs), with an encoder and a head for ``slot``.

        Settings ``{slot}_fcnet_hiddens``, ``{slot}_head_fcnet_hiddens`` and so on are its own; ``settings`` go on top.

        Raises:
            ConfigError: a recurrent encoder.
        """
        encoder = self.encoder_config(slot, **settings)
        head = self.head_config(slot, outputs, joined_width(encoder, 0), **settings)
        with self.working():
            return SlotNetwork(encoder, head, framework)

    def build_q_network(
        self, framework: str = "torch", *, actions: bool = True, slot: str = "qf", **settings: object
    ) -> QNetwork:
        """Return a new network of Q values, with an encoder and a head for ``slot``.

        Args:
            framework: of its parts.
            actions: actions are an input, joined with what the encoder gives, and ``network(batch, actions)`` is (B,).
                A head without hidden layers, which would be linear in them, has those of ``fcnet_hiddens`` then.
                If False, ``network(batch)`` has one output for each action of a Discrete space, (B, A).
            slot: of encoder and head; settings ``qf_fcnet_hiddens``, ``qf_head_fcnet_hiddens`` and so on are its own.
            settings: on top of the model config.

        Raises:
            ConfigError: an action space that cannot be an input, or, without ``actions``, is not Discrete; a recurrent
                encoder.
        """
        encoder = self.encoder_config(slot, **settings)
        if actions:
            parts = action_parts(self.action_space, f"{type(self).__name__}.build_q_network")
            model_config = slot_model_config(self._model_config_dict, slot) | settings
            if not model_config["head_fcnet_hiddens"]:
                settings["head_fcnet_hiddens"] = model_config["fcnet_hiddens"]
            head = self.head_config(slot, 1, joined_width(encoder, width_of(parts)), **settings)
            with self.working():
                return QNetwork(encoder, head, parts, framework)
        if not isinstance(self.action_space, gym.spaces.Discrete):
            raise ConfigError(
                f"{type(self).__name__}.build_q_network(actions=False): expected a Discrete action space, got "
                f"{self.action_space}; use actions=True, or head_config({slot!r}, ...) with the outputs you need"
            )
        head = self.head_config(slot, int(self.action_space.n), joined_width(encoder, 0), **settings)
        with self.working():
            return QNetwork(encoder, head, None, framework)

    def get_action_dist_cls(self, framework: str | None = "torch") -> Any:
        """Return the distribution class of the action space."""
        with self.working():
            return self._action_dist_class_fn(framework=framework)

    def head_config(
        self, slot: str, output_dim: int, input_dims: Sequence[int] | None = None, **settings: object
    ) -> ModelConfig:
        """Return the config of the head chosen for a slot: ``"pi"``, ``"vf"``, ``"af"``, ``"qf"`` or another name.

        Its input has the ``latent_dims`` unless ``input_dims`` are given; ``settings`` go on top of the model config.
        """
        dims = self.latent_dims if input_dims is None else input_dims
        with self.working():
            model_config = slot_model_config(self._model_config_dict, slot) | settings
            config: ModelConfig = self._scope.head_config(slot, self.action_space, dims, output_dim, model_config)
            return config


def for_framework(method: Callable[..., Any], framework: str | None) -> Any:
    """Call a catalog's method with its framework, which an override may leave out, or give no default."""
    parameters = inspect.signature(method).parameters.values()
    takes = any(p.name == "framework" or p.kind is p.VAR_KEYWORD for p in parameters)
    return method(framework=framework) if takes else method()


class ActorCriticCatalog(Catalog):
    """Makes what actor-critic algorithms need: an encoder for actor and critic, ``pi`` and ``vf`` heads.

    ``model_config["vf_share_layers"]`` decides on one encoder for both or one each. Where the model config names no
    initializer, :data:`RL_INITIALIZERS` apply.
    """

    settings: ClassVar[Mapping[str, Any] | None] = {}

    @staticmethod
    def _effective(model_config: Mapping[str, Any]) -> dict[str, Any]:
        return with_rl_initializers(effective_model_config(model_config))

    @functools.cached_property
    def actor_critic_encoder_config(self) -> ActorCriticEncoderConfig:
        """The encoder's config, for actor and critic."""
        return ActorCriticEncoderConfig(
            base_encoder_config=self._encoder_config, shared=bool(self._model_config_dict["vf_share_layers"])
        )

    @functools.cached_property
    def pi_head_config(self) -> ModelConfig:
        """The policy head's config."""
        dist_cls = for_framework(self.get_action_dist_cls, "torch")
        gaussian = isinstance(dist_cls, type) and issubclass(dist_cls, DiagGaussian)
        if self._model_config_dict["free_log_std"] and not gaussian:
            raise ConfigError(
                f"free_log_std=True needs a DiagGaussian action distribution; {self.action_space} has "
                f"{getattr(dist_cls, '__name__', dist_cls)}. Leave free_log_std off for this action space."
            )
        with self._scope.distribution_in_use("required_input_dim"):
            width = dist_cls.required_input_dim(self.action_space, self._scope.distribution_settings())
        return self.head_config("pi", width, clip_log_std=gaussian)

    @functools.cached_property
    def vf_head_config(self) -> ModelConfig:
        """The value head's config."""
        return self.head_config("vf", 1)

    def build_actor_critic_encoder(self, framework: str = "torch") -> Any:
        """Return a new encoder that gives ``{"encoder_out": {"actor": ..., "critic": ...}}``."""
        with self.working():
            return build_network(self.actor_critic_encoder_config, framework)

    def build_pi_head(self, framework: str = "torch") -> Any:
        """Return a new policy head: encoder output to ``action_dist_inputs``."""
        with self.working():
            return build_network(self.pi_head_config, framework)

    def build_vf_head(self, framework: str = "torch") -> Any:
        """Return a new value head: encoder output to (..., 1)."""
        with self.working():
            return build_network(self.vf_head_config, framework)


def wrapped(
    config: ModelConfig, observation_space: gym.Space[Any], action_space: gym.Space[Any], settings: Mapping[str, Any]
) -> Any:
    """Put what the settings ask for round an encoder's config: normalisation, previous inputs, recurrence.

    Raises:
        ConfigError: recurrence is asked for twice.
    """
    kinds = [name for name in ("use_lstm", "use_gru") if settings[name]]
    recurrent = bool(getattr(config, "recurrent", False))
    if len(kinds) > 1 or (kinds and recurrent):
        other = kinds[1] if len(kinds) > 1 else f"the recurrent encoder {type(config).__name__}"
        raise ConfigError(f"{kinds[0]}=True together with {other}: use one of them")
    if settings["normalize_observations"]:
        config = NormalizedEncoderConfig.from_encoder(config, observation_space, settings)
    if settings["lstm_use_prev_action"] or settings["lstm_use_prev_reward"]:
        config = PreviousInputsEncoderConfig.from_encoder(config, action_space, settings)
    return RecurrentEncoderConfig.from_tokenizer(config, settings) if kinds else config


def with_rl_initializers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with :data:`RL_INITIALIZERS` in every group that names none."""
    new = dict(settings)
    for group, (part, gain) in RL_INITIALIZERS.items():
        key = f"{group}_{part}_initializer"
        base = group.partition("_")[2] if group.startswith(("pi_", "vf_")) else ""
        asked = new.get(key) is not None or (base and _names_any(settings, base, part))
        if asked:
            continue
        new[key] = "orthogonal_"
        new[f"{key}_kwargs"] = {"gain": gain}
        bias = f"{group}_bias_initializer"
        if new.get(bias) is None and not (base and _names_any(settings, base, "bias")):
            new[bias] = "zeros_"
            new[f"{bias}_kwargs"] = None
    return new


def _names_any(settings: Mapping[str, Any], base: str, part: str) -> bool:
    """Whether the settings name an initializer for every head's output, or for all layers of heads."""
    groups = (base, base.replace("_output", "_fcnet"))
    return any(settings.get(f"{group}_{part}_initializer") is not None for group in groups)


def without_action_mask(space: Any) -> Any:
    """Return the space without an ``action_mask`` at the root of a Dict."""
    if not has_action_mask(space):
        return space
    return gym.spaces.Dict({key: sub for key, sub in space.spaces.items() if key != "action_mask"})


def has_action_mask(space: Any) -> bool:
    """Whether a Dict observation space has an ``action_mask`` at its root."""
    return isinstance(space, gym.spaces.Dict) and "action_mask" in space.spaces
