"""What a command line names by position, ALGO and ENV, looked at before anything is imported."""

from __future__ import annotations

from collections.abc import Sequence

import click

from rlkit_core.errors import PluginNotFoundError
from rlkit_core.plugins.discovery import GROUP_ALGORITHMS
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.lookup import find
from rlkit_core.plugins.own_code import module_of_file


def own_env(env: str) -> str:
    """ENV as a config takes it: of one in a file, ``./my_env.py:MyEnv``, the name in its module, ``my_env:MyEnv``.

    Only a command line may name a file; the folder it lies in goes onto ``sys.path``.

    Raises:
        ConfigError: there is no such file, or its name is no module's.
        UsageError: only a file is named.
    """
    file, _, name = env.rpartition(":")
    if file.endswith(".py"):
        return f"{module_of_file(file)}:{name}"
    if env.endswith(".py"):
        raise click.UsageError(f"{env}: write {env}:NAME, with the class or function in it that makes the environment")
    return env


OWN_OPTIONS = {"env": "the environment", "seed": "--seed", "wrappers": "--wrap", "writers": "--log"}
"""Settings that have an option or an argument of their own, and what that is called."""


def check_given_once(settings: Sequence[str], **given: object) -> None:
    """Refuse a setting that is given by ``--set`` and by an option or argument of its own.

    Args:
        settings: ``KEY=VALUE`` of ``--set``.
        **given: what those said, by the setting's name; None and () where they said nothing.

    Raises:
        UsageError: it is there twice; names both places.
    """
    for text in settings:
        name = text.partition("=")[0].strip()
        value = given.get(name)
        if value is not None and value != ():
            shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
            raise click.UsageError(f"--set {text}: {OWN_OPTIONS[name]} is given as {shown} too; keep one of them")


def check_named(algo: str, env: str | None) -> None:
    """Refuse an ALGO that is not installed; reads metadata and imports no algorithm.

    Args:
        algo, env: by position.

    Raises:
        PluginNotFoundError: no such algorithm; the nearest names.
        UsageError: the two words are swapped.
    """
    snapshot = default_host().snapshot
    try:
        find(snapshot, GROUP_ALGORITHMS, algo)
    except PluginNotFoundError:
        if env is not None and _is_algorithm(env):
            raise click.UsageError(
                f"ALGO comes before ENV, and {env} is an algorithm: {click.get_current_context().command_path} "
                f"{env} {algo}"
            ) from None
        raise


def _is_algorithm(name: str) -> bool:
    try:
        find(default_host().snapshot, GROUP_ALGORITHMS, name)
    except PluginNotFoundError:
        return False
    return True
