"""What importing a plugin costs and does, seen in a fresh interpreter, which imports this file: it is light."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rlkit_core.findings import Finding

HEAVY = ("torch", "tensorflow", "jax")
"""What a plugin's module of hooks must not import."""
SLOW = 1.0
"""Seconds of CPU time that it may take."""
TIMEOUT = 120.0
"""Seconds after which it is taken to hang."""

ENDED = "import ends"
"""What a finding is about that leaves nothing else to look at."""
_ABOUT = "import"
_CHILD = (
    "import json, sys\n"
    "sys.path[:] = json.loads(sys.argv[1])\n"
    "from rlkit_core.testing.kit.imports import look\n"
    "look(*sys.argv[2:])\n"
)


def packages_of(distribution: str) -> list[str]:
    """The packages of a distribution; what its name would be where its metadata do not say, as of editable ones."""
    files = [Path(file).parts for file in importlib.metadata.files(distribution) or ()]
    listed = {parts[0] for parts in files if len(parts) > 1 and parts[-1].endswith(".py")}
    listed |= {parts[0].removesuffix(".py") for parts in files if len(parts) == 1 and parts[0].endswith(".py")}
    own = distribution.replace("-", "_")
    return sorted(name for name in {own, *listed} if name.isidentifier() and importlib.util.find_spec(name))


def import_findings(distribution: str, packages: Sequence[str] = ()) -> Iterator[Finding]:
    """Import the hooks of a distribution in a new interpreter, and say what they do and cost.

    One that ends or hangs Python is an error that says so.

    Args:
        distribution: its name.
        packages: are imported instead of hooks, of which a library has none; it is used where torch is.
    """
    with tempfile.TemporaryDirectory(prefix="rlkit-check-") as folder:
        file = Path(folder, "seen.json")
        command = [sys.executable, "-X", "faulthandler", "-c", _CHILD, json.dumps(sys.path)]
        command += [distribution, str(file), *packages]
        fix = "import nothing but rlkit_core, gymnasium's spaces and the standard library in the module with the hooks"
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=TIMEOUT
            )
        except subprocess.TimeoutExpired:
            yield Finding(ENDED, "error", f"importing {distribution} did not end within {TIMEOUT:g} seconds", fix)
            return
        if not file.exists():
            said = " ".join(done.stderr.split())[-400:]
            what = f"importing {distribution} ended Python with exit code {done.returncode}: {said}"
            yield Finding(ENDED, "error", what, fix)
            return
        seen = json.loads(file.read_text(encoding="utf-8"))
    printed = " ".join(done.stdout.split())
    if printed:
        what = f"importing {distribution} prints {printed[:100]!r} to stdout, which belongs to reports"
        yield Finding(_ABOUT, "warning", what, "use logging")
    yield from _judged(distribution, seen)


def _judged(distribution: str, seen: dict[str, Any]) -> Iterator[Finding]:
    who = f"importing {distribution}"
    if seen["heavy"]:
        what = f"{who} imports {', '.join(seen['heavy'])} ({seen['first']}), although nothing of it is chosen yet"
        fix = 'name targets by "package.module:Class" in records, and keep the package\'s __init__.py light'
        yield Finding(_ABOUT, "error", what, fix)
    if seen["seconds"] > SLOW:
        what = f"{who} takes {seen['seconds']:.1f} s of CPU time"
        yield Finding(_ABOUT, "warning", what, "import what is slow where it is used; rlkit doctor --times says what")
    for name in seen["put_back"]:
        what = f"{who} changes {name}, which every run of the process would feel; rlkit puts it back"
        yield Finding(_ABOUT, "error", what, "change nothing of the process at import")
    for name in seen["left"]:
        what = f"{who} changes {name}"
        yield Finding(_ABOUT, "warning", what, "leave it to the program that imports it")
    if seen["envs"]:
        what = f"{who} registers {', '.join(seen['envs'][:5])} with gymnasium"
        fix = 'register them in a module of its own, named by [project.entry-points."gymnasium.envs"]'
        yield Finding(_ABOUT, "warning", what, fix)


def look(distribution: str, file: str, *packages: str) -> None:
    """In the new interpreter: import the hooks of a distribution, or packages, and write what was seen into a file."""
    from rlkit_core.errors import RLKitError
    from rlkit_core.plugins.discovery import CORE, GROUP_PLUGINS, scan
    from rlkit_core.plugins.guard import Origin
    from rlkit_core.plugins.host import PluginHost
    from rlkit_core.plugins.quarantine import Changes, quarantined

    env = {**os.environ, "RLKIT_PLUGINS": CORE if packages else distribution, "RLKIT_PLUGINS_STRICT": ""}
    host = PluginHost(scan(env=env, refresh=True), env)
    entries = host.snapshot.entry_points(GROUP_PLUGINS)
    for entry in entries:
        if entry.distribution == CORE:  # what the core imports is not the plugin's
            host.load_entry_point(entry)
    if packages:
        import torch  # noqa: F401
    registry, heavy = _registered(), [name for name in HEAVY if name in sys.modules]
    begun = time.process_time()
    changes: list[Changes] = []
    for entry in entries:
        if entry.distribution == distribution:
            with contextlib.suppress(RLKitError):  # it is the state of the plugin, which whoever examines that says
                host.load_entry_point(entry)
    for package in packages:
        with quarantined(Origin(distribution, "")) as quarantine:
            importlib.import_module(package)
        changes.append(quarantine.changes)
    seconds = time.process_time() - begun
    states = [state for state in host.states if state.distribution == distribution]
    changes += [state.changes for state in states]
    seen = {
        "seconds": round(seconds, 3),
        "heavy": [name for name in HEAVY if name in sys.modules and name not in heavy],
        "first": f"in {', '.join(state.value for state in states) or 'nothing'}",
        "put_back": [name for change in changes for name in change.put_back],
        "left": [name for change in changes for name in change.left],
        "envs": sorted(_registered() - registry),
    }
    Path(file).write_text(json.dumps(seen), encoding="utf-8")


def _registered() -> set[str]:
    registration = sys.modules.get("gymnasium.envs.registration")
    return set(getattr(registration, "registry", ()))
