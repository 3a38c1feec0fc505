"""Catalogs: lazy, overridable, explained."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_core import (
    ActorCriticCatalog,
    ActorCriticTorchRLModule,
    Catalog,
    Component,
    RLModuleSpec,
    TorchRLModule,
)
from rlkit_core.catalog.scope import CURRENT
from rlkit_core.errors import (
    AmbiguousComponentError,
    ConfigError,
    NoComponentError,
    PluginError,
    PluginNotFoundError,
    RLKitError,
)
from rlkit_core.models import (
    CNNEncoderConfig,
    MLPEncoderConfig,
    MLPHeadConfig,
    MultiStreamEncoderConfig,
    RecurrentEncoderConfig,
)
from rlkit_core.testing import MobileNetV2EncoderConfig
from temperature_categorical import TemperatureCategorical

BOX = gym.spaces.Box
OBS, ACT = BOX(-1.0, 1.0, (4,)), gym.spaces.Discrete(3)
SMALL = {"fcnet_hiddens": [8], "fusionnet_hiddens": [8]}


def module(obs=OBS, act=ACT, cls=ActorCriticTorchRLModule, settings=SMALL, **kwargs):
    return RLModuleSpec(cls, obs, act, model_config=settings, **kwargs).build()


def ids(built) -> dict:
    return {(c["kind"], c["slot"], ".".join(c["path"])): (c["id"], c["rule"]) for c in built.component_trace()}


class WideMLP(MLPEncoderConfig):
    """Twice as wide as asked."""

    @classmethod
    def from_space(cls, space, model_config):
        return super().from_space(space, {**model_config, "fcnet_hiddens": [16]})


class WithWide(ActorCriticCatalog):
    components = (Component("wide", "encoder", WideMLP, (BOX,)),)


@pytest.mark.parametrize(
    ("space", "settings", "config_cls", "width"),
    [
        (OBS, {}, MLPEncoderConfig, 8),
        (BOX(0, 255, (42, 42, 3), np.uint8), {}, CNNEncoderConfig, None),
        (BOX(0, 255, (84, 84, 4), np.uint8), {}, CNNEncoderConfig, None),
        (OBS, {"use_lstm": True, "lstm_cell_size": 5}, RecurrentEncoderConfig, 5),
        (gym.spaces.Dict({"a": OBS, "b": ACT}), {}, MultiStreamEncoderConfig, 8),
    ],
)
def test_encoder_config_type_and_real_output_shape(space, settings, config_cls, width) -> None:
    catalog = Catalog(space, ACT, SMALL | settings)
    config = catalog._encoder_config
    assert isinstance(config, config_cls)
    encoder = catalog.build_encoder(framework="torch")
    lead = (2, 3) if settings else (2,)
    rows = [[space.sample() for _ in range(3)] for _ in range(2)] if settings else [space.sample() for _ in range(2)]
    out = encoder({"obs": _tensors(rows)})["encoder_out"]
    assert tuple(out.shape) == (*lead, *catalog.latent_dims)
    assert width is None or out.shape[-1] == width


def _tensors(rows):
    first = rows[0]
    if isinstance(first, dict):
        return {key: _tensors([row[key] for row in rows]) for key in first}
    return torch.from_numpy(np.asarray(rows))


@pytest.mark.parametrize(
    "space",
    [
        BOX(-1.0, 1.0, (2,)),
        gym.spaces.Discrete(4),
        gym.spaces.MultiDiscrete([2, 3]),
        gym.spaces.MultiBinary(3),
        gym.spaces.Dict({"a": ACT, "b": gym.spaces.Tuple((BOX(-1.0, 1.0, (1,)), ACT))}),
    ],
)
def test_distributions_from_random_logits(space) -> None:
    dist_cls = Catalog(OBS, space).get_action_dist_cls(framework="torch")
    logits = torch.randn(7, dist_cls.required_input_dim(space))
    dist = dist_cls.from_logits(logits)
    actions = dist.sample()
    assert dist.logp(actions).shape == (7,)
    env = dist_cls.to_env(_numpy(actions), space)
    assert space.contains(_row(env, 0))


def _numpy(value):
    if isinstance(value, dict):
        return {k: _numpy(v) for k, v in value.items()}
    return tuple(map(_numpy, value)) if isinstance(value, tuple) else value.numpy()


def _row(value, i):
    if isinstance(value, dict):
        return {k: _row(v, i) for k, v in value.items()}
    return tuple(_row(v, i) for v in value) if isinstance(value, tuple) else value[i]


def test_nothing_is_chosen_before_it_is_asked_for() -> None:
    catalog = Catalog(gym.spaces.Text(3), ACT)
    assert catalog.trace == []
    assert catalog.get_action_dist_cls().__name__.startswith("Categorical")
    with pytest.raises(NoComponentError, match="Text"):
        catalog.build_encoder()

    class Bypasses(ActorCriticTorchRLModule):
        def setup(self) -> None:
            self.encoder = self.pi = self.vf = torch.nn.Identity()

    built = module(gym.spaces.Text(3), cls=Bypasses)
    assert built.component_trace() == []
    with pytest.raises(NoComponentError, match="Text"):
        built.catalog.build_encoder()
    with pytest.raises(NoComponentError, match="Text"):
        module(gym.spaces.Text(3))


def test_a_failing_catalog_surfaces_with_its_own_error_when_used() -> None:
    class Broken(Catalog):
        def _determine_components_hook(self) -> None:
            raise AttributeError("mistake in my catalog")

    class Uses(TorchRLModule):
        pass

    built = module(cls=Uses, catalog_class=Broken)
    with pytest.raises(RLKitError, match="mistake in my catalog"):
        built.catalog
    with pytest.raises(RLKitError, match="mistake in my catalog"):
        built.action_dist_cls


def test_action_space_may_be_none_until_it_is_needed() -> None:
    catalog = ActorCriticCatalog(OBS, None, SMALL)
    assert catalog.build_actor_critic_encoder() is not None
    assert catalog.build_vf_head() is not None
    with pytest.raises(ConfigError, match="action_space"):
        catalog.build_pi_head()


def test_type_of_the_catalog_is_the_users_class_and_its_components_come_first() -> None:
    built = module(catalog_class=WithWide)
    assert type(built.catalog) is WithWide
    assert ids(built)[("encoder", "encoder", "")] == ("local/wide", "catalog WithWide")
    assert ids(built)[("head", "pi", "")] == ("rlkit-core/mlp", "built-in")
    assert built.forward_train({"obs": torch.zeros(1, 4)})["embeddings"].shape == (1, 16)


@pytest.mark.parametrize("how", ["get_config", "tokenizer", "hook", "build"])
def test_override_points(how) -> None:
    class Mine(ActorCriticCatalog):
        if how == "get_config":

            @classmethod
            def _get_encoder_config(cls, observation_space, model_config_dict, action_space=None):
                return MLPEncoderConfig(input_dims=(4,), hidden_layer_dims=(11,))

        elif how == "tokenizer":

            @classmethod
            def get_tokenizer_config(cls, observation_space, model_config_dict, view_requirements=None):
                return MLPEncoderConfig(input_dims=(4,), hidden_layer_dims=(11,))

        elif how == "hook":

            def _determine_components_hook(self) -> None:
                super()._determine_components_hook()
                self._encoder_config = MLPEncoderConfig(input_dims=(4,), hidden_layer_dims=(11,))

        else:

            def build_actor_critic_encoder(self):
                self.latent_dims = (11,)
                self._encoder_config = MLPEncoderConfig(input_dims=(4,), hidden_layer_dims=(11,))
                return super().build_actor_critic_encoder()

    built = module(catalog_class=Mine)
    assert built.forward_train({"obs": torch.zeros(2, 4)})["embeddings"].shape == (2, 11)
    assert built.compute_values({"obs": torch.zeros(2, 4)}).shape == (2,)


def test_choices_reach_class_methods_that_an_override_calls() -> None:
    class Mine(ActorCriticCatalog):
        def build_pi_head(self, framework="torch"):
            type(self).seen = self._get_encoder_config(self.observation_space, SMALL)
            return super().build_pi_head(framework)

    built = module(catalog_class=Mine, components={"encoder": WideMLP})
    assert isinstance(Mine.seen, WideMLP)
    assert ids(built)[("encoder", "encoder", "")] == ("local/WideMLP", "config")
    assert CURRENT.get() is None
    assert not isinstance(Catalog._get_encoder_config(OBS, SMALL), WideMLP)


def test_own_distribution_by_override_and_by_config() -> None:
    class Mine(ActorCriticCatalog):
        @classmethod
        def _get_dist_cls_from_action_space(cls, action_space, *, framework="torch"):
            return TemperatureCategorical

    for built in (module(catalog_class=Mine), module(components={"distribution": TemperatureCategorical})):
        assert built.get_exploration_action_dist_cls() is TemperatureCategorical
        out = built.forward_inference({"obs": torch.randn(2, 4)})
        p = TemperatureCategorical.from_logits(out["action_dist_inputs"]).logp(torch.zeros(2, dtype=torch.long)).exp()
        assert torch.allclose(p, (out["action_dist_inputs"] / 2).softmax(-1)[:, 0])


NESTED = gym.spaces.Dict({"camera": gym.spaces.Dict({"front": OBS, "back": OBS}), "x": gym.spaces.Tuple((OBS, ACT))})


def test_components_by_path() -> None:
    built = module(NESTED, components={"encoder:camera.front": WideMLP, "encoder:x.0": "rlkit-core/mlp"})
    found = ids(built)
    assert found[("encoder", "encoder", "camera.front")] == ("local/WideMLP", "config")
    assert found[("encoder", "encoder", "camera.back")] == ("rlkit-core/mlp", "built-in")
    assert found[("encoder", "encoder", "x.0")] == ("rlkit-core/mlp", "config")
    assert found[("encoder", "encoder", "x.1")] == ("rlkit-core/one-hot", "built-in")


def test_paths_that_lead_nowhere_are_errors() -> None:
    with pytest.raises(ConfigError, match=r"'encoder:camera.left'.*has no such part.*camera\.front"):
        module(NESTED, components={"encoder:camera.left": WideMLP})
    with pytest.raises(ConfigError, match=r"'encoder:a'.*'rlkit-core/mlp' at the root asks for no component below"):
        module(components={"encoder:a": WideMLP})
    with pytest.raises(PluginNotFoundError, match="no-such-lab"):
        module(components={"encoder": "no-such-lab/gcn"})


def test_head_by_slot() -> None:
    class Constant(MLPHeadConfig):
        pass

    built = module(components={"head:vf": Constant})
    assert ids(built)[("head", "vf", "")] == ("local/Constant", "config")
    assert ids(built)[("head", "pi", "")][0] == "rlkit-core/mlp"


def test_listed_catalogs_contribute_and_the_first_that_fits_assembles() -> None:
    class OnlyComponents(Catalog):
        components = (Component("wide", "encoder", WideMLP, (BOX,)),)

    class Thin(ActorCriticCatalog):
        pass

    class ThinModule(ActorCriticTorchRLModule):
        default_catalog_class = Thin

    built = module(catalogs=[OnlyComponents])
    assert ids(built)[("encoder", "encoder", "")] == ("local/wide", "catalog OnlyComponents")
    assert type(built.catalog) is ActorCriticCatalog
    # Written for the core's class, it serves an algorithm whose own catalog adds nothing.
    built = module(cls=ThinModule, catalogs=[OnlyComponents, WithWide], catalog_class=Thin)
    assert type(built.catalog) is WithWide
    with pytest.raises(ConfigError, match="expected the name of a catalog or a Catalog subclass"):
        module(catalogs=[dict])
    with pytest.raises(PluginNotFoundError, match="no-such-catalog"):
        module(catalogs=["no-such-catalog"])


def test_overrides_that_no_module_uses_are_said() -> None:
    class Overrides(Catalog):
        def build_encoder(self, framework="torch"):
            raise AssertionError

    with pytest.raises(ConfigError, match=r"'Overrides' overrides build_encoder, but ActorCriticCatalog assembles"):
        module(catalogs=[Overrides])
    Overrides.components = WithWide.components
    with pytest.warns(UserWarning, match="overrides build_encoder"):
        built = module(catalogs=[Overrides])
    assert ids(built)[("encoder", "encoder", "")][0] == "local/wide"


def test_equal_claims_in_one_catalog() -> None:
    class Two(ActorCriticCatalog):
        components = (
            Component("one", "encoder", WideMLP, (BOX,)),
            Component("two", "encoder", MLPEncoderConfig, (BOX,)),
        )

    with pytest.raises(AmbiguousComponentError, match="'local/one' and 'local/two'"):
        module(catalog_class=Two)
    assert module(catalog_class=Two, components={"encoder": "two"}) is not None


def test_recurrence_twice_is_refused_and_free_log_std_needs_a_gaussian() -> None:
    with pytest.raises(ConfigError, match=r"use_lstm=True together with use_gru"):
        module(settings=SMALL | {"use_lstm": True, "use_gru": True})

    class Recurrent(ActorCriticCatalog):
        @classmethod
        def get_tokenizer_config(cls, observation_space, model_config_dict, view_requirements=None):
            return RecurrentEncoderConfig(input_dims=(4,), hidden_dim=3)

    assert module(catalog_class=Recurrent).is_stateful()
    with pytest.raises(ConfigError, match=r"use_gru=True together with the recurrent encoder"):
        module(catalog_class=Recurrent, settings=SMALL | {"use_gru": True})
    with pytest.raises(ConfigError, match="free_log_std"):
        module(settings=SMALL | {"free_log_std": True})
    gaussian = module(act=BOX(-1.0, 1.0, (2,)), settings=SMALL | {"free_log_std": True})
    assert ids(gaussian)[("head", "pi", "")][0] == "rlkit-core/free-log-std-mlp"


def test_raw_atari_images_are_served() -> None:
    config = Catalog(BOX(0, 255, (210, 160, 3), np.uint8), ACT)._encoder_config
    assert isinstance(config, CNNEncoderConfig)
    out = config.build()({"obs": torch.zeros(1, 210, 160, 3, dtype=torch.uint8)})["encoder_out"]
    assert out.shape == (1, *config.output_dims)


def test_own_encoder_as_a_component() -> None:
    images = BOX(0.0, 1.0, (3, 32, 32))
    built = module(images, components={"encoder": MobileNetV2EncoderConfig})
    assert built.compute_values({"obs": torch.zeros(1, 3, 32, 32)}).shape == (1,)
    assert ids(built)[("encoder", "encoder", "")][0].endswith("MobileNetV2EncoderConfig")


def test_a_component_that_cannot_be_imported_says_so_once() -> None:
    class Broken(ActorCriticCatalog):
        components = (Component("gone", "encoder", "no_such_package:Encoder", (BOX,)),)

    with pytest.raises(PluginError, match="no_such_package:Encoder") as caught:
        module(catalog_class=Broken)
    text = str(caught.value)
    assert text.startswith("chosen for encoder 'encoder' (catalog Broken): ")
    assert text.count("cannot be imported") == 1
    assert text.count("ModuleNotFoundError") == 1
    assert "PluginError" not in text
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
