"""The distributions that the tutorials make, built, installed, trained and checked by the command as a reader would."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

DIGEST = Path(__file__).parents[2] / "plugins" / "rlkit-ppo" / "tests" / "build_digest.py"
PAGES = ("encoder-plugin", "on-policy-algorithm", "off-policy-algorithm", "api-mixin")
SMALL_TD3 = {
    "train_batch_size": 128,
    "lr": 5e-4,
    "model_config.fcnet_hiddens": "[64,64]",
    "model_config.qf_head_fcnet_hiddens": "[64,64]",
}


@pytest.fixture(scope="module")
def with_page(tutorial, make_venv):
    """Return an environment with the distribution that a page makes, and others."""

    def make(page, *names):
        wheel, needs = tutorial(page)
        return make_venv(*needs, *names, wheels=[wheel])

    return make


def trained(environment, algorithm, env, folder, *, steps, evaluate=10, **settings):
    """Train by the command; return the summary and the results of the iterations."""
    options = ["--seed", "1", "--stop-steps", str(steps), "--evaluate", str(evaluate), "--no-plot", "--quiet"]
    options += ["--set", "writers=jsonl"]
    for name, value in settings.items():
        options += ["--set", f"{name}={value}"]
    command = ["train", algorithm, env, "--run-dir", str(folder), *options]
    environment.rlkit(*command, check=True, cwd=folder.parent, timeout=900, OMP_NUM_THREADS="1")
    results = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    return json.loads((folder / "summary.json").read_text()), results


def metrics(results, name):
    """A metric of the only module, of every iteration that has it."""
    return [r["learners"]["default_policy"][name] for r in results if name in r["learners"].get("default_policy", {})]


def test_a2c_of_its_tutorial_learns(with_page, tmp_path):
    summary, _ = trained(
        with_page("on-policy-algorithm"), "a2c", "CartPole-v1", tmp_path / "run", steps=8000, evaluate=3
    )
    assert summary["steps"] == 8192
    assert summary["evaluation_return_mean"] > 60  # chance is 20


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_tutorial_is_well(page, with_page):
    environment = with_page(page, "rlkit-ppo")
    checks = json.loads(environment.rlkit("doctor", "--json", check=True).stdout)["checks"]
    mine = [check for check in checks if check["distribution"].startswith("my-")]
    assert mine
    assert [check for check in checks if check["state"] != "ok"] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "arguments", "shown"),
    [
        ("on-policy-algorithm", ("a2c", "CartPole-v1"), "rlkit-core/mlp"),
        ("off-policy-algorithm", ("td3", "Pendulum-v1"), "my_td3.td3:TD3Module"),
        ("api-mixin", ("ppo", "CartPole-v1", "--set", "mixins=my-rnd/rnd"), "my-rnd/rnd"),
    ],
)
def test_what_a_tutorial_builds_is_explained(page, arguments, shown, with_page):
    environment = with_page(page, "rlkit-ppo")
    assert shown in environment.rlkit("explain", *arguments, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "env", "page"), [("td3", "CartPole-v1", "off-policy-algorithm")])
def test_what_it_cannot_take_is_refused(algorithm, env, page, with_page):
    for command in ("explain", "train"):
        done = with_page(page).rlkit(command, algorithm, env)
        assert done.returncode == 2
        assert "Discrete" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_a2c_solves_cart_pole(with_page, tmp_path):
    summary, _ = trained(
        with_page("on-policy-algorithm"), "a2c", "CartPole-v1", tmp_path / "run", steps=60_000, evaluate=20
    )
    assert summary["evaluation_return_mean"] > 400


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_td3_learns_pendulum(with_page, tmp_path):
    environment = with_page("off-policy-algorithm")
    summary, results = trained(
        environment, "td3", "Pendulum-v1", tmp_path / "run", steps=9000, evaluate=20, **SMALL_TD3
    )
    assert summary["evaluation_return_mean"] > -300  # chance is -1200
    assert metrics(results, "policy_loss")
    assert metrics(results, "critic_loss")


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("algorithm", ["ppo", "dqn"])
def test_random_network_distillation_serves_every_algorithm(algorithm, with_page, tmp_path):
    environment = with_page("api-mixin", "rlkit-ppo", "rlkit-dqn")
    settings = {"mixins": "my-rnd/rnd", "model_config.rnd_coeff": 0.5, "lr": 1e-3}
    _, results = trained(environment, algorithm, "CartPole-v1", tmp_path / "run", steps=6000, **settings)
    losses, bonuses = metrics(results, "rnd_loss"), metrics(results, "rnd_bonus")
    assert min(bonuses) > 0
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_mixins_of_two_others_are_put_together_by_a_fourth(tutorial, make_venv, wheel, tmp_path):
    environment = make_venv("rlkit-ppo")
    alone = digest(environment)
    environment.install(tutorial("api-mixin").wheel, wheel("fx-decay"), wheel("fx-composer"))
    assert digest(environment) == alone

    _, results = trained(environment, "curious-ppo", "CartPole-v1", tmp_path / "run", steps=2048, evaluate=1)
    assert metrics(results, "rnd_bonus")[0] > 0
    assert metrics(results, "decay_loss")[0] > 0
    for name, value in (("model_config.rnd_coeff", "-1"), ("model_config.decay", "-1")):
        done = environment.rlkit("explain", "curious-ppo", "CartPole-v1", "--set", f"{name}={value}")
        assert done.returncode == 2
        assert name.partition(".")[2] in done.stderr

    environment.pip("uninstall", "--yes", "fx-decay")
    assert digest(environment) == alone
    done = environment.rlkit("explain", "curious-ppo", "CartPole-v1")
    assert done.returncode == 2
    assert "fx-decay" in done.stderr
    resume = ["train", "curious-ppo", "CartPole-v1", "--resume", str(tmp_path / "run"), "--stop-steps", "4096"]
    resume += ["--no-plot", "--quiet", "--evaluate", "1"]
    done = environment.rlkit(*resume)
    assert done.returncode != 0
    assert "fx-decay" in done.stderr
    assert "Traceback" not in done.stderr

    environment.install(wheel("fx-decay"))
    environment.rlkit(*resume, check=True)
    complete = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    assert len(metrics(complete, "decay_loss")) == len(complete) == 2 * len(results)

    environment.pip("uninstall", "--yes", "fx-decay", "fx-composer", "my-rnd")
    assert digest(environment) == alone


def digest(environment):
    """Of a PPO run in that environment: see ``build_digest``."""
    code = DIGEST.read_text(encoding="utf-8")
    done = environment.run(environment.python, "-c", code, check=True, OMP_NUM_THREADS="1")
    return re.search(r"digest ([0-9a-f]{64})", done.stdout)[1]
