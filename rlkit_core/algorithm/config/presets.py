"""Tuned settings per environment: the file ``presets.json`` beside an algorithm's config class.

The file maps environment ids to sections::

    {"CartPole-v1": {"training": {"lr": 3e-4}, "env_runners": {"num_envs_per_env_runner": 8},
                     "rl_module": {"model_config": {"fcnet_hiddens": [64, 64]}},
                     "stop": {"return": 475, "steps": 150000}}}

``stop`` is for ``rlkit train``: the mean return of deterministic evaluation episodes to reach, and limits.
"""

from __future__ import annotations

import json
import sys
from importlib import resources
from typing import Any

from rlkit_core.algorithm.config.sections import CoreSettings
from rlkit_core.errors import ConfigError

STOP_KEYS = ("return", "steps", "iterations", "seconds")


def load_presets(config_class: type) -> dict[str, Any]:
    """All presets of an algorithm: its own file's, or that of the nearest base class that has one.

    Raises:
        ConfigError: the file is no JSON of the form above; the message names it.
    """
    packages = filter(None, map(_package_of, config_class.__mro__))
    files = (resources.files(package).joinpath("presets.json") for package in packages)
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return {}
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{file}: not JSON ({error})") from error
    _check(data, str(file))
    return data  # type: ignore[no-any-return]


def preset_for(config_class: type, env_id: object) -> dict[str, Any] | None:
    """The preset of one environment: sections, and perhaps ``stop``; None where there is none."""
    return load_presets(config_class).get(env_id) if isinstance(env_id, str) else None


def apply_preset(config: CoreSettings, env_id: object) -> bool:
    """Set what the preset for ``env_id`` holds and the user has not set; return whether there is such a preset.

    ``model_config`` is merged key by key, the user's keys winning. What a preset sets does not count as set
    by the user, so that another preset can replace it.
    """
    preset = preset_for(type(config), env_id)
    if preset is None:
        return False
    by_user = config.set_by_user()
    for section, settings in preset.items():
        if section == "stop":
            continue
        free = {name: value for name, value in settings.items() if name not in by_user}
        if "model_config" in settings and "model_config" in by_user:
            free["model_config"] = {**settings["model_config"], **config.stored("model_config")}
        config.change(free, section=section)
    config.count_as_set(by_user)
    return True


def _package_of(owner: type) -> str | None:
    """The package a class lives in; None for scripts, builtins and the core."""
    if owner.__module__ in ("builtins", "__main__") or owner.__module__.split(".")[0] == "rlkit_core":
        return None
    return getattr(sys.modules.get(owner.__module__), "__package__", None) or None


def _check(data: object, where: str) -> None:
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected {{environment id: sections}}")
    sections = CoreSettings.sections()
    for env_id, preset in data.items():
        if not isinstance(preset, dict):
            raise ConfigError(f"{where}: {env_id!r}: expected sections, got {type(preset).__name__}")
        for section, settings in preset.items():
            if section != "stop" and section not in sections:
                raise ConfigError(
                    f"{where}: {env_id!r}: no section {section!r}; there are {', '.join(sections)} and stop"
                )
            if not isinstance(settings, dict):
                raise ConfigError(f"{where}: {env_id!r}: {section!r}: expected settings, got {type(settings).__name__}")
        unknown = set(preset.get("stop", {})) - set(STOP_KEYS)
        if unknown:
            raise ConfigError(f"{where}: {env_id!r}: stop has {sorted(unknown)}; there are {', '.join(STOP_KEYS)}")
