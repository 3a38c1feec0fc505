"""A catalog that offers the graph encoder by the catalog's name."""

from __future__ import annotations

from typing import ClassVar

from rlkit_core import ActorCriticCatalog, Component
from rlkit_graph.plugin import MESSAGE_PASSING


class GraphCatalog(ActorCriticCatalog):
    """The graph encoder, before that of any other plugin: ``rl_module(catalogs=["rlkit-graph"])``."""

    components: ClassVar[tuple[Component, ...]] = (MESSAGE_PASSING,)
