"""How much Python and how many tensor operations an env step, a minibatch and an iteration take.

Counts, not times: they are those of any machine with these versions of Python, torch, gymnasium and numpy. Run as a
script it prints them; with ``--renew`` it writes them into ``budgets.json``, which ``test_budgets.py`` holds (``make
budgets``). Learning rates are zero, so a last digit that another processor rounds otherwise leads to no other episodes.
"""

from __future__ import annotations

import gc
import json
import platform
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rlkit_core import get_algorithm_config
from rlkit_core.algorithm.results import Timed
from rlkit_core.testing import MultiAgentCartPole, StatelessCartPole

FILE = Path(__file__).with_name("budgets.json")
PHASES = {"sample": "sample", "iteration": "rest"}
UNITS = {"sample": "env step", "learn": "minibatch", "rest": "iteration"}
MEASURES = ("Python calls", "C calls", "tensor operations", "KiB of tensors")
PEAK = "KiB of Python's memory per iteration at the peak"


class Frames(gym.Env[Any, Any]):
    """Pictures that cost nothing; episodes of 20 steps."""

    observation_space = gym.spaces.Box(0, 255, (84, 84, 4), np.uint8)
    action_space = gym.spaces.Discrete(4)
    picture = np.zeros((84, 84, 4), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.t = 0
        return self.picture, {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return self.picture, 1.0, self.t == 20, False, {}


# -- what is measured -------------------------------------------------------------------------------------------------


def ppo(env: Any = "CartPole-v1", envs: int = 8, steps: int = 128, minibatch: int = 256, epochs: int = 4) -> Any:
    return (
        get_algorithm_config("ppo")
        .environment(env)
        .env_runners(num_envs_per_env_runner=envs, rollout_fragment_length=steps)
        .training(train_batch_size=envs * steps, minibatch_size=minibatch, num_epochs=epochs, lr=0.0)
        .learners(compile=None)
        .debugging(seed=1)
    )


def two_agents() -> Any:
    return (
        ppo(MultiAgentCartPole, envs=4, steps=64, minibatch=128, epochs=2)
        .environment(env_config={"num_agents": 2})
        .multi_agent(policies=["0", "1"], policy_mapping_fn=lambda agent, episode: str(agent))
    )


def dqn(updates: int = 1) -> Any:
    """One update of 64 transitions after 4 steps; or several of them together, after as many more."""
    return (
        get_algorithm_config("dqn")
        .environment("CartPole-v1")
        .env_runners(num_envs_per_env_runner=1, rollout_fragment_length=4 * updates)
        .training(train_batch_size=64, training_intensity=16.0, num_steps_sampled_before_learning_starts=96, lr=0.0)
        .reporting(min_sample_timesteps_per_iteration=320)
        .learners(compile=None)
        .debugging(seed=1)
    )


def recorded(config: Any) -> Any:
    return config.learners(compile="capture")


CASES: dict[str, Callable[[], Any]] = {
    "ppo, eager": ppo,
    "ppo, recorded": lambda: recorded(ppo()),
    "dqn, eager": dqn,
    "dqn, recorded": lambda: recorded(dqn()),
    "dqn, recorded, 8 updates together": lambda: recorded(dqn(8)),
    "ppo, pictures": lambda: ppo(Frames, steps=16, minibatch=32, epochs=1),
    "ppo, LSTM": lambda: ppo(StatelessCartPole, steps=32, minibatch=128, epochs=1).rl_module(
        model_config={"use_lstm": True, "lstm_cell_size": 64, "max_seq_len": 16}
    ),
    "ppo, 2 agents": two_agents,
}

#: Iterations before those that are measured: until then all is recorded and looked up that is so once, and in the four
#: behind them no replay is compared with an eager step.
WARM_UP = 3


# -- measuring --------------------------------------------------------------------------------------------------------


class Calls:
    """Counts calls, for ``sys.setprofile``; tells sampling, learning and the rest apart by the algorithm's timers.

    Attributes:
        now: what goes on.
        counts: by phase and what is counted.
    """

    def __init__(self) -> None:
        self.now, self._around = "rest", [""]
        self.counts: Counter[tuple[str, str]] = Counter()

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            if frame.f_code is Timed.__enter__.__code__:
                self._around.append(self.now)
                self.now = PHASES.get(frame.f_locals["self"].name, "learn")
            elif frame.f_code is Timed.__exit__.__code__:
                self.now = self._around.pop()
            self.counts[self.now, "Python calls"] += 1
        elif event == "c_call":
            self.counts[self.now, "C calls"] += 1

    def during(self, function: Callable[[], object]) -> None:
        """Count in a call of a function."""
        sys.setprofile(self)
        try:
            function()
        finally:
            sys.setprofile(None)


class Operations(TorchDispatchMode):
    """Counts tensor operations, and the bytes of what they make."""

    def __init__(self, calls: Calls) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._calls = calls
        self.counts: Counter[tuple[str, str]] = Counter()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        phase = self._calls.now
        self.counts[phase, "tensor operations"] += 1
        if not any(result.alias_info is not None for result in func._schema.returns):
            made = [one for one in (out if isinstance(out, tuple | list) else [out]) if isinstance(one, Tensor)]
            self.counts[phase, "KiB of tensors"] += sum(one.nbytes for one in made) / 1024
        return out


def measure(config: Any) -> dict[str, float]:
    """``{"Python calls per env step": ..., ...}`` of one case."""
    calls, minibatches = Calls(), 0
    with config.build_algo() as algo:
        for _ in range(WARM_UP):
            algo.train()
        before = algo.num_env_steps_sampled_lifetime
        calls.during(algo.train)
        steps = algo.num_env_steps_sampled_lifetime - before

        engine, phases = algo.learner_group.learner.engine, Calls()
        step = engine.step

        def counted(minibatch: Any) -> None:
            nonlocal minibatches
            minibatches += 1
            step(minibatch)

        engine.step = counted
        with Operations(phases) as operations:
            phases.during(algo.train)
        engine.step = step
        peak = [peak_of(algo.train) for _ in range(2)][-1]
        tracemalloc.stop()
    units = {"sample": steps, "learn": minibatches, "rest": 1}
    counts = calls.counts + operations.counts
    found = {f"{what} per {UNITS[phase]}": counts[phase, what] / units[phase] for phase in UNITS for what in MEASURES}
    return {name: round(value, 3) for name, value in found.items()} | {PEAK: round(peak / 1024)}


def peak_of(function: Callable[[], object]) -> int:
    """Bytes that Python and numpy hold at the most during a call, above those before it."""
    gc.collect()
    if not tracemalloc.is_tracing():
        tracemalloc.start()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    function()
    return tracemalloc.get_traced_memory()[1] - before


def changed(before: dict[str, float], now: dict[str, float], *, margin: float) -> list[str]:
    """What is more than before, or less, by more than a margin; the peak, which is not the same each time, by more."""
    pairs = [(what, before.get(what, 0.0), now.get(what, 0.0)) for what in {**before, **now}]
    return [what for what, was, is_ in pairs if abs(is_ - was) > margin * was + (16 if what == PEAK else margin)]


def changes(name: str, before: dict[str, float], now: dict[str, float], *, margin: float) -> Iterator[str]:
    """:func:`changed` in words."""
    for what in changed(before, now, margin=margin):
        was, value = before.get(what, 0.0), now.get(what, 0.0)
        yield f"{name}: {'more' if value > was else 'fewer'} {what}: {value:g}, before {was:g}"


def versions() -> dict[str, str]:
    """Of what counts depend on."""
    short = {"torch": torch.__version__, "gymnasium": gym.__version__, "numpy": np.__version__}
    found = {"Python": platform.python_version(), **short}
    return {name: ".".join(version.split("+")[0].split(".")[:2]) for name, version in found.items()}


def main() -> None:
    """Measure all cases; print or write them."""
    torch.set_num_threads(1)
    found = {"versions": versions(), "budgets": {name: measure(case()) for name, case in CASES.items()}}
    if "--renew" not in sys.argv:
        print(json.dumps(found, indent=1))
        return
    before = json.loads(FILE.read_text())["budgets"] if FILE.exists() else {}
    for name, budget in found["budgets"].items():
        was = before.get(name, {})
        for line in changes(name, was, budget, margin=0.0):
            print(line)
        moved = changed(was, budget, margin=0.0)
        budget.update({what: was[what] for what in budget if what not in moved and what in was})
    FILE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
