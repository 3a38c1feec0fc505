"""Encoders per slot, and networks of Q values that take actions: what a module with an actor and critics needs."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit_core import ActorCriticCatalog, ActorCriticTorchRLModule, Catalog, Component, RLModuleSpec, TorchRLModule
from rlkit_core.apis import InferenceOnlyAPI, QNetAPI, TargetNetworkAPI
from rlkit_core.columns import Columns
from rlkit_core.errors import ConfigError, UnknownSettingError
from rlkit_core.learner import make_target_network
from rlkit_core.models import DefaultModelConfig, MLPEncoderConfig
from rlkit_core.rl_module.acting import ActionSampler
from rlkit_core.spaces import nested_map

BOX = gym.spaces.Box
VECTOR, ACT = BOX(-1.0, 1.0, (3,)), BOX(np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32))
IMAGE = BOX(0, 255, (12, 12, 1), np.uint8)
DICT = gym.spaces.Dict({"camera": IMAGE, "speed": VECTOR})
SMALL = {
    "fcnet_hiddens": [],
    "fusionnet_hiddens": [],
    "conv_filters": [[2, 4, 4]],
    "head_fcnet_hiddens": [8],
}


class SquashingCatalog(ActorCriticCatalog):
    components = (Component("squashed-gaussian", "distribution", "rlkit_core.distributions:SquashedGaussian", (BOX,)),)


class TwinQ(TorchRLModule, QNetAPI, TargetNetworkAPI, InferenceOnlyAPI):
    """An actor and two critics, as SAC has them."""

    default_catalog_class = SquashingCatalog

    def setup(self):
        self.encoder, self.pi = self.catalog.build_encoder(), self.catalog.build_pi_head()
        self.qf, self.qf_twin = self.catalog.build_q_network(), self.catalog.build_q_network()

    def get_non_inference_attributes(self):
        return ["qf", "qf_twin"]

    def make_target_networks(self):
        self._targets = torch.nn.ModuleList([make_target_network(self.qf), make_target_network(self.qf_twin)])

    def get_target_network_pairs(self):
        return list(zip((self.qf, self.qf_twin), self._targets, strict=True))

    def compute_q_values(self, batch):
        return {"qf_preds": torch.minimum(self.qf(batch), self.qf_twin(batch))}

    def forward_target(self, batch):
        return {"qf_preds": torch.minimum(*(target(batch) for target in self._targets))}

    def _forward(self, batch, **kwargs):
        return {Columns.ACTION_DIST_INPUTS: self.pi(self.encoder(batch)["encoder_out"])}


def twin(obs=VECTOR, act=ACT, settings=SMALL, **kwargs):
    return RLModuleSpec(TwinQ, obs, act, model_config=settings, **kwargs).build()


def ids(built) -> dict:
    return {(c["kind"], c["slot"], ".".join(c["path"])): c["id"] for c in built.component_trace()}


def rows(space, n=5):
    drawn = [space.sample() for _ in range(n)]
    return nested_map(lambda *parts: torch.as_tensor(np.stack(parts)), *drawn)


class Wide(MLPEncoderConfig):
    @classmethod
    def from_space(cls, space, model_config):
        return super().from_space(space, {**model_config, "fcnet_hiddens": [16]})


@pytest.mark.parametrize("obs", [VECTOR, IMAGE, DICT, gym.spaces.Discrete(4), gym.spaces.Tuple([VECTOR, VECTOR])])
def test_a_q_network_joins_features_and_actions(obs):
    module = twin(obs)
    batch = {"obs": rows(obs), "actions": torch.rand(5, 2, requires_grad=True)}
    q = module.compute_q_values(batch)["qf_preds"]
    assert q.shape == (5,)
    q.sum().backward()
    assert (batch["actions"].grad != 0).any()
    features = module.qf.encode(batch)
    again = module.qf.head(torch.cat((features, batch["actions"]), -1)).squeeze(-1)
    torch.testing.assert_close(module.qf(batch), again)
    torch.testing.assert_close(module.qf(batch, batch["actions"].detach()), again)
    assert not torch.equal(module.qf(batch), module.qf_twin(batch))


@pytest.mark.parametrize(
    ("act", "width"),
    [
        (BOX(-1.0, 1.0, (2, 3)), 6),
        (BOX(-1.0, 1.0, ()), 1),
        (gym.spaces.Dict({"arm": BOX(-1.0, 1.0, (2,)), "grip": gym.spaces.Discrete(3)}), 5),
        (gym.spaces.Tuple([BOX(-1.0, 1.0, (2,)), BOX(0.0, 4.0, (1,))]), 3),
        (gym.spaces.MultiDiscrete([2, 3]), 5),
        (gym.spaces.MultiBinary(3), 3),
    ],
)
def test_actions_of_any_space_are_an_input(act, width):
    module = twin(act=act)
    assert module.qf.head.config.input_dims == (3 + width,)
    obs = {"obs": rows(VECTOR)}
    acted = ActionSampler(module, explore=True)(obs)
    q = module.compute_q_values({**obs, "actions": acted["actions"]})["qf_preds"]
    assert q.shape == (5,)


def test_without_actions_as_an_input_there_is_one_output_for_each():
    catalog = Catalog(VECTOR, gym.spaces.Discrete(3, start=1), SMALL)
    assert catalog.build_q_network(actions=False)({"obs": rows(VECTOR)}).shape == (5, 3)
    with pytest.raises(ConfigError, match=r"build_q_network\(actions=False\): expected a Discrete"):
        Catalog(VECTOR, ACT, SMALL).build_q_network(actions=False)
    with pytest.raises(ConfigError, match="its encoder is recurrent"):
        Catalog(VECTOR, ACT, {**SMALL, "use_lstm": True}).build_q_network()


@pytest.mark.parametrize("obs", [VECTOR, IMAGE, DICT])
def test_a_slot_network_has_an_encoder_and_a_head_of_its_own(obs):
    catalog = Catalog(obs, ACT, {**SMALL, "pi_fcnet_hiddens": [16], "pi_head_fcnet_hiddens": [8]})
    network, batch = catalog.build_slot_network("pi", 3), {"obs": rows(obs)}
    assert network(batch).shape == (5, 3)
    torch.testing.assert_close(network(batch), network.head(network.encode(batch)))
    assert [layer.out_features for layer in network.head.modules() if isinstance(layer, torch.nn.Linear)] == [8, 3]
    with pytest.raises(ConfigError, match="its encoder is recurrent"):
        Catalog(obs, ACT, {**SMALL, "use_lstm": True}).build_slot_network("pi", 3)


def test_each_slot_may_have_its_own_encoder_and_settings():
    wide = Component("wide", "encoder", Wide, (BOX,))
    both = ids(twin(DICT, components={"encoder:speed": wide}))
    assert both["encoder", "encoder", "speed"] == both["encoder", "qf", "speed"] == "local/wide"
    critics = twin(DICT, components={"encoder@qf:speed": wide})
    chosen = ids(critics)
    assert chosen["encoder", "encoder", "speed"] == "rlkit-core/mlp"
    assert chosen["encoder", "qf", "speed"] == "local/wide"
    assert critics.qf.encode({"obs": rows(DICT)}).shape[-1] == critics.encoder.fusion(torch.zeros(21)).shape[-1] + 13
    root = ids(twin(components={"encoder": "rlkit-core/mlp", "encoder@qf": Wide}))
    assert root["encoder", "encoder", ""] == "rlkit-core/mlp"
    assert root["encoder", "qf", ""].endswith("/Wide")
    sized = twin(settings={**SMALL, "qf_fcnet_hiddens": [7], "qf_head_fcnet_hiddens": [9]})
    assert sized.qf.encode({"obs": rows(VECTOR)}).shape == (5, 7)
    assert sized.qf.head.config.hidden_layer_dims == (9,)
    assert sized.pi.config.hidden_layer_dims == (8,)
    assert Catalog(VECTOR, ACT, SMALL).encoder_config("af", fcnet_hiddens=[3]).output_dims == (3,)
    with pytest.raises(ConfigError, match="encoder slot 'q f'"):
        Catalog(VECTOR, ACT, SMALL).build_encoder(slot="q f")


def test_settings_of_a_slot_are_checked():
    assert DefaultModelConfig(qf_conv_filters=[[2, 4, 4]]).set_fields() == {"qf_conv_filters": [[2, 4, 4]]}
    with pytest.raises(ConfigError, match="positive integers"):
        DefaultModelConfig(qf_fcnet_hiddens=-1)
    with pytest.raises(UnknownSettingError):
        DefaultModelConfig(qf_fcnet_hidden=[3])


@pytest.mark.parametrize(
    ("components", "says"),
    [
        ({"head:vg": "mlp"}, r"\['head:vg'\]: no head 'vg' is built here; there is 'head:pi', 'head:vf'.*'vf'"),
        ({"encoder@vf": "mlp"}, r"no encoder 'vf' is built here; there is 'encoder'"),
        ({"encoder@vf:speed": "mlp"}, r"no encoder 'vf' is built here"),
        ({"encoder:sped": "mlp"}, r"components\['encoder:sped'\]: nothing is built there"),
        ({"head@pi": "mlp"}, "names no place"),
        ({"encoder@": "mlp"}, "names no place"),
        ({"encodr@qf": "mlp"}, "Did you mean 'encoder'"),
    ],
)
def test_a_key_that_names_nothing_is_refused(components, says):
    with pytest.raises(ConfigError, match=says):
        RLModuleSpec(ActorCriticTorchRLModule, VECTOR, ACT, model_config=SMALL, components=components).build()


def test_an_inference_only_module_takes_the_same_components():
    module = twin(components={"encoder@qf": "rlkit-core/mlp"}, inference_only=True)
    assert not hasattr(module, "qf")


def test_target_networks_follow_the_critics_and_are_no_part_of_acting():
    module = twin()
    module.make_target_networks()
    batch = {"obs": rows(VECTOR), "actions": torch.rand(5, 2)}
    torch.testing.assert_close(module.forward_target(batch), module.compute_q_values(batch))
    assert not any(p.requires_grad for _, target in module.get_target_network_pairs() for p in target.parameters())
    acting = twin(inference_only=True)
    acting.set_state(module.get_state(inference_only=True))
    batch = {"obs": rows(VECTOR)}
    torch.testing.assert_close(acting.forward_inference(batch), module.forward_inference(batch))


def test_squashed_gaussian_is_chosen_where_it_is_named_only():
    spec = RLModuleSpec(ActorCriticTorchRLModule, VECTOR, ACT, model_config=SMALL)
    assert spec.build().action_dist_cls.__name__ == "DiagGaussian"
    spec.components = {"distribution": "rlkit-core/squashed-gaussian"}
    module = spec.build()
    actions = ActionSampler(module, explore=True)({"obs": 50 * rows(VECTOR, 200)})["actions"]
    assert actions.abs().max() <= 1.0
    env = module.compute_actions(rows(VECTOR, 200).numpy(), explore=True)[0]
    assert all(action in ACT for action in env)
    assert env[:, 0].min() < -0.2
    spec.model_config = {**SMALL, "normalize_actions": False}
    own_units = spec.build()
    actions = ActionSampler(own_units, explore=True)({"obs": rows(VECTOR, 200)})["actions"]
    assert actions[:, 0].min() < -1.0
    assert all(action in ACT for action in actions.numpy())
    assert all(action in ACT for action in own_units.compute_actions(rows(VECTOR, 9).numpy(), explore=True)[0])
    arm = gym.spaces.Dict({"arm": ACT, "grip": BOX(-np.inf, np.inf, (1,))})
    mixed = RLModuleSpec(ActorCriticTorchRLModule, VECTOR, arm, model_config=SMALL)
    mixed.components = {"distribution:arm": "rlkit-core/squashed-gaussian"}
    assert mixed.build().compute_actions(rows(VECTOR).numpy())[0]["arm"].shape == (5, 2)
    mixed.components = {"distribution:grip": "rlkit-core/squashed-gaussian"}
    with pytest.raises(ConfigError, match="bounded in every element"):
        mixed.build().action_dist_cls


@pytest.mark.parametrize("hiddens", [None, []])
def test_q_values_are_never_linear_in_the_actions(hiddens):
    settings = {"fcnet_hiddens": [16, 16]} | ({} if hiddens is None else {"qf_head_fcnet_hiddens": hiddens})
    network = Catalog(VECTOR, gym.spaces.Box(-1.0, 1.0, (2,), np.float32), settings).build_q_network()
    batch = {"obs": rows(VECTOR)[:1].expand(3, -1)}
    low, middle, high = network(batch, torch.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]]))
    assert abs(float((low + high) / 2 - middle)) > 1e-5
