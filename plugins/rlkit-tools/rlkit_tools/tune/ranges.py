"""Where to search: ``tune.json`` beside an algorithm's ``presets.json``, or a file like it.

It maps settings to what they may be: a list of choices, or a range::

    {"lr": {"low": 1e-5, "high": 1e-2, "log": true}, "num_epochs": {"low": 3, "high": 20},
     "model_config.fcnet_hiddens": [[64, 64], [256, 256]]}

A range whose bounds are whole numbers gives whole numbers.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from rlkit_core import AlgorithmConfig
from rlkit_core.algorithm.config.presets import read_beside
from rlkit_core.errors import ConfigError

FILE = "tune.json"
_KEYS = {"low", "high", "log"}

Ranges = Mapping[str, Any]


def read_ranges(config: AlgorithmConfig, file: Path | None = None, *, fixed: Collection[str] = ()) -> Ranges:
    """What to search, by the settings' names.

    Args:
        config: of the algorithm, which has such a file beside it.
        file: in its place.
        fixed: names that are not searched.

    Raises:
        ConfigError: there is no such file, or it is malformed; the message says where.
    """
    where, data = str(file), None
    try:
        if file is None:
            where, data = read_beside(type(config), FILE)
        else:
            data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where}: expected ranges as JSON ({error})") from error
    if not data:
        name = type(config).__name__
        raise ConfigError(
            f"{name} comes with no {FILE}; say what to search: --ranges FILE, such as {{'lr': [1e-4, 1e-3]}}"
        )
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected {{setting: choices or range}}, got {type(data).__name__}")
    for name, of in data.items():
        config.setting_name(name.partition(".")[0])
        bounds: list[Any] = [of.get("low"), of.get("high")] if isinstance(of, dict) and set(of) <= _KEYS else []
        numbers = len(bounds) == 2 and all(isinstance(one, int | float) for one in bounds)
        if not (isinstance(of, list) and of) and not (numbers and bounds[0] < bounds[1]):
            raise ConfigError(
                f"{where}: {name}: expected a list, or {{low, high, log}} with low below high, got {of!r}"
            )
    found = {name: of for name, of in data.items() if name not in fixed}
    if not found:
        raise ConfigError(f"{where}: everything in it is fixed by --set; nothing is left to search")
    return found


def suggested(trial: Any, ranges: Ranges) -> dict[str, Any]:
    """What Optuna's trial is to try, by name. Choices are JSON texts to it, as it takes no lists."""
    found: dict[str, Any] = {}
    for name, of in ranges.items():
        if isinstance(of, list):
            found[name] = json.loads(trial.suggest_categorical(name, [json.dumps(one) for one in of]))
        else:
            whole = isinstance(of["low"], int) and isinstance(of["high"], int)
            suggest = trial.suggest_int if whole else trial.suggest_float
            found[name] = suggest(name, of["low"], of["high"], log=bool(of.get("log")))
    return found


def apply(config: AlgorithmConfig, values: Mapping[str, Any]) -> None:
    """Set values by name, ``model_config.KEY`` among them.

    Raises:
        ConfigError: a setting refuses its value.
    """
    for name, value in values.items():
        setting, dot, key = name.partition(".")
        config.update_from_dict({setting: {**config.stored(setting), key: value} if dot else value})


def as_preset(config: AlgorithmConfig, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Values by name as the sections of a preset."""
    known, preset = type(config).known_settings(), dict[str, dict[str, Any]]()
    for name, value in values.items():
        setting, dot, key = name.partition(".")
        section = preset.setdefault(known[setting].section, {})
        if dot:
            section.setdefault(setting, {})[key] = value
        else:
            section[setting] = value
    return preset
