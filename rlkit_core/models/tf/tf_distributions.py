"""The distributions of the framework ``tf2`` under the module path that RLlib gives them."""

from rlkit_core.frameworks import forwarded

__getattr__ = forwarded("tf2", "tf_distributions")
