"""What a third party registers is used in training: by id, by catalog name, as a gap filler, on one leaf."""

from __future__ import annotations

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from lab_plugin import LAB, MIXED, SMALL

from actor_critic import ACConfig
from rlkit_core import ActorCriticCatalog, Catalog, Component, RLModuleSpec, TorchRLModule
from rlkit_core.apis import ValueFunctionAPI
from rlkit_core.errors import AmbiguousComponentError, ConfigError, NoComponentError
from rlkit_core.models import MLPEncoderConfig
from rlkit_core.plugins.host import use_host
from rlkit_core.testing import RandomEnv


@pytest.fixture
def lab(site):
    groups = {"rlkit.plugins": {"lab-parts": "lab_parts"}, "rlkit.catalogs": {"lab": "lab_parts:LabCatalog"}}
    site.add("lab-parts", LAB, groups=groups)
    host = site.host()
    with use_host(host):
        yield site


def trained(space, model_config=None, **rl_module):
    """Train two iterations; the learner's module and ``{(kind, slot, path): (id, rule)}``."""
    config = (
        ACConfig()
        .environment(RandomEnv, env_config={"observation_space": space, "action_space": Discrete(3)})
        .env_runners(num_envs_per_env_runner=2)
        .training(train_batch_size=32, minibatch_size=16, num_epochs=1)
        .rl_module(model_config={**SMALL, **(model_config or {})}, **rl_module)
        .debugging(seed=1)
    )
    with config.build_algo() as algo:
        for _ in range(2):
            result = algo.train()["learners"]["default_policy"]
        assert np.isfinite(result["total_loss"])
        module = algo.learner_group.learner.module["default_policy"]
        trace = module.component_trace()
        return module, {(c["kind"], c["slot"], ".".join(c["path"])): (c["id"], c["rule"]) for c in trace}


def test_installing_it_changes_nothing_that_worked(lab):
    _, found = trained(MIXED.spaces["x"])
    assert {i.split("/")[0] for i, _ in found.values()} == {"rlkit-core"}


@pytest.mark.covers("hook:rlkit_encoders", "hook:rlkit_heads", "hook:rlkit_distributions", "record:Component")
def test_encoder_head_and_distribution_by_id(lab):
    components = {
        "encoder": "lab-parts/mlp",
        "head:vf": "lab-parts/head",
        "distribution": "lab-parts/categorical",
    }
    module, found = trained(MIXED.spaces["x"], components=components)
    assert found[("encoder", "encoder", "")] == ("lab-parts/mlp", "config")
    assert found[("head", "vf", "")] == ("lab-parts/head", "config")
    assert found[("head", "pi", "")] == ("rlkit-core/mlp", "built-in")
    assert module.get_train_action_dist_cls().__name__ == "LabCategorical"


@pytest.mark.covers("group:rlkit.catalogs")
def test_a_registered_catalog_by_its_name_and_by_class_in_a_spec(lab):
    module, found = trained(MIXED.spaces["x"], catalogs=["lab"])
    assert type(module.catalog).__name__ == "LabCatalog"
    assert module.vf.made_by == "lab"
    assert found[("encoder", "encoder", "")] == ("lab-parts/lab-mlp", "catalog lab")
    import lab_parts

    spec = RLModuleSpec(catalog_class=lab_parts.LabCatalog)
    assert type(trained(MIXED.spaces["x"], rl_module_spec=spec)[0].catalog) is lab_parts.LabCatalog
    spec = RLModuleSpec(catalogs=["lab"])
    assert type(trained(MIXED.spaces["x"], rl_module_spec=spec)[0].catalog) is lab_parts.LabCatalog


@pytest.mark.parametrize("recurrent", [{"use_lstm": True}, {"use_gru": True, "vf_share_layers": True}])
def test_a_gap_filler_and_one_leaf_overridden_under_recurrence_over_a_dict(lab, recurrent):
    module, found = trained(MIXED, recurrent, components={"encoder:y": "lab-parts/mlp"})
    assert module.is_stateful()
    assert found[("encoder", "encoder", "say")] == ("lab-parts/letters", "gap filler")
    assert found[("encoder", "encoder", "y")] == ("lab-parts/mlp", "config")
    assert found[("encoder", "encoder", "x")] == ("rlkit-core/mlp", "built-in")
    assert found[("encoder", "encoder", "")] == ("rlkit-core/multi-stream", "built-in")
    names = [name for name, _ in module.named_parameters() if "in_say" in name]
    assert names
    action, state = module.compute_single_action({"x": np.zeros(2), "y": np.zeros(2), "say": "ab"})
    assert 0 <= action < 3
    assert state


def test_a_second_gap_filler_is_an_error_until_one_is_named(lab):
    lab.add("lab-rival", LAB.replace("lab_parts:Letters", "lab_rival:Letters"))
    with use_host(lab.host()):
        with pytest.raises(AmbiguousComponentError, match="'lab-parts/letters' and 'lab-rival/letters'"):
            trained(MIXED)
        _, found = trained(MIXED, components={"encoder:say": "lab-rival/letters"})
        assert found[("encoder", "encoder", "say")] == ("lab-rival/letters", "config")


def test_without_the_plugin_the_space_is_refused(site):
    with use_host(site.host()), pytest.raises(NoComponentError, match="Text"):
        trained(MIXED)


def test_a_listed_catalog_that_no_module_uses(lab):
    class Foreign(Catalog):
        def build_encoder(self, framework="torch"):
            raise AssertionError

    with pytest.raises(ConfigError, match=r"'Foreign' overrides build_encoder, but .*Catalog assembles"):
        trained(MIXED.spaces["x"], catalogs=[Foreign])
    Foreign.components = (Component("f", "encoder", MLPEncoderConfig, (Box,)),)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, found = trained(MIXED.spaces["x"], catalogs=[Foreign])
    assert any("overrides build_encoder" in str(w.message) for w in caught)
    assert found[("encoder", "encoder", "")] == ("local/f", "catalog Foreign")


def test_the_original_error_of_a_catalog_surfaces_and_only_when_it_is_used(lab):
    class Broken(ActorCriticCatalog):
        def build_actor_critic_encoder(self, framework="torch"):
            raise ZeroDivisionError("mistake in my catalog")

    with pytest.raises(ZeroDivisionError, match="mistake in my catalog"):
        trained(MIXED.spaces["x"], rl_module_spec=RLModuleSpec(catalog_class=Broken))

    class Bypasses(TorchRLModule, ValueFunctionAPI):
        def setup(self):
            self.net = torch.nn.Linear(2, 3)
            self.value = torch.nn.Linear(2, 1)

        def _forward(self, batch, **kwargs):
            return {"action_dist_inputs": self.net(batch["obs"])}

        def compute_values(self, batch, embeddings=None):
            return self.value(batch["obs"]).squeeze(-1)

    module, found = trained(MIXED.spaces["x"], rl_module_spec=RLModuleSpec(Bypasses, catalog_class=Broken))
    assert isinstance(module, Bypasses)
    assert all(kind == "distribution" for kind, _, _ in found)  # only the action distribution came from it


def test_a_catalog_for_the_core_serves_an_algorithm():
    class Mine(ActorCriticCatalog):
        pass

    module, _ = trained(gym.spaces.Box(-1.0, 1.0, (2,)), catalogs=[Mine])
    assert type(module.catalog) is Mine
