"""TensorFlow distributions are not part of rlkit; asking for one says what to use instead."""

from __future__ import annotations

from typing import Any

from rlkit_core.errors import ConfigError


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise ConfigError(
        f"{name}: rlkit builds no TensorFlow models; use the torch distributions in rlkit_core.distributions"
    )
