"""stdout is the report's, whatever plugins write, and by whatever means."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from sites import Site

LOUD = """\
import os, sys
print("printed")
print("to the original", file=sys.__stdout__)
os.write(1, b"written\\n")
os.system("echo of a child")
rlkit_api = "1.0"
"""


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["doctor", "--json"], marks=pytest.mark.slow),
        ["explain", "ppo", "CartPole-v1", "--json"],
        pytest.param(["plugins", "--json"], marks=pytest.mark.slow),
    ],
    ids=lambda command: command[0],
)
def test_what_a_plugin_writes_while_it_is_imported_spoils_no_json(tmp_path, command):
    Site(tmp_path).add("lab-loud", LOUD)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-c", "from rlkit_core.cli import main; main()", *command],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        timeout=120,
        check=False,
    )
    assert json.loads(run.stdout), run.stderr
    if command[0] != "plugins":  # which imports none
        for text in ("printed", "to the original", "written", "of a child"):
            assert text in run.stderr
