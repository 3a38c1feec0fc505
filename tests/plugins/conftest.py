"""Sites on the path, and what they are asked."""

from __future__ import annotations

import pytest
from site_fixtures import make_site, site

from rlkit_core.cli import main
from rlkit_core.plugins import discovery
from rlkit_core.plugins import host as host_module

__all__ = ["make_site", "site"]

API = 'rlkit_api = "1.0"\n'


@pytest.fixture
def rlkit(site, monkeypatch, capsys):
    """Run the command line in process on what ``site`` holds; returns (exit code, stdout, stderr)."""
    monkeypatch.setattr(host_module, "_default", None)
    monkeypatch.setenv("RLKIT_DEBUG", "0")  # --debug sets it

    def run(*arguments, **env):
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(discovery, "_cached", discovery._read([str(site.path)]))
        monkeypatch.setattr(host_module, "_default", None)
        code = 0
        try:
            main(list(arguments))
        except SystemExit as exc:
            code = exc.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run
