"""Tuned settings per environment: the file ``presets.json`` beside an algorithm's config class.

The file maps environment ids, and families of them, to sections::

    {"CartPole-v1": {"training": {"lr": 3e-4}, "env_runners": {"num_envs_per_env_runner": 8},
                     "rl_module": {"model_config": {"fcnet_hiddens": [64, 64]}},
                     "stop": {"return": 475, "steps": 150000}},
     "mujoco": {"training": {"reward_scaling": true}},
     "Swimmer-v5": {"like": "mujoco", "training": {"gamma": 0.9999}}}

A family (``classic``, ``box2d``, ``mujoco``, ``atari``, ``minigrid``) serves its envs that have no entry of their own.
``like`` names the entry that another one adds to, key by key. ``stop`` is for ``rlkit train``: the mean return of
deterministic evaluation episodes to reach, and limits. What the algorithm's own file has no entry for may come with the
env (:mod:`~rlkit_core.algorithm.config.presets_of_envs`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from rlkit_core.algorithm.config.presets_of_envs import read_with_env
from rlkit_core.algorithm.config.sections import CoreSettings
from rlkit_core.envs.naming.known import family_of
from rlkit_core.envs.naming.registering import register_for
from rlkit_core.errors import ConfigError, EnvError, did_you_mean

PRESETS, REACHED, OF_RLLIB = "presets.json", "reached.json", "rllib_defaults.json"
STOP_KEYS = ("return", "steps", "iterations", "seconds", "patience")
_LIKE = "like"


def load_presets(config_class: type) -> dict[str, Any]:
    """All presets of an algorithm: its own file's, or that of the nearest base class that has one.

    What is ``like`` another entry is completed from it.

    Raises:
        ConfigError: the file is no JSON of the form above; the message names it.
    """
    return _checked(*read_beside(config_class, PRESETS))


def load_reached(config_class: type) -> dict[str, Any]:
    """What presets were seen to reach, from the file ``reached.json`` beside their own; empty without one.

    Returns:
        ``{preset: {"settings": those it had, "runs": [{"steps", "returns" (one a seed), "sampled", "level", "held",
        "cpu_seconds", "seconds" (both a seed's, or None), "commit"}, ...]}}``.

    Raises:
        ConfigError: the file is no JSON object.
    """
    where, data = read_beside(config_class, REACHED, of=PRESETS)
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected {{preset: what it reached}}, got {type(data).__name__}")
    return data


def read_beside(config_class: type, name: str, *, of: str | None = None) -> tuple[str, Any]:
    """A data file beside a config class, or beside its nearest base that has one: where it is, and its JSON.

    Args:
        config_class: the algorithm's.
        name: of the file.
        of: another file's name; the one beside that is meant, if there is one.

    Returns:
        An empty dict as JSON where there is no such file.

    Raises:
        ConfigError: the file is no JSON; the message names it.
    """
    packages = [resources.files(package) for package in map(_package_of, config_class.__mro__) if package is not None]
    package = next((one for one in packages if one.joinpath(of or name).is_file()), None)
    file = None if package is None else package.joinpath(name)
    if file is None or not file.is_file():
        return name, {}
    try:
        return str(file), json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{file}: not JSON ({error})") from error


def preset_name(config_class: type, env: object) -> str | None:
    """Which entry serves an env: its id, with or without ``module:`` before it, or its family.

    An id is looked for in the algorithm's own file, then in that of the env's package; families are the algorithm's.

    Args:
        config_class: the algorithm's.
        env: what :func:`~rlkit_core.envs.make.make_env` makes an env from; only ids, and specs of gymnasium, have
            presets.
    """
    return _entry_for(config_class, env)[0]


def preset_for(config_class: type, env: object) -> dict[str, Any] | None:
    """The preset of one environment: sections, and perhaps ``stop``; None where there is none."""
    return _entry_for(config_class, env)[1]


def apply_preset(config: CoreSettings, env_id: object) -> bool:
    """Set what the preset for ``env_id`` holds and the user has not set; return whether there is such a preset.

    ``model_config`` is merged key by key, the user's keys winning. What a preset sets does not count as set
    by the user, so that another preset can replace it.
    """
    preset = preset_for(type(config), env_id)
    if preset is None:
        return False
    fill_in(config, preset)
    return True


def read_preset(path: Path) -> dict[str, Any]:
    """A preset in a file of its own, which holds what an entry of ``presets.json`` does.

    Raises:
        ConfigError: it cannot be read, or is no preset; the message names the file.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: expected a preset as JSON ({error})") from error
    return dict(_checked(str(path), {"preset": data})["preset"])


def fill_in(config: CoreSettings, sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Set what the user has not set; it does not count as set by the user.

    Args:
        config: what is filled in.
        sections: ``{section: {setting: value}}``; ``model_config`` is merged key by key, the user's keys winning.
            ``stop`` is left out.

    Returns:
        What was filled in, ``{setting: value}``, that of the model config as ``model_config.KEY``.
    """
    by_user = config.set_by_user()
    of_model = config.stored("model_config") if "model_config" in by_user else {}
    filled: dict[str, Any] = {}
    for section, settings in sections.items():
        if section == "stop":
            continue
        free = {name: value for name, value in settings.items() if name not in by_user}
        filled |= {name: value for name, value in free.items() if name != "model_config"}
        if "model_config" in settings:
            free["model_config"] = {**settings["model_config"], **of_model}
            filled |= {f"model_config.{k}": v for k, v in settings["model_config"].items() if k not in of_model}
        config.change(free, section=section)
    config.count_as_set(by_user)
    return filled


def _entry_for(config_class: type, env: object) -> tuple[str | None, dict[str, Any] | None]:
    """Name and content of the entry that serves an env; None where there is none."""
    env_id = getattr(getattr(env, "spec", env), "id", env)
    if not isinstance(env_id, str):
        return None, None
    presets, names = load_presets(config_class), (env_id, env_id.rpartition(":")[2])
    for name in names:
        if name in presets:
            return name, presets[name]
    try:
        register_for(env_id)
    except EnvError:  # which is for whoever makes the env to report
        return None, None
    of_env = _checked(*read_with_env(config_class, env_id))
    for name in names:
        if name in of_env:
            return name, of_env[name]
    family = family_of(env_id)
    return (family, presets[family]) if family in presets else (None, None)


def _package_of(owner: type) -> str | None:
    """The package a class lives in; None for scripts, builtins and the core."""
    if owner.__module__ in ("builtins", "__main__") or owner.__module__.split(".")[0] == "rlkit_core":
        return None
    return getattr(sys.modules.get(owner.__module__), "__package__", None) or None


def _completed(name: str, data: Mapping[str, Any], where: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """A preset, with what it does not say itself from the one that it is like."""
    own = {key: value for key, value in data[name].items() if key != _LIKE}
    base = data[name].get(_LIKE)
    if base is None:
        return own
    if not isinstance(base, str) or base not in data or base in (name, *above):
        near = did_you_mean(str(base), [one for one in data if one != name])
        raise ConfigError(f"{where}: {name!r}: like {base!r}: expected another entry of the file.{near}")
    whole = _completed(base, data, where, (name, *above))
    for section, settings in own.items():
        below = whole.get(section, {})
        whole[section] = {**below, **settings}
        if "model_config" in settings and "model_config" in below:
            whole[section]["model_config"] = {**below["model_config"], **settings["model_config"]}
    return whole


def _checked(where: str, data: object) -> dict[str, Any]:
    """Presets, completed; an error names ``where``."""
    presets = _check(data, where)
    return {name: _completed(name, presets, where) for name in presets}


def _check(data: object, where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected {{environment id: sections}}")
    sections = CoreSettings.sections()
    for env_id, preset in data.items():
        if not isinstance(preset, dict):
            raise ConfigError(f"{where}: {env_id!r}: expected sections, got {type(preset).__name__}")
        for section, settings in preset.items():
            if section == _LIKE:
                continue
            if section != "stop" and section not in sections:
                raise ConfigError(
                    f"{where}: {env_id!r}: no section {section!r}; there are {', '.join(sections)}, stop and like"
                )
            if not isinstance(settings, dict):
                raise ConfigError(f"{where}: {env_id!r}: {section!r}: expected settings, got {type(settings).__name__}")
        unknown = set(preset.get("stop", {})) - set(STOP_KEYS)
        if unknown:
            raise ConfigError(f"{where}: {env_id!r}: stop has {sorted(unknown)}; there are {', '.join(STOP_KEYS)}")
    return data


def load_rllib_defaults(config_class: type) -> list[dict[str, Any]]:
    """Defaults of RLlib's that an algorithm has not taken over: its file ``rllib_defaults.json``; empty without one.

    Returns:
        ``[{"settings": {name: RLlib's default, ...}, "why": "why it is another here"}, ...]``; those of networks
        are in ``model_config`` there.
    """
    return list(read_beside(config_class, OF_RLLIB)[1])


def take_rllib_defaults(config: CoreSettings) -> None:
    """Set what that file of a config's class holds, but not what was set before."""
    given = config.set_by_user()
    networks: dict[str, Any] = {}
    for entry in load_rllib_defaults(type(config)):
        settings = dict(entry["settings"])
        networks.update(settings.pop("model_config", {}))
        config.change({name: value for name, value in settings.items() if name not in given})
    if networks:
        config.change({"model_config": {**networks, **(config.stored("model_config") or {})}})
