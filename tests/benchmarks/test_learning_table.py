"""The documented learning results are the recorded ones, and each recorded row passed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
_SPEC = importlib.util.spec_from_file_location("learning_table", ROOT / "benchmarks" / "learning_table.py")
assert _SPEC is not None
assert _SPEC.loader is not None
learning_table = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(learning_table)


def test_the_page_is_what_the_files_say():
    page = ROOT / "docs" / "reference" / "learning-results.md"
    assert page.read_text(encoding="utf-8") == learning_table.page(), "run: python benchmarks/learning_table.py"


@pytest.mark.parametrize("file", sorted(RESULTS.glob("learn-*.json")), ids=lambda file: file.stem)
def test_each_recorded_row_passed(file):
    for row in json.loads(file.read_text()):
        assert row["return"] >= row["level"]
        assert row["return_of_checkpoint_on_other_seeds"] >= row["level"]
        assert row["steps"] <= row["within_steps"]


def test_a_row_and_a_bare_figure_become_lines(tmp_path):
    row = {
        "algorithm": "dqn",
        "environment": "some.module:Pole-v1",
        "seed": 2,
        "level": 475.0,
        "commit": "abcdef0123",
    }
    row |= {"within_steps": 150_000, "steps": 61_440, "return": 480.04}
    row |= {"return_of_checkpoint_on_other_seeds": 479.0}
    (tmp_path / "learn-dqn-Pole-v1.json").write_text(json.dumps([row]))
    bare = {
        "name": "bare-dqn",
        "environment": "Pole-v1",
        "steps": 1_000,
        "return": 7.125,
        "commit": "0123456789",
    }
    (tmp_path / "bare-dqn-Pole-v1.json").write_text(json.dumps({**bare, "max_episode_steps": 1_000}))
    text = learning_table.page(tmp_path)
    assert "| DQN | Pole-v1 | 475 | 150,000 | 2 | 61,440 | 480.0 | 479.0 | abcdef0 |\n" in text
    assert "| bare-dqn | Pole-v1 | 1,000 | 7.12 | 0123456 |\n" in text
    assert "cut after 1,000 steps" in text
