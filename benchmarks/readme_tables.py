"""Write README.md's tables: what algorithms take from their declarations, speed and levels from benchmarks/results.

python benchmarks/readme_tables.py            writes them, each between its two marks
python benchmarks/readme_tables.py --check    only says whether they are up to date (exit status 1 if not)
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
from learning_table import NAMES, RESULTS, figure, number, table

from rlkit_core import get_algorithm_config

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAPERS = {
    "ppo": "[proximal policy optimization](https://arxiv.org/abs/1707.06347)",
    "dqn": "[deep Q-networks](https://www.nature.com/articles/nature14236), up to [Rainbow](https://arxiv.org/abs/1710.02298)",
    "sac": "[soft actor-critic](https://arxiv.org/abs/1812.05905)",
    "impala": "[V-trace](https://arxiv.org/abs/1802.01561), runners that do not wait",
    "appo": "PPO's objective on IMPALA's runners",
}
PEERS = {"sb3": "Stable-Baselines3", "rllib": "RLlib", "bare": "a bare loop"}
RACES: tuple[tuple[str, str, str | None, str, str], ...] = (
    ("PPO, CartPole-v1", "ppo_cartpole-1-thread", None, "ours", "sb3"),
    ("PPO, CartPole-v1", "ppo_cartpole-1-thread", None, "ours", "bare"),
    ("PPO, HalfCheetah-v5", "ppo_envs-1-thread", "HalfCheetah-v5", "ours", "sb3"),
    ("PPO, ALE/Pong-v5", "ppo_envs-1-thread", "ALE/Pong-v5", "ours", "sb3"),
    ("PPO, two agents", "multi_agent-1-thread", None, "ours", "rllib"),
    ("IMPALA, CartPole-v1", "impala_cartpole-1-thread", "impala", "ours", "rllib"),
    ("APPO, CartPole-v1", "impala_cartpole-1-thread", "appo", "ours", "rllib"),
    ("SAC, Pendulum-v1", "sac_pendulum-1-thread", None, "ours", "sb3"),
    ("DQN, CartPole-v1", "dqn_cartpole-1-thread", None, "ours-capture", "bare"),
)
"""What is measured, its file of results, the part of it, and the names of both sides there."""


def algorithms() -> str:
    """What each algorithm can take, as its config declares."""
    lines = []
    for name, what in PAPERS.items():
        config: Any = type(get_algorithm_config(name))
        actions = [one if isinstance(one, str) else one.__name__ for one in config.action_spaces or ("any",)]
        flags = ["no" if flag is False else "yes" for flag in (config.supports_recurrent, config.supports_multi_agent)]
        lines.append([f"`{name}`", what, ", ".join(actions), *flags])
    return table(("algorithm", "is", "actions", "memory", "several agents"), lines, left=5)


def speed(results: Path = RESULTS) -> str:
    """Env steps a second beside others', in one run each, learning included."""
    lines, machines = [], set()
    for what, file, part, ours, theirs in RACES:
        found = json.loads((results / f"{file}.json").read_text(encoding="utf-8"))
        race = found if part is None else found[part]
        rates = [race["workers"][side]["steps_per_second"] for side in (ours, theirs)]
        ratio = race["ratios"][f"{ours}/{theirs}"]["steps_per_second"]
        spread = f"{ratio['median']:.1f} ({ratio['min']:.1f} to {ratio['max']:.1f})"
        lines.append([what, f"{rates[0]:,.0f}", PEERS[theirs], f"{rates[1]:,.0f}", spread])
        machines.add((race["machine"]["cpu"], race["machine"]["cores"], race["threads"]))
    [(cpu, cores, threads)] = machines
    text = table(("", "rlkit", "beside", "steps/s", "times as fast"), lines, left=1)
    return text + f"\nOn {cores} cores of an {cpu}, {threads} thread; medians of 3 or 5 rounds, and their range.\n"


def levels(results: Path = RESULTS) -> str:
    """Mean return at the end of a budget, by environment and algorithm."""
    found: dict[str, dict[str, str]] = {}
    for file in sorted(results.glob("learn-*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(result, dict):
            row = result["levels"][-1]
            returns = [one["return_sampled" if row["sampled"] else "return"] for one in row["seeds"]]
            cell = f"{figure(sum(returns) / len(returns))} ({steps(row['within'])}){' *' if row['missed'] else ''}"
            found.setdefault(result["environment"].rpartition(":")[2], {})[result["algorithm"]] = cell
    algorithms = [name for name in PAPERS if any(name in row for row in found.values())]
    lines = [[env, *(row.get(name, "") for name in algorithms)] for env, row in sorted(found.items())]
    return table(("return (steps)", *(NAMES[name] for name in algorithms)), lines, left=1)


def steps(count: int) -> str:
    """A number of steps in short: 300k, 2M."""
    return f"{number(count / 1e6)}M" if count >= 1_000_000 else f"{number(count / 1e3)}k"


def readme() -> str:
    """README.md with its tables made anew."""
    text = README.read_text(encoding="utf-8")
    for name, made in {"algorithms": algorithms(), "speed": speed(), "levels": levels()}.items():
        mark = f"<!-- {name}: made by benchmarks/readme_tables.py -->"
        end = f"<!-- end of {name} -->"
        places = re.findall(f"{re.escape(mark)}.*?{re.escape(end)}", text, flags=re.DOTALL)
        if len(places) != 1:
            raise click.ClickException(f"README.md has {len(places)} places for {name}, {mark} to {end}; expected 1")
        text = text.replace(places[0], f"{mark}\n\n{made}\n{end}")
    return text


@click.command()
@click.option("--check", is_flag=True, help="Write nothing.")
def main(check: bool) -> None:
    """Make README.md's tables from declarations and recorded results."""
    text = readme()
    if not check:
        README.write_text(text, encoding="utf-8")
    elif README.read_text(encoding="utf-8") != text:
        raise click.ClickException("README.md is out of date: python benchmarks/readme_tables.py")


if __name__ == "__main__":
    main()
