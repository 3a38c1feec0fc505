"""Message passing: each round, a node hears what its neighbours know (Gilmer et al., 2017, arXiv 1704.01212).

A round is that of graph isomorphism networks with edges (Xu et al., 2019, arXiv 1810.00826; Hu et al., 2020, arXiv
1905.12265) with a linear map in place of their MLP: ``h_v = relu(W h_v + sum_{u -> v} relu(M h_u + e_uv))``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from attrs import define
from gymnasium.spaces import Box, Graph, GraphInstance
from torch import Tensor, nn

from rlkit_core.models import Encoder, MLPEncoderConfig, ModelConfig, build_network, encoder_output
from rlkit_graph.packing import Array, Vectors, pack_graphs


@define(slots=False, kw_only=True)
class GraphEncoderConfig(ModelConfig):
    """Message passing over a graph, pooled over its nodes, then an MLP.

    Args:
        space: what is observed; nodes and edges are Boxes or Discrete, edges may have no space.
        readout: of the pooled vector; the ``fcnet_*`` settings make it.
        rounds: how many edges far a node hears of others.
        width: numbers that a node is described by.
        aggregation: what a node makes of its messages, ``"sum"`` or ``"mean"``.
        pooling: what is made of all nodes, ``"mean"``, ``"max"`` or ``"sum"``.
        both_ways: whether messages also go against the direction of edges.
        max_nodes: graphs are padded to so many; None: to the largest of those that are packed together.
        max_edges: the same for edges.
    """

    space: Graph
    readout: MLPEncoderConfig
    rounds: int = 2
    width: int = 64
    aggregation: str = "sum"
    pooling: str = "mean"
    both_ways: bool = False
    max_nodes: int | None = None
    max_edges: int | None = None

    @classmethod
    def from_space(cls, space: Graph, model_config: Mapping[str, Any]) -> GraphEncoderConfig:
        """Config for a Graph, from the ``graph_*`` settings and those of the built-in MLP."""
        width = model_config["graph_width"]
        return cls(
            space=space,
            readout=MLPEncoderConfig.from_space(Box(-1.0, 1.0, (width,)), model_config),
            rounds=model_config["graph_rounds"],
            width=width,
            aggregation=model_config["graph_aggregation"],
            pooling=model_config["graph_pooling"],
            both_ways=model_config["graph_both_ways"],
            max_nodes=model_config["graph_max_nodes"],
            max_edges=model_config["graph_max_edges"],
        )

    def pack(self, space: Graph, observations: Sequence[GraphInstance]) -> dict[str, Array]:
        """Graphs as arrays, see :func:`~rlkit_graph.packing.pack_graphs`."""
        return pack_graphs(space, observations, max_nodes=self.max_nodes, max_edges=self.max_edges)

    @property
    def output_dims(self) -> tuple[int, ...]:
        """``(H,)``, that of the readout."""
        return self.readout.output_dims

    def build(self, framework: str = "torch") -> GraphEncoder:
        """Return a new :class:`GraphEncoder`."""
        return GraphEncoder(self)


class Round(nn.Module):
    """One round of messages.

    Args:
        config: of the encoder.
    """

    def __init__(self, config: GraphEncoderConfig) -> None:
        super().__init__()
        self.own = nn.Linear(config.width, config.width)
        self.told = nn.Linear(config.width, config.width, bias=False)
        self.edge = None if config.space.edge_space is None else Vectors(config.space.edge_space, config.width)
        self.is_mean = config.aggregation == "mean"

    def forward(self, h: Tensor, sources: Tensor, targets: Tensor, there: Tensor, edges: Tensor | None) -> Tensor:
        """What nodes know after it, ``[B, N, H]``.

        Args:
            h: what they knew, ``[B, N, H]``.
            sources: of E messages, ``[B, E]`` int64.
            targets: of the messages.
            there: ``[B, E, 1]``, 1 for a message and 0 for padding.
            edges: what is known of the edges; None where that is nothing.
        """
        wide = (*sources.shape, h.shape[-1])
        messages = self.told(h).gather(1, sources.unsqueeze(-1).expand(wide))
        if self.edge is not None:
            messages = messages + self.edge(edges)
        messages = torch.relu(messages) * there
        heard = torch.zeros_like(h).scatter_add(1, targets.unsqueeze(-1).expand(wide), messages)
        if self.is_mean:
            count = torch.zeros_like(h[..., :1]).scatter_add(1, targets.unsqueeze(-1), there)
            heard = heard / count.clamp(min=1.0)
        return torch.relu(self.own(h) + heard)


class GraphEncoder(Encoder):
    """``{"obs": packed graphs}`` to ``{"encoder_out": (B, H)}``; the order of nodes and of edges does not matter."""

    def __init__(self, config: GraphEncoderConfig) -> None:
        super().__init__(config)
        self.node = Vectors(config.space.node_space, config.width)
        self.rounds = nn.ModuleList(Round(config) for _ in range(config.rounds))
        self.readout = build_network(config.readout)
        self.pooling, self.both_ways = config.pooling, config.both_ways

    def forward(self, batch: Mapping[str, Any], **kwargs: object) -> dict[str, Tensor]:
        """Encode ``batch["obs"]``, which :meth:`GraphEncoderConfig.pack` made."""
        graphs: Mapping[str, Tensor] = batch["obs"]
        sources, targets = graphs["links"].unbind(-1)
        h = torch.relu(self.node(graphs["nodes"]))
        there, edges = _first(graphs["num_links"], sources.shape[1], h), graphs.get("edges")
        if self.both_ways:
            sources, targets = torch.cat((sources, targets), 1), torch.cat((targets, sources), 1)
            there, edges = torch.cat((there, there), 1), None if edges is None else torch.cat((edges, edges), 1)
        for one in self.rounds:
            h = one(h, sources, targets, there, edges)
        pooled = self._pool(h * _first(graphs["num_nodes"], h.shape[1], h), graphs["num_nodes"])
        return {"encoder_out": encoder_output(self.readout({"obs": pooled}), self.readout)}

    def _pool(self, h: Tensor, count: Tensor) -> Tensor:
        if self.pooling == "max":
            return h.amax(1)  # none is below zero, which padding is
        total = h.sum(1)
        return total if self.pooling == "sum" else total / count.clamp(min=1).unsqueeze(-1)


def _first(count: Tensor, size: int, like: Tensor) -> Tensor:
    """``[B, size, 1]``: 1 for the first ``count`` [B], 0 behind."""
    return (torch.arange(size, device=count.device) < count.unsqueeze(-1)).to(like.dtype).unsqueeze(-1)
