"""Run folders whose figures are known."""

from __future__ import annotations

import json

import pytest


def written_run(path, *, seed=0, lr=1e-3, encoder="rlkit-core/mlp", final=None, curve=((100, 1.0), (200, 3.0))):
    """A run folder with the files that a comparison reads."""
    path.mkdir(parents=True)
    settings = {"env": "CartPole-v1", "seed": seed, "lr": lr, "model_config": {"fcnet_hiddens": [64]}}
    (path / "config.json").write_text(json.dumps({"class": {"$class": "rlkit_ppo:PPOConfig"}, "settings": settings}))
    choices = {"default_policy": [{"kind": "encoder", "slot": "encoder", "path": [], "id": encoder, "version": "1"}]}
    (path / "plugins.lock.json").write_text(json.dumps({"choices": choices}))
    (path / "run.json").write_text(json.dumps({"format": 1, "stop": {"return_mean": 3.0}}))
    rows = [
        {"num_env_steps_sampled_lifetime": steps, "env_runners": {"episode_return_mean": value}}
        for steps, value in curve
    ]
    (path / "results.jsonl").write_text("\n".join(map(json.dumps, rows)) + '\n{"half a li')
    if final is not None:
        (path / "summary.json").write_text(json.dumps({"evaluation_return_mean": final}))
    return path


@pytest.fixture
def write_run():
    """The function above."""
    return written_run
