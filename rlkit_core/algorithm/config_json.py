"""A config as JSON text, and back.

The text holds the class, the value of every setting and which of them the user set. Functions cannot be written: their
names are, and they are passed again at load.
"""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any, Final

from rlkit_core import __version__
from rlkit_core.algorithm.fields import settings_of
from rlkit_core.checkpoint.jsonable import PassAtLoad, from_jsonable, to_jsonable
from rlkit_core.checkpoint.trust import class_ref, resolve_class
from rlkit_core.errors import CheckpointError, ConfigError
from rlkit_core.rl_module.spec import MultiRLModuleSpec, RLModuleSpec

if TYPE_CHECKING:
    from rlkit_core.algorithm.config import AlgorithmConfig

_SPECS: Final[dict[str, type[RLModuleSpec] | type[MultiRLModuleSpec]]] = {
    "RLModuleSpec": RLModuleSpec,
    "MultiRLModuleSpec": MultiRLModuleSpec,
}


def to_data(config: AlgorithmConfig) -> dict[str, Any]:
    """The config as JSON values.

    Raises:
        ConfigError: a value that JSON cannot hold; the message names the setting.
    """
    settings: dict[str, Any] = {}
    for item in settings_of(type(config)).values():
        value = getattr(config, item.attribute)
        try:
            settings[item.name] = _encode(value)
        except CheckpointError as error:
            raise ConfigError(
                f"{item.section}({item.name}=...) cannot be written as JSON: {error}"
            ) from error
    data: dict[str, Any] = {"class": class_ref(type(config)), "rlkit_core": __version__}
    if config._algo_class is not None:
        data["algo_class"] = (
            config._algo_class if isinstance(config._algo_class, str) else class_ref(config._algo_class)
        )
    return data | {"set": sorted(config.set_by_user()), "settings": settings}


def from_data(data: Any, base: type, passed: dict[str, Any], classes: tuple[type, ...] = ()) -> Any:
    """A config from what :func:`to_data` gave.

    Args:
        data: JSON values.
        base: the class it must be of.
        passed: settings that take the place of recorded ones.
        classes: classes that may be named besides trusted ones.

    Raises:
        ConfigError: malformed data, or a class that does not fit or cannot be trusted.
    """
    if not isinstance(data, dict) or not isinstance(data.get("settings"), dict) or "class" not in data:
        raise ConfigError("this is no config: expected an object with 'class', 'set' and 'settings'")
    try:
        config_class = resolve_class(data["class"], classes=classes, base=base)
        algo_class = data.get("algo_class")
        config: AlgorithmConfig = config_class(
            **({"algo_class": resolve_class(algo_class, classes=classes)} if algo_class else {})
        )
        settings = {name: _decode(value, classes) for name, value in data["settings"].items()}
    except CheckpointError as error:
        raise ConfigError(f"cannot read this config: {error}") from error
    missing = [name for name, value in settings.items() if name not in passed and _holds_function(value)]
    for name in missing:
        del settings[name]
    if missing:
        warnings.warn(
            f"functions are not stored in a config; pass {', '.join(f'{name}=' for name in missing)} at load to have them",
            UserWarning,
            stacklevel=4,
        )
    config.update_from_dict({**settings, **passed})
    object.__setattr__(config, "_user_set", {*(set(data.get("set", ())) - set(missing)), *passed})
    return config


def dumps(config: AlgorithmConfig) -> str:
    """The JSON text of a config."""
    return json.dumps(to_data(config), indent=1, allow_nan=False)


def loads(text: str, base: type, passed: dict[str, Any]) -> Any:
    """The config of a JSON text."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"this is no config: not JSON ({error})") from error
    return from_data(data, base, passed)


def _encode(value: Any) -> Any:
    for name, kind in _SPECS.items():
        if type(value) is kind:
            return {"$spec": [name, value.to_dict()]}
    return to_jsonable(value)


def _decode(value: Any, classes: tuple[type, ...]) -> Any:
    if isinstance(value, dict) and set(value) == {"$spec"}:
        name, data = value["$spec"]
        return _SPECS[name].from_dict(data)
    return from_jsonable(value, classes=classes)


def _holds_function(value: Any) -> bool:
    if isinstance(value, PassAtLoad):
        return True
    if isinstance(value, dict):
        return any(map(_holds_function, value.values()))
    return isinstance(value, list | tuple) and any(map(_holds_function, value))
