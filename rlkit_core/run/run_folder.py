"""The folder of a run: what lies in it, and the files that describe the run."""

from __future__ import annotations

import itertools
import json
import os
import platform
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlkit_core.checkpoint import from_jsonable
from rlkit_core.checkpoint.files import replace_file
from rlkit_core.checkpoint.locate import locate, quoted, read_located
from rlkit_core.checkpoint.saved_component import read_ctor
from rlkit_core.errors import CheckpointError, ConfigError
from rlkit_core.plugins.discovery import CORE
from rlkit_core.plugins.used.lock import LIBRARIES, Lock, build_digest, versions
from rlkit_core.run.writers import to_json_value

if TYPE_CHECKING:
    from rlkit_core.algorithm.config.config import AlgorithmConfig

CONFIG = "config.json"
VERSIONS = "versions.json"
LOCK = "plugins.lock.json"
SEEDS = "seeds.json"
PROGRESS = "progress.csv"
RESULTS = "results.jsonl"
CURVE = "learning_curve.png"
SUMMARY = "summary.json"
PROFILE = "profile.json"
TRACEBACK = "traceback.txt"


def default_run_dir(algorithm: str, env: object, root: str | os.PathLike[str] = "runs") -> Path:
    """A new folder's path, ``runs/ppo-CartPole-v1-20250131-093000`` (with ``-2`` where that is taken)."""
    name = env if isinstance(env, str) else getattr(env, "__name__", "env")
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{algorithm}-{name}") + time.strftime("-%Y%m%d-%H%M%S")
    paths = (Path(root) / (stem if number == 1 else f"{stem}-{number}") for number in itertools.count(1))
    return next(path for path in paths if not path.exists())


def make_run_dir(path: Path, *, resumed: bool = False) -> None:
    """Create the folder; that of a ``resumed`` run may hold its earlier part.

    Raises:
        ConfigError: it cannot be written, or holds something already.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"the run folder {path} is a file; choose another with --run-dir")
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not resumed and any(path.iterdir()):
            raise ConfigError(
                f"the run folder {path} is not empty; choose another with --run-dir, or go on with it: "
                f"rlkit resume {quoted(path)}"
            )
        probe = path / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"the run folder {path} cannot be written ({error.strerror or error}); choose another with --run-dir"
        ) from error


def stored_config(checkpoint: Path) -> AlgorithmConfig:
    """The config in the directory of an algorithm's checkpoint.

    Raises:
        CheckpointError: nothing is there, it is damaged, or it is no checkpoint of an algorithm.
    """
    from rlkit_core.algorithm.config.config import AlgorithmConfig

    snapshot = read_ctor(checkpoint)
    args, kwargs = from_jsonable(snapshot.ctor, plugins=snapshot.plugins)
    for value in (kwargs.get("config"), *args):
        if isinstance(value, AlgorithmConfig):
            return value
    raise CheckpointError(f"{checkpoint} holds a {snapshot.class_ref}, not an algorithm")


def config_of(run: Path) -> AlgorithmConfig:
    """The config of a run folder or a checkpoint, as a copy that can be changed.

    Raises:
        RLKitError: there is none, or a class that it names is not installed.
    """
    from rlkit_core.algorithm.config.config import AlgorithmConfig

    path = run / CONFIG
    if path.is_file():
        config: AlgorithmConfig = AlgorithmConfig.from_json(path.read_text(encoding="utf-8"))
        return config
    return stored_config(locate(run)).copy(copy_frozen=False)


def versions_of(lock: Lock) -> dict[str, Any]:
    """Versions of everything a run depends on, the plugins that it uses included."""
    import torch

    plugins = {name: version for name, version in lock.versions.items() if name not in (CORE, *LIBRARIES)}
    return {
        **versions(),
        "plugins": plugins,
        "platform": platform.platform(),
        "torch_threads": torch.get_num_threads(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def lock_of(lock: Lock, config: object, choices: Mapping[str, Any]) -> dict[str, Any]:
    """What ``plugins.lock.json`` holds: what is used, the choices by module, and the digest of the build.

    Args:
        lock: what is used.
        config: the config as JSON values.
        choices: the component traces by module id.
    """
    return {**lock.to_dict(), "choices": dict(choices), "build_digest": build_digest(lock, config, dict(choices))}


def read_lock(run: Path) -> tuple[Lock, dict[str, Any]]:
    """What a run (its folder, or a checkpoint) used, and the choices by module.

    Raises:
        CheckpointError: there is nothing of it, or it is damaged.
    """
    path = run / LOCK
    if path.is_file():
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            choices = data.get("choices") if isinstance(data, dict) else None
            return Lock.from_dict(data), choices if isinstance(choices, dict) else {}
        except ValueError as error:
            raise CheckpointError(f"{path} does not say what was used: {error}") from error
    snapshot, directory = read_located(run)
    if not snapshot.lock.entries:
        raise CheckpointError(f"{directory} does not say what was used; it was written by an older rlkit-core")
    return snapshot.lock, snapshot.traces()


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write data as readable, strict JSON; the file that was there stays whole where that fails.

    Raises:
        OSError: it could not be written.
    """
    replace_file(path, (json.dumps(to_json_value(data), indent=1, allow_nan=False) + "\n").encode())
