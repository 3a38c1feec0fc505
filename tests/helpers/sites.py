"""Installations made of real metadata files in a temporary folder: no pip, no mocks, fast."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path

from rlkit_core.plugins import discovery
from rlkit_core.plugins.host import PluginHost

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FIXTURES = Path(__file__).parents[1] / "plugins" / "fixtures"


class Site:
    """A folder on ``sys.path`` into which distributions are written as pip would leave them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def add(self, name, source=None, *, version="1.0", requires=("rlkit-core>=0.1,<0.2",), groups=None, **modules):
        """Write a distribution; ``source`` is its plugin module, ``modules`` further ones."""
        package = name.replace("-", "_")
        if groups is None:
            groups = {"rlkit.plugins": {name: package}}
        if source is not None:
            modules[package] = source
        for module, text in modules.items():
            (self.path / f"{module}.py").write_text(text)
        info = self.path / f"{package}-{version}.dist-info"
        info.mkdir()
        head = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        (info / "METADATA").write_text("\n".join([*head, *(f"Requires-Dist: {r}" for r in requires), "", "text"]))
        lines = []
        for group, entries in groups.items():
            lines += [f"[{group}]", *(f"{k} = {v}" for k, v in entries.items()), ""]
        (info / "entry_points.txt").write_text("\n".join(lines))
        return info

    def fixture(self, *names):
        """Install fixture distributions of ``tests/plugins/fixtures``."""
        for name in names:
            project = tomllib.loads((FIXTURES / name / "pyproject.toml").read_text())["project"]
            package = name.replace("-", "_")
            shutil.copytree(FIXTURES / name / package, self.path / package)
            self.add(
                name,
                version=project["version"],
                requires=project["dependencies"],
                groups=project["entry-points"],
            )

    def scan(self, env=None):
        importlib.invalidate_caches()
        return discovery.scan([str(self.path)], env=env or {})

    def host(self, env=None):
        return PluginHost(self.scan(env), env or {})
