"""Tuned settings that come with an env: the file ``rlkit_presets.json`` in the package that the env lies in.

The file maps algorithms to presets of that package's own envs, each as an algorithm's ``presets.json`` has them::

    {"ppo": {"my-envs/Maze-v0": {"training": {"gamma": 0.999}, "stop": {"return": 0.9, "steps": 200000}}}}

It serves no env of anybody else, so installing a package changes nothing of what others' envs are trained with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym

from rlkit_core.errors import ConfigError
from rlkit_core.plugins.discovery import GROUP_ALGORITHMS
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.installed.modules import place_of

ENV_PRESETS = "rlkit_presets.json"


def read_with_env(config_class: type, env_id: str) -> tuple[str, Any]:
    """What an env's package has for an algorithm: where that is, and ``{environment id: sections}``, not checked.

    Args:
        config_class: the algorithm's, or a subclass of one.
        env_id: that is registered with gymnasium, or ``module:attribute``.

    Returns:
        An empty dict where the package has no such file, or the file nothing for the algorithm.

    Raises:
        ConfigError: the file is no JSON object; the message names it.
    """
    package = _package_of(env_id)
    init = place_of(package).file if package else None
    file = None if init is None else Path(init).with_name(ENV_PRESETS)
    if file is None or not file.is_file():
        return ENV_PRESETS, {}
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{file}: not JSON ({error})") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: expected {{algorithm: {{environment id: sections}}}}, got {type(data).__name__}")
    name = next((name for name in _names_of(config_class) if name in data), None)
    return f"{file}: {name}", {} if name is None else data[name]


def _package_of(env_id: str) -> str:
    """The top-level package of an env; empty where nobody knows."""
    module, _, name = env_id.rpartition(":")
    spec = gym.registry.get(name)
    if spec is not None:
        point = spec.entry_point
        module = point if isinstance(point, str) else getattr(point, "__module__", "")
    return module.partition(":")[0].partition(".")[0]


def _names_of(config_class: type) -> Iterator[str]:
    """Full and short names that an algorithm is registered by; those of base classes after its own."""
    host = default_host()
    entries = host.snapshot.entry_points(GROUP_ALGORITHMS)
    for cls in config_class.__mro__[:-1]:
        for entry in entries:
            same = entry.value.partition(":")[2] == cls.__qualname__
            if same and entry.distribution == host.origin_of(cls).distribution:
                yield from (f"{entry.distribution}/{entry.name}", entry.name)
