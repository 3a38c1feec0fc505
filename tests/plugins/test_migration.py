"""A checkpoint of an older version of a plugin: each of its parts is brought up to date by its owner."""

from __future__ import annotations

import importlib
import shutil
import sys
import warnings

import numpy as np
import pytest
from gymnasium.spaces import Discrete
from lab_plugin import MIXED, SMALL

from rlkit_core import RLModule
from rlkit_core.algorithm import Algorithm
from rlkit_core.errors import CheckpointError, PluginError
from rlkit_core.plugins.host import default_host, use_host
from rlkit_core.testing import RandomEnv

# What version 2.0 calls otherwise, in weights and states.
NAMES = {"NET": ("net", "layers"), "OUT": ("out", "final"), "COUNT": ("count", "total")}

SOURCE = """
import gymnasium as gym
import numpy as np
import torch
from actor_critic import AC, ACConfig, ACLearner, ACModule
from rlkit_core import ActorCriticCatalog, Component, ModuleAPI, RLModuleSpec, hookimpl
from rlkit_core.distributions import Categorical
from rlkit_core.models import Encoder, Head, ModelConfig

rlkit_api = "1.0"
CALLS = []


class Letters(ModelConfig):
    output_dims = (3,)

    @classmethod
    def from_space(cls, space, model_config):
        return cls()

    @staticmethod
    def pack(space, observations):
        return {"length": np.array([[len(text)] for text in observations], np.float32)}

    def build(self, framework="torch"):
        return LettersNet(self)


class LettersNet(Encoder):
    def __init__(self, config):
        super().__init__(config)
        self.NET = torch.nn.Linear(1, 3)

    def forward(self, batch, **kwargs):
        return {"encoder_out": self.NET(batch["obs"]["length"])}


class Wide(ModelConfig):
    @classmethod
    def from_dims(cls, input_dims, output_dim, model_config):
        made = cls()
        made.input_dims, made.width = input_dims, output_dim
        return made

    @property
    def output_dims(self):
        return (self.width,)

    def build(self, framework="torch"):
        return WideNet(self)


class WideNet(Head):
    def __init__(self, config):
        super().__init__(config)
        self.OUT = torch.nn.Linear(*config.input_dims, config.width)

    def forward(self, x):
        return self.OUT(x)


class LabCategorical(Categorical):
    pass


class LabAPI:
    def lab(self):
        return True


class LabDriver:
    def __init__(self):
        self.count = 0

    def after_update(self, module):
        self.count += 1

    def get_state(self):
        return {"COUNT": self.count}

    def set_state(self, state):
        self.count = state["COUNT"]


class LabModule(ACModule, LabAPI):
    pass


class Counting:
    def get_state(self, *args, **kwargs):
        return {**super().get_state(*args, **kwargs), "COUNT": 7}

    def set_state(self, state, **kwargs):
        if "iteration" in state or "rng" in state:
            assert state["COUNT"] == 7, sorted(state)
        super().set_state(state, **kwargs)


class LabLearner(Counting, ACLearner):
    pass


class LabAC(Counting, AC):
    pass


class LabConfig(ACConfig):
    algo_class = LabAC

    def get_default_learner_class(self):
        return LabLearner

    def get_default_rl_module_spec(self):
        return RLModuleSpec(module_class=LabModule, catalog_class=ActorCriticCatalog)


@hookimpl
def rlkit_encoders():
    return [Component("letters", "encoder", Letters, (gym.spaces.Text,))]


@hookimpl
def rlkit_heads():
    return [Component("wide", "head", Wide, (gym.Space,))]


@hookimpl
def rlkit_distributions():
    return [Component("categorical", "distribution", LabCategorical, (gym.spaces.Discrete,))]


@hookimpl
def rlkit_module_apis():
    return [ModuleAPI("lab", LabAPI, LabDriver)]
"""

MIGRATES = """

@hookimpl
def rlkit_checkpoint_migrate(component, part, state, from_version):
    CALLS.append((component, part, from_version, sorted(state)))
    if component in ("lab-full/letters", "lab-full/wide"):
        old, new = {"lab-full/letters": ("net", "layers"), "lab-full/wide": ("out", "final")}[component]
        return {name.replace(old, new, 1): value for name, value in state.items()}
    if part in ("driver", "learner", "algorithm") and "count" in state:
        return {("total" if name == "count" else name): value for name, value in state.items()}
"""


def install(site, version, more=""):
    """Version 1.0 or 2.0 as pip would leave it, and a host that finds it."""
    for old in site.path.glob("lab_full-*.dist-info"):
        shutil.rmtree(old)
    sys.modules.pop("lab_full", None)
    importlib.invalidate_caches()
    source = SOURCE
    for name, spelled in NAMES.items():
        source = source.replace(name, spelled[version != "1.0"])
    groups = {"rlkit.plugins": {"lab": "lab_full"}, "rlkit.algorithms": {"lab": "lab_full:LabConfig"}}
    site.add("lab-full", source + more, version=version, groups=groups)
    shutil.rmtree(site.path / "__pycache__", ignore_errors=True)
    host = site.host()
    host.load()  # so that the newest classes of these names are this version's
    return host


@pytest.fixture
def saved(site, tmp_path):
    with use_host(install(site, "1.0")):
        config = default_host().get_algorithm_config_class("lab")()
        config.environment(RandomEnv, env_config={"observation_space": MIXED, "action_space": Discrete(3)})
        config.env_runners(num_envs_per_env_runner=2)
        config.training(train_batch_size=32, minibatch_size=16, num_epochs=1).debugging(seed=1)
        named = {"head:pi": "lab-full/wide", "distribution": "lab-full/categorical"}
        with config.rl_module(model_config=SMALL, components=named).build() as algo:
            algo.train()
            path = algo.save_to_path(tmp_path / "c")
            weights = algo.learner_group.learner.module["default_policy"].get_state()
    return path, weights


def renamed(weights):
    def new(name):
        name = name.replace("in_say.net.", "in_say.layers.")
        return name.replace("pi.out.", "pi.final.") if name.startswith("pi.") else name

    return {new(name): value for name, value in weights.items()}


@pytest.mark.covers("hook:rlkit_checkpoint_migrate")
def test_every_part_is_brought_up_to_date_by_its_owner(site, saved):
    path, weights = saved
    with use_host(install(site, "2.0", MIGRATES)), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Algorithm.from_checkpoint(path) as again:
            lab = sys.modules["lab_full"]
            restored = again.learner_group.learner.module["default_policy"].get_state()
            drivers = again.learner_group.learner.drivers.get_state()
            again.train()
    expected = renamed(weights)
    assert restored.keys() == expected.keys() != weights.keys()
    assert all(np.array_equal(restored[name], expected[name]) for name in expected)
    assert drivers["lab-full/lab"] == {"total": 1}
    asked = {(component, part) for component, part, _, _ in lab.CALLS}
    assert asked == {
        ("lab-full/letters", "module"),
        ("lab-full/wide", "module"),
        ("lab-full/categorical", "module"),
        ("lab-full/lab", "driver"),
        ("lab-full/LabAPI", "module"),
        ("lab-full/LabModule", "module"),
        ("lab-full/LabLearner", "learner"),
        ("lab-full/LabAC", "algorithm"),
        ("lab-full/Counting", "learner"),
        ("lab-full/Counting", "algorithm"),
    }
    assert {version for _, _, version, _ in lab.CALLS} == {"1.0"}
    of = {component: names for component, _, _, names in lab.CALLS}
    assert of["lab-full/letters"] == ["net.bias", "net.weight"]  # of the actor's encoder, and of the critic's
    assert sum(component == "lab-full/letters" for component, *_ in lab.CALLS) == 2
    assert of["lab-full/wide"] == ["out.bias", "out.weight"]
    assert of["lab-full/categorical"] == ["final.bias", "final.weight"]  # of the head that feeds it
    told = [str(w.message) for w in caught if "was saved with" in str(w.message)]
    assert any(
        text == "the checkpoint's lab-full/letters was saved with lab-full 1.0, installed is 2.0; if it does not load: "
        "pip install lab-full==1.0"
        for text in told
    )


def test_a_module_alone_is_migrated_too(site, saved):
    path, weights = saved
    with use_host(install(site, "2.0", MIGRATES)), pytest.warns(UserWarning, match="saved with lab-full 1"):
        module = RLModule.from_checkpoint(f"{path}/learner_group/learner/rl_module/default_policy")
    assert module.get_state().keys() == renamed(weights).keys()


def test_the_same_version_is_not_asked(site, saved):
    with use_host(install(site, "1.0", MIGRATES)):
        Algorithm.from_checkpoint(saved[0]).stop()
        assert sys.modules["lab_full"].CALLS == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "raise KeyError('net')",
            r"plugin lab-full 2\.0 could not migrate 'lab-full/.*' \(.*\) from version 1\.0: KeyError",
        ),
        ("raise SystemExit(0)", r"could not migrate .* SystemExit"),
        ("return 3", r"rlkit_checkpoint_migrate\('lab-full/.*returned int, expected a dict"),
    ],
)
def test_a_migration_that_fails_names_its_plugin(site, saved, body, said):
    more = f"\n@hookimpl\ndef rlkit_checkpoint_migrate(component, part, state, from_version):\n    {body}\n"
    with use_host(install(site, "2.0", more)), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(PluginError, match=said):
            Algorithm.from_checkpoint(saved[0])


def test_without_a_migration_the_state_does_not_fit_and_the_version_is_named(site, saved):
    with (
        use_host(install(site, "2.0")),
        pytest.warns(UserWarning, match=r"pip install lab-full==1\.0"),
        pytest.raises(CheckpointError, match=r"missing: .*layers"),
    ):
        Algorithm.from_checkpoint(saved[0])
