"""Small modules for behaviour cloning: one agent, and two agents that share an encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from rlkit_core.columns import Columns
from rlkit_core.rl_module.multi import MultiRLModule
from rlkit_core.rl_module.torch_module import TorchRLModule


class DiscreteBCTorchModule(TorchRLModule):
    """An MLP with one hidden layer and a live categorical distribution, for flat observations and Discrete actions.

    ``model_config["fcnet_hiddens"][0]`` is the layer's width.
    """

    def setup(self) -> None:
        """Build the policy."""
        space: Any = self.observation_space
        actions: Any = self.action_space
        width = self.model_config["fcnet_hiddens"][0]
        self.input_dim = int(space.shape[0])
        self.policy = nn.Sequential(nn.Linear(self.input_dim, width), nn.ReLU(), nn.Linear(width, int(actions.n)))

    def _forward(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        logits = self.policy(batch[Columns.OBS])
        return {Columns.ACTION_DIST: torch.distributions.Categorical(logits=logits)}


class BCTorchRLModuleWithSharedGlobalEncoder(TorchRLModule):
    """A policy over ``{"global": ..., "local": ...}`` whose encoder of the global part comes in ``model_config``.

    Keys: ``encoder`` (an ``nn.Module``, shared with others), ``hidden_dim``, ``local_dim``, ``action_dim``.
    """

    def setup(self) -> None:
        """Take the shared encoder, build the head."""
        settings = self.model_config
        self.encoder = settings["encoder"]
        width = settings["hidden_dim"]
        self.policy_head = nn.Sequential(
            nn.Linear(width + settings["local_dim"], width), nn.ReLU(), nn.Linear(width, settings["action_dim"])
        )

    def _forward(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        return self._common_forward(batch)

    def _common_forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        obs = batch[Columns.OBS]
        features = torch.cat([self.encoder(obs["global"]), obs["local"]], dim=-1)
        return {Columns.ACTION_DIST: torch.distributions.Categorical(logits=self.policy_head(features))}


class BCTorchMultiAgentModuleWithSharedEncoder(MultiRLModule):
    """Policies that share one encoder of the global part of their observations.

    Specs need spaces and ``model_config["fcnet_hiddens"]`` only; the sub-modules' class is fixed here.
    """

    def setup(self) -> None:
        """Build the encoder and a policy around it for every module id."""
        first: Any = next(iter(self.rl_module_specs.values()))
        width = first.model_config["fcnet_hiddens"][0]
        encoder = nn.Sequential(
            nn.Linear(first.observation_space["global"].shape[0], width), nn.ReLU(), nn.Linear(width, width)
        )
        modules = {}
        for module_id, spec in self.rl_module_specs.items():
            observation_space: Any = spec.observation_space
            action_space: Any = spec.action_space
            modules[module_id] = BCTorchRLModuleWithSharedGlobalEncoder(
                observation_space=observation_space,
                action_space=action_space,
                inference_only=spec.inference_only,
                model_config={
                    "local_dim": observation_space["local"].shape[0],
                    "hidden_dim": width,
                    "action_dim": int(action_space.n),
                    "encoder": encoder,
                },
            )
        self._rl_modules = modules
