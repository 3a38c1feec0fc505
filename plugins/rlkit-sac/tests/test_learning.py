"""SAC reaches the published levels, and Stable-Baselines3's SAC, with the settings of its own data file."""

from __future__ import annotations

import json
import os
import statistics
from pathlib import Path

import pytest
from learning import RESULTS_VARIABLE, reaches, rlkit

RESULTS = Path(__file__).resolve().parents[3] / "benchmarks" / "results"


@pytest.mark.learn
@pytest.mark.timeout(14400)
@pytest.mark.parametrize(
    ("env", "steps", "level"), [("Pendulum-v1", 20_000, -165.0), ("MountainCarContinuous-v0", 50_000, 92.0)]
)
def test_reaches_the_level(env, steps, level, tmp_path):
    reaches("sac", env, {steps: level}, folder=tmp_path, episodes=1000)


@pytest.mark.learn
@pytest.mark.timeout(14400)
@pytest.mark.parametrize(
    ("env", "steps", "seeds", "package"),
    [
        ("LunarLanderContinuous-v3", 150_000, (1, 2, 3), "Box2D"),  # where one seed says little: some learn to hover
        ("Hopper-v5", 100_000, (1,), "mujoco"),
        ("HalfCheetah-v5", 100_000, (1,), "mujoco"),
    ],
)
def test_is_not_below_stable_baselines3(env, steps, seeds, package, tmp_path):
    """The same steps, networks and settings: 10 deterministic episodes at every tenth, the last three looks."""
    pytest.importorskip(package, reason="`make learn` installs it")
    runs = [trained(env, steps, seed, tmp_path / f"seed-{seed}") for seed in seeds]
    ours = {
        "name": "rlkit-sac",
        "environment": env,
        "steps": steps,
        "runs": runs,
        "return": statistics.median(run["return"] for run in runs),
        "settings": json.loads((tmp_path / f"seed-{seeds[0]}" / "config.json").read_text()),
    }
    folder = os.environ.get(RESULTS_VARIABLE)
    if folder:
        (Path(folder) / f"sac-{env}.json").write_text(json.dumps(ours, indent=1) + "\n")
    theirs = json.loads((RESULTS / f"sb3-sac-{env}.json").read_text())
    for run, peer in zip(runs, theirs["runs"], strict=True):
        assert [look["steps"] for look in run["looks"]] == [look["steps"] for look in peer["looks"]]
        assert run["seed"] == peer["seed"]
    assert ours["return"] >= theirs["return"]


def trained(env, steps, seed, run):
    """What a run of a whole budget has seen: a target that it reaches does not end it."""
    rlkit(
        *("train", "sac", env, "--seed", str(seed), "--run-dir", str(run), "--no-plot", "--quiet"),
        *("--stop-steps", str(steps), "--stop-return", "1e9"),
    )
    lines = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    looks = [
        {"steps": line["num_env_steps_sampled_lifetime"], "return": played["env_runners"]["episode_return_mean"]}
        for line in lines
        if (played := line.get("evaluation"))
    ]
    return {
        "seed": seed,
        "looks": looks,
        "return": sum(look["return"] for look in looks[-3:]) / 3,
        "seconds": json.loads((run / "summary.json").read_text())["seconds"],
    }
