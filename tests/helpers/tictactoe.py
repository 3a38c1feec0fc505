"""Every line of tic-tac-toe that an opponent can force on a policy, played in PettingZoo's own env."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Player = Callable[[dict[str, Any]], int]
"""From an observation, with its ``action_mask``, to a move."""


def lines(player: Player, *, first: bool) -> dict[str, int]:
    """Play against every sequence of legal replies.

    Args:
        player: always gives the same move for the same observation.
        first: it begins; otherwise the opponent does.

    Returns:
        How many lines were ``won``, ``drawn`` and ``lost``.
    """
    from pettingzoo.classic import tictactoe_v3

    env = tictactoe_v3.env()
    own = f"player_{1 if first else 2}"
    counts = {"won": 0, "drawn": 0, "lost": 0}
    open_lines: list[list[int]] = [[]]
    while open_lines:
        moves = open_lines.pop()
        env.reset(seed=0)
        for move in moves:
            env.step(move)
        observation, _, terminated, truncated, _ = env.last()
        if terminated or truncated:
            reward = env.rewards[own]
            counts["won" if reward > 0 else "lost" if reward < 0 else "drawn"] += 1
        elif env.agent_selection == own:
            move = player(observation)
            assert observation["action_mask"][move], f"an illegal move {move} after {moves}"
            open_lines.append([*moves, move])
        else:
            open_lines += [[*moves, move] for move in observation["action_mask"].nonzero()[0].tolist()]
    return counts
