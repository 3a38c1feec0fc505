"""Installing changes nothing: what is trained beside hostile plugins equals, to the last bit, what is trained alone."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from hostile import HOSTILE
from sites import Site

from rlkit_core.plugins import discovery
from rlkit_core.plugins.host import PluginHost, use_host

sys.path.insert(0, str(Path(__file__).parent))
from build_digest import digest_of_a_run

TESTS = [str(Path(__file__).parent), str(Path(__file__).parents[3] / "tests" / "helpers")]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return train_beside([], tmp_path_factory.mktemp("alone"))


def installed(names, folder):
    """A site with hostile plugins."""
    site = Site(folder / "site")
    for name in names:
        source, options = HOSTILE[name]
        site.add(f"lab-{name}", source, **options)
    return site


def train_beside(names, folder):
    """Train in a host that sees hostile plugins beside what is installed."""
    before, path, filters = set(sys.modules), list(sys.path), list(warnings.filters)
    silenced = logging.root.manager.disable
    site = installed(names, folder)
    sys.path.insert(0, str(site.path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with use_host(PluginHost(discovery.scan(list(sys.path)))):
                return digest_of_a_run()
    finally:
        sys.path[:], warnings.filters[:] = path, filters
        logging.disable(silenced)
        for name in set(sys.modules) - before:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(site.path)):
                del sys.modules[name]


def test_forty_hostile_plugins_at_once_change_nothing(alone, tmp_path):
    assert len(HOSTILE) >= 40
    assert train_beside(HOSTILE, tmp_path) == alone


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_plugin_changes_nothing(alone, name, tmp_path):
    assert train_beside([name], tmp_path) == alone


@pytest.fixture(scope="module")
def alone_with_a_worker(tmp_path_factory):
    return train_with_a_worker([], tmp_path_factory.mktemp("alone"))


def train_with_a_worker(names, folder):
    """Train in a new process, whose worker plays; both see hostile plugins beside what is installed."""
    site = installed(names, folder)
    (folder / "script.py").write_text(
        "from build_digest import digest_of_a_run\nif __name__ == '__main__': print('digest', digest_of_a_run(1))"
    )
    run = subprocess.run(
        [sys.executable, str(folder / "script.py")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site.path), *TESTS, os.environ.get("PYTHONPATH", "")])},
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return re.search(r"[0-9a-f]{64}", run.stdout)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "names", [*([name] for name in HOSTILE), list(HOSTILE)], ids=lambda n: n[0] if len(n) == 1 else "all"
)
def test_nor_do_they_in_a_worker(alone_with_a_worker, names, tmp_path):
    pytest.importorskip("rlkit_processes")
    assert train_with_a_worker(names, tmp_path) == alone_with_a_worker
