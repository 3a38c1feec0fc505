"""What this distribution registers: one encoder, by a string, so that reading the record imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from gymnasium.spaces import Box, Discrete, Graph

from rlkit_core import Component, ComponentRequest, hookimpl
from rlkit_core.settings import boolean, integer, one_of, optional, setting

rlkit_api = "1.0"

SIZE = optional(integer(ge=1))


def is_served(request: ComponentRequest) -> bool:
    """Whether nodes and edges are Boxes or Discrete; there may be no edge space."""
    space = request.space
    return isinstance(space.node_space, Box | Discrete) and isinstance(space.edge_space, Box | Discrete | None)


MESSAGE_PASSING = Component(
    "message-passing",
    "encoder",
    "rlkit_graph.encoder:GraphEncoderConfig",
    (Graph,),
    when=is_served,
    settings={
        "graph_rounds": setting(2, help="How many edges far a node hears of others.", converter=integer(ge=0)),
        "graph_width": setting(64, help="Numbers that each node is described by.", converter=integer(ge=1)),
        "graph_aggregation": setting(
            "sum", help="What a node makes of the messages that reach it.", converter=one_of("sum", "mean")
        ),
        "graph_pooling": setting("mean", help="What is made of all nodes.", converter=one_of("mean", "max", "sum")),
        "graph_max_nodes": setting(
            None, help="Pad to so many nodes, as a replay buffer needs it; None: to the largest.", converter=SIZE
        ),
        "graph_max_edges": setting(None, help="The same for edges.", converter=SIZE),
        "graph_both_ways": setting(False, help="Send messages against the direction of edges, too.", converter=boolean),
    },
)


@hookimpl
def rlkit_encoders() -> Iterable[Component]:
    """The encoder, for ``Graph`` observations that nothing else serves and for who names it."""
    return [MESSAGE_PASSING]
