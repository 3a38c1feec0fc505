"""What a command line names, ALGO, ENV and settings: looked at before anything is imported, and completed by shells."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from rlkit_core.errors import PluginNotFoundError, RLKitError
from rlkit_core.plugins.discovery import CORE, GROUP_ALGORITHMS, scan
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


OWN_OPTIONS = {
    "env": "the environment",
    "seed": "--seed",
    "wrappers": "--wrap",
    "writers": "--log",
    "plugin.rlkit-tools.video_every": "--video-every",
}
"""Settings that have an option or an argument of their own, and what that is called."""


def check_given_once(settings: Sequence[str], **given: object) -> None:
    """Refuse a setting that is given by ``--set`` twice, or by it and by an option or argument of its own.

    Args:
        settings: ``KEY=VALUE`` of ``--set``.
        **given: what those said, by the setting's name; None and () where they said nothing.

    Raises:
        UsageError: it is there twice; names both places.
    """
    seen: dict[str, str] = {}
    for text in settings:
        name = text.partition("=")[0].strip()
        if seen.setdefault(name, text) is not text:
            raise click.UsageError(f"--set {text}: {name} is set by --set {seen[name]} too; keep one of them")
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


# -- completion ------------------------------------------------------------------------------------------------------


def complete_algo(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Installed algorithms; metadata only."""
    entries = scan().entry_points(GROUP_ALGORITHMS)
    return [CompletionItem(e.name, help=e.distribution) for e in entries if e.name.startswith(incomplete)]


def complete_env(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids that gymnasium knows, and files with an environment (``./my_env.py``)."""
    import gymnasium as gym

    if incomplete.startswith((".", "/", "~")):
        return [CompletionItem(incomplete, type="file")]
    return [CompletionItem(name) for name in sorted(gym.registry) if name.startswith(incomplete)]


def complete_setting(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Settings of the algorithm that is on the line, ``KEY=``; of any, where there is none."""
    if "=" in incomplete:
        return []
    words = [ctx.params.get("algo"), *ctx.args]  # an option without its value keeps arguments from being told apart
    names = setting_names(next((word for word in words if isinstance(word, str)), None))
    return [CompletionItem(f"{name}=") for name in names if name.startswith(incomplete)]


def setting_names(algo: str | None) -> list[str]:
    """Names as ``--set`` takes them. Those of an algorithm's version are looked up once, which imports it, and kept."""
    known = {e.name: e for e in scan().entry_points(GROUP_ALGORITHMS)}
    if algo not in known:
        algo = None
    found = scan().distribution(CORE)
    parts = ["" if algo is None else f"{algo} {known[algo].version}", "" if found is None else found.version]
    key, path = " ".join(parts), Path(click.get_app_dir("rlkit")) / "settings.json"
    kept: dict[str, list[str]] = {}
    with suppress(OSError, ValueError):
        kept = dict(json.loads(path.read_text(encoding="utf-8")))
    if key not in kept:
        kept[key] = list(_looked_up(algo))
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f"{path.name}.{os.getpid()}")
            beside.write_text(json.dumps(kept), encoding="utf-8")
            beside.replace(path)
    return kept[key]


def _looked_up(algo: str | None) -> Iterable[str]:
    from rlkit_core.algorithm import AlgorithmConfig, get_algorithm_config
    from rlkit_core.models.default_config import DefaultModelConfig

    config_class = AlgorithmConfig
    if algo is not None:
        with suppress(RLKitError):  # which is for the command to report
            config_class = type(get_algorithm_config(algo))
    yield from (name for name in config_class.known_settings() if name not in ("model_config", "env"))
    yield from (f"model_config.{name}" for name in DefaultModelConfig.known_settings())
