"""``rlkit new-plugin``: what it writes, where it refuses to, and what it says."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from rlkit_core.cli.app import cli
from rlkit_core.errors import ConfigError
from rlkit_scaffold import KINDS, LICENSES

OWN = ["__init__.py", "encoder.py", "plugin.py", "py.typed"]


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_plugin_by_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["new-plugin", "acme-gnn", "--kind", "component", "--as", "gnn"])
    assert done.exit_code == 0, done.output
    assert "component 'gnn' of the new distribution 'acme-gnn'" in done.output
    assert "rlkit check acme-gnn" in done.output
    assert files_in(tmp_path / "acme-gnn") == sorted(
        [
            ".github/workflows/ci.yml",
            ".gitignore",
            "CHANGELOG.md",
            "LICENSE",
            "README.md",
            *(f"acme_gnn/{name}" for name in OWN),
            "pyproject.toml",
            "tests/test_encoder.py",
            "tests/test_plugin.py",
        ]
    )


def test_the_command_explains_what_it_refuses(tmp_path):
    done = CliRunner().invoke(cli, ["new-plugin", "acme", "--kind", "component", "--dir", __file__])
    assert done.exit_code == 2
    assert "is a file: a new plugin needs a new or an empty folder" in done.output


def test_a_folder_that_cannot_be_made_is_one_sentence():
    done = CliRunner().invoke(cli, ["new-plugin", "acme", "--kind", "api", "--dir", f"{__file__}/acme"])
    assert done.exit_code == 2
    assert done.output == f"Error: {__file__}/acme cannot be made: Not a directory. Name another folder: --dir FOLDER\n"


def test_a_folder_that_holds_something_is_left_alone(written, tmp_path):
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something"):
        written("acme")
    assert files_in(tmp_path) == ["acme/mine.txt"]


def test_an_empty_folder_is_taken(written, tmp_path):
    (tmp_path / "acme").mkdir()
    assert (written("acme") / "pyproject.toml").exists()


@pytest.mark.parametrize("licence", LICENSES)
def test_the_license_is_a_choice(written, licence):
    folder = written(licence=licence, author="Ada Lovelace <ada@example.org>")
    project = (folder / "pyproject.toml").read_text(encoding="utf-8")
    assert 'authors = [{ name = "Ada Lovelace <ada@example.org>" }]' in project
    if licence == "none":
        assert not (folder / "LICENSE").exists()
        assert "Private :: Do Not Upload" in project
        return
    assert f'license = "{licence}"' in project
    text = (folder / "LICENSE").read_text(encoding="utf-8")
    assert {"Apache-2.0": "Apache License", "MIT": "MIT License", "BSD-3-Clause": "BSD 3-Clause"}[licence] in text
    assert licence == "Apache-2.0" or "Ada Lovelace" in text


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_any_length_leave_lines_as_ruff_has_them(written, kind):
    for name, called in (("ab", "c"), ("acme-" + "x" * 35, "c" * 30)):
        folder = written(name, kind, called=called, licence="MIT")
        for words in (("check",), ("format", "--check")):
            ruff = [sys.executable, "-m", "ruff", *words, "--no-cache", "."]
            done = subprocess.run(ruff, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_of_the_template_is_left(written):
    for path in written().rglob("*"):
        assert not path.name.endswith(".jinja")
        if path.is_file() and path.name != "ci.yml":
            assert "{{" not in path.read_text(encoding="utf-8"), path
