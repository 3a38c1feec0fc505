"""``rlkit settings [ALGO]``: every setting with its default, what it takes, what it means, and RLlib's figure."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
from attrs import asdict, frozen

from rlkit_core.cli.named import check_named, complete_algo
from rlkit_core.cli.output import stdout_for_the_report
from rlkit_core.errors import RLKitError
from rlkit_core.plugins.discovery import CORE, GROUP_ALGORITHMS, GROUP_PLUGINS
from rlkit_core.plugins.host import default_host
from rlkit_core.settings import Setting

if TYPE_CHECKING:
    from rlkit_core.algorithm.config.config import AlgorithmConfig

OF_ALL = "all algorithms"
NETWORKS = "rl_module(model_config=...)"
_WIDEST = 100


@frozen
class Row:
    """A setting as it is listed.

    Attributes:
        name: as ``--set`` takes it.
        section: the method that takes it.
        default, type: of it; texts.
        help: what it means.
        of: the algorithm or plugin whose it is, or :data:`OF_ALL`.
        rllib: RLlib's default where that is another one, else None; ``why`` it is another one here.
        other_names: what other libraries, and older versions, call it.
    """

    name: str
    section: str
    default: str
    type: str
    help: str
    of: str
    rllib: str | None = None
    why: str = ""
    other_names: tuple[str, ...] = ()

    def has(self, word: str) -> bool:
        """Whether a word is in its names or its meaning, in any case."""
        return any(word.lower() in text.lower() for text in (self.name, self.help, *self.other_names))


@click.command()
@click.argument("algo", required=False, shell_complete=complete_algo)
@click.option("--search", metavar="WORD", help="Only those that have WORD in their name, meaning or older name.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def settings(algo: str | None, search: str | None, as_json: bool) -> None:
    """List the settings of ALGO; without it those of all algorithms, what each adds or changes, and those of plugins.

    Each has its default, what it takes, what it means, and RLlib's default where that is another one. `--set` takes the
    names as they are here.

    \b
    Examples:
      rlkit settings ppo
      rlkit settings --search learning_rate
    """
    if algo is not None:
        check_named(algo, None)
    found: list[Row] = []
    broken: dict[str, str] = {}
    with stdout_for_the_report():
        from rlkit_core.algorithm import AlgorithmConfig, get_algorithm_config

        if algo is not None:
            found += rows(get_algorithm_config(algo), algo)
        else:
            found += rows(AlgorithmConfig(), OF_ALL)
            for name in sorted({e.name for e in default_host().snapshot.entry_points(GROUP_ALGORITHMS)}):
                try:
                    found += rows(get_algorithm_config(name), name, beyond=AlgorithmConfig)
                except RLKitError as error:
                    broken[name] = str(error)
            found += of_plugins()
    found = [row for row in found if search is None or row.has(search)]
    if as_json:
        click.echo(json.dumps({"settings": [asdict(row) for row in found], "broken": broken}, indent=1))
        return
    for line in _text(found):
        click.echo(line)
    if not found:
        click.echo(f"no setting has {search!r} in its name or meaning; `rlkit settings` lists all")
    for name, why in broken.items():
        click.echo(f"{name}: cannot be used: {why}", err=True)


def rows(config: AlgorithmConfig, of: str, *, beyond: type[AlgorithmConfig] | None = None) -> Iterator[Row]:
    """The settings of a config's class, and those of the built-in networks with the algorithm's defaults.

    Args:
        config: a new one.
        of: what it is called.
        beyond: leave out what this class has with the same default.
    """
    from rlkit_core.algorithm.config.presets import load_rllib_defaults
    from rlkit_core.models.default_config import DefaultModelConfig

    cls = type(config)
    theirs: dict[str, tuple[Any, str]] = {}
    for entry in load_rllib_defaults(cls):
        own = {name: value for name, value in entry["settings"].items() if name != "model_config"}
        networks = entry["settings"].get("model_config", {})
        flat = own | {f"model_config.{name}": value for name, value in networks.items()}
        theirs |= {name: (value, entry["why"]) for name, value in flat.items()}

    def row(item: Setting, name: str, section: str, default: object, names: Iterable[str]) -> Row:
        value, why = theirs.get(name, (None, ""))
        rllib = repr(value) if name in theirs else None
        return Row(name, section, repr(default), item.takes, item.help, of, rllib, why, tuple(names))

    chosen = cls.known_settings().values() if beyond is None else cls.beyond(beyond)
    called = _names({**cls.other_names.elsewhere, **cls.other_names.renamed})
    for item in sorted(chosen, key=lambda item: list(cls.sections()).index(item.section)):
        names = [*item.aliases, *called.get(item.name, ())]
        yield row(item, item.name, f"{item.section}()", item.make_default(), names)
    ours = config.model_config
    below = {} if beyond is None else beyond().model_config
    for item in DefaultModelConfig.known_settings().values():
        default = ours.get(item.name, item.make_default())
        if beyond is None or default != below.get(item.name, item.make_default()):
            yield row(item, f"model_config.{item.name}", NETWORKS, default, item.aliases)


def of_plugins() -> Iterator[Row]:
    """The settings that installed plugins declare; one that cannot be loaded is left to ``rlkit doctor``."""
    host = default_host()
    for name in sorted({e.distribution for e in host.snapshot.entry_points(GROUP_PLUGINS)} - {CORE}):
        with suppress(RLKitError):
            for item in host.settings_class(name).known_settings().values():
                default = repr(item.make_default())
                yield Row(f"plugin.{name}.{item.name}", "plugin()", default, item.takes, item.help, name)


def _names(other: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, meant in other.items():
        found.setdefault(meant, []).append(name)
    return found


def _text(found: Iterable[Row]) -> Iterator[str]:
    width = min(shutil.get_terminal_size((_WIDEST, 24)).columns, _WIDEST)
    place: tuple[str, str] | None = None
    for row in found:
        if place != (row.of, row.section):
            yield from [""] if place is not None else []
            place = row.of, row.section
            yield f"{row.section}, {row.of}"
        yield f"  {row.name} = {row.default}"
        yield from textwrap.wrap(f"{row.help} [{row.type}]", width, initial_indent="      ", subsequent_indent="      ")
        if row.rllib is not None:
            text = f"RLlib: {row.rllib}; {row.why}"
            yield from textwrap.wrap(text, width, initial_indent="      ", subsequent_indent="      ")
