"""Losses and gradients that are not finite: raised with a report that replays, skipped, or set to zero."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_core import MultiRLModuleSpec, RLModuleSpec
from rlkit_core.errors import NonFiniteError
from rlkit_core.learner import replay_nonfinite
from rlkit_core.testing import BCConfigTest, BCTorchLearner, DiscreteBCTorchModule

OBS = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
ACT = gym.spaces.Discrete(2)


class Weighted(BCTorchLearner):
    """Each row has a weight in the loss."""

    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        loss = super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        return loss * batch["weight"].mean()


class Slanted(BCTorchLearner):
    """The loss is finite; its gradient in one bias is as large as ``push``."""

    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        loss = super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        bias = self.module[module_id].policy[2].bias
        return loss + (bias - bias.detach())[0] * batch["push"].max()


class Shouts(BCTorchLearner):
    """A loss without any gradient."""

    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        return torch.tensor(float("inf"))


def learner_for(learner_class, what="raise", ids=("default_policy",), **training):
    specs = {mid: RLModuleSpec(DiscreteBCTorchModule, OBS, ACT) for mid in ids}
    config = BCConfigTest().learners(learner_class=learner_class, on_nonfinite=what).training(**training)
    config.multi_agent(policies=ids).debugging(seed=11)
    learner = config.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs)).build_learner()
    learner.build()
    return learner


def rows(count=8, seed=0, weight=1.0, push=0.0):
    obs = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    full = torch.full((count,), 1.0)
    return {"obs": obs, "actions": (obs[:, 0] > 0).long(), "weight": full * weight, "push": full * push}


def flat(learner, mid="default_policy"):
    return torch.cat([p.detach().reshape(-1) for p in learner.module[mid].parameters()])


def test_the_report_replays_the_very_minibatch(tmp_path):
    """In a process of its own, the script raises the same error from the weights before that minibatch."""
    learner = learner_for(Weighted, lr=0.01)
    learner.report_dir = tmp_path / "reports"
    learner.update({"default_policy": rows(seed=1)})
    before = flat(learner)
    batch = rows(24, seed=2)
    batch["weight"][13] = float("nan")
    with pytest.raises(NonFiniteError, match=r"default_policy.*loss is nan") as caught:
        learner.update({"default_policy": batch}, minibatch_size=8)
    assert caught.value.module_id == "default_policy"
    assert caught.value.report_path in str(caught.value)
    folder = Path(caught.value.report_path)
    assert folder.parent == tmp_path / "reports"
    assert {p.suffix for p in folder.iterdir()} >= {
        ".py",
        ".safetensors",
    }
    report = json.loads((folder / "report.json").read_text())
    assert (report["seed"], report["module_id"], report["update"]) == (11, "default_policy", 2)

    saved = Weighted.from_checkpoint(folder / "learner", classes=[Weighted])
    assert not torch.equal(flat(saved), before)  # one minibatch of this update had been applied
    assert torch.equal(flat(saved), flat(learner))
    with pytest.raises(NonFiniteError, match="loss is nan"):
        replay_nonfinite(folder, classes=[Weighted])

    script = subprocess.run(
        [sys.executable, str(folder / "replay.py")], capture_output=True, text=True, timeout=120, check=False
    )
    assert script.returncode == 1, script.stderr
    assert "NonFiniteError" in script.stderr.splitlines()[-1]
    assert "loss is nan" in script.stderr.splitlines()[-1]
    assert "update 2, seed 11, module 'default_policy'" in script.stdout


def test_a_replay_of_a_script_of_ones_own(tmp_path):
    """Classes of a program's main file are found again, without running the program."""
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "from rlkit_core.testing import BCConfigTest, BCTorchLearner\n"
        "class Mine(BCTorchLearner):\n"
        "    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):\n"
        "        return super().compute_loss_for_module(\n"
        "            module_id=module_id, config=config, batch=batch, fwd_out=fwd_out) / 0.0\n"
        "if __name__ == '__main__':\n"
        "    config = BCConfigTest().environment('CartPole-v1').learners(learner_class=Mine)\n"
        "    learner = config.debugging(nonfinite_dir='reports', seed=1).build_learner()\n"
        "    learner.build()\n"
        "    learner.update({'default_policy': {'obs': torch.zeros(4, 4), 'actions': torch.zeros(4).long()}})\n"
    )
    run = subprocess.run(
        [sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert "loss is inf" in run.stderr
    script = tmp_path / "reports" / "nonfinite-update-1" / "replay.py"
    run = subprocess.run(
        [sys.executable, str(script)], cwd="/", capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 1, run.stderr
    assert "loss is inf" in run.stderr.splitlines()[-1]


@pytest.mark.parametrize("by_value", [False, True])
def test_a_replay_finds_classes_of_a_file_that_cannot_be_imported(tmp_path, by_value):
    """A notebook's helper or a test: a module of this process, or of the one that sent its class by value."""
    file = tmp_path / "apart.py"
    file.write_text(
        "from rlkit_core.testing import BCTorchLearner\n"
        "class Apart(BCTorchLearner):\n"
        "    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):\n"
        "        return super().compute_loss_for_module(\n"
        "            module_id=module_id, config=config, batch=batch, fwd_out=fwd_out) / 0.0\n"
    )
    spec = importlib.util.spec_from_file_location("somewhere.apart", file)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        learner = learner_for(module.Apart)
        learner.report_dir = tmp_path / "reports"
        if by_value:
            del sys.modules[spec.name]
        with pytest.raises(NonFiniteError) as caught:
            learner.update({"default_policy": rows()})
    finally:
        sys.modules.pop(spec.name, None)
    command = [sys.executable, str(Path(caught.value.report_path) / "replay.py")]
    script = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=120, check=False)
    assert script.returncode == 1, script.stderr
    assert "loss is inf" in script.stderr.splitlines()[-1]


def test_a_learner_that_cannot_be_saved_is_passed_to_the_replay(tmp_path):
    learner = learner_for(Weighted)
    learner.module["default_policy"].model_config["net"] = torch.nn.Linear(1, 1)
    learner.report_dir = tmp_path
    with pytest.raises(NonFiniteError) as caught:
        learner.update({"default_policy": rows(weight=float("inf"))})
    with pytest.raises(Exception, match="learner=learner"):
        replay_nonfinite(caught.value.report_path)
    with pytest.raises(NonFiniteError):
        replay_nonfinite(caught.value.report_path, learner=learner_for(Weighted))


def test_nothing_hides_the_error_when_the_disk_does():
    learner = learner_for(Weighted)
    learner.report_dir = Path("/proc/nowhere")
    with pytest.raises(NonFiniteError, match="could not be saved"):
        learner.update({"default_policy": rows(weight=float("nan"))})


def test_a_loss_that_reaches_no_parameter_counts():
    with pytest.raises(NonFiniteError, match="loss is inf"):
        learner_for(Shouts).update({"default_policy": rows()})
    result = learner_for(Shouts, "skip").update({"default_policy": rows()})
    assert result["default_policy"]["num_nonfinite_updates_lifetime"] == 1


@pytest.mark.parametrize("learner_class", [Weighted, Slanted])
def test_skip_leaves_that_module_alone_and_steps_the_others(learner_class):
    learner = learner_for(learner_class, "skip", ids=("p0", "p1"))
    before = {mid: flat(learner, mid) for mid in ("p0", "p1")}
    result = learner.update({"p0": rows(weight=float("nan"), push=float("inf")), "p1": rows()})
    assert torch.equal(before["p0"], flat(learner, "p0"))
    assert not torch.equal(before["p1"], flat(learner, "p1"))
    assert result["p0"]["num_nonfinite_updates_lifetime"] == 1
    assert "num_nonfinite_updates_lifetime" not in result["p1"]
    learner.update({"p0": rows(), "p1": rows()})
    assert not torch.equal(before["p0"], flat(learner, "p0"))
    assert torch.isfinite(flat(learner, "p0")).all()


@pytest.mark.parametrize("clip", [None, 0.5])
def test_zero_keeps_the_finite_gradients(clip):
    """Only the infinite element is zeroed; the others are stepped (and clipped) as if it had been zero."""
    learner = learner_for(Slanted, "zero", lr=0.01, grad_clip=clip)
    twin = learner_for(BCTorchLearner, lr=0.01)
    policy = twin.module["default_policy"].policy
    data = rows()
    before = flat(learner)
    result = learner.update({"default_policy": rows(push=float("inf"))})
    loss = -policy(data["obs"]).log_softmax(-1).gather(-1, data["actions"][:, None]).mean()
    loss.backward()
    policy[2].bias.grad[0] = 0.0
    if clip is not None:
        torch.nn.utils.clip_grad_norm_(policy.parameters(), clip)
    torch.optim.Adam(policy.parameters(), lr=0.01).step()
    torch.testing.assert_close(flat(learner), flat(twin), atol=2e-5, rtol=0)
    assert result["default_policy"]["num_nonfinite_updates_lifetime"] == 1
    assert not torch.equal(before, flat(learner))


def test_a_run_keeps_the_report_in_its_folder(tmp_path):
    from rlkit_core.run.run import Run

    def balance(obs):
        return np.zeros(len(obs), np.int64)

    config = BCConfigTest().environment("CartPole-v1").training(expert=balance, train_batch_size=64)
    config.learners(learner_class=Shouts).debugging(seed=1)
    with pytest.raises(NonFiniteError) as caught:
        Run(config, tmp_path / "run").fit()
    assert Path(caught.value.report_path) == tmp_path / "run" / "nonfinite-update-1"
