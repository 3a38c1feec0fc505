"""CartPole for several agents."""

from __future__ import annotations

from rlkit_core.envs.multi_agent.copies import CopiesEnv


class MultiAgentCartPole(CopiesEnv):
    """As many CartPoles as ``env_config["num_agents"]`` (1) says, each balanced by an agent of its own: 0, 1, ..."""

    copied = "CartPole-v1"
