"""What components, catalogs and mixins read from model_config: declared, filled, converted; the rest is an error."""

from __future__ import annotations

import pickle

import gymnasium as gym
import pytest

from actor_critic import ACConfig, ACModule
from rlkit_core import ActorCriticCatalog, Component, ModuleAPI, RLModuleSpec, hookimpl
from rlkit_core.distributions import DiagGaussian
from rlkit_core.errors import ConfigError, SpecError
from rlkit_core.models import MLPEncoderConfig, MLPHeadConfig
from rlkit_core.plugins.host import default_host
from rlkit_core.settings import integer, number, setting

BOX = gym.spaces.Box
SPACES = (BOX(-1.0, 1.0, (4,)), BOX(-1.0, 1.0, (1,)))
HEADS = {"heads": setting(4, help="Attention heads.", converter=integer(ge=1))}
seen = {}


class Attention(MLPEncoderConfig):
    @classmethod
    def from_space(cls, space, model_config):
        seen["encoder"] = model_config["heads"]
        return super().from_space(space, model_config)


class Open(MLPEncoderConfig):
    """Declares nothing."""


class Head(MLPHeadConfig):
    @classmethod
    def from_dims(cls, input_dims, output_dim, model_config):
        seen["head"] = model_config["gain"]
        return super().from_dims(input_dims, output_dim, model_config)


class Wide(DiagGaussian):
    @classmethod
    def required_input_dim(cls, space, model_config=None, **kwargs):
        seen["distribution"] = model_config["spread"]
        return super().required_input_dim(space, model_config, **kwargs)


ATTENTION = Component("attention", "encoder", Attention, (BOX,), settings=HEADS)
HEAD = Component("head", "head", Head, (BOX,), settings={"gain": setting(1.0, help="Of it.", converter=number(gt=0))})
WIDE = Component("wide", "distribution", Wide, (BOX,), settings={"spread": setting(2, help="Of it.")})


class Deep(ActorCriticCatalog):
    settings = {"depth": setting(3, help="Of it.", converter=integer(ge=1))}

    def build_pi_head(self, framework="torch"):
        seen["catalog"] = self.model_config_dict["depth"]
        return super().build_pi_head(framework)


class BonusAPI:
    pass


class Bonus(BonusAPI):
    def setup(self):
        super().setup()
        seen["mixin"] = self.model_config["bonus"]


class Plugin:
    rlkit_api = "1.0"

    @hookimpl
    def rlkit_module_apis(self):
        declared = {"bonus": setting(0.5, help="Of it.", converter=number(ge=0))}
        return [ModuleAPI("bonus", BonusAPI, implementation=Bonus, settings=declared)]


@pytest.fixture(autouse=True)
def plugin():
    seen.clear()
    with default_host().temporary(Plugin()):
        yield


def build(model_config=None, *, inference_only=False, spec=None, **rl_module):
    config = ACConfig().rl_module(model_config={"fcnet_hiddens": [4], **(model_config or {})}, **rl_module)
    if spec is not None:
        config.rl_module(rl_module_spec=spec)
    config.environment(observation_space=SPACES[0], action_space=SPACES[1])
    return config.get_rl_module_spec(inference_only=inference_only).build()


ALL = {
    "components": {"encoder": ATTENTION, "head:pi": HEAD, "distribution": WIDE},
    "catalogs": [Deep],
    "mixins": ["bonus"],
}


def test_defaults_are_filled_in():
    build(**ALL)
    assert seen == {"encoder": 4, "head": 1.0, "distribution": 2, "catalog": 3, "mixin": 0.5}


def test_values_are_converted_and_checked():
    build({"heads": 2, "gain": 3, "bonus": 1, "depth": 2, "spread": "x"}, **ALL)
    assert seen == {"encoder": 2, "head": 3.0, "distribution": "x", "catalog": 2, "mixin": 1.0}
    assert isinstance(seen["head"], float)
    for wrong in ({"heads": 0}, {"depth": "deep"}, {"bonus": -1}):
        (name,) = wrong
        with pytest.raises(ConfigError, match=f"model_config.*{name}="):
            build(wrong, **ALL)


def test_a_name_that_no_part_declares_is_an_error():
    with pytest.raises(SpecError, match=r"model_config\['head'\]: no such setting. Did you mean 'heads'"):
        build({"head": 2}, **ALL)
    with pytest.raises(SpecError, match="declares heads"):
        build({"quite_another": 2}, components={"encoder": ATTENTION})
    with pytest.raises(SpecError, match=r"model_config\['use_gruu'\].*Did you mean 'use_gru'"):
        build({"use_gruu": True}, components={"encoder": "rlkit-core/mlp"})
    with pytest.raises(SpecError, match="quite_another"):
        build({"quite_another": 2})
    build({"quite_another": 2}, inference_only=True)  # said where it is trained
    build({"pi_head_fcnet_hiddens": [3], "always_check_shapes": True})


def test_where_a_part_declares_nothing_any_name_passes():
    build({"quite_another": 2}, components={"encoder": Open})

    class Another(ActorCriticCatalog):
        def build_vf_head(self, framework="torch"):
            return super().build_vf_head(framework)

    class Thin(Deep):
        components = (ATTENTION,)

    build({"quite_another": 2}, catalogs=[Another])
    with pytest.raises(SpecError, match="quite_another"):
        build({"quite_another": 2}, catalogs=[Thin])
    build({"quite_another": 2}, spec=RLModuleSpec(module_class=ACModule))
    RLModuleSpec(ACModule, *SPACES, model_config={"quite_another": 2}).build()


def test_declarations_are_checked_and_travel():
    with pytest.raises(ValueError, match="settings: 'heads': expected"):
        Component("a", "encoder", Attention, (BOX,), settings={"heads": 4})
    with pytest.raises(ValueError, match="settings: expected a dict"):
        ModuleAPI("a", BonusAPI, settings=[3])
    plain = Component("a", "encoder", Attention, (BOX,), settings={"size": setting(4, help="Of it.")})
    assert pickle.loads(pickle.dumps(plain)).settings.filled({})["size"] == 4
