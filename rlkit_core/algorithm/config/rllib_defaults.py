"""Defaults of RLlib's that an algorithm has not taken over: the file ``rllib_defaults.json`` beside its config class.

The file is a list of ``{"settings": {name: RLlib's default, ...}, "why": "why it is another here"}``, in which
``model_config`` holds settings of the networks.
"""

from __future__ import annotations

from typing import Any, TypeVar

from rlkit_core.algorithm.config.derived import DerivedSettings
from rlkit_core.algorithm.config.presets import read_beside

ConfigT = TypeVar("ConfigT", bound=DerivedSettings)
FILE = "rllib_defaults.json"


def load_rllib_defaults(config_class: type) -> list[dict[str, Any]]:
    """What the file holds; empty where an algorithm has none."""
    _, entries = read_beside(config_class, FILE)
    return list(entries)


def take_rllib_defaults(config: ConfigT) -> ConfigT:
    """Set what the file of a config's class holds, but not what was set before."""
    given = config.set_by_user()
    networks: dict[str, Any] = {}
    for entry in load_rllib_defaults(type(config)):
        settings = dict(entry["settings"])
        networks.update(settings.pop("model_config", {}))
        config.change({name: value for name, value in settings.items() if name not in given})
    if networks:
        config.change({"model_config": {**networks, **(config.stored("model_config") or {})}})
    return config
