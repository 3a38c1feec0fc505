"""A config as JSON, and back.

The data holds the class, the value of every setting, and which of them the user set. Code cannot be written:
of a function only its name is, and it is passed again at load.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from rlkit_core.algorithm.config.derived import DerivedSettings
from rlkit_core.algorithm.config.events import CALLBACK_EVENTS
from rlkit_core.checkpoint import PassAtLoad, from_jsonable, register_json_type, to_jsonable
from rlkit_core.checkpoint.trust import class_ref, reading
from rlkit_core.errors import CheckpointError, ConfigError


def to_data(config: DerivedSettings) -> dict[str, Any]:
    """The config as JSON values, for people to read and :func:`loads` to load.

    Raises:
        ConfigError: a value that JSON cannot hold (a live network, say); the message names the setting.
    """
    settings: dict[str, Any] = {}
    for item in config.known_settings().values():
        try:
            settings[item.name] = to_jsonable(_storable(item.name, config.stored(item.name)))
        except CheckpointError as error:
            raise ConfigError(f"{item.section}({item.name}=...) cannot be written as JSON: {error}") from error
    data: dict[str, Any] = to_jsonable({**_encode(config), "settings": None})
    return {**data, "settings": settings}


def dumps(config: DerivedSettings) -> str:
    """The JSON text of a config."""
    return json.dumps(to_data(config), indent=1, allow_nan=False)


def loads(text: str, base: type[DerivedSettings], passed: Mapping[str, Any]) -> Any:
    """The config of a JSON text.

    Args:
        text: what :func:`dumps` gave.
        base: the class it must be of, or a subclass.
        passed: settings that take the place of recorded ones.

    Raises:
        ConfigError: malformed text, or a class that does not fit or cannot be trusted.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"this is no config: not JSON ({error})") from error
    try:
        plain = from_jsonable(data)
    except CheckpointError as error:
        raise ConfigError(f"cannot read this config: {error}") from error
    if not isinstance(plain, dict) or not isinstance(plain.get("settings"), dict) or "class" not in plain:
        raise ConfigError("this is no config: expected an object with 'class', 'set' and 'settings'")
    with reading():
        config = _decode(plain, passed)
    if not isinstance(config, base):
        raise ConfigError(f"this is a {type(config).__name__}, expected a {base.__name__}")
    return config


def _encode(config: DerivedSettings) -> dict[str, Any]:
    """Plain Python data that stands for a config."""
    return {
        "class": type(config),
        "algo_class": config.given_algo_class,
        "set": sorted(config.set_by_user()),
        "settings": {name: _storable(name, value) for name, value in config.to_dict().items()},
    }


def _storable(name: str, value: object) -> object:
    """A setting's value; of objects that hear of events, which hold what they like, only the class's name is kept."""
    if name != "callbacks_class" or not isinstance(value, list):
        return value
    return [item if isinstance(item, type) else PassAtLoad(class_ref(type(item)), name) for item in value]


def _decode(data: Mapping[str, Any], passed: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """The config that such data stands for; what the class no longer has is an error."""
    config_class = data["class"]
    if not isinstance(config_class, type) or not issubclass(config_class, DerivedSettings):
        raise ConfigError(f"this is no config: its class is {config_class!r}")
    settings = {name: value for name, value in data["settings"].items() if name not in passed}
    dropped = [name for name in (*CALLBACK_EVENTS, "callbacks_class") if _holds_function(settings.get(name))]
    for name in dropped:
        settings[name] = [item for item in settings[name] if not isinstance(item, PassAtLoad)]
    if dropped:
        names = ", ".join(dropped)
        warnings.warn(f"{names}: functions are not stored; set them again to have them called", stacklevel=2)
    for name, value in settings.items():
        if isinstance(value, PassAtLoad):
            value.where, value.name = f"the setting {name}", name
    make: Any = config_class
    config = make(data["algo_class"]) if data.get("algo_class") is not None else make()
    config.update_from_dict({**settings, **passed})
    config.count_as_set({*data.get("set", ()), *passed})
    return config


def _holds_function(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(item, PassAtLoad) for item in value)


register_json_type(DerivedSettings, "config", _encode, _decode)
