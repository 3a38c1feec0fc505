"""Converters of the core's own, less ordinary settings: env, model config, components, functions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from types import ModuleType
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from rlkit_core.checkpoint.trust import class_named
from rlkit_core.envs.naming.specs import env_of_spec
from rlkit_core.envs.wrapping.entries import wrapper_entries as wrapper_entries
from rlkit_core.errors import did_you_mean
from rlkit_core.frameworks import TORCH, check_installed
from rlkit_core.plugins.choices import components_problem
from rlkit_core.plugins.discovery import canonical
from rlkit_core.plugins.guard import in_use
from rlkit_core.plugins.host import default_host
from rlkit_core.settings import SectionedSettings, Settings, integer, mapping, number, one_of

if TYPE_CHECKING:
    from rlkit_core.rl_module import MultiRLModuleSpec, RLModuleSpec

EnvSpec = str | ModuleType | type[Any] | Callable[..., Any] | gym.envs.registration.EnvSpec | None
_OWN_MEANS = (
    "episode_return",
    "episode_len",
    "episode_duration_sec",
    "agent_episode_returns",
    "module_episode_returns",
)
_MODE = one_of("auto", "sync", "async", "gymnasium_sync", "vector_entry_point", "envpool")


def always_true(value: object) -> bool:
    """The flags of ``api_stack``."""
    if value is not True:
        raise ValueError("there is only the RLModule API; expected True")
    return True


def framework(value: object) -> str:
    """``"torch"``, or the name of a framework that is installed."""
    if value == TORCH:
        return TORCH
    if not isinstance(value, str):
        raise ValueError("expected 'torch', or the name of a framework")
    check_installed(value)
    return value


def env(value: EnvSpec) -> EnvSpec:
    """An id, a class or a function; None where there is none yet. A PettingZoo module becomes its name, a spec of
    gymnasium its id, or, where it is not the registered one, what makes its env.
    """
    if isinstance(value, gym.envs.registration.EnvSpec):
        return env_of_spec(value)
    if isinstance(value, ModuleType):
        return f"{value.__name__}:{'parallel_env' if hasattr(value, 'parallel_env') else 'env'}"
    if value is None or callable(value):
        return value
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("expected an environment id, such as 'CartPole-v1'")
        return value
    raise ValueError(
        f"expected a gymnasium id, an env class or a function that makes one, got {type(value).__name__} "
        "(each run makes its own copies, so a ready env cannot be used)"
    )


def space(value: gym.Space[Any]) -> gym.Space[Any]:
    """A gymnasium space."""
    if isinstance(value, gym.Space):
        return value
    raise ValueError(f"expected a gymnasium space, got {type(value).__module__}.{type(value).__name__}")


def vectorize_mode(value: str | Enum) -> str:
    """A mode's name; gymnasium's own enumeration is taken too."""
    return str(_MODE(getattr(value, "value", value)))


def checkpoint_every(value: float | str | None) -> float | str | None:
    """Seconds above 0, ``"N iterations"``, or None."""
    if value is None:
        return None
    if isinstance(value, str):
        count, _, unit = value.strip().partition(" ")
        if count.isascii() and count.isdigit() and int(count) > 0 and unit.strip() in ("iteration", "iterations"):
            return f"{int(count)} iterations"
    else:
        with suppress(ValueError):
            return float(number(gt=0)(value))
    raise ValueError("expected a number of seconds above 0, a text such as '10 iterations', or None")


def model_config(value: Any) -> dict[str, Any]:
    """A dict; of a ``DefaultModelConfig`` only the fields that were set. Values keep their identity."""
    from rlkit_core.models.default_config import model_config_dict as plain_model_config

    return plain_model_config(value)


def module_spec(value: RLModuleSpec | MultiRLModuleSpec | None) -> RLModuleSpec | MultiRLModuleSpec | None:
    """None, an ``RLModuleSpec`` or a ``MultiRLModuleSpec``."""
    if value is None or hasattr(value, "as_multi_rl_module_spec"):
        return value
    raise ValueError(f"expected an RLModuleSpec or a MultiRLModuleSpec, got {type(value).__name__}")


_NOISES: Mapping[str, Mapping[str, Callable[[Any], Any]]] = {
    "independent": {},
    "ou": {"theta": number(gt=0), "length": integer(ge=1)},
    "pink": {"exponent": number(ge=0, le=2), "length": integer(ge=4)},
}
"""Kinds of exploration noise, with their settings."""


def exploration_noise(value: str | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A kind of noise, or a dict of its ``type`` and settings; None is independent noise."""
    given = {"type": value} if isinstance(value, str) else mapping(value) if value is not None else {}
    kind = given.pop("type", None) if given else "independent"
    if not isinstance(kind, str) or kind not in _NOISES:
        near = did_you_mean(str(kind), _NOISES)
        raise ValueError(f"there is no noise {kind!r}.{near} There are {', '.join(map(repr, _NOISES))}")
    known = _NOISES[kind]
    for key in given:
        if key not in known:
            there = ", ".join(known) or "none"
            raise ValueError(f"{kind!r} noise has no setting {key!r}.{did_you_mean(key, known)} It has {there}")
    options = {key: known[key](item) for key, item in given.items()}
    return None if kind == "independent" else {"type": kind, **options}


def class_with(method: str, what: str) -> Callable[[type[Any] | str], type[Any]]:
    """A class that has ``method``, or its ``"package.module:Class"``."""

    def convert(value: type[Any] | str) -> type[Any]:
        value = class_named(value) if isinstance(value, str) else value
        if isinstance(value, type) and hasattr(value, method):
            return value
        raise ValueError(f"expected {what}, got {value!r}")

    return convert


def catalogs(value: str | type[Any] | Iterable[str | type[Any]] | None) -> list[str | type[Any]]:
    """Names of registered catalogs and Catalog subclasses, in order."""
    if value is None:
        return []
    items = [value] if isinstance(value, str | type) else list(value)
    for item in items:
        if not isinstance(item, str | type):
            raise ValueError(f"expected names of catalogs or Catalog subclasses, got {item!r}")
    return items


def components(value: Mapping[str, Any] | None) -> dict[str, Any]:
    """Components by place: ``encoder``, ``encoder:path.to.leaf``, ``head`` (all), ``head:pi``, ``distribution``."""
    if value is None:
        return {}
    problem = components_problem(value)
    if problem:
        raise ValueError(problem)
    return dict(value)


def function(value: Callable[..., Any]) -> Callable[..., Any]:
    """A callable."""
    if callable(value):
        return value
    raise ValueError(f"expected a function, got {type(value).__name__}")


def name(value: str) -> str:
    """A name, as text."""
    if isinstance(value, str) and value.strip():
        return value
    raise ValueError(f"expected a name, got {value!r}")


def path(value: str | os.PathLike[str]) -> str:
    """A path, as text."""
    if isinstance(value, str | os.PathLike) and str(value).strip():
        return os.fspath(value)
    raise ValueError(f"expected a path, got {value!r}")


def functions(value: Callable[..., Any] | Sequence[Callable[..., Any]] | None) -> list[Callable[..., Any]]:
    """One function or several."""
    if value is None:
        return []
    items: Sequence[Any] = value if isinstance(value, list | tuple) else [value]
    return [function(item) for item in items]


def names(value: str | Iterable[str] | None) -> list[str]:
    """One name or several, as texts."""
    if value is None:
        return []
    return [name(item) for item in ([value] if isinstance(value, str) else value)]


def plugin_config(value: Mapping[str, Mapping[str, Any]] | None) -> dict[str, dict[str, Any]]:
    """Settings by plugin, each as the plugin declares it; what is not set stays with the plugin's default."""
    return {canonical(name): plugin_settings(name, given).set_fields() for name, given in mapping(value).items()}


def plugin_settings(distribution: str, given: Mapping[str, Any]) -> Settings:
    """Some settings of a plugin, checked, with its defaults for the others.

    Raises:
        PluginNotFoundError: it is not installed.
        UnknownSettingError: it has no such setting.
        ConfigError: a value is refused.
    """
    made = default_host().settings_class(distribution)
    with in_use(f"plugin {canonical(distribution)}, rlkit_settings"):
        return made().change(mapping(given))


def info_metrics(value: Iterable[str]) -> list[str]:
    """Names of numbers in ``info``, whose means are results beside the core's own."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError("expected names, such as ['is_success']")
    names = list(dict.fromkeys(value))
    for item in names:
        if not isinstance(item, str) or not item:
            raise ValueError(f"expected names, such as ['is_success'], got {item!r} among them")
        if item in _OWN_MEANS:
            raise ValueError(f"{item}_mean is a result already; give the number another name in the env's info")
    return names


def some_settings(value: Mapping[str, Any] | SectionedSettings | None) -> dict[str, Any]:
    """Settings by name; a config stands for those that were set on it."""
    if value is None:
        return {}
    if isinstance(value, SectionedSettings):
        return mapping(value.set_fields())
    if isinstance(value, Mapping):
        return dict(value)
    raise ValueError("expected a dict of settings, such as AlgorithmConfig.overrides(explore=False)")


def check_overrides(config: SectionedSettings, attribute: object, value: dict[str, Any]) -> None:
    """Validator: every name is a setting and every value is one that setting takes."""
    for name, item in value.items():
        config.converted(config.setting_name(name, note=False), item)
