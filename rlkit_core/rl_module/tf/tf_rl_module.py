"""``TfRLModule`` under the module path that RLlib gives it."""

from rlkit_core.frameworks import forwarded

__getattr__ = forwarded("tf2")
