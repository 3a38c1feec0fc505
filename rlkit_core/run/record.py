"""What a run was asked to do, in ``run.json``: when it ends, how it is judged, and what was changed on the way."""

from __future__ import annotations

import getpass
import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen

from rlkit_core.checkpoint import files, strict_json
from rlkit_core.errors import CheckpointError, ConfigError
from rlkit_core.run.stop import Stop
from rlkit_core.run.writers import to_json_value

RECORD = "run.json"
RECORD_FORMAT = 1
DEFAULT_EPISODES = 100
_LIMIT = 16 << 20


@frozen
class RunRecord:
    """What is to be known to go on with a run, beside its checkpoint.

    Attributes:
        stop: when it ends.
        evaluation_episodes: of the evaluations that decide, and of the final one.
        plot: a learning curve is drawn.
        weights_from: the checkpoint whose module weights it began with, or None.
        origins: where settings are from that are no defaults, by name, as far as that is known: ``"command line"``,
            ``"preset ..."``, a file.
        changes: what was changed when it was resumed, oldest first: each has ``iteration``, ``at``, ``by`` and
            ``settings``, ``{name: [before, after]}``; the limits are under ``stop.NAME``.
    """

    stop: Stop
    evaluation_episodes: int = DEFAULT_EPISODES
    plot: bool = True
    weights_from: Path | None = None
    changes: tuple[Mapping[str, Any], ...] = ()
    origins: Mapping[str, str] = field(factory=dict)

    def changed(self, iteration: int, settings: Mapping[str, tuple[Any, Any]]) -> RunRecord:
        """The record with a change more; the same where nothing changes."""
        if not settings:
            return self
        change = {
            "iteration": iteration,
            "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "by": _who(),
            "settings": {name: list(pair) for name, pair in settings.items()},
        }
        return attrs.evolve(self, changes=(*self.changes, to_json_value(change)))

    def to_dict(self) -> dict[str, Any]:
        """JSON values, as ``run.json`` holds them."""
        return {
            "format": RECORD_FORMAT,
            "stop": attrs.asdict(self.stop),
            "evaluation_episodes": self.evaluation_episodes,
            "plot": self.plot,
            "weights_from": None if self.weights_from is None else str(self.weights_from),
            "changes": list(self.changes),
            "origins": dict(self.origins),
        }

    def write(self, run: Path) -> None:
        """Write it into a run folder, at once."""
        files.replace_file(run / RECORD, strict_json.dumps(to_json_value(self.to_dict())))


def read_record(run: Path) -> RunRecord | None:
    """What a run folder says; None where it does not, or what it says cannot be read."""
    try:
        data = json.loads(files.read_bytes(run / RECORD, _LIMIT))
        if data.get("format") != RECORD_FORMAT:
            return None
        changes, origins = data.get("changes"), data.get("origins")
        episodes, source = data.get("evaluation_episodes"), data.get("weights_from")
        return RunRecord(
            Stop(**data["stop"]),
            episodes if isinstance(episodes, int) and episodes > 0 else DEFAULT_EPISODES,
            data.get("plot") is not False,
            Path(source) if isinstance(source, str) else None,
            tuple(change for change in changes if isinstance(change, dict)) if isinstance(changes, list) else (),
            {str(name): str(source) for name, source in origins.items()} if isinstance(origins, dict) else {},
        )
    except (CheckpointError, ConfigError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def stop_changes(before: Stop, after: Stop) -> dict[str, tuple[Any, Any]]:
    """The limits that differ, as :meth:`RunRecord.changed` takes them."""
    one, other = attrs.asdict(before), attrs.asdict(after)
    return {f"stop.{name}": (one[name], other[name]) for name in one if one[name] != other[name]}


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user in this container
        user = "somebody"
    return f"{user}@{socket.gethostname()}"
