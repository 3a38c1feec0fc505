"""How long a user waits at the start, in processes of their own: to import, to build, to the first results.

python benchmarks/peers/start.py NAME --steps TIMES

``rlkit-train`` is the command until the first iteration of 1,024 steps is written down, ``sb3-train`` a script that
trains as long; both from the start of Python on. ``rlkit-build`` and ``sb3-build`` begin once torch is imported, and
``rlkit-build-imported`` once gymnasium and rlkit are, too.
"""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _span import ENV_ID, MINIBATCH_SIZE, NUM_ENVS, NUM_EPOCHS, NUM_STEPS, ROLLOUT, Work, measure, parse_order, repeated

SETTINGS = {
    "train_batch_size": ROLLOUT,
    "num_envs_per_env_runner": NUM_ENVS,
    "minibatch_size": MINIBATCH_SIZE,
    "num_epochs": NUM_EPOCHS,
}
SB3 = f"""
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

envs = make_vec_env("{ENV_ID}", n_envs={NUM_ENVS})
model = PPO("MlpPolicy", envs, n_steps={NUM_STEPS}, batch_size={MINIBATCH_SIZE}, n_epochs={NUM_EPOCHS}, device="cpu")
model.learn({ROLLOUT})
"""


def python(*arguments: str) -> None:
    """Run Python to its end."""
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def rlkit_train() -> None:
    """Wait for the first line of results, and end the run."""
    settings = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "run" / "results.jsonl"
        command = [sys.executable, "-m", "rlkit_core", "train", "ppo", ENV_ID, "--quiet", "--no-plot", "--no-preset"]
        command += ["--run-dir", str(results.parent), *settings]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
            while not (results.exists() and results.stat().st_size):
                if run.poll() is not None:
                    raise RuntimeError(f"rlkit train ended with status {run.returncode}: {run.communicate()[1]!r}")
                time.sleep(0.002)
            run.kill()


def rlkit_build() -> None:
    """PPO on CartPole."""
    from rlkit_core import get_algorithm_config

    get_algorithm_config("ppo").environment(ENV_ID).build_algo()


def sb3_build() -> None:
    """The same of Stable-Baselines3."""
    from stable_baselines3 import PPO

    PPO("MlpPolicy", ENV_ID, device="cpu")


def once_torch_is_there(build: Callable[[], None], *imported: str) -> Callable[[], tuple[int, float]]:
    """Build once, with modules imported before; a second time nothing is imported any more."""
    import torch

    torch.zeros(1)
    for name in imported:
        importlib.import_module(name)

    def run() -> tuple[int, float]:
        build()
        return 1, math.nan

    return run


WORKS: dict[str, Callable[[Work], Callable[[], tuple[int, float]]]] = {
    "rlkit-import": lambda work: repeated(lambda: python("-c", "import rlkit_core"), work.steps),
    "bare-python": lambda work: repeated(lambda: python("-c", "pass"), work.steps),
    "rlkit-train": lambda work: repeated(rlkit_train, work.steps),
    "sb3-train": lambda work: repeated(lambda: python("-c", SB3), work.steps),
    "rlkit-build": lambda work: once_torch_is_there(rlkit_build),
    "rlkit-build-imported": lambda work: once_torch_is_there(rlkit_build, "gymnasium", "rlkit_ppo"),
    "sb3-build": lambda work: once_torch_is_there(sb3_build),
}


if __name__ == "__main__":
    name, work = parse_order(WORKS)
    measure(WORKS[name](work), ["stable-baselines3" if name.startswith("sb3") else "rlkit-core"])
