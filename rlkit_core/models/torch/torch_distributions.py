"""The distributions under the module path that RLlib gives them."""

from rlkit_core.distributions import *  # noqa: F403
