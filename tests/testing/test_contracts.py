"""Contracts as authors use them: subclassed in a line or two; and modules that break theirs."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from rlkit_core import ActorCriticTorchRLModule, TorchRLModule
from rlkit_core.errors import ContractError
from rlkit_core.testing import DiscreteBCTorchModule, check_catalog, check_rl_module, contracts
from rlkit_core.testing.contracts import DistributionContract, HeadContract, RLModuleContract, WriterContract

BOX = gym.spaces.Box(-2.0, 2.0, (2,), np.float32)


class TestSquashedGaussian(DistributionContract):
    component = "rlkit-core/squashed-gaussian"
    spaces = [BOX]


class TestFreeLogStd(HeadContract):
    component = "rlkit-core/free-log-std-mlp"
    spaces = [BOX]
    model_config = {"free_log_std": True}


class TestRecurrent(RLModuleContract):
    module = ActorCriticTorchRLModule
    model_config = {"use_gru": True, "lstm_use_prev_action": True, "lstm_use_prev_reward": True}


class TestLines(WriterContract):
    component = "jsonl"


def test_every_contract_is_there_by_name():
    for name in contracts.__all__:
        contract = getattr(contracts, name)
        assert contract.__name__ == name
        assert contract.__doc__
    with pytest.raises(AttributeError, match="EncodersContract"):
        _ = contracts.EncodersContract


def test_a_contract_without_its_thing_says_what_to_write():
    with pytest.raises(AssertionError, match=r"component = MyClass"):
        type("TestMine", (HeadContract,), {})().test_it_declares_what_it_reads()
    with pytest.raises(ContractError, match="module is None"):
        check_rl_module(None)


class Policy(TorchRLModule):
    """Nothing is wrong with it."""

    def setup(self):
        self.net = nn.Linear(3, 3)
        self.register_buffer("seen", torch.zeros(()))

    def _forward(self, batch, **kwargs):
        return {"action_dist_inputs": self.net(batch["obs"])}


class Counts(Policy):
    def _forward(self, batch, **kwargs):
        self.seen += 1
        return super()._forward(batch)


class Unsaved(Policy):
    def setup(self):
        super().setup()
        self.scale = torch.rand(3) + 0.5

    def _forward(self, batch, **kwargs):
        return {"action_dist_inputs": self.net(batch["obs"]) * self.scale}


class Wide(Policy):
    def setup(self):
        super().setup()
        self.net = nn.Linear(3, 4)


class Silent(Policy):
    def _forward(self, batch, **kwargs):
        return {"logits": self.net(batch["obs"])}


class Unused(Policy):
    def setup(self):
        super().setup()
        self.more = nn.Linear(3, 3)


class Restless(Policy):
    def _forward_inference(self, batch, **kwargs):
        return {"action_dist_inputs": self.net(batch["obs"]) + torch.rand(3)}


class TakesAll(Policy):
    def set_state(self, state, *, strict=True):
        super().set_state(state, strict=False)


class Trains(Policy):
    def _forward_exploration(self, batch, **kwargs):
        self.train()
        return super()._forward(batch)


class Masked(Policy):
    def _forward(self, batch, **kwargs):
        return {"action_dist_inputs": self.net(batch["obs"]["seen"])}


MASKED = gym.spaces.Dict({"seen": gym.spaces.Box(-1, 1, (3,)), "action_mask": gym.spaces.Box(0, 1, (3,), np.int8)})


@pytest.mark.parametrize("module", [Policy, DiscreteBCTorchModule])
def test_a_good_module_passes(module):
    assert check_rl_module(module).findings == ()


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Counts, "acting changes seen"),
        (Unsaved, "not in its state"),
        (Wide, "of width 4, and Categorical takes 3"),
        (Silent, r"returned \['logits'\]"),
        (Unused, "no gradient reaches more.weight"),
        (Restless, "second time"),
        (TakesAll, "it takes a state without"),
        (Trains, r"_forward_exploration\(\) leaves it in another mode"),
    ],
)
def test_a_module_with_a_fault_is_rejected(module, words):
    with pytest.raises(ContractError, match=f"{module.__name__} for (.|\n)*{words}"):
        check_rl_module(module)


def test_a_mask_that_is_not_kept_is_found():
    with pytest.raises(ContractError, match=r"Masked for (.|\n)*action_mask"):
        check_rl_module(Masked, observation_space=MASKED)


def test_what_another_loss_trains_may_be_named():
    assert check_rl_module(Unused, untrained=["more"]).errors == ()


def test_what_is_no_catalog_is_told():
    report = check_catalog(int, strict=False)
    assert "make it a subclass of rlkit_core.Catalog" in str(report)
    assert len(report.errors) == 1
