"""Settings as a command line gives them: ``--set KEY=VALUE``."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from rlkit_core.cli.named import complete_setting
from rlkit_core.errors import ConfigError

if TYPE_CHECKING:
    from rlkit_core.algorithm.config.config import AlgorithmConfig

NESTED = ("model_config", "env_config", "learner_config_dict", "evaluation_config", "components")

settings_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=complete_setting,
    help="Change a setting: lr=3e-4, model_config.fcnet_hiddens=[64,64], env_config.gravity=12, "
    "plugin.acme-rnd.bonus=0.5. May be repeated.",
)


no_preset_option = click.option(
    "--no-preset", is_flag=True, help="Leave out the algorithm's tuned settings for the environment, or for its spaces."
)


wrap_option = click.option(
    "--wrap",
    "wraps",
    multiple=True,
    metavar="NAME",
    help="Put a wrapper around the environment: a bundle (atari, minigrid), a plugin's by name, package.module:Wrapper "
    "(gymnasium.wrappers:TimeLimit), or JSON with a name and arguments. May be repeated, the innermost first.",
)


def apply_wraps(config: AlgorithmConfig, wraps: Sequence[str]) -> None:
    """Let a config have these wrappers and no others; nothing is done where there are none.

    Raises:
        ConfigError: one is malformed.
    """
    if wraps:
        config.environment(wrappers=[parse_value(text) if text.lstrip().startswith("{") else text for text in wraps])


def apply_setting(config: AlgorithmConfig, text: str) -> None:
    """Apply one ``KEY=VALUE``; ``model_config.KEY`` and the like set one entry of a free-form setting.

    Raises:
        ConfigError: no ``=``, no such setting, or a value it does not take.
    """
    key, sign, value_text = text.partition("=")
    key = key.strip()
    if not sign or not key:
        raise ConfigError(f"--set {text!r}: expected KEY=VALUE, such as lr=3e-4")
    apply_value(config, key, parse_value(value_text.strip()), said=f"--set {text!r}")


def apply_value(config: AlgorithmConfig, key: str, value: object, *, said: str) -> None:
    """Set one setting, or (``model_config.KEY`` and the like) one entry of a free-form one.

    Args:
        config: is changed.
        key: of the setting or entry.
        value: what it is to be.
        said: how the user wrote it, for messages.

    Raises:
        ConfigError: no such setting, or a value it does not take.
    """
    name, dot, inner = key.partition(".")
    if not dot:
        config.update_from_dict({key: value})
        return
    if name == "plugin" and "." in inner:
        distribution, _, inner = inner.partition(".")
        of_plugin: dict[str, Any] = {inner: value}
        config.plugin(distribution, **of_plugin)
        return
    if name == "rl_module_spec" and inner:
        from rlkit_core.rl_module import RLModuleSpec

        spec = config.stored(name) or RLModuleSpec()
        if not isinstance(spec, RLModuleSpec):
            raise ConfigError(f"{said}: the config has a {type(spec).__name__}; write what it is to have there")
        config.update_from_dict({name: spec.copy().change({inner: value})})
        return
    if name not in NESTED or not inner:
        parts = ", ".join((*NESTED, "rl_module_spec"))
        raise ConfigError(f"{said}: only {parts} and plugin.DISTRIBUTION have entries of their own")
    whole = config.to_dict()[name]
    entry = whole
    *parents, last = [inner] if name == "components" else inner.split(".")  # places hold dots: encoder:camera.front
    for parent in parents:
        entry = entry.setdefault(parent, {})
        if not isinstance(entry, dict):
            raise ConfigError(f"{said}: {parent!r} is {entry!r}, which has no entries")
    entry[last] = value
    config.update_from_dict({name: whole})


def parse_value(text: str) -> Any:
    """A value as JSON or Python writes it; anything else is a text."""
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    for read in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError):
            return read(text)
    return text
