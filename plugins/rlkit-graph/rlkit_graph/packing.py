"""Graphs of different sizes as arrays of one size, and the parts of a graph as vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, Graph, GraphInstance
from torch import Tensor, nn

from rlkit_core.errors import ConfigError, EnvError

Array = np.ndarray[Any, Any]
Part = Box | Discrete


def pack_graphs(
    space: Graph, graphs: Sequence[GraphInstance], *, max_nodes: int | None = None, max_edges: int | None = None
) -> dict[str, Array]:
    """Pad graphs to the largest of them, rounded up, so that few shapes occur; or to the sizes given.

    Args:
        space: with Boxes or Discrete as node and edge space; without an edge space edges are links alone.
        graphs: B of them. ``edges`` and ``edge_links`` may be None where there are none.

    Returns:
        ``nodes`` [B, N, D] float32, of Discrete nodes [B, N] int64, counted from 0; ``num_nodes`` [B] int64; ``links``
        [B, E, 2] int64, source and target; ``num_links`` [B] int64; with an edge space ``edges``, as ``nodes`` are.
        What is padded is zero.

    Raises:
        EnvError: a graph is none or too large, a link leads to a node that there is not, edges do not match links.
    """
    for index, graph in enumerate(graphs):
        if not isinstance(graph, GraphInstance):
            raise EnvError(f"{_name(index)} is a {type(graph).__name__}, expected a GraphInstance")
    links: list[Array] = [
        np.zeros((0, 2), np.int64) if g.edge_links is None else np.asarray(g.edge_links) for g in graphs
    ]
    nodes: list[Any] = [g.nodes for g in graphs]
    num_nodes = np.array([len(one) for one in nodes], np.int64)
    num_links = np.array([len(one) for one in links], np.int64)
    for index, (one, count) in enumerate(zip(links, num_nodes, strict=True)):
        if one.size and (one.ndim != 2 or one.shape[1] != 2):
            raise EnvError(f"{_name(index)}: edge_links have shape {one.shape}, expected ({len(one)}, 2)")
        if one.size and not (one.min() >= 0 and one.max() < count):
            raise EnvError(
                f"{_name(index)}: edge_links name nodes {one.min()} to {one.max()}; there are {count}, counted from 0"
            )
    most_nodes, most_links = _room(num_nodes, max_nodes, "nodes"), _room(num_links, max_edges, "edges")
    packed = {
        "nodes": _padded(space.node_space, nodes, num_nodes, most_nodes, "nodes"),
        "num_nodes": num_nodes,
        "links": _fill(np.zeros((len(graphs), most_links, 2), np.int64), links, num_links),
        "num_links": num_links,
    }
    if space.edge_space is not None:
        edges: list[Any] = [() if g.edges is None else g.edges for g in graphs]
        for index, (listed, count) in enumerate(zip(edges, num_links, strict=True)):
            if len(listed) != count:
                have = f"{len(listed)} edges and {count} edge_links"
                raise EnvError(f"{_name(index)} has {have}; each edge needs its link")
        packed["edges"] = _padded(space.edge_space, edges, num_links, most_links, "edges")
    return packed


class Vectors(nn.Module):
    """Nodes or edges as vectors: a linear map of a Box's numbers, a table of a Discrete's choices.

    Args:
        space: of one node or edge.
        width: of the vectors.

    Raises:
        ConfigError: a space of another kind.
    """

    def __init__(self, space: object, width: int) -> None:
        super().__init__()
        self.map: nn.Module
        if isinstance(space, Discrete):
            self.map = nn.Embedding(int(space.n), width)
        elif isinstance(space, Box):
            self.map = nn.Linear(int(np.prod(space.shape, dtype=np.int64)), width)
        else:
            raise ConfigError(f"rlkit-graph: nodes and edges are Boxes or Discrete, not {space}; name another encoder")

    def forward(self, x: Tensor) -> Tensor:
        """What :func:`pack_graphs` made of them to ``[..., width]``."""
        vectors: Tensor = self.map(x)
        return vectors


def _padded(space: Part, items: Sequence[Any], counts: Array, most: int, what: str) -> Array:
    """Nodes or edges of all graphs, ``[B, N, D]``, or ``[B, N]`` of a Discrete."""
    size = (len(items), most)
    if isinstance(space, Box):
        width = int(np.prod(space.shape, dtype=np.int64))
        rows = [np.asarray(one, np.float32).reshape(len(one), width) for one in items]
        return _fill(np.zeros((*size, width), np.float32), rows, counts)
    choices = [np.asarray(one, np.int64).reshape(len(one)) - int(space.start) for one in items]
    for index, one in enumerate(choices):
        if one.size and not (one.min() >= 0 and one.max() < space.n):
            low, high = one.min() + space.start, one.max() + space.start
            raise EnvError(f"{_name(index)}: {what} are {low} to {high}, expected those of {space}")
    return _fill(np.zeros(size, np.int64), choices, counts)


def _fill(padded: Array, rows: Sequence[Array], counts: Array) -> Array:
    """Write each graph's rows to the beginning of its own; all in one go."""
    if counts.any():
        there = np.arange(padded.shape[1]) < counts[:, None]
        padded[there] = np.concatenate([one for one in rows if len(one)])
    return padded


def _room(counts: Array, most: int | None, what: str) -> int:
    """To which size graphs are padded: the next power of two, as a recorded gradient step is one of a shape."""
    largest = int(counts.max(initial=1))
    if most is None:
        return 1 << max(largest - 1, 0).bit_length()
    if largest > most:
        raise EnvError(
            f"{_name(int(counts.argmax()))} has {largest} {what}; model_config['graph_max_{what}'] is {most}"
        )
    return most


def _name(index: int) -> str:
    return f"rlkit-graph: graph {index} of those observed together"
