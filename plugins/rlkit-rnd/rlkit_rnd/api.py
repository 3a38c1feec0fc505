"""What is new to a module: how badly one network predicts what another, random one says.

Random network distillation: Burda et al., 2018, https://arxiv.org/abs/1810.12894.
"""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Space, Tuple
from torch import Tensor, nn

from rlkit_core.apis import InferenceOnlyAPI
from rlkit_core.errors import ConfigError
from rlkit_core.models import ObservationNormalizer

Observations = Any
"""A tensor, or a dict or tuple of such, as the space gives them; all with one leading axis."""

#: What is put round a module's encoder is not put round these: their input is one observation, normalised here.
BARE = {
    "use_lstm": False,
    "use_gru": False,
    "lstm_use_prev_action": False,
    "lstm_use_prev_reward": False,
    "normalize_observations": False,
}


class NoveltyAPI(abc.ABC):
    """A module that says how new observations are to it."""

    @abc.abstractmethod
    def novelty(self, obs: Observations) -> Tensor:
        """Observations ``[B, ...]`` to numbers ``[B]`` of at least 0, with gradients to what learns them."""


class RND(NoveltyAPI, InferenceOnlyAPI):
    """Novelty is the error of predicting a random network's output.

    Both networks are what the module's catalog builds for the slot ``"rnd"``, so any observation that the module takes
    will do. They see observations normalised by running statistics, which the learner
    keeps as those of any normaliser; before it has any, in the first update, nothing is new.
    """

    observation_space: Space[Any]
    model_config: dict[str, Any]
    catalog: Any

    def setup(self) -> None:
        """Make the networks, after the module's own."""
        super().setup()  # type: ignore[misc]
        if self.catalog is None:
            raise ConfigError(
                f"rlkit-rnd/rnd on {type(self).__name__}: its networks are made by the module's catalog, and there is "
                "none; inherit rlkit_rnd.api.NoveltyAPI and write novelty(obs)"
            )
        self.rnd_normalizer: nn.Module | None = None
        if has_floats(self.observation_space):
            clip = self.model_config["rnd_obs_clip"]
            self.rnd_normalizer = ObservationNormalizer(self.observation_space, clip=clip)
        self.rnd_target, self.rnd_predictor = self.make_rnd_network(), self.make_rnd_network()
        self.rnd_target.requires_grad_(False)

    def make_rnd_network(self) -> nn.Module:
        """Return a new network: ``{"obs": [B, ...]}`` to features ``[B, F]``."""
        network: nn.Module = self.catalog.build_slot_network("rnd", self.model_config["rnd_features"], **BARE)
        return network

    def get_non_inference_attributes(self) -> list[str]:
        """Acting needs none of it."""
        return [*super().get_non_inference_attributes(), "rnd_normalizer", "rnd_target", "rnd_predictor"]

    def novelty(self, obs: Observations) -> Tensor:
        """Mean squared error of the prediction, ``[B]``; zero until observations can be normalised."""
        normalizer: Any = self.rnd_normalizer
        if normalizer is not None:
            obs = normalizer(obs)
        with torch.no_grad():
            target = self.rnd_target({"obs": obs})
        novelty: Tensor = (self.rnd_predictor({"obs": obs}) - target).square().mean(-1)
        return novelty if normalizer is None else novelty * (normalizer.count > 0)


def has_floats(space: Space[Any]) -> bool:
    """Whether a part of a space is a Box of floats."""
    if isinstance(space, Dict | Tuple):
        parts = space.spaces.values() if isinstance(space, Dict) else space.spaces
        return any(map(has_floats, parts))
    return isinstance(space, Box) and np.issubdtype(space.dtype, np.floating)
