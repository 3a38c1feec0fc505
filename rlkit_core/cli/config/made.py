"""The config of a run that a command line asks for: defaults, below a preset, below a file, below the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import click
from attrs import field, frozen

from rlkit_core.cli.given import apply_setting, apply_wraps
from rlkit_core.cli.named import check_given_once, check_named, own_env
from rlkit_core.run.stop import DEFAULT_STEPS, Stop, reward_threshold, stop_of_preset
from rlkit_core.settings.base import equal

if TYPE_CHECKING:
    from rlkit_core.algorithm.config.config import AlgorithmConfig
    from rlkit_core.algorithm.config.generic import GenericSettings
    from rlkit_core.cli.config.file import ConfigFile

COMMAND_LINE, DEFAULT = "command line", "default"
_OF_ENTRIES = ("model_config", "env_config", "plugin_config", "components")


@frozen
class Given:
    """What a command line says of a config.

    Attributes:
        algo, env: by position; None where the file is to say.
        settings: ``KEY=VALUE`` of ``--set``; ``wraps``, ``log``, ``seed``: of those options.
        file: of ``--config``.
        preset: whether the algorithm's presets may fill in what is left open; or what does in their place.
    """

    algo: str | None = None
    env: str | None = None
    settings: Sequence[str] = ()
    wraps: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    seed: int | None = None
    file: ConfigFile | None = None
    preset: bool | Mapping[str, Any] = True

    def checked(self) -> Given:
        """The same, with ALGO and ENV from the file where they are not given; looked at before anything is imported.

        Raises:
            PluginNotFoundError: no such algorithm.
            UsageError: something is missing, given twice, or in the wrong order.
            ConfigError: the env is in a file that does not exist.
        """
        check_given_once(self.settings, env=self.env, seed=self.seed, wrappers=self.wraps, writers=self.log)
        algo, env, of_a_run = self.algo, self.env, False
        if self.file is not None:
            algo, env, of_a_run = algo or self.file.algo, env or self.file.env, self.file.is_of_a_run
        if algo is None and not of_a_run:
            raise click.UsageError("Missing argument 'ALGO', such as ppo (`rlkit algorithms` lists what is installed).")
        if env is None and not of_a_run:
            raise click.UsageError("Missing argument 'ENV', such as CartPole-v1 (`rlkit envs` lists what there is).")
        env = None if env is None else own_env(env)
        if algo is not None:
            check_named(algo, env)
        return attrs.evolve(self, algo=algo, env=env)


@frozen
class Configured:
    """A config, and how it came about.

    Attributes:
        config: is not complete yet, see ``check_to_train``.
        notes: what was chosen, for people.
        generic: settings that the env's spaces chose, where it has no preset.
        origins: where each setting is from that is no default; those of nested ones as ``model_config.KEY``.
    """

    config: AlgorithmConfig
    notes: list[str] = field(factory=list)
    generic: list[GenericSettings] = field(factory=list)
    origins: dict[str, str] = field(factory=dict)


class _Origins:
    """Says after each step of making a config what that step has set."""

    def __init__(self, defaults: AlgorithmConfig) -> None:
        self._known, self._set = entries(defaults), set[str]()
        self.found: dict[str, str] = {}

    def are_from(self, source: str, config: AlgorithmConfig) -> None:
        now, by_user = entries(config), config.set_by_user()
        for name, value in now.items():
            if name in by_user - self._set or name not in self._known or not equal(value, self._known[name]):
                self.found[name] = source
        self._known, self._set = now, by_user


def entries(config: AlgorithmConfig) -> dict[str, Any]:
    """All settings by name; a nested one that holds something entry by entry, as ``model_config.KEY``."""
    found: dict[str, Any] = {}
    for name, value in config.stored_values().items():
        inside = value if name in _OF_ENTRIES and isinstance(value, Mapping) else {}
        found |= {f"{name}.{key}": item for key, item in inside.items()} or {name: value}
    return found


def configure(given: Given) -> Configured:
    """Make the config that a command line asks for. Where there is no preset, settings are chosen by the env's spaces.

    Args:
        given: what it says, :meth:`Given.checked`.

    Raises:
        ConfigError: a setting that does not exist or takes no such value.
        UsageError: there is no environment.
    """
    from rlkit_core.algorithm import get_algorithm_config

    file = given.file
    if file is not None and file.is_of_a_run and not isinstance(given.preset, bool):
        raise click.UsageError(f"--preset: {file.path} is a run's, which has all settings; leave out one of them")
    whole = file.whole(given.algo) if file is not None and file.is_of_a_run else None
    config = whole if whole is not None else get_algorithm_config(given.algo or "")
    origins = _Origins(type(config)() if whole is not None else config)
    made = Configured(config, origins=origins.found)
    if file is not None:
        if file.env is not None:
            config.environment(own_env(file.env))
        file.apply(config)
        origins.are_from(str(file.path), config)
    of_file = {name: value for name, value in entries(config).items() if name in origins.found}
    _take_command_line(config, given)
    origins.are_from(COMMAND_LINE, config)
    if config.env is None:
        raise click.UsageError("Missing argument 'ENV': the config's environment was a function, which no file holds.")
    now = entries(config)
    for name, value in of_file.items():
        if origins.found[name] == COMMAND_LINE and not equal(value, now.get(name)):
            made.notes.append(f"{name}: {now.get(name)!r} of the command line takes the place of {value!r}")
    if file is not None and whole is not None:
        made.notes.append(f"settings: all of {file.path}")
    else:
        _fill_in(made, given, origins)
    return made


def _take_command_line(config: AlgorithmConfig, given: Given) -> None:
    if given.env is not None and config.env != given.env:
        config.environment(given.env)
    apply_wraps(config, given.wraps)
    for text in given.settings:
        apply_setting(config, text)
    if given.seed is not None:
        config.debugging(seed=given.seed)
    if given.log:
        config.reporting(writers=list(dict.fromkeys([*config.writers, *given.log])))


def _fill_in(made: Configured, given: Given, origins: _Origins) -> None:
    """Take the preset, or else settings for the env's spaces, where nothing was said; note what was taken."""
    from rlkit_core.algorithm.config.generic import ANY
    from rlkit_core.algorithm.config.presets import fill_in, preset_name
    from rlkit_core.envs.naming.known import families

    config = made.config
    env = config.env
    if not isinstance(given.preset, bool):
        fill_in(config, given.preset)
        used = "preset of a file"
        origins.are_from("--preset", config)
    elif given.preset and config.apply_preset():
        name = preset_name(type(config), env)
        of = f"tuned preset for {env}" if name not in families() else f"preset for {env}, of the family {name}"
        used = f"{of} (--no-preset leaves it out)"
        origins.are_from(f"preset {name}", config)
    else:
        made.generic.extend(config.apply_generic() if given.preset else [])
        kinds = " and ".join([one.kind for one in made.generic if one.kind != ANY] or [ANY])
        used = f"generic ones for {kinds} (--no-preset leaves them out)" if made.generic else "defaults"
        used += f"; it has no preset for {env}" if given.preset else ""
        origins.are_from(f"generic, for {kinds}", config)
    above = "" if given.file is None else f"those of {given.file.path}, and "
    made.notes.append(f"settings: {above}{type(config).__name__}'s {used}")


def stop_criteria(own: Stop, config: AlgorithmConfig, given: Given) -> Stop:
    """What was asked for, above a file's, above the preset's, above the env's own threshold; never without an end.

    A run whose config is taken ends as that run did.
    """
    from rlkit_core.algorithm.config.presets import preset_for

    file, env = given.file, config.env
    layers = [own] if file is None else [own, file.ends()[0]]
    if file is None or not file.is_of_a_run or layers[-1] == Stop():
        preset = given.preset
        if isinstance(preset, bool):
            preset = (preset_for(type(config), env) if preset else None) or {}
        layers += [stop_of_preset(preset.get("stop", {})), Stop(reward_threshold(env), DEFAULT_STEPS)]
    target = next((one.return_mean for one in layers if one.return_mean is not None), None)
    patience = next((one.patience for one in layers if one.patience is not None), None)
    limits = next((one.limits for one in layers if one.limits != (None, None, None)), (None, None, None))
    return Stop(target, *limits, patience=patience)
