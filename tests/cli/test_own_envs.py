"""Envs of one's own on the command line: in the current folder by module, in a file by path, and again from a run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from click.testing import CliRunner

from rlkit_core.cli.app import cli

OWN = """
import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv

class MyEnv(CartPoleEnv):
    pass

gym.register("OwnPole-v0", MyEnv, max_episode_steps=9)
"""
SMALL = ["--no-plot", "--quiet", "--set", "train_batch_size=64", "--set", "minibatch_size=32", "--evaluate", "1"]


def rlkit(*args: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "own_pole.py").write_text(OWN)
    (tmp_path / "elsewhere" / "own_stick.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def forget() -> None:
        gym.registry.pop("OwnPole-v0", None)
        sys.path[:] = [path for path in sys.path if not path.startswith(str(tmp_path))]
        for name in ("own_pole", "own_stick"):
            sys.modules.pop(name, None)

    yield forget
    forget()


def test_a_module_in_the_current_folder(here: Any) -> None:
    rlkit("train", "ac", "own_pole:OwnPole-v0", "--run-dir", "run", "--stop-iters", 1, *SMALL)
    here()  # as if another process went on
    assert json.loads(rlkit("evaluate", "run", "--episodes", 2, "--json"))["episode_len_mean"] <= 9
    here()
    rlkit("resume", "run", "--more-steps", 64, "--no-plot", "--quiet")
    rlkit("explain", "ac", "own_pole:MyEnv")


def test_a_file_is_run_only_where_the_command_names_it(here: Any) -> None:
    file = "./elsewhere/own_stick.py:MyEnv"
    rlkit("train", "ac", file, "--run-dir", "run", "--stop-iters", 1, *SMALL)
    here()
    assert "'own_stick:MyEnv'" in rlkit("evaluate", "run", "--episodes", 1, code=2)
    here()
    assert "own_stick:MyEnv" in rlkit("evaluate", "run", "--episodes", 1, "--env", file)
    here()
    rlkit("resume", "run", "--more-steps", 64, "--env", file, "--no-plot", "--quiet")
    assert "write ./elsewhere/own_stick.py:NAME" in rlkit("explain", "ac", "./elsewhere/own_stick.py", code=2)
    assert "no/such.py: there is no such file" in rlkit("explain", "ac", "no/such.py:Env", code=2)


def test_python_m_rlkit_core() -> None:
    done = subprocess.run([sys.executable, "-m", "rlkit_core", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("rlkit-core ")
