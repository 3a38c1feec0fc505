"""Weights from a learner's modules to a runner's, tensor to tensor."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_core import ActorCriticTorchRLModule, MultiRLModuleSpec, RLModuleSpec
from rlkit_core.rl_module import weights
from rlkit_core.rl_module.weights import WeightLink

BOX = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)


class OwnState(ActorCriticTorchRLModule):
    def get_state(self, *args, **kwargs):
        return super().get_state(*args, **kwargs)


def multi(*, inference_only, ids=("a", "b"), module_class=ActorCriticTorchRLModule, **settings):
    def spec():
        return RLModuleSpec(
            module_class=module_class,
            observation_space=BOX,
            action_space=gym.spaces.Discrete(2),
            inference_only=inference_only,
            model_config={"fcnet_hiddens": [4], **settings},
        )

    return MultiRLModuleSpec(rl_module_specs={key: spec() for key in ids}).build()


@pytest.mark.parametrize("settings", [{}, {"normalize_observations": True}, {"use_lstm": True}])
def test_copies_what_set_state_would(settings):
    source, target = multi(inference_only=False, **settings), multi(inference_only=True, **settings)
    expected = multi(inference_only=True, **settings)
    for buffer in source.buffers():
        buffer.add_(1.5)
    expected.set_state(source.get_state(inference_only=True))
    assert WeightLink(source, target).copy()
    ours, theirs = target.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    before = {key: value.clone() for key, value in ours.items()}
    for parameter in source.parameters():
        parameter.data.mul_(2.0)
    assert all(torch.equal(target.state_dict()[key], before[key]) for key in before)  # a copy, not the same memory


@pytest.mark.parametrize("small", [0, weights.SMALL])  # by torch, by numpy
def test_follows_tensors_that_move(monkeypatch, small):
    monkeypatch.setattr(weights, "SMALL", small)
    source, target = multi(inference_only=False), multi(inference_only=True)
    link = WeightLink(source, target)
    assert link.copy()
    for parameter in (*source.parameters(), *target.parameters()):  # as an optimizer does with flat buffers
        parameter.data = parameter.detach() + 1.0
    assert link.copy()
    theirs = source.get_state(inference_only=True)
    for module_id, state in target.get_state(inference_only=True).items():
        assert all(np.array_equal(value, theirs[module_id][name]) for name, value in state.items())


def test_knows_when_its_modules_have_changed():
    source, target = multi(inference_only=False), multi(inference_only=True)
    link = WeightLink(source, target)
    assert link.joins(source, target)
    assert not link.joins(source, multi(inference_only=True))
    target.remove_module("b")
    assert not link.joins(source, target)
    assert WeightLink(source, target).copy()


@pytest.mark.parametrize("case", ["own state", "a member more", "other shapes"])
def test_leaves_alone_what_it_cannot_copy(case):
    source = multi(inference_only=False)
    if case == "own state":
        target = multi(inference_only=True, module_class=OwnState)
    elif case == "a member more":
        target = multi(inference_only=True, ids=("a", "b", "c"))
    else:
        target = multi(inference_only=True, fcnet_hiddens=[5])
    before = {key: value.clone() for key, value in target.state_dict().items()}
    assert not WeightLink(source, target).copy()
    assert all(torch.equal(target.state_dict()[key], before[key]) for key in before)
