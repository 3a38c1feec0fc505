"""``--config FILE``: what a run is to be, as JSON or TOML; or the ``config.json`` of a run, which is a whole config."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import field, frozen

from rlkit_core.errors import ConfigError, RLKitError, did_you_mean

if TYPE_CHECKING:
    from rlkit_core.algorithm.config.config import AlgorithmConfig
    from rlkit_core.run.stop import Stop

ALGO, ENV, STOP, EVALUATE = "algo", "env", "stop", "evaluate"
_OWN = {ALGO: (str, "a name"), ENV: (str, "a name"), STOP: (dict, "a table"), EVALUATE: (int, "a whole number")}
"""Keys of a file beside sections and settings: three as on the command line, and the limits, as a preset has them."""


@frozen
class ConfigFile:
    """A file's content, read and not looked at much; :func:`read_config_file` makes it.

    Attributes:
        path: of the file.
        algo, env: what it names, or None.
        data: sections and settings by name; of a run's config nothing.
        limits: its ``stop``.
        episodes: its ``evaluate``: deterministic episodes of the evaluation that decides.
        text: of a run's config, else None.
    """

    path: Path
    algo: str | None = None
    env: str | None = None
    data: Mapping[str, Any] = field(factory=dict)
    limits: Mapping[str, Any] = field(factory=dict)
    episodes: int | None = None
    text: str | None = None

    def __str__(self) -> str:
        return str(self.path)

    @property
    def is_of_a_run(self) -> bool:
        """Whether it is a whole config, to which no preset adds anything."""
        return self.text is not None

    def whole(self, algo: str | None) -> AlgorithmConfig:
        """The config of a run, to be changed.

        Raises:
            ConfigError: it cannot be read, or is no config of ``algo``, where that is given.
        """
        from rlkit_core.algorithm import get_algorithm_config
        from rlkit_core.algorithm.config.config import AlgorithmConfig
        from rlkit_core.checkpoint import PassAtLoad

        with self._named():
            config: AlgorithmConfig = AlgorithmConfig.from_json(self.text or "")
            if algo is not None and type(get_algorithm_config(algo)) is not type(config):
                raise ConfigError(f"it is a {type(config).__name__}, which is not {algo}'s; leave out {algo}")
        if isinstance(config.env, PassAtLoad):
            config.environment(None)
        return config

    def apply(self, config: AlgorithmConfig) -> None:
        """Set what the file says.

        Raises:
            ConfigError: a section or setting that does not exist, or a value that one does not take.
        """
        from rlkit_core.cli.given import apply_value

        with self._named():
            sections = config.sections()
            for name, value in sorted(self.data.items(), key=lambda item: "." in item[0]):  # entries after wholes
                if name in sections and isinstance(value, Mapping):
                    twice = [key for key in value if key in self.data and key in config.known_settings()]
                    if twice:
                        raise ConfigError(f"{twice[0]!r} is there twice, in {name} and by itself; keep one of them")
                    _apply_section(config, name, value)
                elif isinstance(value, Mapping) and "." not in name and name not in config.known_settings():
                    near = did_you_mean(name, [*sections, *config.known_settings(), *_OWN])
                    raise ConfigError(f"there is no section or setting {name!r}.{near}")
                else:
                    apply_value(config, name, value, said=f"{name} = {value!r}")

    def ends(self) -> tuple[Stop, int | None]:
        """Its limits and number of evaluation episodes; of a run's config those of the run, where its folder says.

        Raises:
            ConfigError: a limit that is none.
        """
        from rlkit_core.run.record import read_record
        from rlkit_core.run.stop import Stop, stop_of_preset

        if self.is_of_a_run:
            record = read_record(self.path.parent)
            return (Stop(), None) if record is None else (record.stop, record.evaluation_episodes)
        with self._named():
            return stop_of_preset(self.limits), self.episodes

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except RLKitError as error:
            raise ConfigError(f"{self.path}: {error}") from error


def read_config_file(path: Path) -> ConfigFile:
    """Read a file; imports no algorithm.

    Args:
        path: ``.json`` or ``.toml``, or a run folder.

    Raises:
        ConfigError: it cannot be read, is neither JSON nor TOML, or is no table.
    """
    path = path / "config.json" if path.is_dir() else path
    try:
        text = path.read_text(encoding="utf-8")
        data = _parsed(path, text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--config {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"--config {path}: expected sections and settings, got {type(data).__name__}")
    if {"class", "set", "settings"} <= data.keys():
        return ConfigFile(path, text=text)
    environment = data.get("environment")
    if isinstance(environment, dict) and ENV in environment:
        data = {**data, "environment": {k: v for k, v in environment.items() if k != ENV}, ENV: environment[ENV]}
    data.pop("$schema", None)  # which tells an editor what may be here
    own = {key: data.pop(key, None) for key in _OWN}
    for key, (kind, what) in _OWN.items():
        if own[key] is not None and (not isinstance(own[key], kind) or own[key] is True):
            raise ConfigError(f"--config {path}: {key} = {own[key]!r}: expected {what}")
    return ConfigFile(path, own[ALGO], own[ENV], data, own[STOP] or {}, own[EVALUATE])


def _parsed(path: Path, text: str) -> Any:
    if path.suffix == ".json":
        return json.loads(text)
    if path.suffix == ".toml":
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
        return tomllib.loads(text)
    raise ValueError("its name ends neither in .toml nor in .json")


def _apply_section(config: AlgorithmConfig, name: str, settings: Mapping[str, Any]) -> None:
    if name == "plugin":
        for distribution, values in settings.items():
            config.plugin(distribution, **values)
    else:
        getattr(config, name)(**settings)


config_option = click.option(
    "--config",
    "file",
    type=click.Path(exists=True, path_type=Path),
    metavar="FILE",
    callback=lambda ctx, param, value: None if value is None else read_config_file(value),
    help="Take settings from a TOML or JSON file, or all of a run from its folder or config.json. What else is on the "
    "command line wins.",
)
