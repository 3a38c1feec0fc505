"""PPO's module and catalog: the core's actor-critic ones under PPO's names."""

from __future__ import annotations

from rlkit_core import ActorCriticCatalog, ActorCriticTorchRLModule


class PPOCatalog(ActorCriticCatalog):
    """Chooses encoder, heads and distribution of a PPO module.

    A catalog written for another actor-critic algorithm serves PPO as well, and the other way round.
    """


class PPOTorchRLModule(ActorCriticTorchRLModule):
    """Policy and value network, with parts ``encoder``, ``pi`` and ``vf``."""

    default_catalog_class = PPOCatalog


PPORLModule = PPOTorchRLModule
