"""The documented learning results are the recorded ones, and each recorded row passed."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import learning
import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
sys.path.append(str(ROOT / "benchmarks"))  # what the script finds beside itself
_SPEC = importlib.util.spec_from_file_location("learning_table", ROOT / "benchmarks" / "learning_table.py")
assert _SPEC is not None
assert _SPEC.loader is not None
learning_table = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(learning_table)


def test_the_page_is_what_the_files_say():
    page = ROOT / "docs" / "reference" / "learning-results.md"
    assert page.read_text(encoding="utf-8") == learning_table.page(), "run: python benchmarks/learning_table.py"


def test_what_presets_reached_is_what_the_files_say():
    """Settings are not compared: a preset that was tuned since is shown with its earlier figures, which is said."""

    def runs(text):
        return {env: entry["runs"] for env, entry in json.loads(text).items()}

    for file, text in learning_table.reached.files(RESULTS).items():
        there = file.read_text(encoding="utf-8")
        assert runs(there) == runs(text), "run: python benchmarks/learning_table.py"


@pytest.mark.parametrize("file", sorted(RESULTS.glob("learn-*.json")), ids=lambda file: file.stem)
def test_each_recorded_row_passed_or_what_to_try_next_is_said(file):
    result = json.loads(file.read_text())
    if isinstance(result, list):
        for row in result:
            assert row["return"] >= row["level"]
            assert row["return_of_checkpoint_on_other_seeds"] >= row["level"]
            assert row["steps"] <= row["within_steps"]
        return
    said = json.loads((RESULTS / learning_table.NEXT).read_text()) if (RESULTS / learning_table.NEXT).exists() else {}
    for row in result["levels"]:
        assert row["missed"] == learning.missed(row["level"], row["seeds"], sampled=row["sampled"])
        assert all(one["steps"] >= row["within"] for one in row["seeds"])
    if any(row["missed"] for row in result["levels"]) or result["unfinished"]:
        assert said[f"{result['algorithm']} {result['environment']}"]


def made(seed, value, error=0.01, **further):
    return {"seed": seed, "return": value, "stderr": error, "first_reached": None, "cpu_seconds": 2.0, **further}


def test_a_level_is_one_of_the_mean_of_every_seed_and_of_enough_episodes():
    assert learning.missed(100.0, [made(1, 90.0), made(2, 120.0), made(3, 90.0)]) == []
    assert learning.missed(100.0, [made(1, 90.0), made(2, 105.0)]) == ["the mean over seeds is 97.5, the level 100"]
    assert learning.missed(100.0, [made(1, 59.0), made(2, 200.0)]) == ["seed 1 made 59, below 60"]
    assert learning.missed(-100.0, [made(1, -149.0), made(2, -50.0)]) == []
    assert learning.missed(-100.0, [made(1, -151.0), made(2, -10.0)]) == ["seed 1 made -151, below -150"]
    assert learning.missed(100.0, [made(1, 110.0, error=2.1)]) == []
    assert learning.missed(100.0, [made(1, 110.0, error=2.3)]) == ["the return of seed 1 is known to 2.3 only"]
    assert learning.missed(100.0, [made(1, 90.0, error=2.1), made(2, 120.0)]) == [
        "the return of seed 1 is known to 2.1 only"
    ]
    assert learning.missed(100.0, [made(1, float("nan"))]) != []
    assert learning.missed(100.0, [])
    both = made(1, 10.0, return_sampled=100.0, stderr_sampled=0.1)
    assert learning.missed(100.0, [both], sampled=True) == []
    assert learning.missed(100.0, [both]) != []


def test_where_a_run_was_first_at_a_level_and_how_it_went():
    def line(k):
        played = {"env_runners": {"episode_return_mean": float(k), "num_episodes": 10}}
        trained = {"episode_return_mean": 2.0 * k if k else float("nan")}
        return {
            "num_env_steps_sampled_lifetime": 100 * k,
            "env_runners": trained,
            **({"evaluation": played} if k % 2 else {}),
        }

    lines = [line(k) for k in range(200)]
    assert learning.first_reached(lines, 10.0) == 1100
    assert learning.first_reached(lines, 10.0, sampled=True) == 500
    assert learning.first_reached(lines, 1e9) is None
    curve = learning.learning_curve(lines)
    assert curve[-1] == [19900, 199.0]
    assert len(curve) <= learning.CURVE_POINTS
    assert learning.learning_curve([]) == []


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


def test_levels_become_lines_and_what_was_missed_is_said(tmp_path):
    result = {"algorithm": "ppo", "environment": "lab:Grid-v0", "commit": "abcdef0123", "unfinished": []}
    held = {"within": 1000, "level": 0.5, "sampled": True, "missed": []}
    held["seeds"] = [made(1, 0.1, return_sampled=0.75), made(2, 0.1, return_sampled=0.5, first_reached=700)]
    lost = {"within": 2000, "level": 5000.0, "sampled": False, "missed": ["too low"], "seeds": [made(1, 4000.4)]}
    (tmp_path / "learn-ppo-Grid.json").write_text(json.dumps({**result, "levels": [held, lost]}))
    (tmp_path / learning_table.NEXT).write_text(json.dumps({"ppo lab:Grid-v0": "Try a larger network."}))
    text = learning_table.page(tmp_path)
    assert "| PPO | Grid-v0 | 1,000 | 0.50, sampled | 0.62 | yes | 0.75, 0.50 | -, 700 | 2 | abcdef0 |\n" in text
    assert "| PPO | Grid-v0 | 2,000 | 5,000 | 4,000 | no | 4,000 | - | 2 | abcdef0 |\n" in text
    assert "- ppo lab:Grid-v0: 2,000 steps: too low. Try a larger network.\n" in text
    assert "earlier protocol" not in text
