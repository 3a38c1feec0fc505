"""What the entry point for pytest brings, and what it leaves out until it is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import types

import pytest

from rlkit_core import Component
from rlkit_core.errors import ContractError
from rlkit_core.plugins.host import default_host

SEEN = """
import sys
import pytest
code = pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider"])
heavy = [name for name in sys.modules if name.split(".")[0] in ("torch", "numpy", "gymnasium")]
heavy += [n for n in sys.modules if n.startswith("rlkit_") and not n.startswith("rlkit_core")]
print("plugin", "rlkit_core.testing.pytest_plugin" in sys.modules, "heavy", heavy, "code", int(code))
"""


@pytest.mark.covers("group:pytest11")
def test_collecting_nothing_imports_nothing(tmp_path):
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run([sys.executable, "-c", SEEN], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert "plugin True heavy [] code 5" in done.stdout, done.stdout + done.stderr


def test_the_host_is_clean_and_ends_with_the_test(rlkit_host):
    assert default_host() is rlkit_host
    assert {info.name for info in rlkit_host.snapshot.distributions if info.state == "found"} == {"rlkit-core"}
    assert {record.origin.distribution for record in rlkit_host.registry.components()} == {"rlkit-core"}


def test_a_module_with_hooks_is_checked_without_being_installed(rlkit_host, rlkit_check):
    from gymnasium.spaces import Box

    from rlkit_core.models import MLPEncoderConfig

    lab = types.ModuleType("lab")
    lab.rlkit_api = "1.0"
    lab.rlkit_encoders = lambda: [Component("flat", "encoder", MLPEncoderConfig, [Box], settings={})]
    assert rlkit_check(lab).errors == ()
    assert rlkit_host.registered == {}
    lab.rlkit_encoders = lambda: [Component("flat", "encoder", int, [Box])]
    with pytest.raises(ContractError, match=r"plugin lab breaks its contract:\n.*encoder 'flat'.*ModelConfig"):
        rlkit_check(lab)
    lab.rlkit_encoder = lab.rlkit_encoders
    report = rlkit_check(lab, strict=False)
    assert "unknown hook 'rlkit_encoder'" in str(report)
