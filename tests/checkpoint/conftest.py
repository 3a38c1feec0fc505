"""Toy components for the checkpoint tests."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rlkit_core.checkpoint import Checkpointable


class Leaf(torch.nn.Module, Checkpointable):
    """A module as an RLModule is one: an nn.Module with the mixin behind it."""

    STATE_FILE_NAME = "module_state"

    def __init__(self, size, scale=1.0, *, fn=None, options=None):
        super().__init__()
        self.size, self.scale, self.fn, self.options = size, scale, fn, options
        self.weight = torch.nn.Parameter(torch.randn(size))

    def get_state(self, components=None, *, not_components=None, **kwargs):
        return {"weight": self.weight.detach().numpy()}

    def set_state(self, state, strict=True):
        if strict and set(state) != {"weight"}:
            raise ValueError(f"keys {set(state)}")
        if "weight" in state:
            if state["weight"].shape != tuple(self.weight.shape):
                raise ValueError("shape mismatch")
            self.weight.data.copy_(torch.as_tensor(state["weight"]))

    def get_ctor_args_and_kwargs(self):
        return (self.size,), {"scale": self.scale, "fn": self.fn, "options": self.options}


class SpecialLeaf(Leaf):
    """A subclass, to be found by the base's from_checkpoint."""


class Group(Checkpointable):
    """Holds leaves by name; its own state lists them, so that set_state can add and remove some."""

    def __init__(self, sizes, step=0):
        self.leaves = {name: Leaf(size) for name, size in sizes.items()}
        self.step = step
        self.rng = np.random.Generator(np.random.PCG64(3))
        self.calls = []

    def get_checkpointable_components(self):
        return list(self.leaves.items())

    def get_state(self, components=None, *, not_components=None, **kwargs):
        state = {
            "step": self.step,
            "sizes": {n: leaf.size for n, leaf in self.leaves.items()},
            "rng": self.rng.bit_generator.state,
        }
        for name, leaf in self.leaves.items():
            if self._check_component(name, components, not_components):
                state[name] = leaf.get_state(components=self._get_subcomponents(name, components))
        return state

    def set_state(self, state):
        self.calls.append(sorted(state))
        self.step = state["step"]
        self.rng.bit_generator.state = state["rng"]
        for name in list(self.leaves):
            if name not in state["sizes"]:
                del self.leaves[name]
        for name, size in state["sizes"].items():
            self.leaves.setdefault(name, Leaf(size))

    def get_ctor_args_and_kwargs(self):
        return (), {"sizes": {n: leaf.size for n, leaf in self.leaves.items()}, "step": self.step}


class Root(Checkpointable):
    """Two levels above the leaves."""

    def __init__(self, sizes):
        self.group = Group(sizes)
        self.synced = 0

    def get_checkpointable_components(self):
        return [("group", self.group)]

    def get_state(self, components=None, *, not_components=None, **kwargs):
        state = {"iteration": 7}
        if self._check_component("group", components, not_components):
            state["group"] = self.group.get_state(
                self._get_subcomponents("group", components),
                not_components=self._get_subcomponents("group", not_components),
            )
        return state

    def set_state(self, state):
        if "group" in state:
            self.group.set_state(state["group"])

    def get_ctor_args_and_kwargs(self):
        return (), {"sizes": {n: leaf.size for n, leaf in self.group.leaves.items()}}


@pytest.fixture(scope="session")
def toys():
    return SimpleNamespace(Leaf=Leaf, SpecialLeaf=SpecialLeaf, Group=Group, Root=Root)


@pytest.fixture
def root(toys):
    torch.manual_seed(1)
    return toys.Root({"p0": 3, "p/1": 2})
