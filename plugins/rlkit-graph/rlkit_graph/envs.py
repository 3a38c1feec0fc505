"""A small task whose observations are graphs: leave the room by the door that is open."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Discrete, Graph, GraphInstance

NAMES = 6
FEWEST = 4
QUESTIONS = 10


class OpenDoor(gym.Env[GraphInstance, np.int64]):
    """Rooms with names, doors between them: name the room that an open door leads to from here.

    A node is a room. Its number is its name, plus 6 for the room where one stands. An edge is a door that one can go
    through in its direction, 0 if it is locked and 1 if it is open. From here there is a door to every other room, and
    one of them is open; doors between the others are there to confuse. Rooms, names and their order are new each step.

    The action is a name. The right one is worth 1; an episode has 10 questions, so 10 is the most. A random player
    makes 10/6. Who sees the rooms but not which door is where can only guess one of the others, and makes 2.6.
    """

    observation_space = Graph(Discrete(2 * NAMES), Discrete(2))
    action_space = Discrete(NAMES)
    metadata = {"render_modes": []}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[GraphInstance, dict[str, Any]]:
        """Ask the first question."""
        super().reset(seed=seed)
        return self._ask(), {}

    def step(self, action: np.int64) -> tuple[GraphInstance, float, bool, bool, dict[str, Any]]:
        """Judge the answer and ask the next question."""
        reward = float(int(action) == self._answer)
        return self._ask(), reward, False, False, {}

    def _ask(self) -> GraphInstance:
        rng = self.np_random
        count = int(rng.integers(FEWEST, NAMES + 1))
        names = rng.permutation(NAMES)[:count]
        here, way = (int(room) for room in rng.permutation(count)[:2])
        others = [room for room in range(count) if room != here]
        doors = [(here, room, int(room == way)) for room in others]
        for first in others:
            for second in others:
                if first != second and rng.random() < 0.3:
                    doors.append((first, second, int(rng.random() < 0.5)))
        table = np.array(doors, np.int64)[rng.permutation(len(doors))]
        self._answer = int(names[way])
        nodes = names.astype(np.int64)
        nodes[here] += NAMES
        return GraphInstance(nodes, table[:, 2], table[:, :2])


def register_envs() -> None:
    """Register the env ids of this package; gymnasium's entry points name it."""
    gym.register("rlkit-graph/OpenDoor-v0", entry_point="rlkit_graph.envs:OpenDoor", max_episode_steps=QUESTIONS)
