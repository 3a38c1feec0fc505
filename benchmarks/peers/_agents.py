"""The work with two agents: a CartPole and a module for each, 8 envs in one process, else as ``_span.py`` has it."""

from __future__ import annotations

NUM_AGENTS = 2
MODULES = tuple(f"p{agent}" for agent in range(NUM_AGENTS))


def module_of(agent_id: object, episode: object = None, **kwargs: object) -> str:
    """Agent 0 uses ``p0``, agent 1 ``p1``."""
    return f"p{agent_id}"
