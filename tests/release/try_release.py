"""Try the distributions in ``dist/`` in fresh environments (``make release``).

On the oldest and the newest Python at hand, with the newest versions of what they need and with the lowest that their
metadata allows. Packages of others come from the index; rlkit's come from the folder alone, with ``--no-index``: an
index is never asked for our names.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from distributions import lowest, third_party, wheels_in
from environment import Environment, find_python, oldest_and_newest
from mission import Mission
from packaging.requirements import Requirement

FIXTURES = Path(__file__).resolve().parents[1] / "plugins" / "fixtures"
KINDS = ("newest", "lowest")


def main() -> None:
    """Run the mission in every environment; exit with 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dist", type=Path, default=Path("dist"))
    parser.add_argument("--work", type=Path, default=Path(".release-venvs"))
    parser.add_argument("--python", action="append", help="3.12, say; else the oldest and newest here")
    parser.add_argument("--kind", action="append", choices=KINDS)
    options = parser.parse_args()
    dist, work = options.dist.resolve(), options.work.resolve()
    wheels = wheels_in(dist)
    assert "rlkit-core" in wheels, f"no wheels in {dist}"
    for name, wheel in wheels.items():
        assert list(dist.glob(f"{wheel.name.split('-')[0]}-*.tar.gz")), f"{name} has no sdist in {dist}"
    pythons = {version: find_python(version) for version in options.python} if options.python else oldest_and_newest()
    fixtures = build_fixtures(work / "fixtures")
    failed = []
    for version, python in pythons.items():
        assert python is not None, f"there is no Python {version} here"
        for kind in options.kind or KINDS:
            begun = time.monotonic()
            print(f"Python {version}, {kind} dependencies", flush=True)
            try:
                environment = Environment(python, work / f"{version}-{kind}")
                environment.pip("install", "--no-compile", *needs(third_party(wheels, version), kind))
                Mission(environment, dist, fixtures).run()
            except (AssertionError, ValueError, subprocess.TimeoutExpired) as error:
                failed.append(f"Python {version}, {kind} dependencies")
                print(f"  FAILED: {error}", flush=True)
            print(f"  {time.monotonic() - begun:.0f} s", flush=True)
    if failed:
        sys.exit(f"the release failed with: {'; '.join(failed)}")
    print(f"the release works: {', '.join(wheels)}")


def needs(requirements: list[Requirement], kind: str) -> list[str]:
    """What to ask the index for."""
    if kind == "lowest":
        return lowest(requirements)
    return sorted({f"{requirement.name}{requirement.specifier}" for requirement in requirements})


def build_fixtures(folder: Path) -> Path:
    """Wheels of the third parties that the mission installs."""
    for name in ("fx-api", "fx-catalog"):
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, FIXTURES / name]
        subprocess.run(command, check=True, capture_output=True)
    return folder


if __name__ == "__main__":
    main()
