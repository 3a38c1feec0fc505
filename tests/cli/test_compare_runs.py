"""``rlkit explain --diff`` and ``rlkit plugins --requirements``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rlkit_core.cli.app import cli
from rlkit_core.plugins.used.lock import Lock

SMALL = ["--no-preset", "--set", "train_batch_size=32", "--set", "minibatch_size=32", "--set", "num_epochs=1"]


def rlkit(*args: Any) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    named = "components={'encoder': 'rlkit-core/mlp'}"
    more = ["--stop-iters", 1, "--evaluate", 1, "--seed", 1, "--no-plot", "--quiet", "--set", named]
    result = rlkit("train", "ac", "CartPole-v1", "--run-dir", folder, *SMALL, *more)
    assert result.exit_code == 0, result.output
    return folder


def test_a_run_keeps_what_it_used(trained: Path) -> None:
    data = json.loads((trained / "plugins.lock.json").read_text())
    lock = Lock.from_dict(data)
    assert data["digest"] == lock.digest()
    assert {"env 'gymnasium/CartPole-v1'", "algorithm 'fx-actor-critic/ac'", "encoder 'rlkit-core/mlp'"} <= {
        str(entry) for entry in lock.entries
    }
    # What is installed beside it takes no part.
    assert set(lock.versions) <= {"fx-actor-critic", "rlkit-core", "rlkit-capture", "torch", "numpy", "gymnasium"}
    assert {choice["kind"] for choice in data["choices"]["default_policy"]} == {"encoder", "head", "distribution"}
    metadata = json.loads((trained / "checkpoints" / "000001" / "metadata.json").read_text())
    assert set(lock.entries) <= set(Lock.from_dict(metadata["lock"]).entries)
    names = {plugin["name"] for plugin in metadata["plugins"]}
    assert {"fx-actor-critic", "rlkit-core"} <= names <= set(lock.versions)


def test_requirements(trained: Path) -> None:
    installed = rlkit("plugins", "--requirements").output.splitlines()
    for run in (trained, trained / "checkpoints" / "000001"):
        used = rlkit("plugins", "--requirements", run).output.splitlines()
        assert {"fx-actor-critic", "rlkit-core", "torch"} <= {line.partition("==")[0] for line in used}
        assert "+" not in "".join(used)
    assert "fx-actor-critic==1.0" in installed
    nothing = rlkit("plugins", "--requirements", trained.parent)
    assert nothing.exit_code == 2
    assert "not a checkpoint" in nothing.output


def test_nothing_differs_from_the_run_just_made(trained: Path) -> None:
    for run in (trained, trained / "checkpoints" / "000001"):
        result = rlkit("explain", "--diff", run)
        assert (result.exit_code, result.output) == (
            0,
            "no difference: this installation builds what the run was built of\n",
        )


def test_differences_are_told_component_by_component(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "other"
    shutil.copytree(trained, run)
    path = run / "plugins.lock.json"
    data = json.loads(path.read_text())
    data["used"] = [[*row[:3], "0.9" if row[2] == "fx-actor-critic" else row[3]] for row in data["used"]]
    data["used"].append(["encoder", "lab-gone/gcn", "lab-gone", "3.0"])
    encoder = next(choice for choice in data["choices"]["default_policy"] if choice["kind"] == "encoder")
    encoder.update(id="lab-gone/gcn", version="3.0", rule="gap filler")
    path.write_text(json.dumps(data))

    result = rlkit("explain", "--diff", run, "--json")
    assert result.exit_code == 1
    rows = {(row["what"], row["name"]): (row["run"], row["here"]) for row in json.loads(result.stdout)["differences"]}
    assert rows == {
        ("distribution", "fx-actor-critic"): ("0.9", "1.0"),
        ("distribution", "lab-gone"): ("3.0", "not installed"),
        ("component", "default_policy: encoder encoder"): (
            "lab-gone/gcn 3.0 (gap filler)",
            f"rlkit-core/mlp {encoder_version(trained)} (config)",
        ),
    }
    text = rlkit("explain", "--diff", run).output
    assert "distribution lab-gone: 3.0 in the run, not installed here" in text


def encoder_version(run: Path) -> str:
    return Lock.from_dict(json.loads((run / "plugins.lock.json").read_text())).versions["rlkit-core"]


def test_another_env_and_settings_are_compared(trained: Path) -> None:
    result = rlkit("explain", "--diff", trained, "ac", "Acrobot-v1", *SMALL, "--set", "lr=0.5")
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert "env: gymnasium/CartPole-v1 in the run, gymnasium/Acrobot-v1 here" in lines
    assert any(line.startswith("setting lr:") and line.endswith("0.5 here") for line in lines)
    assert any(line.startswith("component default_policy: encoder") and "(built-in) here" in line for line in lines)
    changed = rlkit("explain", "--diff", trained, "--set", "gamma=0.5").output
    assert changed == "setting gamma: 0.99 in the run, 0.5 here\n"


def test_explain_needs_an_algorithm_or_a_run() -> None:
    result = rlkit("explain")
    assert result.exit_code == 2
    assert "Missing argument 'ALGO'" in result.output
