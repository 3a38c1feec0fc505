"""What ``bench.py`` measures: works that rlkit and its peers do side by side, and how far ahead rlkit is to be.

A worker is a script of ``peers/`` with its arguments, run by the Python of its library. The worker ours is rlkit with
default settings; another whose name begins so says what it changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benchmarks" / "peers"
RESULTS = ROOT / "benchmarks" / "results"
#: Whose Python runs a peer; rlkit's and bare torch's is the one that runs the benchmark.
PYTHONS = {
    "sb3": ROOT / ".bench-venv" / "bin" / "python",
    "rllib": ROOT / ".bench-venv-rllib" / "bin" / "python",
}
PEER_NAMES = {
    "sb3": "Stable-Baselines3",
    "contrib": "sb3-contrib",
    "rllib": "RLlib",
    "bare": "a bare torch loop",
    "hand": "a loop written for speed",
    "envs": "the envs alone",
    "forward": "the bare forward pass",
    "python": "Python alone",
    "alone": "as many envs of one agent",
}


@dataclass(frozen=True)
class Worker:
    """A script of ``peers/``.

    Attributes:
        script: its name without the ending.
        arguments: before ``--steps``.
        library: whose Python runs it, of :data:`PYTHONS`; None for this one.
    """

    script: str
    arguments: Sequence[str] = ()
    library: str | None = None


@dataclass(frozen=True)
class Race:
    """Workers that do the same work.

    Attributes:
        title: for people.
        steps: of each worker in each round.
        workers: by name, in the order of the first round.
        least: how many times a peer's rate ours is to be at least, by peer; below 1 for floors.
        most_ms: a worker, the milliseconds that one of it may take, and the peer whose time is taken off first, if any.
        less_memory_than: peers whose peak of memory ours is to stay below.
        threads: of torch.
        unit: what is counted.
        usual: whether it is among those that run unless others are named.
    """

    title: str
    steps: int
    workers: Mapping[str, Worker]
    least: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    most_ms: tuple[str, float, str | None] | None = None
    less_memory_than: Sequence[str] = ()
    threads: int = 1
    unit: str = "step"
    usual: bool = True


def ours(name: str) -> Worker:
    """rlkit at a work of ``peers/ours.py``."""
    return Worker("ours", (name,))


def sb3(name: str) -> Worker:
    """Stable-Baselines3 at a work of ``peers/sb3.py``."""
    return Worker("sb3", (name,), "sb3")


def rllib(name: str) -> Worker:
    """RLlib at a work of ``peers/rllib.py``."""
    return Worker("rllib", (name,), "rllib")


def predictions(case: str, title: str, *, sampled: bool = False) -> Race:
    """Actions for one observation at a time, in a case of ``peers/one_observation.py``."""
    script, ending = "one_observation", "-sampled" if sampled else ""
    workers = {
        "ours": Worker(script, (f"ours-{case}{ending}",)),
        "sb3": Worker(script, (f"sb3-{case}{ending}",), "sb3"),
    }
    if sampled:
        return Race(title, 10_000, workers, {"sb3": 1.0}, unit="call")
    workers["forward"] = Worker(script, (f"forward-{case}",))
    return Race(title, 10_000, workers, {"sb3": 1.0, "forward": 1 / 1.8}, unit="call")


RACES = {
    "ppo_cartpole": Race(
        "PPO, CartPole-v1",
        102_400,
        {
            "ours": ours("ppo_cartpole"),
            "hand": Worker("hand_ppo"),
            "sb3": sb3("ppo_cartpole"),
            "bare": Worker("bare_ppo"),
        },
        {"sb3": 4.8, "hand": 1 / 1.25},
        less_memory_than=("sb3",),
    ),
    "sampling": Race(
        "PPO, CartPole-v1, sampling alone",
        51_200,
        {"ours": ours("sampling"), "sb3": sb3("sampling"), "envs": Worker("floors", ("sampling",))},
        {"sb3": 2.5, "envs": 1 / 1.8},
    ),
    "ppo_update": Race(
        "a minibatch of PPO's update, 256 rows",
        1_920,
        {"ours": ours("update"), "ours-eager": ours("update-eager"), "bare": Worker("floors", ("update",))},
        unit="call",
    ),
    "ppo_vector": Race(
        "PPO, 1,024 CartPoles as arrays, 2 threads",
        327_680,
        {"ours": ours("ppo_vector"), "bare": Worker("bare_ppo_vector")},
        {"bare": 1.3},
        threads=2,
    ),
    "ppo_image": Race(
        "PPO, frames of 84 x 84 x 4",
        8_192,
        {"ours": ours("ppo_image"), "ours-bf16": ours("ppo_image-bf16"), "bare": Worker("bare_ppo_image")},
        {"bare": 1.6},
    ),
    "ppo_lstm": Race(
        "PPO with an LSTM, CartPole without velocities",
        20_480,
        {"ours": ours("ppo_lstm"), "contrib": sb3("ppo_lstm")},
        {"contrib": 3.0},
    ),
    "dqn_cartpole": Race(
        "DQN, CartPole-v1, an update after 4 steps",
        40_000,
        {"ours": ours("dqn_cartpole"), "ours-eager": ours("dqn_cartpole-eager"), "bare": Worker("bare_dqn")},
        {"bare": 2.7},
    ),
    "dqn_together": Race(
        "DQN, CartPole-v1, 8 updates after 32 steps",
        40_000,
        {"ours": ours("dqn_together"), "bare": Worker("bare_dqn")},
        {"bare": 4.5},
    ),
    "one_observation": predictions("ppo", "one observation, `load_policy(…)(obs)`"),
    "one_observation_sampled": predictions("ppo", "one observation, PPO's action drawn", sampled=True),
    "one_observation_dqn": predictions("dqn", "one observation, DQN"),
    "one_observation_box": predictions("box", "one observation, normalised, for continuous actions"),
    "start_training": Race(
        "`rlkit train` to the end of the first 1,024 steps",
        1,
        {"ours": Worker("start", ("rlkit-train",)), "sb3": Worker("start", ("sb3-train",), "sb3")},
        {"sb3": 1.0},
        unit="start",
    ),
    "start_build": Race(
        "PPO built on CartPole-v1, torch imported before",
        1,
        {
            "ours": Worker("start", ("rlkit-build",)),
            "ours-imported": Worker("start", ("rlkit-build-imported",)),
            "sb3": Worker("start", ("sb3-build",), "sb3"),
        },
        most_ms=("ours-imported", 30.0, None),
        unit="start",
    ),
    "start_import": Race(
        "`import rlkit_core`",
        10,
        {"ours": Worker("start", ("rlkit-import",)), "python": Worker("start", ("bare-python",))},
        most_ms=("ours", 25.0, "python"),
        unit="start",
    ),
    "crowd": Race(
        "100 agents of one module, sampling",
        200_000,
        {"ours": Worker("crowd", ("crowd",)), "alone": Worker("crowd", ("alone",))},
        {"alone": 1 / 1.2},
        unit="agent step",
    ),
    "two_agents": Race(
        "PPO, two agents",
        20_480,
        {"ours": ours("two_agents"), "rllib": rllib("two_agents")},
        {"rllib": 6.0},
    ),
    "impala": Race("IMPALA, CartPole-v1", 40_000, {"ours": ours("impala"), "rllib": rllib("impala")}),
    "appo": Race("APPO, CartPole-v1", 40_000, {"ours": ours("appo"), "rllib": rllib("appo")}),
    "sac_pendulum": Race(
        "SAC, Pendulum-v1",
        1_000,
        {"ours": ours("sac_pendulum"), "sb3": sb3("sac_pendulum"), "bare": Worker("bare_sac")},
    ),
    "half_cheetah": Race("PPO, HalfCheetah-v5", 8_192, {"ours": ours("half_cheetah"), "sb3": sb3("half_cheetah")}),
    "pong": Race("PPO, ALE/Pong-v5", 2_048, {"ours": ours("pong"), "sb3": sb3("pong")}, {"sb3": 1.5}),
    "impala_ray": Race(
        "IMPALA on Ray, CartPole-v1",
        40_000,
        {"ours": ours("impala-ray"), "rllib": rllib("impala")},
        usual=False,
    ),
}
