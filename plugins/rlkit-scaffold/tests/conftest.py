"""New plugins, and sites that they are found in."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from site_fixtures import make_site, site

from rlkit_scaffold import Answers, write_plugin

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["make_site", "site"]


@pytest.fixture
def written(tmp_path):
    """Write a new plugin; returns its folder."""

    def write(name="acme-new", kind="component", **said) -> Path:
        folder = tmp_path / name
        write_plugin(Answers(name=name, kind=kind, **said), folder)
        return folder

    return write


@pytest.fixture
def installed(written, site):
    """Write a new plugin and install it, as pip would, into a folder on the path; returns where it was written."""

    def install(name="acme-new", **said) -> Path:
        folder = written(name, **said)
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        package = name.replace("-", "_")
        shutil.copytree(folder / package, site.path / package)
        site.add(name, version=project["version"], requires=project["dependencies"], groups=project["entry-points"])
        return folder

    return install
