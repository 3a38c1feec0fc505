"""The encoder computes what its formula says, whatever is beside a graph and however it is written down."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, Graph, GraphInstance, MultiDiscrete
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit_core.errors import ConfigError, EnvError
from rlkit_core.models import MLPEncoderConfig
from rlkit_graph.encoder import GraphEncoderConfig
from rlkit_graph.packing import pack_graphs

LINES = Graph(Box(-10.0, 10.0, (1,)), Box(-10.0, 10.0, (1,)))
"""Nodes and edges of one number."""


def column(numbers):
    return np.array(numbers, np.float32).reshape(-1, 1)


def graph(nodes, links=(), edges=None):
    """A graph of LINES, from numbers."""
    pairs = np.array(links, np.int32).reshape(-1, 2) if len(links) else None
    return GraphInstance(column(nodes), None if edges is None else column(edges), pairs)


def made(space=LINES, width=4, hiddens=(5,), **settings):
    """A new encoder."""
    readout = MLPEncoderConfig(input_dims=(width,), hidden_layer_dims=hiddens)
    return GraphEncoderConfig(space=space, readout=readout, width=width, **settings).build()


def encoded(network, graphs):
    """What an encoder makes of graphs, ``[B, H]``."""
    packed = network.config.pack(network.config.space, graphs)
    with torch.no_grad():
        return network({"obs": {name: torch.as_tensor(array) for name, array in packed.items()}})["encoder_out"]


TRIANGLE = graph([1, 2, 3], [(0, 1), (0, 2), (1, 2)], [0.5, -3, 1])


def known(**settings):
    """Width 1, no readout; a node keeps itself, tells others twice of itself, and adds the edge."""
    network = made(width=1, hiddens=(), **{"rounds": 1, **settings})
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.fill_(0.0 if name.endswith("bias") else 2.0 if ".told." in name else 1.0)
    return network


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # Messages 0->1: 2 + 0.5, 0->2: relu(2 - 3), 1->2: 4 + 1. So nodes are 1, 4.5, 8.
        ({}, 13.5 / 3),
        ({"pooling": "sum"}, 13.5),
        ({"pooling": "max"}, 8.0),
        ({"pooling": "sum", "aggregation": "mean"}, 1 + 4.5 + (3 + 5 / 2)),
        # Then 0->1: 2.5, 0->2: 0, 1->2: 9 + 1.
        ({"pooling": "sum", "rounds": 2}, 1 + 7 + 18),
        # And back 1->0: 4 + 0.5, 2->0: 6 - 3, 2->1: 6 + 1.
        ({"pooling": "sum", "both_ways": True}, 8.5 + 11.5 + 8),
        ({"rounds": 0}, 2.0),
    ],
)
def test_messages_are_as_computed_by_hand(settings, expected):
    assert encoded(known(**settings), [TRIANGLE]).item() == pytest.approx(expected)


def test_graphs_of_any_size_do_not_see_each_other():
    several = [TRIANGLE, graph([-4, 5]), graph([7], [(0, 0)], [1]), graph(range(9), [(8, 0)] * 11, range(11))]
    for pooling in ("mean", "max", "sum"):
        network = made(pooling=pooling)
        together = encoded(network, several)
        alone = torch.cat([encoded(network, [one]) for one in several])
        torch.testing.assert_close(together, alone)


def test_without_edges_a_node_is_on_its_own():
    network = known(pooling="sum")
    empty = GraphInstance(np.array([[1], [2]], np.float32), np.zeros((0, 1), np.float32), np.zeros((0, 2), np.int32))
    assert encoded(network, [graph([1, 2]), empty]).tolist() == [[3.0], [3.0]]
    assert encoded(network, [GraphInstance(np.zeros((0, 1), np.float32), None, None)]).tolist() == [[0.0]]


def test_links_alone_are_followed():
    network = known(space=Graph(Box(-10.0, 10.0, (1,)), None), pooling="sum")
    bare, linked = graph([1, 2]), graph([1, 2], [(0, 1)])
    assert encoded(network, [bare, linked]).tolist() == [[3.0], [5.0]]


def test_choices_have_a_table_from_their_start():
    space = Graph(Discrete(3, start=5), Discrete(2))
    one = GraphInstance(np.array([5, 7]), np.array([1]), np.array([[0, 1]]))
    packed = pack_graphs(space, [one])
    assert (packed["nodes"].tolist(), packed["edges"].tolist()) == ([[0, 2]], [[1]])
    network = made(space=space, width=1, hiddens=(), rounds=1, pooling="sum")
    with torch.no_grad():
        network.node.map.weight.copy_(torch.tensor([[1.0], [10.0], [100.0]]))
        network.rounds[0].edge.map.weight.copy_(torch.tensor([[3.0], [4.0]]))
        for layer in (network.rounds[0].own, network.rounds[0].told):
            layer.weight.fill_(1.0)
        network.rounds[0].own.bias.zero_()
    assert encoded(network, [one]).item() == 101 + 5


def test_nodes_of_several_axes_are_flattened():
    space = Graph(Box(0, 255, (2, 3), np.uint8), None)
    one = GraphInstance(np.arange(12, dtype=np.uint8).reshape(2, 2, 3), None, None)
    assert pack_graphs(space, [one])["nodes"].tolist() == np.arange(12.0).reshape(1, 2, 6).tolist()


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_order_does_not_matter(data):
    count = data.draw(st.integers(1, 6))
    number = st.floats(-3, 3, width=32)
    nodes = data.draw(st.lists(number, min_size=count, max_size=count))
    node = st.integers(0, count - 1)
    edges = data.draw(st.lists(st.tuples(node, node, number), max_size=9))
    moved, shuffled = data.draw(st.permutations(range(count))), data.draw(st.permutations(edges))
    place = {old: new for new, old in enumerate(moved)}
    one = graph(nodes, [e[:2] for e in edges], [e[2] for e in edges] if edges else None)
    links = [(place[u], place[v]) for u, v, _ in shuffled]
    other = graph([nodes[old] for old in moved], links, [e[2] for e in shuffled] if edges else None)
    torch.manual_seed(0)
    network = made(pooling=data.draw(st.sampled_from(["mean", "max", "sum"])), both_ways=data.draw(st.booleans()))
    first, second = encoded(network, [one, other])
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros(3), "graph 1 of those observed together is a ndarray, expected a GraphInstance"),
        (graph([1, 2], [(0, 2)], [1]), "graph 1 .*name nodes 0 to 2; there are 2, counted from 0"),
        (graph([1, 2], [(0, 1)], [1, 2]), "graph 1 .*2 edges and 1 edge_links"),
        (graph([1, 2], [(0, 1)]), "0 edges and 1 edge_links"),
        (
            graph([1])._replace(edge_links=np.zeros((2, 3), np.int64)),
            r"edge_links have shape \(2, 3\), expected \(2, 2\)",
        ),
    ],
)
def test_what_is_no_such_graph_is_refused_by_its_place(wrong, message):
    with pytest.raises(EnvError, match=message):
        pack_graphs(LINES, [TRIANGLE, wrong])


def test_sizes_are_rounded_up_or_as_given():
    several = [TRIANGLE, graph(range(5))]
    packed = pack_graphs(LINES, several)
    assert {name: array.shape for name, array in packed.items()} == {
        "nodes": (2, 8, 1),
        "num_nodes": (2,),
        "links": (2, 4, 2),
        "num_links": (2,),
        "edges": (2, 4, 1),
    }
    network = made(max_nodes=5, max_edges=9)
    packed = network.config.pack(LINES, several)
    assert packed["nodes"].shape == (2, 5, 1)
    assert packed["edges"].shape == (2, 9, 1)
    torch.testing.assert_close(encoded(network, several), torch.cat([encoded(network, [one]) for one in several]))
    with pytest.raises(EnvError, match=r"graph 1 .*5 nodes; model_config\['graph_max_nodes'\] is 4"):
        pack_graphs(LINES, several, max_nodes=4)


def test_choices_that_there_are_not_are_refused():
    with pytest.raises(EnvError, match=r"nodes are 0 to 3, expected those of Discrete\(3\)"):
        pack_graphs(Graph(Discrete(3), None), [GraphInstance(np.array([0, 3]), None, None)])


def test_other_nodes_are_refused():
    with pytest.raises(ConfigError, match="Boxes or Discrete, not MultiDiscrete"):
        made(space=Graph(MultiDiscrete([2, 2]), None))
