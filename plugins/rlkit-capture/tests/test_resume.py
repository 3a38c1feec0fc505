"""``"auto"`` is eager training to the last bit, wherever a run is saved and whatever it goes on with."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rlkit_capture import engine
from rlkit_capture.cpu_step import CpuStep
from rlkit_core.errors import ConfigError
from rlkit_core.learner.step import Eager
from rlkit_ppo import PPO, PPOConfig, PPOTorchLearner

sys.path.insert(0, str(Path(__file__).parent))
from capture_learners import SPACES, Dropout, assert_equal_weights, build, rows, update

N = 4
STEPS = 8  # of an iteration


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Record after ten steps, in the middle of the second iteration."""
    monkeypatch.setattr(engine, "EAGER_STEPS", 10)


def config(compile):
    return (
        PPOConfig()
        .environment("CartPole-v1")
        .env_runners(num_envs_per_env_runner=2)
        .training(train_batch_size=128, minibatch_size=32, num_epochs=2, lr=[[0, 0.003], [1000, 0.0001]])
        .training(entropy_coeff=[[0, 0.1], [500, 0.0]], use_kl_loss=True)
        .rl_module(model_config={"fcnet_hiddens": [16], "normalize_observations": True})
        .learners(compile=compile)
        .debugging(seed=7)
    )


def digest(algo):
    learner = algo.learner_group.learner
    state = learner.get_state()
    hashed = hashlib.sha256()
    for name, value in sorted(state["rl_module"]["default_policy"].items()):
        hashed.update(name.encode() + np.ascontiguousarray(value).tobytes())
    for group in state["optimizer"]["default_policy_default_optimizer"]["groups"]:
        for parts in group["state"].values():
            hashed.update(b"".join(part.numpy().tobytes() for part in parts))
    hashed.update(state["rng"].tobytes())
    return hashed.hexdigest()


def recordings(algo):
    steps = getattr(algo.learner_group.learner.engine, "steps", {})
    return len(steps)


@pytest.fixture(scope="module")
def eager_digest():
    with config(None).build_algo() as algo:
        for _ in range(N):
            algo.train()
        return digest(algo)


def test_auto_is_the_default_and_trains_as_eager_steps_do(eager_digest):
    assert PPOConfig().compile == "auto"
    with config("auto").build_algo() as algo:
        for k in range(N):
            algo.train()
            assert recordings(algo) == int(k > 0)
        assert digest(algo) == eager_digest


def resumed(folder, k, before, after):
    """The digest of a run that was saved after ``k`` iterations and went on from there."""
    with config(before).build_algo() as algo:
        for _ in range(k):
            algo.train()
        algo.save_to_path(folder)
    with PPO.from_checkpoint(folder, config=config(after)) as algo:
        for _ in range(N - k):
            algo.train()
        steps = STEPS * (N if before == "auto" else N - k)  # that an engine has counted
        assert recordings(algo) == int(after == "auto" and steps > 10)
        return digest(algo)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_resumed_run_is_the_same_with_and_without_recordings(tmp_path, k):
    """Saved before the first recording (k=1) and behind it, and continued with and without recordings."""
    eager = resumed(tmp_path / "eager", k, None, None)
    for before, after in (("auto", "auto"), ("auto", None), (None, "auto")):
        assert resumed(tmp_path / f"{before}-{after}", k, before, after) == eager, (before, after)


def test_without_the_distribution_a_run_is_the_same(eager_digest):
    """In a process of its own that does not see rlkit-capture."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_resume import config, digest, N\n"
        "with config('auto').build_algo() as algo:\n"
        "    for _ in range(N): algo.train()\n"
        "    print(type(algo.learner_group.learner.engine).__name__, digest(algo))\n"
        "try: config('capture').build_algo()\n"
        "except Exception as error: print(error)\n"
    )
    env = {**os.environ, "RLKIT_PLUGINS_DISABLE": "rlkit-capture"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    first, *said = done.stdout.splitlines()
    assert first.split() == ["Eager", eager_digest]
    assert "rlkit-capture" in "\n".join(said)


# -- what auto decides ------------------------------------------------------------------------------------------------


def test_decisions_are_kept_in_the_state():
    one, other = (build("auto", SPACES["discrete"]) for _ in range(2))
    batch = rows(one)
    update(one, batch)  # eight steps
    state = one.get_state()["step_engine"]
    assert list(state["seen"].values()) == [8]
    other.set_state(one.get_state())
    for learner in (one, other):
        update(learner, batch)
        assert len(learner.engine.steps) == 1
    assert one.engine.get_state() == other.engine.get_state()


def test_random_numbers_and_buffers_are_those_of_an_eager_run():
    eager, auto = (build(mode, SPACES["discrete"], module_class=Dropout) for mode in (None, "auto"))
    auto.module["default_policy"].set_state(eager.module["default_policy"].get_state())
    for k in range(4):
        batch = rows(eager, seed=k)
        assert str(update(eager, batch)) == str(update(auto, batch))
    assert_equal_weights(eager, auto)
    assert np.array_equal(eager.rng.get_state(), auto.rng.get_state())
    (recorded,) = auto.engine.steps.values()
    assert isinstance(recorded, CpuStep)


class Anneals(PPOTorchLearner):
    """A coefficient that is a Python number, and another one in every update."""

    factor = 1.0

    def compute_loss_for_module(self, **kwargs):
        return super().compute_loss_for_module(**kwargs) * self.factor

    def after_gradient_based_update(self, *, timesteps):
        super().after_gradient_based_update(timesteps=timesteps)
        self.factor *= 0.5


class Counts(PPOTorchLearner):
    """A coefficient that is a Python number, and another one in every step."""

    calls = 0

    def compute_loss_for_module(self, **kwargs):
        self.calls += 1
        return super().compute_loss_for_module(**kwargs) / self.calls


class Reads(PPOTorchLearner):
    """Looks at its loss, and at what was logged before."""

    calls = 0

    def compute_loss_for_module(self, **kwargs):
        self.calls += 1
        loss = super().compute_loss_for_module(**kwargs)
        seen = self.metrics.peek(("default_policy", "policy_loss"), default=1.0)
        return loss * (2.0 if loss.item() > 1.0 or seen > 10 else 1.0) / self.calls


class DrawsElsewhere(PPOTorchLearner):
    """Draws from a generator that nobody puts back."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.numbers = np.random.default_rng(1)

    def compute_loss_for_module(self, **kwargs):
        return super().compute_loss_for_module(**kwargs) * float(self.numbers.random())


@pytest.mark.parametrize("learner_class", [Anneals, Counts, Reads, DrawsElsewhere])
def test_a_loss_that_a_recording_would_freeze_stays_eager(learner_class, caplog):
    """What Python keeps is noticed before a replay of it is taken, and what it did is done once."""
    eager, auto = (build(mode, SPACES["discrete"], learner_class=learner_class) for mode in (None, "auto"))
    batch = rows(eager)
    with caplog.at_level(logging.WARNING, logger="rlkit_capture"):
        for _ in range(5):
            assert str(update(eager, batch)) == str(update(auto, batch))
    assert_equal_weights(eager, auto)
    assert not auto.engine.steps
    assert len([record for record in caplog.records if "runs eagerly" in record.message]) == 1
    again = build("auto", SPACES["discrete"], learner_class=learner_class)
    again.set_state(auto.get_state())
    assert again.engine.get_state()["eager"] == auto.engine.get_state()["eager"] != {}


class Grows(nn.Module):
    """Adds what it has seen so far, in a tensor that is no buffer."""

    def __init__(self):
        super().__init__()
        self.seen = torch.zeros(())

    def forward(self, x):
        self.seen.add_(1.0)
        return x / self.seen


class Stateful(Dropout):
    def setup(self):
        super().setup()
        self.pi = nn.Sequential(Grows(), self.pi)


def test_a_state_that_torch_does_not_show_stays_eager():
    eager, auto = (build(mode, SPACES["discrete"], module_class=Stateful) for mode in (None, "auto"))
    auto.module["default_policy"].set_state(eager.module["default_policy"].get_state())
    for _ in range(2):
        update(auto, rows(eager))
    assert not auto.engine.steps


def test_other_versions_of_torch_are_eager_or_refused(monkeypatch, caplog):
    monkeypatch.setattr(torch, "__version__", "9.1.0")
    monkeypatch.setattr(engine, "_SAID", set())
    with caplog.at_level(logging.WARNING, logger="rlkit_capture"):
        assert isinstance(build("auto", SPACES["discrete"]).engine, Eager)
        build("auto", SPACES["discrete"])
    (record,) = [r for r in caplog.records if "tested with torch" in r.message]
    assert "9.1.0" in record.getMessage()
    for name in ("capture", "inductor"):
        with pytest.raises(ConfigError, match=r"tested with torch 2\.6 to .*9\.1\.0.*use compile=None or 'auto'"):
            build(name, SPACES["discrete"])


def test_auto_keeps_a_limited_number_of_recordings(monkeypatch):
    monkeypatch.setattr(engine, "MAX_RECORDINGS", 2)
    eager, auto = build(None, SPACES["discrete"]), build("auto", SPACES["discrete"])
    for _ in range(13):
        for count in (16, 24, 32, 40):
            batch = rows(eager, count)
            for learner in (eager, auto):
                learner.update(batch)
    assert len(auto.engine.steps) == 2
    assert_equal_weights(eager, auto)
