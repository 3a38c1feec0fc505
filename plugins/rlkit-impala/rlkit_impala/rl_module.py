"""IMPALA's module and catalog: the core's actor-critic ones under IMPALA's names."""

from __future__ import annotations

from rlkit_core import ActorCriticCatalog, ActorCriticTorchRLModule


class IMPALACatalog(ActorCriticCatalog):
    """Chooses encoder, heads and distribution of an IMPALA module.

    A catalog written for another actor-critic algorithm serves IMPALA as well, and the other way round.
    """


class IMPALATorchRLModule(ActorCriticTorchRLModule):
    """Policy and value network, with parts ``encoder``, ``pi`` and ``vf``."""

    default_catalog_class = IMPALACatalog


IMPALARLModule = IMPALATorchRLModule
