"""What must not be imported, checked in fresh interpreters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ["torch", "numpy", "gymnasium", "rich", "pandas", "matplotlib"]


def modules_after(code: str, *path: Path, **env: str) -> set[str]:
    program = f"import json, sys\n{code}\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), **env},
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "module",
    [
        "",
        ".columns",
        ".errors",
        *(f".plugins.{m}" for m in ("records", "discovery", "hookspecs", "host", "registry")),
    ],
)
def test_the_plugin_layer_imports_nothing_heavy(module):
    loaded = modules_after(f"import rlkit_core{module}")
    assert not loaded.intersection(HEAVY)


@pytest.mark.parametrize("command", ["plugins", "algorithms"])
@pytest.mark.parametrize("json_flag", ["", "--json"])
def test_listings_import_nothing_heavy_and_no_plugin(site, command, json_flag):
    site.fixture("fx-good", "fx-algorithm", "fx-catalog", "fx-command", "fx-exit")
    arguments = [command, *filter(None, [json_flag])]
    loaded = modules_after(f"from rlkit_core.cli import main\nmain({arguments!r})", site.path)
    assert not loaded.intersection([*HEAVY, "click", "attrs", "pluggy", "rlkit_ppo"])
    assert not [m for m in loaded if m.startswith("fx_")]


@pytest.mark.parametrize("arguments", [["--help"], ["plugins", "--help"], ["--version"]])
def test_help_imports_nothing_heavy_and_no_plugin(site, arguments):
    site.fixture("fx-command")
    code = f"from rlkit_core.cli import main\ntry:\n    main({arguments!r})\nexcept SystemExit:\n    pass"
    loaded = modules_after(code, site.path)
    assert not loaded.intersection([*HEAVY, "rlkit_ppo"])
    assert not [m for m in loaded if m.startswith("fx_")]


def test_reading_the_cores_own_records_imports_no_torch():
    loaded = modules_after(
        "from rlkit_core.plugins.host import default_host\ndefault_host().registry", RLKIT_PLUGINS=""
    )
    assert "torch" not in loaded
