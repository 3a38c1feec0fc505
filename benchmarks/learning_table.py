"""Write the table of learning results into the documentation, from the files that ``make learn`` leaves.

python benchmarks/learning_table.py            writes docs/reference/learning-results.md, and what `rlkit presets` shows
python benchmarks/learning_table.py --check    only says whether these are up to date (exit status 1 if not)
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import reached

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "reference" / "learning-results.md"
NEXT = "next.json"
"""Of each level that was missed, as ``{"ALGO ENV": text}``: what it was seen to need, or what to try next."""
NAMES = {"appo": "APPO", "dqn": "DQN", "impala": "IMPALA", "ppo": "PPO", "sac": "SAC"}

HEAD = """\
# Learning results

What each algorithm reached with the settings of its own data file (`presets.json`; `rlkit train ALGO ENV` uses them),
or with those that a plugin's env brings along.
`make learn` and `make learn-long` run them and leave one file per environment in `benchmarks/results/`, with all
settings, learning curves and the commit; `benchmarks/learning_table.py` makes this page from those files.

"""
PROTOCOL = """\
Every seed trains to the end of its budget, and the policy that it has *then* is judged, on episodes of other seeds: 100
or as many as give its mean return a standard error of 2 %, of itself or of the level. A level is reached if the mean
over the seeds is at it and no seed is below 60 % of it (of a negative level: 150 %). Policies act deterministically
unless it says sampled. "First reached" is the first look while training at which the mean return was at the level
(10 deterministic episodes, or the last 100 of training where the level is one of sampled actions), "-" where none was.

"""
LEVEL_COLUMNS = (
    "algorithm",
    "environment",
    "steps",
    "level",
    "mean",
    "reached",
    "each seed",
    "first reached",
    "CPU seconds",
    "commit",
)
MISSED = """
Not reached:

"""
EARLIER = """
## Recorded until the level was reached

Rows of an earlier protocol, until they are measured again: training stopped at the first evaluation that was a little
above the level, and the checkpoint then played 100 episodes with other seeds.

"""
COLUMNS = (
    "algorithm",
    "environment",
    "level",
    "within steps",
    "seed",
    "steps",
    "return",
    "on other seeds",
    "commit",
)
BARE = """
The levels on MinAtar are what a bare loop in the style of CleanRL made of the same number of steps, run once
(`benchmarks/peers/bare_*_minatar.py`). Its episodes, like ours, are cut after {cap:,} steps: a policy that never drops
the ball would play for ever.

"""


def number(value: float) -> str:
    """Whole numbers with separators, others with two decimals."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"


def table(columns: Iterable[str], rows: Iterable[Iterable[str]], left: int) -> str:
    """A Markdown table whose first ``left`` columns are text and whose others are figures."""
    columns = list(columns)
    rule = [":--" if index < left else "--:" for index in range(len(columns))]
    return "".join(f"| {' | '.join(row)} |\n" for row in (columns, rule, *rows))


AGENTS = """
## Several agents

Returns of several agents are sums over all of them. The level on simple_spread is what Stable-Baselines3's PPO, with
one network for all agents through SuperSuit, made of the same number of steps with our preset's settings, run once
(`benchmarks/peers/sb3_simple_spread.py`).

"""
CRITIC = """
With a critic that sees the state of the whole env (`docs/examples/central_critic.py`), on simple_spread:

"""
BESIDE = """
## SAC beside Stable-Baselines3

The same steps, networks and settings (`benchmarks/peers/sb3_sac.py`), one seed, or three where one says little (medians
count): the mean return of 10 deterministic episodes at each tenth of the steps, averaged over the last three.

"""
CURIOUS = """
## Curiosity

PPO with the mixin `rlkit-rnd/rnd` and without it, all else alike, in an env whose reward chance does not find: the mean
return of 100 deterministic episodes at the end, one figure a seed (`plugins/rlkit-rnd/tests/test_learning.py`).

"""
SELF_PLAY = """
Tic-tac-toe learned by self-play (`docs/examples/self_play.py`) until, at a look every 40,960 moves, no line is lost by
the first player, and at most 2 % are by the second. A line is one sequence of an opponent's replies; all are played.

"""


def learn_row(row: dict[str, Any]) -> list[str]:
    """One line of the table of the earlier protocol."""
    name = NAMES.get(row["algorithm"], row["algorithm"])
    returns = (row["return"], row["return_of_checkpoint_on_other_seeds"])
    figures = [number(row[key]) for key in ("level", "within_steps", "seed", "steps")]
    environment = row["environment"].rpartition(":")[2]
    return [name, environment, *figures, *(f"{value:.1f}" for value in returns), row["commit"][:7]]


def level_row(result: dict[str, Any], row: dict[str, Any]) -> list[str]:
    """One line of the table of levels: a budget of an algorithm in an env."""
    suffix = "_sampled" if row["sampled"] else ""
    returns = [one[f"return{suffix}"] for one in row["seeds"]]
    level = number(row["level"]) + (", sampled" if row["sampled"] else "")
    first = ["-" if one["first_reached"] is None else number(one["first_reached"]) for one in row["seeds"]]
    cpu = [one["cpu_seconds"] for one in row["seeds"] if one["cpu_seconds"] is not None]
    return [
        NAMES.get(result["algorithm"], result["algorithm"]),
        result["environment"].rpartition(":")[2],
        number(row["within"]),
        level,
        figure(sum(returns) / len(returns)) if returns else "-",
        "no" if row["missed"] else "yes",
        ", ".join(map(figure, returns)),
        ", ".join(first),
        number(round(sum(cpu) / len(cpu))) if cpu else "-",
        result["commit"][:7],
    ]


def figure(value: float) -> str:
    """A return, with as many decimals as say something."""
    return f"{value:,.{0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 2}f}"


def levels(results: Path) -> str:
    """The table of levels, and what is to be said about those that were missed; empty without such files."""
    found = [json.loads(file.read_text()) for file in sorted(results.glob("learn-*.json"))]
    found = [result for result in found if isinstance(result, dict)]
    found.sort(key=lambda result: (result["environment"].rpartition(":")[2], result["algorithm"]))
    lines = [level_row(result, row) for result in found for row in result["levels"]]
    text = PROTOCOL + table(LEVEL_COLUMNS, lines, left=2) if lines else ""
    says = json.loads((results / NEXT).read_text()) if (results / NEXT).exists() else {}
    said = []
    for result in found:
        why = [f"{row['within']:,} steps: {text}" for row in result["levels"] for text in row["missed"]]
        why += result["unfinished"]
        key = f"{result['algorithm']} {result['environment']}"
        if why:
            said.append(f"- {key}: {'; '.join(why)}. {says.get(key, '')}".rstrip() + "\n")
    return text + (MISSED + "".join(said) if said else "")


def page(results: Path = RESULTS) -> str:
    """The page, as the files under ``results`` have it."""
    files = [json.loads(file.read_text()) for file in sorted(results.glob("learn-*.json"))]
    rows = [row for rows in files if isinstance(rows, list) for row in rows]
    rows.sort(key=lambda row: (row["environment"].rpartition(":")[2], row["algorithm"], row["seed"]))
    text = HEAD + levels(results)
    if rows:
        text += EARLIER + table(COLUMNS, map(learn_row, rows), left=2)
    bare = [json.loads(file.read_text()) for file in sorted(results.glob("bare-*.json"))]
    if bare:
        lines = [
            [row["name"], row["environment"], number(row["steps"]), f"{row['return']:.2f}", row["commit"][:7]]
            for row in bare
        ]
        [cap] = {row["max_episode_steps"] for row in bare}
        text += BARE.format(cap=cap)
        text += table(("loop", "environment", "steps", "return", "commit"), lines, left=2)
    return text + beside(results) + agents(results) + curiosity(results)


def beside(results: Path) -> str:
    """SAC's runs of fixed length, and Stable-Baselines3's; empty without such files."""
    lines = []
    for file in sorted(results.glob("sac-*.json")):
        sides = [json.loads(one.read_text()) for one in (file, results / f"sb3-{file.name}")]
        returns = [", ".join(f"{run['return']:.1f}" for run in side["runs"]) for side in sides]
        lines.append([sides[0]["environment"], number(sides[0]["steps"]), *returns])
    return BESIDE + table(("environment", "steps", "rlkit", "stable-baselines3"), lines, left=1) if lines else ""


def agents(results: Path) -> str:
    """What only runs with several agents have; empty without such files."""
    critic, games = (
        rows_of(results / f"{name}.json") for name in ("central-critic-simple_spread", "self-play-tictactoe")
    )
    text = AGENTS if critic or games else ""
    if critic:
        lines = [[number(row["seed"]), number(row["within_steps"]), f"{row['return']:.1f}"] for row in critic]
        text += CRITIC + table(("seed", "steps", "return"), lines, left=0)
    if games:
        lines = []
        for row in games:
            sides = [row["lines"][side] for side in ("first", "second")]
            lost = [f"{side['lost']} of {sum(side.values())}" for side in sides]
            lines.append([number(row["seed"]), number(row["steps"]), *lost])
        text += SELF_PLAY + table(("seed", "moves", "lost as first", "lost as second"), lines, left=0)
    return text


def curiosity(results: Path) -> str:
    """Runs with and without a reward for what is new; empty without such files."""
    lines = []
    for file in sorted(results.glob("curiosity-*.json")):
        row = json.loads(file.read_text())
        returns = [", ".join(f"{value:.2f}" for value in row[key]) for key in ("with", "without")]
        lines.append([row["environment"], number(row["steps"]), *returns, row["commit"][:7]])
    columns = ("environment", "steps", "with", "without", "commit")
    return CURIOUS + table(columns, lines, left=1) if lines else ""


def rows_of(file: Path) -> list[dict[str, Any]]:
    """The rows of a file of results; none where there is no such file."""
    rows: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
    return rows


@click.command()
@click.option("--check", is_flag=True, help="Write nothing.")
def main(check: bool) -> None:
    """Make the page of learning results, and what rlkit presets shows, from the recorded files."""
    for file, text in {PAGE: page(), **reached.files(RESULTS)}.items():
        if not check:
            file.write_text(text, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            raise click.ClickException(f"{file} is out of date: python benchmarks/learning_table.py")


if __name__ == "__main__":
    main()
