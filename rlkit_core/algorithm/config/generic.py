"""Settings for an env that no preset names, chosen by its spaces: the file ``generic.json`` beside a config class.

The file maps kinds of spaces to sections, and says why::

    {"continuous actions": {"because": "returns may be of any size", "training": {"reward_scaling": true},
                            "rl_module": {"model_config": {"free_log_std": true}}}}

Where several kinds say something of one setting, the one that comes last in :data:`KINDS` has the word.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from attrs import frozen
from gymnasium import spaces

from rlkit_core.algorithm.config.derived import DerivedSettings
from rlkit_core.algorithm.config.module_spaces import agent_spaces, env_space
from rlkit_core.algorithm.config.presets import fill_in, read_beside
from rlkit_core.algorithm.config.sections import CoreSettings
from rlkit_core.errors import ConfigError, did_you_mean
from rlkit_core.spaces import Space, flat_leaves

ANY = "any spaces"
_BECAUSE = "because"
_MASK = "action_mask"  # at the root of an observation it is no input


@frozen
class GenericSettings:
    """What one kind of spaces has chosen.

    Attributes:
        kind: a key of :data:`KINDS`.
        because: why, in words.
        settings: what was left open and is set now, ``{setting: value}``; ``model_config.KEY`` for what is in it.
    """

    kind: str
    because: str
    settings: Mapping[str, Any]

    def __str__(self) -> str:
        chosen = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"{self.kind}: {chosen} ({self.because})"


def _inputs(space: Space) -> list[Space]:
    return [leaf for path, leaf in flat_leaves(space) if not path or path[0] != _MASK]


def _continuous(_: Space, action_space: Space) -> bool:
    return any(isinstance(leaf, spaces.Box) for _, leaf in flat_leaves(action_space))


def _vectors(observation_space: Space, _: Space) -> bool:
    numbers = [leaf for leaf in _inputs(observation_space) if isinstance(leaf, spaces.Box)]
    floats = [leaf for leaf in numbers if np.issubdtype(leaf.dtype, np.floating)]
    return bool(floats) and all(len(leaf.shape) < 2 for leaf in floats)


def _images(observation_space: Space, _: Space) -> bool:
    return any(isinstance(leaf, spaces.Box) and len(leaf.shape) >= 2 for leaf in _inputs(observation_space))


KINDS: Mapping[str, Callable[[Space, Space], bool]] = {
    ANY: lambda *_: True,
    "discrete actions": lambda observations, actions: not _continuous(observations, actions),
    "continuous actions": _continuous,
    "vector observations": _vectors,
    "image observations": _images,
}
"""What a file may have settings for: ``(observation space, action space) -> bool``.

"Vector" observations have numbers to normalise: Boxes of floats of rank 0 or 1. "Image" observations have a Box of a
higher rank. Of several agents, all have to be of the kind.
"""


def load_generic(config_class: type) -> dict[str, Any]:
    """``{kind: {"because": text, section: settings}}`` of an algorithm; empty where it has none.

    Raises:
        ConfigError: the file is not of this form; the message names it.
    """
    where, data = read_beside(config_class, "generic.json")
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected {{kind of spaces: sections}}, got {type(data).__name__}")
    sections = CoreSettings.sections()
    for kind, entry in data.items():
        if kind not in KINDS:
            raise ConfigError(f"{where}: no kind of spaces {kind!r}.{did_you_mean(kind, KINDS)}")
        if not isinstance(entry, dict) or not isinstance(entry.get(_BECAUSE), str):
            raise ConfigError(f"{where}: {kind!r}: expected sections, and {_BECAUSE!r} with a text")
        for section, settings in entry.items():
            if section != _BECAUSE and (section not in sections or not isinstance(settings, dict)):
                named = ", ".join(sections)
                raise ConfigError(f"{where}: {kind!r}: {section!r}: expected one of {named}, with settings")
    return data


def apply_generic(config: DerivedSettings) -> list[GenericSettings]:
    """Set what suits the spaces of the config's env and the user has not set; it does not count as set by the user.

    A module class of the user's own keeps its model config as it is.

    Returns:
        What was chosen, by kind; empty where the algorithm has no such file.

    Raises:
        ConfigError: there is no env, or the file is not right.
        EnvError: the env cannot be made.
    """
    generic = load_generic(type(config))
    if not generic:
        return []
    pairs = _spaces_of(config)
    entries = {k: generic[k] for k, fits in KINDS.items() if k in generic and all(fits(*pair) for pair in pairs)}
    entries = entries if pairs else {k: entry for k, entry in entries.items() if k == ANY}
    own_module = "rl_module_spec" in config.set_by_user()
    chosen = {}
    for kind, entry in entries.items():
        sections = {section: settings for section, settings in entry.items() if section != _BECAUSE}
        if own_module:
            sections.pop("rl_module", None)
        chosen[kind] = sections
    filled = _filled_in(config, list(chosen.values()))
    return [
        GenericSettings(kind, entries[kind][_BECAUSE], settings)
        for kind, settings in zip(chosen, filled, strict=True)
        if settings
    ]


def _filled_in(config: DerivedSettings, layers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Fill in all layers, later ones above; what of each remains."""
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for section, settings in layer.items():
            below = merged.setdefault(section, {})
            models = (below.get("model_config", {}), settings.get("model_config", {}))
            below.update(settings)
            if any(models):
                below["model_config"] = {**models[0], **models[1]}
    left = fill_in(config, merged)
    remains = []
    for layer in reversed(layers):
        own = [name for settings in layer.values() for name in settings if name != "model_config"]
        own += [f"model_config.{key}" for s in layer.values() for key in s.get("model_config", {})]
        remains.append({name: left.pop(name) for name in own if name in left})
    return remains[::-1]


def _spaces_of(config: DerivedSettings) -> list[tuple[Space, Space]]:
    """Observation and action space of each agent; none where the env does not know them beforehand."""
    from rlkit_core.envs.gym_vectors.make import make_example

    if config.env is None:
        raise ConfigError("there is no environment to choose settings for: config.environment('CartPole-v1')")
    own = (config.observation_space, config.action_space)
    mode, wrappers = config.gym_env_vectorize_mode, config.wrappers
    with contextlib.closing(make_example(config.env, config.env_config, mode, wrappers)) as env:
        pairs = list(agent_spaces(env, instead=own).values())
        pairs = pairs or [(own[0] or env_space(env, "observation"), own[1] or env_space(env, "action"))]
    return [pair for pair in pairs if all(isinstance(one, gym.Space) for one in pair)]
