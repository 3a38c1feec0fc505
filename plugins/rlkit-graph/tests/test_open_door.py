"""The task is what it says: a graph that has to be read, worth 10 to who reads it."""

from __future__ import annotations

import numpy as np
import pytest

from rlkit_core.testing import check_env
from rlkit_graph.envs import NAMES, OpenDoor

LEVEL = 9.5


def mean_return(player, episodes=60):
    """Of a function of a graph and a generator, which names a room."""
    env, rng, total = OpenDoor(), np.random.default_rng(0), 0.0
    for episode in range(episodes):
        obs, _ = env.reset(seed=episode)
        for _ in range(10):
            obs, reward, *_ = env.step(player(obs, rng))
            total += reward
    return total / episodes


def reader(graph, rng):
    """Follows the open door from here."""
    here = int((graph.nodes >= NAMES).argmax())
    (door,) = np.flatnonzero((graph.edge_links[:, 0] == here) & (graph.edges == 1))
    return int(graph.nodes[graph.edge_links[door, 1]])


def guesser(graph, rng):
    """Sees the rooms, and no doors."""
    return int(rng.choice(graph.nodes[graph.nodes < NAMES]))


def door_watcher(graph, rng):
    """Sees which rooms an open door leads to, but not from where."""
    rooms = graph.nodes[np.unique(graph.edge_links[graph.edges == 1, 1])]
    return int(rng.choice(rooms[rooms < NAMES]))


def test_only_who_reads_the_graph_gets_it_right():
    assert mean_return(reader, 20) == 10.0
    assert mean_return(lambda graph, rng: rng.integers(NAMES)) == pytest.approx(10 / 6, abs=0.5)
    assert mean_return(guesser) == pytest.approx(10 * (1 / 3 + 1 / 4 + 1 / 5) / 3, abs=0.5)
    assert mean_return(door_watcher) < 0.7 * LEVEL


def test_the_env_has_nothing_to_complain_of():
    found = check_env("rlkit-graph/OpenDoor-v0", steps=200)
    assert list(found.errors) == []
