"""``rlkit explain``: each component, where it came from, and why."""

from __future__ import annotations

import json

from click.testing import CliRunner

from rlkit_core.cli.explain import explain


def run(*args: str):
    return CliRunner().invoke(explain, args)


def test_text() -> None:
    result = run("ac", "CartPole-v1")
    assert result.exit_code == 0, result.output
    lines = [line.strip() for line in result.output.splitlines()]
    assert any(line.startswith("rlkit-core/mlp") and line.endswith("built-in") for line in lines)
    assert "not rlkit-core/cnn: its condition (when) does not hold here" in lines
    assert any("ACModule (fx-actor-critic" in line for line in lines)
    assert {"encoder", "head pi", "head vf", "distribution pi"} <= set(lines)


def test_json_and_settings() -> None:
    setting = "components={'head:vf': 'rlkit-core/mlp'}"
    result = run("ac", "Pendulum-v1", "--json", "--set", "model_config.free_log_std=True", "--set", setting)
    assert result.exit_code == 0, result.output
    module = json.loads(result.stdout)["modules"]["default_policy"]
    found = {(c["kind"], c["slot"]): c for c in module["components"]}
    assert found["head", "pi"]["id"] == "rlkit-core/free-log-std-mlp"
    assert found["head", "vf"]["rule"] == "config"
    assert found["distribution", "pi"]["id"] == "rlkit-core/diag-gaussian"
    assert module["catalog"]["distribution"] == "rlkit-core"
    assert module["parameters"] > 0


def test_unknown_algorithm() -> None:
    result = run("acc", "CartPole-v1")
    assert result.exit_code != 0
    assert "No algorithm 'acc'" in str(result.exception)
