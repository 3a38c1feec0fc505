"""The writer of docs/how-to/track-with-wandb.md, with a stand-in for ``wandb`` where that is not installed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import doc_snippets as snippets
import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "track-with-wandb.md"
STAND_IN = """
import json

class Run:
    def __init__(self, given):
        self.id = given["id"] or "a1b2"
        self.write("init", {**given, "config": sorted(given["config"])})

    def write(self, what, value):
        with open("calls.jsonl", "a") as file:
            file.write(json.dumps([what, value]) + "\\n")

    def log(self, numbers, step):
        self.write("log", {"step": step, "numbers": sorted(numbers)})

    def finish(self):
        self.write("finish", None)

def init(*, project, name, id, resume, config):
    return Run({"project": project, "name": name, "id": id, "resume": resume, "config": config})
"""
SMALL = ["--stop-iters", "2", "--evaluate", "1", "--no-plot", "--quiet", "--set", "train_batch_size=128"]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="what is tested is the calls of a stand-in")
def test_the_writer_of_the_page(tmp_path: Path) -> None:
    (block,) = [block for block in snippets.read_blocks(PAGE.read_text(encoding="utf-8")) if block.file is not None]
    (tmp_path / "wandb_writer.py").write_text(block.text)
    (tmp_path / "wandb.py").write_text(STAND_IN)

    def rlkit(*words: str) -> None:
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-m", "rlkit_core", *words, "--plugin", "wandb_writer.py"]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "left out" not in done.stdout + done.stderr

    rlkit("train", "ppo", "CartPole-v1", "--run-dir", "pole", "--log", "wandb", *SMALL)
    rlkit("resume", "pole", "--more-steps", "128", "--no-plot", "--quiet")
    calls = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert [what for what, _ in calls] == ["init", "log", "log", "finish", "init", "log", "finish"]
    first, again = calls[0][1], calls[4][1]
    assert (first["id"], first["name"], again["id"], again["resume"]) == (None, "pole", "a1b2", "allow")
    assert {"lr", "gamma", "model_config"} <= set(first["config"])
    assert [value["step"] for what, value in calls if what == "log"] == [128, 256, 384]
    assert "env_runners/num_episodes_lifetime" in calls[1][1]["numbers"]
    assert (tmp_path / "pole" / "progress.csv").exists()  # beside the others
