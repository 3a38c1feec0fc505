"""Where Ray is not installed, or hidden, the executor says so when it is used."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
sys.modules["ray"] = None
from rlkit_core.errors import ActorError
from rlkit_core.execution import make_executor
try:
    make_executor("ray").spawn(dict)
except ActorError as error:
    assert str(error).endswith("not installed here: pip install ray"), error
else:
    raise AssertionError("no error")
"""


def test_it_says_what_to_install():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=120)
