"""The seam of step engines: eager steps and a plain torch.compile keep its contract; how one is chosen by name."""

from __future__ import annotations

import sys

import pytest
import torch

from rlkit_core.errors import ConfigError, PluginNotFoundError
from rlkit_core.learner import Learner, step
from rlkit_core.learner.step import Eager
from rlkit_core.plugins.discovery import scan
from rlkit_core.plugins.host import PluginHost, use_host
from rlkit_core.testing import BCConfigTest, BCTorchLearner
from rlkit_core.testing.step_engine import StepEngineContract


class TestEager(StepEngineContract):
    rtol = atol = 0.0

    def make_engine(self, learner):
        return Eager(learner)


class Compiled:
    """A step as torch.compile makes it, from the forward pass to clipped gradients."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._gradients = torch.compile(lambda batch: learner.clipped_gradients(batch)[2], backend="aot_eager")

    def begin_update(self) -> None:
        pass

    def step(self, minibatch) -> None:
        self._learner.apply_gradients(self._gradients(minibatch))

    def end_update(self) -> None:
        pass


@pytest.mark.slow
class TestCompiled(StepEngineContract):
    def make_engine(self, learner):
        return Compiled(learner)


class Noting(Eager):
    """Notes what it is told."""

    def __init__(self, learner):
        super().__init__(learner)
        self.calls, eager = ["made"], self.step
        self.step = lambda minibatch: (self.calls.append("step"), eager(minibatch))

    def begin_update(self):
        self.calls.append("begin")

    def end_update(self):
        self.calls.append("end")


def build(compile, learner_class=BCTorchLearner):
    config = BCConfigTest().environment("CartPole-v1").learners(compile=compile, learner_class=learner_class)
    learner = config.build_learner()
    learner.build()
    return learner


def rows():
    obs = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    return {"obs": obs, "actions": (obs[:, 0] > 0).long()}


class OwnUpdate(BCTorchLearner):
    def _update(self, batch):
        return super()._update(batch)


class KeepsOthersAway(BCTorchLearner):
    capturable = False


@pytest.fixture
def engine_lab(tmp_path, monkeypatch):
    """A distribution that registers the engine ``noting``."""
    monkeypatch.syspath_prepend(tmp_path)
    info = tmp_path / "engine_lab-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: engine-lab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rlkit.plugins]\nengine-lab = engine_lab\n")
    (tmp_path / "engine_lab.py").write_text(
        "from rlkit_core import hookimpl\n"
        "from rlkit_core.plugins.records import Service\n"
        "rlkit_api = '1.0'\n"
        "@hookimpl\n"
        "def rlkit_services():\n"
        f"    return [Service('step_engine', 'noting', '{__name__}:Noting')]\n"
    )
    with use_host(PluginHost(scan(sys.path))):
        yield
    sys.modules.pop("engine_lab", None)


@pytest.mark.covers("service:step_engine")
def test_an_engine_is_chosen_by_its_name_and_told_of_updates_and_steps(engine_lab):
    learner = build("noting")
    learner.update({"default_policy": rows()}, minibatch_size=16, num_epochs=2)
    assert learner.engine.calls == ["made", "begin", *["step"] * 4, "end"]


@pytest.mark.parametrize(
    ("own", "why"),
    [(OwnUpdate, "OwnUpdate overrides _update"), (KeepsOthersAway, "KeepsOthersAway.capturable is False")],
)
def test_auto_leaves_alone_who_takes_steps_of_its_own(own, why, engine_lab, monkeypatch, caplog):
    monkeypatch.setattr(step, "AUTO", "engine-lab/noting")
    monkeypatch.setattr(step, "_SAID", set())
    for _ in range(2):
        assert type(build("auto", own).engine) is Eager
    (record,) = caplog.records
    assert why in record.getMessage()
    with pytest.raises(ConfigError, match=rf"compile='noting'.*{why}.*compile=None"):
        build("noting", own)
    assert type(build("auto").engine) is Noting


def test_without_an_engine_auto_is_eager_and_a_name_says_what_to_install(monkeypatch, caplog):
    monkeypatch.setattr(step, "AUTO", "rlkit-missing/auto")
    with caplog.at_level("WARNING"):
        assert isinstance(build("auto").engine, Eager)
    assert not caplog.records
    with pytest.raises(PluginNotFoundError, match=r"the distribution 'rlkit-elsewhere'"):
        build("rlkit-elsewhere/fast")
    config = BCConfigTest().environment("CartPole-v1").training(expert=lambda obs: obs)
    with pytest.raises(ConfigError, match=r"learners\(compile='fastest'\)"):
        config.learners(compile="fastest").validate()
