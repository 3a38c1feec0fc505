"""The work of ``multi_agent.py``: CartPoles of two agents, a module each, in 8 envs of one process.

Standard library only, because the workers run in different environments.
"""

from __future__ import annotations

NUM_AGENTS = 2
NUM_ENVS = 8
NUM_STEPS = 128
NUM_EPOCHS = 4
MINIBATCH_SIZE = 256
HIDDENS = (64, 64)
LEARNING_RATE = 3e-4
GAMMA = 0.99
LAMBDA = 0.95
CLIP = 0.2
VALUE_COEFF = 0.5
MAX_GRAD_NORM = 0.5
ROLLOUT = NUM_ENVS * NUM_STEPS
LIFETIME = "num_env_steps_sampled_lifetime"
MODULES = tuple(f"p{agent}" for agent in range(NUM_AGENTS))


def module_of(agent_id: object, episode: object = None, **kwargs: object) -> str:
    """Agent 0 uses ``p0``, agent 1 ``p1``."""
    return f"p{agent_id}"
