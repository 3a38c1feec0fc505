"""What every step engine must keep, as tests that anybody's engine can be run through. *Provisional*, as the seam is.

Subclass :class:`StepEngineContract` in a test module and say how an engine is made; pytest collects the rest::

    class TestMyEngine(StepEngineContract):
        def make_engine(self, learner):
            return MyEngine(learner)

Each test trains two small learners alike, one with the engine and one eagerly, and compares them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlkit_core.columns import Columns
from rlkit_core.errors import NonFiniteError
from rlkit_core.learner.learner import Learner
from rlkit_core.learner.minibatch import ModuleBatch
from rlkit_core.learner.step import StepEngine
from rlkit_core.rl_module import MultiRLModuleSpec, RLModuleSpec, TorchRLModule
from rlkit_core.testing.bc_algorithm import BCConfigTest

OBS = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
ACTIONS = gym.spaces.Discrete(3)


class ProbeModule(TorchRLModule):
    """A small policy whose forward pass draws random numbers (dropout)."""

    def setup(self) -> None:
        """Make the network."""
        self.policy = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 3))

    def _forward(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.policy(batch[Columns.OBS])}


class ProbeLearner(Learner):
    """Cross-entropy with a weight for each row, scaled by a coefficient that falls from update to update."""

    def on_module_added(self, module_id: str) -> None:
        """Keep the coefficient in a tensor."""
        super().on_module_added(module_id)
        self.scale = self.tensor_variable(1.0)

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: ModuleBatch, fwd_out: dict[str, Any]
    ) -> Tensor:
        """The mean over rows; each row's own is logged."""
        logits = fwd_out[Columns.ACTION_DIST_INPUTS]
        rows: Tensor = F.cross_entropy(logits, batch[Columns.ACTIONS], reduction="none") * batch["weight"]
        self.log_rows(module_id, "loss", rows)
        self.metrics.log_dict({"logit": logits.mean(), "steps": 1.0}, key=module_id, reduce="sum")
        return torch.mul(rows.mean(), self.scale)

    def after_gradient_based_update(self, *, timesteps: Mapping[str, int]) -> None:
        """Let the coefficient fall."""
        super().after_gradient_based_update(timesteps=timesteps)
        self.scale.mul_(0.9)


def rows_of(seed: int, count: int = 48, *, bad: int | None = None) -> ModuleBatch:
    """Observations, actions and weights; the weight of row ``bad`` is NaN."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.rand(count, generator=generator)
    if bad is not None:
        weight[bad] = float("nan")
    obs = torch.randn(count, 4, generator=generator)
    return {Columns.OBS: obs, Columns.ACTIONS: torch.randint(3, (count,), generator=generator), "weight": weight}


class StepEngineContract:
    """What every step engine keeps. Subclass it and say how one is made.

    Attributes:
        rtol: how far weights and metrics may be from those of eager steps, relative; 0.0 is not at all.
        atol: the same, absolute.
    """

    rtol = 1e-4
    atol = 1e-5

    def make_engine(self, learner: Learner) -> StepEngine:
        """An engine for a learner that is built; override it."""
        raise NotImplementedError

    def learners(self, ids: tuple[str, ...] = ("p0",), **settings: Any) -> tuple[Learner, Learner]:
        """Two learners alike: with the engine, and eager."""
        made = []
        for has_engine in (True, False):
            specs = {mid: RLModuleSpec(ProbeModule, OBS, ACTIONS) for mid in ids}
            config = BCConfigTest().learners(learner_class=ProbeLearner, compile=None, **settings)
            config.training(lr=[[0, 0.02], [100, 0.001]], grad_clip=0.5).multi_agent(policies=list(ids))
            config.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs))
            config.debugging(seed=3, nonfinite_dir=tempfile.mkdtemp(prefix="rlkit-contract-"))
            learner: Learner = config.build_learner()
            learner.build()
            if has_engine:
                learner.engine = self.make_engine(learner)
            made.append(learner)
        return made[0], made[1]

    def update(self, learner: Learner, batch: dict[str, ModuleBatch], steps: int = 0) -> dict[str, Any]:
        """Two shuffled epochs of minibatches of 16 rows."""
        return learner.update(
            batch,
            num_epochs=2,
            minibatch_size=16,
            shuffle_batch_per_epoch=True,
            timesteps={"num_env_steps_sampled_lifetime": steps},
        )

    def assert_alike(self, one: Learner, other: Learner) -> None:
        """The weights of two learners are equal, within the tolerance."""
        for mid in other.module:
            theirs = one.module[mid].get_state()
            for name, value in other.module[mid].get_state().items():
                np.testing.assert_allclose(theirs[name], value, rtol=self.rtol, atol=self.atol, err_msg=f"{mid}.{name}")

    def assert_same_results(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
        """Two results have the same metrics in the same order, and values within the tolerance."""
        assert list(one) == list(other)
        for mid, metrics in other.items():
            assert list(one[mid]) == list(metrics)
            for name, value in metrics.items():
                np.testing.assert_allclose(one[mid][name], value, rtol=self.rtol, atol=self.atol, err_msg=name)

    # -- the contract -------------------------------------------------------------------------------------------------

    def test_weights_metrics_and_random_numbers_are_those_of_eager_steps(self) -> None:
        """Learning rates, coefficients in tensors, dropout and the order of rows go on from update to update."""
        learner, eager = self.learners()
        for k, steps in enumerate((0, 40, 80)):
            batch = {"p0": rows_of(k)}
            self.assert_same_results(self.update(learner, batch, steps), self.update(eager, batch, steps))
        self.assert_alike(learner, eager)

    def test_rows_come_in_the_order_of_the_minibatches(self) -> None:
        """What losses log per row is complete, in order, and detached."""
        learner, eager = self.learners()
        for k in range(2):
            batch = {"p0": rows_of(k)}
            self.update(learner, batch)
            self.update(eager, batch)
            logged, expected = learner.take_rows()["p0"]["loss"], eager.take_rows()["p0"]["loss"]
            assert not logged.requires_grad
            torch.testing.assert_close(logged, expected, rtol=self.rtol, atol=self.atol)

    def test_minibatches_of_other_shapes_and_modules(self) -> None:
        """Shapes may change from step to step, and which modules have rows."""
        learner, eager = self.learners(("p0", "p1"))
        batches = [
            {"p0": rows_of(0), "p1": rows_of(1)},
            {"p0": rows_of(2, 20)},
            {"p1": rows_of(3, 33)},
            {"p0": rows_of(4), "p1": rows_of(5)},
        ]
        for batch in batches:
            self.assert_same_results(self.update(learner, batch), self.update(eager, batch))
        self.assert_alike(learner, eager)

    def test_a_minibatch_that_is_not_finite_raises(self) -> None:
        """The weights stay finite, the report holds that very minibatch, and the learner can go on."""
        learner, _ = self.learners()
        self.update(learner, {"p0": rows_of(0)})
        error = None
        try:
            learner.update({"p0": rows_of(1, bad=20)}, minibatch_size=16)
        except NonFiniteError as raised:
            error = raised
        assert error is not None, "NonFiniteError was not raised"
        assert error.module_id == "p0"
        assert error.report_path is not None
        assert Path(error.report_path, "report.json").is_file()
        self.update(learner, {"p0": rows_of(2)})
        assert all(np.isfinite(value).all() for value in learner.module["p0"].get_state().values())

    def test_a_minibatch_that_is_not_finite_is_skipped_and_counted(self) -> None:
        """``on_nonfinite="skip"`` means the same as in eager steps."""
        learner, eager = self.learners(on_nonfinite="skip")
        for batch in ({"p0": rows_of(0)}, {"p0": rows_of(1, bad=20)}, {"p0": rows_of(2)}):
            results = [self.update(one, batch) for one in (learner, eager)]
            counts = [result["p0"].get("num_nonfinite_updates_lifetime", 0.0) for result in results]
            assert counts[0] == counts[1]
        self.assert_alike(learner, eager)

    def test_modules_that_join_and_leave_and_other_settings(self) -> None:
        """An engine notices when modules, optimizers or the config are other ones."""
        learner, eager = self.learners()
        for one in (learner, eager):
            self.update(one, {"p0": rows_of(0)})
            one.add_module(module_id="p1", module_spec=RLModuleSpec(ProbeModule, OBS, ACTIONS))
            self.update(one, {"p0": rows_of(1), "p1": rows_of(2)})
            one.remove_module("p0")
            one.config = one.config.copy(copy_frozen=False).training(grad_clip=0.01)
            self.update(one, {"p1": rows_of(3)})
        self.assert_alike(learner, eager)

    def test_a_state_goes_to_a_learner_of_another_engine_and_back(self) -> None:
        """Checkpoints do not depend on the engine."""
        learner, eager = self.learners()
        self.update(learner, {"p0": rows_of(0)}, 10)
        eager.set_state(learner.get_state())
        again, _ = self.learners()
        again.set_state(eager.get_state())
        for one in (learner, eager, again):
            one.scale.fill_(0.5)  # type: ignore[attr-defined]
            self.update(one, {"p0": rows_of(1)}, 20)
        self.assert_alike(learner, eager)
        self.assert_alike(again, eager)

    def test_an_update_that_is_broken_off_is_forgotten(self) -> None:
        """An error of the loss passes through, and the next update is as if there had been none."""
        learner, eager = self.learners()
        for one in (learner, eager):
            self.update(one, {"p0": rows_of(0)})
            batch = rows_of(1)
            batch.pop("weight")
            try:
                self.update(one, {"p0": batch})
            except KeyError:
                self.update(one, {"p0": rows_of(2)})
            else:
                raise AssertionError("the loss's KeyError did not come through")
        self.assert_alike(learner, eager)
