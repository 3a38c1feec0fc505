"""README.md's tables are what declarations and recorded results say."""

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


def test_the_readme_is_what_the_files_say():
    assert readme_tables.README.read_text(encoding="utf-8") == readme_tables.readme(), (
        "run: python benchmarks/readme_tables.py"
    )


def test_each_algorithm_that_is_installed_has_a_row():
    entries = default_host().snapshot.entry_points(GROUP_ALGORITHMS)
    ours = {entry.name for entry in entries if (ROOT / "plugins" / entry.distribution).exists()}
    assert ours == set(readme_tables.PAPERS)


def test_figures_follow_the_files(tmp_path):
    for file in readme_tables.RESULTS.glob("*.json"):
        (tmp_path / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    assert readme_tables.speed(tmp_path) == readme_tables.speed()
    changed = tmp_path / "multi_agent-1-thread.json"
    race = json.loads(changed.read_text(encoding="utf-8"))
    race["workers"]["ours"]["steps_per_second"] = 123_456.0
    changed.write_text(json.dumps(race), encoding="utf-8")
    assert "| PPO, two agents | 123,456 | RLlib |" in readme_tables.speed(tmp_path)


def test_a_readme_without_a_place_for_a_table_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(readme_tables, "README", tmp_path / "README.md")
    readme_tables.README.write_text("# rlkit\n", encoding="utf-8")
    with pytest.raises(click.ClickException, match="has 0 places for algorithms"):
        readme_tables.readme()
