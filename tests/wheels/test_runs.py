"""Building and training with the installed command, beside good and broken third parties."""

from __future__ import annotations

import json

TRAIN = (
    "train",
    "ppo",
    "CartPole-v1",
    "--seed",
    "1",
    "--stop-iters",
    "1",
    "--evaluate",
    "1",
    "--no-plot",
    "--quiet",
)


def explain(environment, *arguments, **env):
    return environment.rlkit("explain", "ppo", "CartPole-v1", *arguments, check=True, **env).stdout


def test_doctor_finds_nothing_wrong_with_a_healthy_installation(healthy):
    done = healthy.rlkit("doctor", "--json", RLKIT_PLUGINS_DISABLE="fx-command")
    checks = json.loads(done.stdout)["checks"]
    assert [c for c in checks if c["state"] not in ("ok", "disabled")] == []
    assert done.returncode == 0
    assert {c["distribution"] for c in checks if c["state"] == "ok"} >= {
        "rlkit-core",
        "rlkit-ppo",
        "fx-catalog",
        "fx-api",
    }


def test_installing_third_parties_changes_nothing_that_is_built(healthy):
    with_all = explain(healthy, "--json")
    alone = explain(healthy, "--json", RLKIT_PLUGINS="rlkit-ppo, rlkit-capture")  # which PPO brings
    assert with_all == alone
    assert "rlkit-core/mlp" in with_all


def test_a_catalog_listed_in_the_config_brings_its_encoder(healthy):
    out = explain(healthy, "--set", "catalogs=['fx']")
    assert "fx-catalog/vector 1.0: catalog" in out
    assert "rlkit-core/categorical" in out


def test_a_component_named_in_the_config_is_used(healthy):
    assert "rlkit-core/mlp 0.1.0: config" in explain(healthy, "--set", "components={'encoder': 'rlkit-core/mlp'}")


def test_a_run_beside_broken_plugins_reports_them_and_trains(broken, faults, tmp_path):
    """One of them loads well, and raises whenever it observes a result."""
    done = broken.rlkit(*TRAIN, "--run-dir", str(tmp_path / "run"), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for name, (_, reason) in faults.items():
        assert done.stderr.count(f"plugin {name} 1.0") == 1
        assert reason in done.stderr
    assert "rlkit_train_result of plugin fx-observer 1.0 raised" in done.stderr
    assert (tmp_path / "run" / "progress.csv").exists()
    assert "\x1b" not in done.stdout


def test_wrong_input_is_one_clear_error(healthy):
    for arguments, message in (
        (["train", "ppo", "NoSuchEnv-v9"], "NoSuchEnv"),
        (["train", "ppo", "CartPole-v1", "--set", "components={'encoder': 'rlkit-core/mpl'}"], "'mlp'"),
    ):
        done = healthy.rlkit(*arguments)
        assert done.returncode == 2, done.stdout + done.stderr
        assert message in done.stderr
        assert "Traceback" not in done.stderr
