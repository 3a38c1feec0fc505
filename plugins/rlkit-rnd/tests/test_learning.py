"""PPO finds a reward that it does not meet by chance, with curiosity, and not without it.

1 is all there is. One try in 14 million comes to the top at random, and 60,000 steps are at most 60,000 tries: so 0.95
takes a player that has gone where nobody paid it for going.
"""

from __future__ import annotations

import json
import os
import statistics
from pathlib import Path

import pytest
from learning import RESULTS_VARIABLE, SEEDS, reaches, rlkit

ENV, STEPS, LEVEL = "rlkit-rnd/Uphill-v0", 60_000, 0.95


def without(seed, folder):
    """The mean return of a policy that was trained with the same settings, but for curiosity."""
    run = folder / f"without-{seed}"
    options = ["--seed", str(seed), "--run-dir", str(run), "--set", "mixins=[]", "--no-plot", "--quiet"]
    rlkit("train", "ppo", ENV, *options, "--stop-return", "1e9", "--stop-steps", str(STEPS), "--evaluate", "2")
    played = json.loads(rlkit("evaluate", str(run), "--episodes", "100", "--seed", str(seed + 1000), "--json"))
    return played["episode_return_mean"]


@pytest.mark.learn
@pytest.mark.timeout(3600)
def test_curiosity_finds_what_chance_does_not(tmp_path):
    result = reaches("ppo", ENV, {STEPS: LEVEL}, folder=tmp_path)
    curious = [row["return"] for row in result["levels"][0]["seeds"]]
    plain = [without(seed, tmp_path) for seed in SEEDS]
    if os.environ.get(RESULTS_VARIABLE):
        row = {"algorithm": "ppo", "environment": ENV, "steps": STEPS, "with": curious, "without": plain}
        file = Path(os.environ[RESULTS_VARIABLE]) / "curiosity-ppo-rlkit-rnd-Uphill-v0.json"
        file.write_text(json.dumps({**row, "mixin": "rlkit-rnd/rnd", "commit": result["commit"]}, indent=1) + "\n")
    assert result["settings"]["settings"]["mixins"] == ["rlkit-rnd/rnd"]
    assert min(curious) > max(plain), (curious, plain)
    assert statistics.fmean(plain) < 0.1, plain
