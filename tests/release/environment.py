"""Fresh environments on the Pythons of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")


def find_python(version: str) -> str | None:
    """A working interpreter of this version: from PATH, or among those that pyenv has."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    places = [shutil.which(f"python{version}"), *sorted(map(str, root.glob(f"versions/{version}.*/bin/python3")))]
    for python in filter(None, places):
        command = [python, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return python
    return None


def oldest_and_newest() -> dict[str, str]:
    """Version to interpreter, for the oldest and the newest Python at hand that rlkit supports."""
    found = {version: python for version in VERSIONS if (python := find_python(version))}
    return {version: found[version] for version in dict.fromkeys([min(found, key=_key), max(found, key=_key)])}


def _key(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


class Environment:
    """A virtual environment; ``rlkit`` runs in a folder of its own, where the source tree is out of sight."""

    def __init__(self, python: str, path: Path) -> None:
        self.path = path
        self.python = path / "bin" / "python"
        self.work = path / "work"
        subprocess.run([python, "-m", "venv", "--clear", str(path)], check=True)
        self.work.mkdir()

    def pip(self, *arguments: str | Path) -> str:
        """Run its pip; AssertionError with all it said if that fails."""
        return self.run(self.python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments, timeout=3600)

    def rlkit(self, *arguments: str | Path, status: int = 0) -> str:
        """Run the installed command; AssertionError if it exits otherwise."""
        return self.run(self.path / "bin" / "rlkit", *arguments, status=status)

    def code(self, source: str) -> str:
        """Run Python code."""
        return self.run(self.python, "-c", source)

    def run(self, *command: str | Path, status: int = 0, timeout: float = 600) -> str:
        """Run a command; what it printed."""
        hidden = ("RLKIT_", "PYTHON", "PYTEST", "VIRTUAL_ENV")
        variables = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.work,
            env={"OMP_NUM_THREADS": "1", **variables},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == status, f"{' '.join(map(str, command))}\nexit status {done.returncode}\n{said}"
        return said

    def installed(self) -> set[str]:
        """Names of all distributions in it."""
        code = "import importlib.metadata as m; print(*{d.metadata['Name'].lower() for d in m.distributions()})"
        return set(self.code(code).split())
