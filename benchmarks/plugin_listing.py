"""How long does ``rlkit plugins --json`` take with many plugins installed?

Writes the metadata of fake plugins into temporary folders, then runs a bare interpreter and the installed command in
turn and prints medians: wall time of the whole process, as a user feels it. The limits are 60 ms above the bare
interpreter with 30 plugins, and 200 ms in all with 300.

    python benchmarks/plugin_listing.py [--rounds 40] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

METADATA = """Metadata-Version: 2.4
Name: {name}
Version: 1.{i}
Summary: A plugin that exists as metadata only.
Requires-Python: >=3.10
Requires-Dist: rlkit-core<0.2,>=0.1
Requires-Dist: torch>=2.6
Requires-Dist: pytest>=8; extra == 'dev'
Provides-Extra: dev

{description}
"""

ENTRY_POINTS = """[rlkit.plugins]
lab{i} = {package}.plugin

[rlkit.algorithms]
algo{i} = {package}:Config

[rlkit.catalogs]
catalog{i} = {package}:Catalog
"""

COUNTS = (30, 300)


def write_plugins(folder: Path, count: int) -> None:
    """Write ``count`` distributions whose modules raise when they are imported."""
    for i in range(count):
        name, package = f"rlkit-lab-{i}", f"rlkit_lab_{i}"
        info = folder / f"{package}-1.{i}.dist-info"
        info.mkdir()
        description = "A line of a long description.\n" * 200
        (info / "METADATA").write_text(METADATA.format(name=name, i=i, description=description))
        (info / "entry_points.txt").write_text(ENTRY_POINTS.format(i=i, package=package))
        (folder / f"{package}.py").write_text("raise AssertionError('a listing imported a plugin')\n")


def milliseconds(command: list[str], env: dict[str, str]) -> tuple[float, str]:
    """Run a command; return its wall time and what it printed."""
    start = time.perf_counter()
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return (time.perf_counter() - start) * 1e3, done.stdout


def measure(rounds: int) -> dict[str, float]:
    """Interleave the listings with a bare interpreter and return medians in milliseconds."""
    script = shutil.which("rlkit", path=str(Path(sys.executable).parent))
    if script is None:
        raise SystemExit("rlkit is not installed beside this Python; install it first (make install)")
    with tempfile.TemporaryDirectory() as temporary:
        env = {k: v for k, v in os.environ.items() if not k.startswith("RLKIT_")}
        env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installation is compiled
        env["PYTHONPYCACHEPREFIX"] = str(Path(temporary, "compiled"))
        runs = {"bare": (0, [sys.executable, "-c", "pass"], env)}
        for count in COUNTS:
            folder = Path(temporary, str(count))
            folder.mkdir()
            write_plugins(folder, count)
            runs[f"listing_{count}"] = count, [script, "plugins", "--json"], {**env, "PYTHONPATH": str(folder)}
        times: dict[str, list[float]] = {name: [] for name in runs}
        for turn in range(rounds + 1):  # the first round warms the file cache and is not counted
            for name, (count, command, variables) in runs.items():
                spent, out = milliseconds(command, variables)
                if turn:
                    times[name].append(spent)
                elif count:
                    shown = sum(p["name"].startswith("rlkit-lab-") for p in json.loads(out)["plugins"])
                    if shown != count:
                        raise SystemExit(f"the listing shows {shown} plugins, expected {count}")
    figures: dict[str, float] = {"rounds": rounds}
    for name, values in times.items():
        figures[f"{name}_ms"] = round(statistics.median(values), 1)
        figures[f"{name}_fastest_ms"] = round(min(values), 1)
    for count in COUNTS:
        # Each listing against the bare interpreter of its own round: what else the machine does weighs on both.
        above = [listing - bare for listing, bare in zip(times[f"listing_{count}"], times["bare"], strict=True)]
        figures[f"above_bare_{count}_ms"] = round(statistics.median(above), 1)
    return figures


def main() -> None:
    """Measure, print, and exit with 1 when a median is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    options = parser.parse_args()
    figures = measure(options.rounds)
    limits = {"above_bare_30_ms": 60.0, "listing_300_ms": 200.0}
    held = all(figures[name] <= limit for name, limit in limits.items())
    print(f"rlkit plugins --json, medians of {options.rounds}; a bare interpreter takes {figures['bare_ms']} ms")
    for count in COUNTS:
        took, above = figures[f"listing_{count}_ms"], figures[f"above_bare_{count}_ms"]
        print(f"{count:>4} plugins: {took} ms, {above} ms above it")
    print(
        f"limits: {', '.join(f'{name} {limit:g}' for name, limit in limits.items())}; {'held' if held else 'NOT held'}"
    )
    if options.json:
        where = {"python": platform.python_version(), "cpus": os.cpu_count()}
        Path(options.json).write_text(json.dumps({**figures, "limits": limits, **where}, indent=2) + "\n")
    if not held:
        sys.exit(1)


if __name__ == "__main__":
    main()
