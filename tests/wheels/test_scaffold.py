"""New plugins of every kind, made by the installed command, built, installed and tried offline."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from doc_snippets import read_blocks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
KINDS = ("algorithm", "component", "api", "framework")


@pytest.fixture(scope="module")
def author(make_venv):
    """Where an author works."""
    return make_venv("rlkit-scaffold", "rlkit-ppo")


@pytest.fixture(scope="module")
def mypy_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("mypy")


@pytest.fixture
def begin(author, tmp_path):
    """Begin a plugin by the command; returns its folder."""

    def make(name, kind, *options):
        author.rlkit("new-plugin", name, "--kind", kind, *options, cwd=tmp_path, check=True)
        return tmp_path / name

    return make


def tool(name, *arguments, cwd):
    """Run a tool of the interpreter that runs the tests."""
    place = Path(sys.executable).parent / name
    done = subprocess.run([str(place), *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_is_well(kind, begin, author, make_venv, build_folder, tmp_path, mypy_cache):
    folder = begin("acme-first", kind, "--as", "first")
    tool("ruff", "check", "--no-cache", ".", cwd=folder)
    tool("ruff", "format", "--no-cache", "--check", ".", cwd=folder)

    wheel = build_folder(folder)
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == {path.relative_to(folder).as_posix() for path in folder.glob("acme_first/**/*") if path.is_file()}
    assert "acme_first/py.typed" in held

    user = make_venv("rlkit-ppo", wheels=[wheel])
    checked = user.rlkit("check", "acme-first", "--json", cwd=tmp_path, RLKIT_PLUGINS_STRICT="1")
    findings = json.loads(checked.stdout)["findings"]
    assert [f for f in findings if f["level"] != "note"] == []
    assert checked.returncode == 0

    elsewhere = tmp_path / "elsewhere"  # beside the sources, Python would import those
    elsewhere.mkdir()
    shutil.copy(folder / "pyproject.toml", elsewhere)
    shutil.copytree(folder / "tests", elsewhere / "tests")
    code = "import sys, pytest; sys.exit(pytest.main(['-q', '-W', 'error::UserWarning']))"
    done = user.run(user.python, "-c", code, cwd=elsewhere, RLKIT_PLUGINS_STRICT="1", OMP_NUM_THREADS="1", timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout

    tool("mypy", "--python-executable", author.python, "--cache-dir", mypy_cache, cwd=folder)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_readme_shows_runs(kind, begin, make_venv, build_folder, tmp_path):
    folder = begin("acme-first", kind, "--as", "first")
    user = make_venv("rlkit-ppo", wheels=[build_folder(folder)])
    (block,) = (b.text for b in read_blocks((folder / "README.md").read_text()) if b.language == "python")
    done = user.run(user.python, "-c", block, cwd=tmp_path, OMP_NUM_THREADS="1", timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
