"""Write the tables of README.md and of docs/explanation/performance.md, and their plot, from benchmarks/results.

What algorithms take is from their declarations.

python benchmarks/readme_tables.py            writes them, tables each between their two marks
python benchmarks/readme_tables.py --check    only says whether they are up to date (exit status 1 if not)
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from learning_table import NAMES, RESULTS, figure, number, table
from races import PEER_NAMES, RACES, Race

from rlkit_core import get_algorithm_config

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PERFORMANCE = ROOT / "docs" / "explanation" / "performance.md"
PLOT = PERFORMANCE.with_name("speed.png")
LIBRARIES = ("sb3", "contrib", "rllib")
PACKAGES = ("torch", "gymnasium", "stable-baselines3", "sb3-contrib", "ray")
PAPERS = {
    "ppo": "[proximal policy optimization](https://arxiv.org/abs/1707.06347)",
    "dqn": "[deep Q-networks](https://www.nature.com/articles/nature14236), up to [Rainbow](https://arxiv.org/abs/1710.02298)",
    "sac": "[soft actor-critic](https://arxiv.org/abs/1812.05905)",
    "impala": "[V-trace](https://arxiv.org/abs/1802.01561), runners that do not wait",
    "appo": "PPO's objective on IMPALA's runners",
}


def algorithms() -> str:
    """What each algorithm can take, as its config declares."""
    lines = []
    for name, what in PAPERS.items():
        config: Any = type(get_algorithm_config(name))
        actions = [one if isinstance(one, str) else one.__name__ for one in config.action_spaces or ("any",)]
        flags = ["no" if flag is False else "yes" for flag in (config.supports_recurrent, config.supports_multi_agent)]
        lines.append([f"`{name}`", what, ", ".join(actions), *flags])
    return table(("algorithm", "is", "actions", "memory", "several agents"), lines, left=5)


def measured(results: Path) -> dict[str, dict[str, Any]]:
    """The reports of races that were run, by name."""
    files = {name: results / f"speed-{name}.json" for name in RACES}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.exists()}


def pairs(reports: Mapping[str, dict[str, Any]]) -> Iterator[tuple[Race, dict[str, Any], str, str]]:
    """Each of our workers beside each peer: race, report, ours, theirs."""
    for name, report in reports.items():
        for pair in report["ratios"]:
            mine, theirs = pair.split("/")
            yield RACES[name], report, mine, theirs


def speed(results: Path = RESULTS) -> str:
    """Env steps a second beside other libraries, or a bare loop where there is none, learning included."""
    lines = []
    reports = measured(results)
    for race, report, mine, theirs in pairs(reports):
        others = [peer for peer in race.workers if peer in LIBRARIES]
        if mine == "ours" and race.unit == "step" and race.usual and theirs in (others or ["bare"]):
            cells = [rate(race, report, side) for side in (mine, theirs)]
            lines.append([race.title, cells[0], PEER_NAMES[theirs], cells[1], times(report, mine, theirs, 1)])
    text = table(("", "rlkit, steps/s", "beside", "steps/s", "times as fast"), lines, left=1)
    return f"{text}\n{conditions(reports)}\n"


def beside(results: Path = RESULTS) -> str:
    """All that was measured beside peers and floors, and what it is to be at least."""
    reports = measured(results)
    lines = []
    for race, report, mine, theirs in pairs(reports):
        what = race.title if mine == "ours" else f"{race.title}, {mine.partition('-')[2]}"
        least = race.least.get(theirs) if mine == "ours" else None
        wanted = "" if least is None else f"{least:.2f}"
        memory = f"{report['ratios'][f'{mine}/{theirs}']['peak_memory_mib']['median']:.2f}"
        cells = [rate(race, report, side) for side in (mine, theirs)]
        lines.append([what, cells[0], PEER_NAMES[theirs], cells[1], times(report, mine, theirs, 2), wanted, memory])
    absent = [race.title for name, race in RACES.items() if race.usual and name not in reports]
    text = table(("", "rlkit", "beside", "", "times as fast", "aim", "memory"), lines, left=1)
    return f"{text}\n{conditions(reports)}\n" + (f"\nNot measured yet: {'; '.join(absent)}.\n" if absent else "")


def rate(race: Race, report: Mapping[str, Any], worker: str) -> str:
    """Steps a second, or the time of a call or a start."""
    per_second = report["workers"][worker]["steps_per_second"]
    if race.unit == "start":
        return f"{1e3 / per_second:,.0f} ms"
    return f"{1e6 / per_second:,.0f} µs" if race.unit == "call" else f"{per_second:,.0f}"


def times(report: Mapping[str, Any], mine: str, theirs: str, digits: int) -> str:
    """How many times as fast, with the range."""
    ratio = report["ratios"][f"{mine}/{theirs}"]["steps_per_second"]
    return "{median:.{d}f} ({min:.{d}f} to {max:.{d}f})".format(**ratio, d=digits)


def conditions(reports: Mapping[str, dict[str, Any]]) -> str:
    """Hardware, rounds, versions and commits of what a table shows."""
    machines = {f"{one['machine']['cores']} cores of an {one['machine']['cpu']}" for one in reports.values()}
    rounds = sorted({report["rounds"] for report in reports.values()})
    threads = "one thread where nothing else is said"
    found: dict[str, set[str]] = {}
    for report in reports.values():
        for worker in report["workers"].values():
            for package in PACKAGES:
                if package in worker["versions"]:
                    found.setdefault(package, set()).add(worker["versions"][package])
    versions = ", ".join(
        f"{package} {' and '.join(sorted(found[package]))}" for package in PACKAGES if package in found
    )
    commits = sorted({str(report["machine"]["commit"])[:7] for report in reports.values()})
    text = (
        f"On {' and '.join(sorted(machines))}, {threads}; medians of {' or '.join(map(str, rounds))} rounds, in "
        f"brackets their range. {versions}; commit {', '.join(commits)}."
    )
    return textwrap.fill(text, 119, break_on_hyphens=False)


def targets(results: Path = RESULTS) -> str:
    """What is aimed at, and whether it is reached, a line each."""
    verdicts = {True: "ok", False: "MISSED", None: "?"}
    return "\n".join(
        f"{verdicts[reached]:6} {name}: {what}"
        for name, report in measured(results).items()
        for what, reached in aims(RACES[name], report)
    )


def aims(race: Race, report: Mapping[str, Any]) -> Iterator[tuple[str, bool | None]]:
    """What a race aims at with what it is, and whether that is reached; None where it was not measured."""
    ratios = {peer: report["ratios"].get(f"ours/{peer}") for peer in (*race.least, *race.less_memory_than)}
    for peer in [peer for peer, ratio in ratios.items() if ratio is None]:
        yield f"{peer} was not measured", None
        del ratios[peer]
    for peer, least in race.least.items():
        if peer in ratios:
            ratio = ratios[peer]["steps_per_second"]["median"]
            yield f"{peer} {ratio:.2f} >= {least:.2f}", ratio >= least
    for peer in race.less_memory_than:
        if peer in ratios:
            ratio = ratios[peer]["peak_memory_mib"]["median"]
            yield f"memory, {peer} {ratio:.2f} < 1", ratio < 1
    if race.most_ms is not None:
        mine, most, above = race.most_ms
        took = {name: 1e3 / worker["steps_per_second"] for name, worker in report["workers"].items()}
        if mine in took and (above is None or above in took):
            ms = took[mine] - (took[above] if above else 0.0)
            yield f"{mine} {ms:.0f} ms{f' above {above}' if above else ''} <= {most:.0f}", ms <= most


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


def filled(page: Path, tables: Mapping[str, str]) -> str:
    """A page with its tables made anew."""
    text = page.read_text(encoding="utf-8")
    for name, made in tables.items():
        mark = f"<!-- {name}: made by benchmarks/readme_tables.py -->"
        end = f"<!-- end of {name} -->"
        places = re.findall(f"{re.escape(mark)}.*?{re.escape(end)}", text, flags=re.DOTALL)
        if len(places) != 1:
            raise click.ClickException(f"{page.name} has {len(places)} places for {name}, {mark} to {end}; expected 1")
        text = text.replace(places[0], f"{mark}\n\n{made}\n{end}")
    return text


def pages() -> dict[Path, str]:
    """The pages as they are to be."""
    return {
        README: filled(README, {"algorithms": algorithms(), "speed": speed(), "levels": levels()}),
        PERFORMANCE: filled(PERFORMANCE, {"beside": beside()}),
    }


def plotted(results: Path = RESULTS) -> tuple[list[tuple[str, float, float, float]], str]:
    """What the plot shows: a name for each pair with the median, least and greatest ratio; and its caption."""
    bars, reports = [], measured(results)
    for race, report, mine, theirs in pairs(reports):
        ratio = report["ratios"][f"{mine}/{theirs}"]["steps_per_second"]
        if mine == "ours":
            what = f"{race.title} / {PEER_NAMES[theirs]}".replace("`", "")
            bars.append((what, ratio["median"], ratio["min"], ratio["max"]))
    return bars, conditions(reports)


def write(results: Path = RESULTS) -> None:
    """Write pages and plot, or for figures that are not the committed ones a table and a plot beside them."""
    from speed_plot import draw

    if results == RESULTS:
        for page, text in pages().items():
            page.write_text(text, encoding="utf-8")
        draw(*plotted(), PLOT)
    elif plotted(results)[0]:
        (results / "speed.md").write_text(beside(results), encoding="utf-8")
        draw(*plotted(results), results / "speed.png")


@click.command()
@click.option("--check", is_flag=True, help="Write nothing.")
def main(check: bool) -> None:
    """Make tables and the plot from declarations and recorded results."""
    if not check:
        write()
        return
    from speed_plot import shows

    old = [page.name for page, text in pages().items() if page.read_text(encoding="utf-8") != text]
    old += [] if shows(PLOT, *plotted()) else [PLOT.name]
    if old:
        raise click.ClickException(f"{', '.join(old)} out of date: python benchmarks/readme_tables.py")


if __name__ == "__main__":
    main()
