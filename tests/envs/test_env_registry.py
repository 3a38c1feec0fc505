"""Envs that one process has registered, made in another one."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import gymnasium as gym
import pytest

from rlkit_core.envs.env_registry import registered_envs
from rlkit_core.errors import ConfigError

ENV = """
import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv

class Apart(CartPoleEnv):
    kind = "apart"

gym.register("Apart-v0", Apart)
"""
MAKE = """
import pathlib, sys
import gymnasium as gym
from rlkit_core.envs.env_registry import register_envs
register_envs({"Apart-v0": pathlib.Path(sys.argv[1]).read_bytes()})
print(gym.make("Apart-v0").unwrapped.kind)
"""


@pytest.fixture
def apart(tmp_path):
    """A module of this process that no other one can import, and the env that it has registered."""
    file = tmp_path / "apart.py"
    file.write_text(ENV)
    spec = importlib.util.spec_from_file_location("somewhere.apart", file)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]
    del gym.registry["Apart-v0"]


def test_an_env_of_a_module_that_cannot_be_imported_goes_along(apart, tmp_path):
    (tmp_path / "spec").write_bytes(registered_envs("Apart-v0")["Apart-v0"])
    command = [sys.executable, "-c", MAKE, str(tmp_path / "spec")]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "apart\n", done.stderr


def test_what_cannot_be_pickled_is_left_out_unless_it_is_asked_for():
    file = sys.stderr
    gym.register("Unpicklable-v0", lambda: file.isatty() and None)
    try:
        assert "Unpicklable-v0" not in registered_envs("CartPole-v1")
        with pytest.raises(ConfigError, match=r"'Unpicklable-v0' cannot be sent"):
            registered_envs("Unpicklable-v0")
    finally:
        del gym.registry["Unpicklable-v0"]
