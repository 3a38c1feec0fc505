"""A loss for each optimizer, as actors and critics have: one env, one step and one update a round."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from rlkit_core import Columns, RLModuleSpec
from rlkit_offpolicy import DISCOUNT, NEW, TD_ERROR, WEIGHTS, PrioritizedReplayBuffer, RandomWarmup

sys.path.insert(0, str(Path(__file__).parent))
from toy import ToyLearner, toy

ID = "default_policy"


class ActorAndCritic(RandomWarmup):
    def setup(self):
        self.pi, self.qf = nn.Linear(2, 4), nn.Linear(4, 1)

    def _forward(self, batch, **kwargs):
        return {Columns.ACTION_DIST_INPUTS: self.pi(batch[Columns.OBS])}

    def q(self, obs, actions):
        return self.qf(torch.cat((obs, actions), -1)).squeeze(-1)

    def _forward_train(self, batch, **kwargs):
        obs, after = batch[Columns.OBS], batch[NEW + Columns.OBS]
        with torch.no_grad():
            next_q = self.q(after, self.pi(after)[:, :2].tanh())
        return {
            "q": self.q(obs, batch[Columns.ACTIONS]),
            "next_q": next_q,
            "mine": self.q(obs, self.pi(obs)[:, :2].tanh()),
        }


class TwoLosses(ToyLearner):
    def configure_optimizers_for_module(self, module_id, config=None):
        module = self.module[module_id].unwrapped()
        for name, part in (("actor", module.pi), ("critic", module.qf)):
            params = list(part.parameters())
            adam = torch.optim.Adam(params)
            self.register_optimizer(
                module_id=module_id, optimizer_name=name, optimizer=adam, params=params, lr_or_lr_schedule=0.01
            )

    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        errors = fwd_out["q"] - (batch[Columns.REWARDS] + batch[DISCOUNT] * fwd_out["next_q"])
        self.log_rows(module_id, TD_ERROR, errors.detach().abs())
        return {"critic": (batch[WEIGHTS] * errors.square()).mean(), "actor": -fwd_out["mine"].mean()}


@pytest.mark.parametrize("engine", [None, "capture"])
def test_each_optimizer_has_its_own_loss_and_errors_become_priorities(engine):
    if engine is not None:
        pytest.importorskip("rlkit_capture")
    config = toy(warmup="random", replay_buffer_config={"type": "prioritized"}, training_intensity=16.0)
    config.rl_module(rl_module_spec=RLModuleSpec(module_class=ActorAndCritic))
    with config.learners(learner_class=TwoLosses, compile=engine).build_algo() as algo:
        module = algo.learner_group.learner.module[ID]
        before = {name: value.clone() for name, value in module.state_dict().items()}
        for _ in range(40):
            algo.training_step()
        after = module.state_dict()
        buffer = algo.replay_buffers[ID]
        assert isinstance(buffer, PrioritizedReplayBuffer)
        assert buffer.max_priority > 1.0
        assert buffer.num_env_steps_sampled_lifetime == 21 * 2 * 8
        results = algo.learner_results()[ID]
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert torch.isfinite(torch.tensor(results["total_loss"]))
