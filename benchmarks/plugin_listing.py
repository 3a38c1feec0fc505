"""How long does ``rlkit plugins --json`` take with many plugins installed?

Writes the metadata of fake plugins into a temporary folder, then runs the installed command and a bare interpreter in
turn and prints medians. The limit is wall time of the whole process, as a user feels it.

    python benchmarks/plugin_listing.py [--plugins 30] [--rounds 20] [--limit-ms 120] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
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


def measure(plugins: int, rounds: int) -> dict[str, float]:
    """Interleave the listing with a bare interpreter and return medians in milliseconds."""
    script = shutil.which("rlkit", path=str(Path(sys.executable).parent))
    if script is None:
        raise SystemExit("rlkit is not installed beside this Python; install it first (make install)")
    commands = {"bare": [sys.executable, "-c", "pass"], "listing": [script, "plugins", "--json"]}
    times: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        write_plugins(Path(folder), plugins)
        env = {k: v for k, v in os.environ.items() if not k.startswith("RLKIT_")}
        env["PYTHONPATH"] = folder
        for turn in range(rounds + 1):  # the first round warms the file cache and is not counted
            for name, command in commands.items():
                spent, out = milliseconds(command, env)
                if turn:
                    times[name].append(spent)
                if name == "listing":
                    found = sum(p["name"].startswith("rlkit-lab-") for p in json.loads(out)["plugins"])
                    if found != plugins:
                        raise SystemExit(f"the listing shows {found} plugins, expected {plugins}")
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "plugins": plugins,
        "rounds": rounds,
        "bare_ms": round(medians["bare"], 1),
        "listing_ms": round(medians["listing"], 1),
        "listing_max_ms": round(max(times["listing"]), 1),
        "ratio": round(medians["listing"] / medians["bare"], 2),
    }


def main() -> None:
    """Measure, print, and exit with 1 when the median is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plugins", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--limit-ms", type=float, default=120.0)
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    options = parser.parse_args()
    result = {**measure(options.plugins, options.rounds), "limit_ms": options.limit_ms}
    print(
        f"rlkit plugins --json, {result['plugins']} plugins, median of {result['rounds']}: "
        f"{result['listing_ms']} ms (limit {options.limit_ms:g}); bare interpreter {result['bare_ms']} ms; "
        f"ratio {result['ratio']}"
    )
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n")
    if result["listing_ms"] > options.limit_ms:
        sys.exit(1)


if __name__ == "__main__":
    main()
