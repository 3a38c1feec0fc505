"""The actor-critic module: an encoder, a policy head and a value head."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from rlkit_core.catalog import ActorCriticCatalog, for_framework, has_action_mask
from rlkit_core.columns import ACTOR, CRITIC, ENCODER_OUT, Columns
from rlkit_core.models.acting import SMALL_ROWS, ActingPlan, DistributionRows, SmallPlan
from rlkit_core.models.base import initial_state_of, input_columns_of
from rlkit_core.rl_module.apis.inference_only import InferenceOnlyAPI
from rlkit_core.rl_module.apis.value_function import ValueFunctionAPI
from rlkit_core.rl_module.construction import ignores_kwargs
from rlkit_core.rl_module.forwards import RowPolicy
from rlkit_core.rl_module.torch_module import TorchRLModule

#: Methods that decide about actions; who overrides one wants it to be called.
_ACTING = (
    "forward_exploration",
    "forward_inference",
    "_forward",
    "_forward_exploration",
    "_forward_inference",
    "_masked",
)


class ActorCriticTorchRLModule(TorchRLModule, ValueFunctionAPI, InferenceOnlyAPI):
    """What PPO and its kin train.

    ``self.encoder`` maps a batch to ``{"encoder_out": {"actor": ..., "critic": ...}}``, ``self.pi`` the actor's part to
    ``action_dist_inputs`` and ``self.vf`` the critic's to values. Acting runs the actor alone. A subclass may replace
    any of the three in its ``setup()``, with ``super().setup()`` or without.

    An ``action_mask`` at the root of a Dict observation masks the logits in every phase.
    """

    default_catalog_class: ClassVar[type | None] = ActorCriticCatalog

    encoder: Any
    pi: Any
    vf: Any

    def setup(self) -> None:
        """Build encoder and heads with the catalog."""
        catalog: Any = self.catalog
        self.encoder = for_framework(catalog.build_actor_critic_encoder, self.framework)
        self.pi = for_framework(catalog.build_pi_head, self.framework)
        self.vf = for_framework(catalog.build_vf_head, self.framework)

    def _prepare(self) -> None:
        super()._prepare()
        self._mask_with: Any = None
        catalog = self.__dict__.get("_catalog")  # the space that the networks were made for, in setup()
        if has_action_mask(self.observation_space if catalog is None else catalog.observation_space):
            self._mask_with = self.get_train_action_dist_cls().mask_logits
        #: Columns of a batch that the networks read; whoever acts and trains supplies them.
        self.input_columns = input_columns_of(self.encoder)
        stateful = self.is_stateful()
        # One encoder for both: what acting computed of a step is what its value needs, so the learner need not.
        self._keeps_embeddings = not stateful and bool(getattr(self.encoder, "shares_layers", False))
        takes_only = "only" in inspect.signature(type(self.encoder).forward).parameters
        # A recurrent critic of its own has state to carry along while acting.
        both = stateful and getattr(self.encoder, "critic_encoder", None) is not None
        self._acting_plan = ActingPlan.of(self.encoder, self.pi) if self._mask_with is None else None
        self._small_plan = None
        scales = getattr(self.observation_space, "dtype", None) == np.uint8  # which the plan leaves to the encoder
        if not scales and all(getattr(type(self), name) is getattr(ActorCriticTorchRLModule, name) for name in _ACTING):
            self._small_plan = SmallPlan.of(self._acting_plan)
        self._actor_kwargs: dict[str, str] = {"only": ACTOR} if takes_only and not both else {}
        self._critic_kwargs: dict[str, str] = {"only": CRITIC} if takes_only else {}

    def get_initial_state(self) -> Any:
        """The encoder's initial state, without a batch axis."""
        return initial_state_of(self.encoder)

    def get_non_inference_attributes(self) -> list[str]:
        """The value head, and the critic's own encoder unless it is recurrent (acting carries its state along)."""
        names = ["vf"]
        if getattr(self.encoder, "critic_encoder", None) is not None and not self.is_stateful():
            names.append("encoder.critic_encoder")
        return names

    @ignores_kwargs
    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Act: ``action_dist_inputs`` (B, D), and ``state_out`` when recurrent."""
        plan = self._acting_plan
        if plan is not None:
            obs, modules = batch[Columns.OBS], self._modules
            if obs.dtype is torch.float32 and plan.holds(modules.get("encoder"), modules.get("pi")):
                return {Columns.ACTION_DIST_INPUTS: plan(obs)}
        encoded = self.encoder(batch, **self._actor_kwargs)
        out = {Columns.ACTION_DIST_INPUTS: self._masked(self.pi(encoded[ENCODER_OUT][ACTOR]), batch)}
        if Columns.STATE_OUT in encoded:
            out[Columns.STATE_OUT] = encoded[Columns.STATE_OUT]
        return out

    def row_policy(
        self, *, explore: bool, timesteps: Sequence[int], num_envs: int, generator: torch.Generator
    ) -> RowPolicy | None:
        """Acting by numpy where the networks are small MLPs, the envs few, and no method is overridden.

        It leaves ``embeddings`` out, which then are computed with the values.
        """
        plan, small, modules = self._acting_plan, self._small_plan, self._modules
        if (
            plan is None
            or small is None
            or num_envs > SMALL_ROWS
            or not plan.holds(modules.get("encoder"), modules.get("pi"))
            or not self.__dict__.keys().isdisjoint(_ACTING)
        ):
            return None
        dist_cls = self.get_exploration_action_dist_cls() if explore else self.get_inference_action_dist_cls()
        return DistributionRows.of(
            small, dist_cls, explore=explore, num_steps=len(timesteps), num_envs=num_envs, generator=generator
        )

    @ignores_kwargs
    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """As :meth:`_forward`, with ``embeddings`` for :meth:`compute_values` where one encoder serves both."""
        if not self._keeps_embeddings:
            return self._forward(batch)
        encoded = self.encoder(batch, **self._actor_kwargs)
        embeddings = encoded[ENCODER_OUT][ACTOR]
        logits = self._masked(self.pi(embeddings), batch)
        return {Columns.ACTION_DIST_INPUTS: logits, Columns.EMBEDDINGS: embeddings}

    @ignores_kwargs
    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._forward(batch)

    @ignores_kwargs
    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Train: ``action_dist_inputs``, and ``embeddings`` for :meth:`compute_values`."""
        encoded = self.encoder(batch)
        parts = encoded[ENCODER_OUT]
        logits = self._masked(self.pi(parts[ACTOR]), batch)
        out = {Columns.ACTION_DIST_INPUTS: logits, Columns.EMBEDDINGS: parts[CRITIC]}
        if Columns.STATE_OUT in encoded:
            out[Columns.STATE_OUT] = encoded[Columns.STATE_OUT]
        return out

    def compute_logits(self, batch: dict[str, Any], encoder: nn.Module, pi: nn.Module) -> torch.Tensor:
        """Masked distribution inputs, (B, D) or (B, T, D), by copies of this module's encoder and policy head."""
        encoded = encoder(batch, **self._actor_kwargs)
        return self._masked(pi(encoded[ENCODER_OUT][ACTOR]), batch)

    def _masked(self, logits: torch.Tensor, batch: dict[str, Any]) -> torch.Tensor:
        """Logits without the actions that the observation's mask forbids."""
        if self._mask_with is None:
            return logits
        masked: torch.Tensor = self._mask_with(logits, batch[Columns.OBS][Columns.ACTION_MASK])
        return masked

    def compute_values(self, batch: dict[str, Any], embeddings: torch.Tensor | None = None) -> torch.Tensor:
        """Value estimates, (B,) or (B, T); see :class:`ValueFunctionAPI`."""
        if self.inference_only:
            raise self._no_training()
        if embeddings is None:
            embeddings = self.encoder(batch, **self._critic_kwargs)[ENCODER_OUT][CRITIC]
        values: torch.Tensor = self.vf(embeddings).squeeze(-1)
        return values
