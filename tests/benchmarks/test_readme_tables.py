"""The tables of README.md and of the page on performance are what declarations and recorded results say."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import click
import pytest

from rlkit_core.plugins.discovery import GROUP_ALGORITHMS
from rlkit_core.plugins.host import default_host

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))
readme_tables = importlib.import_module("readme_tables")
speed_plot = importlib.import_module("speed_plot")


@pytest.mark.parametrize("page", [readme_tables.README, readme_tables.PERFORMANCE], ids=lambda page: page.name)
def test_pages_are_what_the_files_say(page):
    assert page.read_text(encoding="utf-8") == readme_tables.pages()[page], "run: python benchmarks/readme_tables.py"


def test_the_plot_shows_what_the_files_say(tmp_path):
    bars, caption = readme_tables.plotted()
    assert speed_plot.shows(readme_tables.PLOT, bars, caption), "run: python benchmarks/readme_tables.py"
    name, median, least, most = bars[0]
    assert not speed_plot.shows(readme_tables.PLOT, [(name, median + 0.01, least, most), *bars[1:]], caption)
    assert not speed_plot.shows(tmp_path / "none.png", bars, caption)


def test_each_algorithm_that_is_installed_has_a_row():
    entries = default_host().snapshot.entry_points(GROUP_ALGORITHMS)
    ours = {entry.name for entry in entries if (ROOT / "plugins" / entry.distribution).exists()}
    assert ours == set(readme_tables.PAPERS)


def test_figures_follow_the_files(tmp_path):
    for file in readme_tables.RESULTS.glob("*.json"):
        (tmp_path / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    assert readme_tables.speed(tmp_path) == readme_tables.speed()
    changed = tmp_path / "speed-two_agents.json"
    race = json.loads(changed.read_text(encoding="utf-8"))
    race["workers"]["ours"]["steps_per_second"] = 123_456.0
    changed.write_text(json.dumps(race), encoding="utf-8")
    assert "| PPO, two agents | 123,456 | RLlib |" in readme_tables.speed(tmp_path)


def test_a_readme_without_a_place_for_a_table_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(readme_tables, "README", tmp_path / "README.md")
    readme_tables.README.write_text("# rlkit\n", encoding="utf-8")
    with pytest.raises(click.ClickException, match="has 0 places for algorithms"):
        readme_tables.pages()
