"""``rlkit presets`` and ``rlkit envs``: what there is to begin with."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from click.testing import CliRunner
from data_lab import data_lab

from rlkit_core.cli.app import cli
from rlkit_core.cli.lists.presets import rows
from rlkit_core.envs.naming import listing
from rlkit_core.envs.naming.known import Package

PRESETS = {
    "mujoco": {"training": {"gamma": 0.5}},
    "E-v1": {"like": "mujoco", "training": {"lr": [[0, 1e-3], [100, 0]]}, "stop": {"steps": 7}},
    "F-v1": {"rl_module": {"model_config": {"fcnet_hiddens": [4]}}, "evaluation": {"evaluation_interval": 3}},
    "G-v1": {},
}
RUN = {"steps": 100000, "returns": [1.0, 2.0], "sampled": False, "level": 1.2, "held": True, "commit": "abc1234"}
REACHED = {
    "E-v1": {
        "settings": {"gamma": 0.5, "lr": [[0, 0.001], [100, 0.0]]},
        "runs": [
            {**RUN, "cpu_seconds": 1234.4, "seconds": 2000.0},
            {**RUN, "sampled": True, "held": False, "cpu_seconds": None, "seconds": 20.0},
        ],
    },
    "F-v1": {
        "settings": {"model_config": {"fcnet_hiddens": [8]}},
        "runs": [{**RUN, "returns": [400.0], "cpu_seconds": None, "seconds": None}],
    },
}


def rlkit(*args: str, code: int = 0) -> str:
    result = CliRunner().invoke(cli, list(args))
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    files = {"presets.json": PRESETS, "reached.json": REACHED}
    with data_lab(tmp_path, monkeypatch, "shown_lab", files) as package:
        monkeypatch.setattr("rlkit_core.algorithm.get_algorithm_config", lambda name: package.LabConfig())
        yield package


def test_presets_are_shown_with_what_they_reached(lab: Any) -> None:
    assert rlkit("presets", "ac").splitlines() == [
        "ac",
        "  PRESET           REACHED    STEPS  SECONDS  SEEDS  COMMIT",
        "  mujoco (family)        -",
        "  E-v1                1.50  100,000    1,234      2  abc1234",
        "                      1.50  100,000      ~20      2  abc1234  sampled actions, below its level, 1.2",
        "  F-v1               400.0  100,000        -      1  abc1234  with earlier settings",
        "  G-v1                   -",
    ]
    shown = {row["preset"]: row for row in json.loads(rlkit("presets", "ac", "--json"))["presets"]["ac"]}
    assert shown["E-v1"]["settings"]["training"] == {"gamma": 0.5, "lr": [[0, 0.001], [100, 0]]}
    assert [row["same_settings"] for row in shown.values()] == [None, True, False, None]


def test_a_subclass_without_presets_of_its_own_shows_its_bases(lab: Any) -> None:
    class Mine(lab.LabConfig):  # type: ignore[misc,name-defined]
        pass

    assert [row["preset"] for row in rows(Mine())] == list(PRESETS)


def test_an_algorithm_without_presets_and_one_that_is_not_installed() -> None:
    assert rlkit("presets", "ac") == "ac: no presets\n"
    assert "zac" in rlkit("presets", "zac", code=2)


def test_envs_are_listed_by_name_and_package() -> None:
    lines = dict(line.split() for line in rlkit("envs", "cartpole").splitlines())
    assert lines["CartPole-v1"] == "gymnasium"
    assert "CartPole-v0" not in lines
    assert "CartPole-v0" in rlkit("envs", "cartpole", "--all")
    assert dict(line.split() for line in rlkit("envs", "MPE2/*spread*").splitlines()) == {
        "mpe2/simple_spread_v3": "mpe2"
    }
    assert rlkit("envs", "acrobot-v?").split() == ["Acrobot-v1", "gymnasium"]
    assert rlkit("envs", "no-such").startswith("no environment has 'no-such' in its name")


def test_packages_are_looked_into_when_asked_and_named_when_absent(tmp_path: Any, monkeypatch: Any) -> None:
    (tmp_path / "listed_envs.py").write_text(
        "import gymnasium as gym\ngym.register('Listed-v0', 'gymnasium.envs.classic_control:CartPoleEnv')\n"
    )
    (tmp_path / "listed_broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    packages = [("listed_envs", "here"), ("listed_absent", "get-it"), ("listed_broken", "broken")]
    known = tuple(Package(module, install, (f"{install}-v*",)) for module, install in packages)
    monkeypatch.setattr(listing, "known_packages", lambda: known)
    monkeypatch.setattr(listing, "all_entry_points", list)
    try:
        plain = rlkit("envs")
        assert "installed: listed_envs (here-v*); rlkit envs listed_envs lists its own" in plain
        assert "not installed: get-it-v*: python -m pip install 'get-it'" in plain
        assert "listed_envs" not in sys.modules
        found = listing.list_envs("LISTED")
        assert found.envs == {"Listed-v0": "gymnasium"}
        assert found.absent == ()
        assert "ZeroDivisionError" in found.broken["listed_broken"]
        assert [one.install for one in listing.list_envs("get-it").absent] == ["get-it"]
        assert json.loads(rlkit("envs", "listed", "--json"))["envs"] == {"Listed-v0": "gymnasium"}
    finally:
        gym.registry.pop("Listed-v0", None)
        sys.modules.pop("listed_envs", None)
