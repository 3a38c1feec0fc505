"""Real wheels, installed by pip into real virtual environments, driven through the installed ``rlkit``.

An environment sees the third-party packages of the interpreter that runs the tests (nobody wants to install torch per
test), through a folder of links that leaves out everything of rlkit, editable installs included. So what is tested is
what the wheels hold.

``RLKIT_WHEELS`` may name a folder with wheels that were built before (CI builds them once); they are used as they are.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from doc_snippets import write_files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "plugins" / "fixtures"

BUILD = """
import os, sys
from hatchling.build import build_wheel
out, *folders = sys.argv[1:]
for folder in folders:
    os.chdir(folder)
    build_wheel(out)
"""


def project_folder(name: str) -> Path:
    if name == "rlkit-core":
        return ROOT
    places = [ROOT / "plugins" / name, FIXTURES / name, *ROOT.glob(f"plugins/*/tests/fixtures/{name}")]
    return next(place for place in places if place.exists())


def with_what_they_need(*names: str) -> list[str]:
    """These distributions, and those of the workspace that they depend on."""
    complete: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name not in complete:
            complete[name] = None
            waiting += needed_by(project_folder(name))
    return list(complete)


def needed_by(folder: Path) -> list[str]:
    """Those of the workspace that a distribution names as its dependencies."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    needed = [re.split(r"[^\w-]", text)[0] for text in project["dependencies"]]
    return [each for each in needed if each.startswith("rlkit-")]


def build(out: Path, folder: Path) -> None:
    """Build the wheel of a distribution, by its own build backend."""
    subprocess.run([sys.executable, "-c", BUILD, str(out), str(folder)], check=True, capture_output=True, text=True)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Callable[[str], Path]:
    """Return the wheel of a distribution, built by its own build backend on first use."""
    out = tmp_path_factory.mktemp("wheels")
    ready = os.environ.get("RLKIT_WHEELS")
    if ready:
        for path in Path(ready).glob("*.whl"):
            shutil.copy(path, out)

    def find(name: str) -> Path:
        pattern = f"{name.replace('-', '_')}-*.whl"
        if not any(out.glob(pattern)):
            build(out, project_folder(name))
        return next(out.glob(pattern))

    return find


@pytest.fixture(scope="session")
def build_folder(tmp_path_factory) -> Callable[[Path], Path]:
    """Return the wheel of the distribution in a folder."""

    def make(folder: Path) -> Path:
        out = tmp_path_factory.mktemp("wheels")
        build(out, folder)
        return next(out.glob("*.whl"))

    return make


class Tutorial(NamedTuple):
    """The distribution that a page makes: its wheel, and what of the workspace it needs."""

    wheel: Path
    needs: list[str]


@pytest.fixture(scope="session")
def tutorial(tmp_path_factory) -> Callable[[str], Tutorial]:
    """Return the distribution that a page of ``docs/tutorial`` makes, of the files that its blocks are."""

    @functools.cache
    def make(page: str) -> Tutorial:
        folder, out = tmp_path_factory.mktemp(page), tmp_path_factory.mktemp("wheels")
        write_files((ROOT / "docs" / "tutorial" / f"{page}.md").read_text(encoding="utf-8"), folder)
        build(out, folder)
        return Tutorial(next(out.glob("*.whl")), needed_by(folder))

    return make


@pytest.fixture(scope="session")
def third_party(tmp_path_factory) -> Path:
    """A folder of links to every installed package and its metadata, except rlkit's."""
    folder = tmp_path_factory.mktemp("third-party")
    places = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        places.append(site.getusersitepackages())
    places += [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]  # a .pth added it
    for place in dict.fromkeys(places):
        for entry in sorted(Path(place).iterdir()) if Path(place).is_dir() else []:
            name = entry.name.lower()
            hidden = name.startswith(("rlkit", "_editable", "__editable", "__pycache__")) or name.endswith(".pth")
            if not hidden and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry)
    return folder


class Environment:
    """A virtual environment with rlkit distributions installed from wheels."""

    def __init__(self, path: Path, third_party: Path) -> None:
        self.path = path
        venv.create(path, with_pip=False, symlinks=True)
        self.python = path / "bin" / "python"
        purelib = self.run(self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
        self.site_packages = Path(purelib)
        (self.site_packages / "third_party.pth").write_text(f"{third_party}\n")

    def install(self, *wheels: Path) -> None:
        self.pip("install", "--no-deps", "--no-index", *wheels)

    def pip(self, *arguments: str | Path) -> None:
        quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
        # pip of the parent installs into this environment: an environment without pip is made in no time.
        self.run(sys.executable, "-m", "pip", "--python", self.python, *arguments, *quiet, check=True)

    def run(
        self,
        *command: str | Path,
        check: bool = False,
        cwd: Path | None = None,
        timeout: float = 240,
        **env: str,
    ):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("RLKIT_", "PYTHON", "COVERAGE", "PYTEST"))}
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            cwd=cwd or self.path,
            timeout=timeout,
            env={**clean, **env},
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def rlkit(self, *arguments: str, **options):
        """Run the installed ``rlkit``; returns the completed process."""
        return self.run(self.path / "bin" / "rlkit", *arguments, **options)


@pytest.fixture(scope="session")
def make_venv(tmp_path_factory, wheel, third_party) -> Callable[..., Environment]:
    """Return a fresh environment with the core, these distributions and wheels of others installed."""

    def make(*names: str, wheels: Sequence[Path] = ()) -> Environment:
        environment = Environment(tmp_path_factory.mktemp("env") / "venv", third_party)
        environment.install(*(wheel(name) for name in with_what_they_need("rlkit-core", *names)), *wheels)
        return environment

    return make


@pytest.fixture(scope="session")
def bare(make_venv) -> Environment:
    """The core alone. Do not install into it."""
    return make_venv()


@pytest.fixture(scope="session")
def healthy(make_venv) -> Environment:
    """The core, PPO and well-behaved third parties. Do not install into it."""
    return make_venv("rlkit-ppo", "fx-good", "fx-api", "fx-algorithm", "fx-catalog", "fx-command", "fx-observer")


BROKEN = {
    "fx-import-error": ("failed", "No module named 'fx_module_that_nobody_has'"),
    "fx-exit": ("failed", "SystemExit: fx-exit says goodbye"),
    "fx-unknown-hook": ("failed", "unknown hook 'rlkit_headz'. Did you mean 'rlkit_heads'?"),
    "fx-newer-api": ("failed", "it needs plugin API 1.7, this core has 1.0"),
    "fx-duplicate": ("failed", "registered twice"),
    "fx-incompatible": ("incompatible", "requires rlkit-core>=7"),
}


@pytest.fixture(scope="session")
def broken(make_venv) -> Environment:
    """The core, PPO, a good plugin, an observer that raises and a plugin for each fault. Do not install into it."""
    return make_venv("rlkit-ppo", "fx-good", "fx-observer", *BROKEN)


@pytest.fixture(scope="session")
def faults() -> dict[str, tuple[str, str]]:
    """Distribution of each broken plugin: its state and a part of the reason."""
    return BROKEN
