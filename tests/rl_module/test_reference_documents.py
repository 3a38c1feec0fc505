"""What the documents of RLlib's RLModules show, written anew with the same calls."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from actor_critic import ACConfig, ACModule
from rlkit_core import (
    ActorCriticCatalog,
    MultiRLModule,
    MultiRLModuleSpec,
    RLModule,
    RLModuleConfig,
    RLModuleSpec,
    TorchRLModule,
)
from rlkit_core.apis import InferenceOnlyAPI
from rlkit_core.models import ActorCriticEncoderConfig, MLPHeadConfig
from rlkit_core.rl_module import (
    ActionSampler,
    MultiAgentRLModule,
    MultiAgentRLModuleSpec,
    SingleAgentRLModuleSpec,
)
from rlkit_core.testing import (
    MOBILENET_INPUT_SHAPE,
    BCTorchMultiAgentModuleWithSharedEncoder,
    DiscreteBCTorchModule,
    MobileNetV2EncoderConfig,
    RandomEnv,
    StatelessCartPole,
)

BOX = gym.spaces.Box


@pytest.fixture
def env():
    env = gym.make("CartPole-v1")
    yield env
    env.close()


@pytest.fixture
def spec(env) -> RLModuleSpec:
    return RLModuleSpec(
        module_class=DiscreteBCTorchModule,
        observation_space=env.observation_space,
        action_space=env.action_space,
        model_config={"fcnet_hiddens": [64]},
    )


def test_single_spec_builds_and_trains(spec) -> None:
    module = spec.build()
    assert isinstance(module, TorchRLModule)
    out = module.forward_train({"obs": torch.randn(1024, 4)})
    (-out["action_dist"].log_prob(torch.zeros(1024)).mean()).backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    assert module.forward_inference({"obs": torch.zeros(1, 4)})["action_dist"].logits.shape == (1, 2)


def test_multi_spec_of_two() -> None:
    def one(size: int, width: int) -> RLModuleSpec:
        return RLModuleSpec(
            module_class=DiscreteBCTorchModule,
            observation_space=BOX(low=-1, high=1, shape=(size,)),
            action_space=gym.spaces.Discrete(2),
            model_config={"fcnet_hiddens": [width]},
        )

    multi = MultiRLModuleSpec(rl_module_specs={"module_1": one(10, 32), "module_2": one(5, 16)}).build()
    assert set(multi.keys()) == {"module_1", "module_2"}
    assert (multi["module_1"].input_dim, multi["module_2"].input_dim) == (10, 5)


def test_as_multi_rl_module(spec) -> None:
    module = spec.build()
    multi = module.as_multi_rl_module()
    assert isinstance(multi, MultiRLModule)
    assert multi["default_policy"] is module


LOGITS = [[0.0, 5.0], [5.0, 0.0]]


@pytest.mark.parametrize("keys", ["actions", "both", "inputs"])
def test_the_three_ways_to_give_actions(keys, env) -> None:
    class MyRLModule(TorchRLModule):
        def _forward_inference(self, batch):
            return self._out()

        def _forward_exploration(self, batch):
            return self._out()

        def _out(self):
            out = {"actions": torch.tensor([1, 1]), "action_dist_inputs": torch.tensor(LOGITS)}
            if keys == "actions":
                del out["action_dist_inputs"]
            if keys == "inputs":
                del out["actions"]
            return out

    module = MyRLModule(observation_space=env.observation_space, action_space=env.action_space)
    obs = np.zeros((2, 4), np.float32)
    actions, _, extra = module.compute_actions_from_input_dict({"obs": obs}, explore=True)
    assert ("action_logp" in extra) is (keys != "actions")
    if keys != "actions":
        logp = torch.tensor(LOGITS).log_softmax(-1).numpy()[[0, 1], actions]
        assert np.allclose(extra["action_logp"], logp)
        assert np.allclose(extra["action_prob"], np.exp(logp))
    assert module.compute_actions(obs, explore=False)[0].tolist() == ([1, 0] if keys == "inputs" else [1, 1])


def test_custom_module_with_a_config_object(env) -> None:
    class MyDiscreteBC(TorchRLModule):
        def __init__(self, config: RLModuleConfig) -> None:
            super().__init__(config)

        def setup(self):
            width = self.model_config["fcnet_hiddens"][0]
            self.policy = nn.Sequential(
                nn.Linear(self.observation_space.shape[0], width),
                nn.ReLU(),
                nn.Linear(width, self.action_space.n),
            )

        def _forward_inference(self, batch):
            with torch.no_grad():
                return self._forward_train(batch)

        def _forward_exploration(self, batch):
            with torch.no_grad():
                return self._forward_train(batch)

        def _forward_train(self, batch):
            return {"action_dist": torch.distributions.Categorical(logits=self.policy(batch["obs"]))}

    direct = MyDiscreteBC(RLModuleConfig(env.observation_space, env.action_space, {"fcnet_hiddens": [8]}))
    by_spec = RLModuleSpec(
        module_class=MyDiscreteBC,
        observation_space=env.observation_space,
        action_space=env.action_space,
        model_config={"fcnet_hiddens": [8]},
    ).build()
    for module in (direct, by_spec):
        out = ActionSampler(module, explore=True)({"obs": torch.zeros(3, 4)})
        assert out["actions"].shape == (3,)
        assert module.forward_train({"obs": torch.zeros(3, 4)})["action_dist"].logits.requires_grad


def test_shared_encoder_spec() -> None:
    def one(local: int, actions: int) -> RLModuleSpec:
        return RLModuleSpec(
            observation_space=gym.spaces.Dict(
                {"global": BOX(low=-1, high=1, shape=(2,)), "local": BOX(low=-1, high=1, shape=(local,))}
            ),
            action_space=gym.spaces.Discrete(actions),
            model_config={"fcnet_hiddens": [64]},
        )

    module = MultiRLModuleSpec(
        multi_rl_module_class=BCTorchMultiAgentModuleWithSharedEncoder,
        rl_module_specs={"local_2d": one(2, 2), "local_5d": one(5, 5)},
    ).build()
    assert module["local_2d"].encoder is module["local_5d"].encoder
    obs = {"global": np.zeros((2,), np.float32), "local": np.zeros((5,), np.float32)}
    assert module["local_5d"].compute_single_action(obs)[0] in range(5)


class MobileNetActorCriticRLModule(ACModule):
    def setup(self):
        mobilenet = MobileNetV2EncoderConfig()
        self.encoder = ActorCriticEncoderConfig(base_encoder_config=mobilenet).build(framework="torch")
        dims = mobilenet.output_dims
        self.pi = MLPHeadConfig(input_dims=dims, output_layer_dim=2).build(framework="torch")
        self.vf = MLPHeadConfig(input_dims=dims, output_layer_dim=1).build(framework="torch")


def test_catalog_is_bypassed_by_a_module_with_its_own_encoder() -> None:
    module = MobileNetActorCriticRLModule(
        observation_space=BOX(0.0, 1.0, MOBILENET_INPUT_SHAPE), action_space=gym.spaces.Discrete(2)
    )
    batch = {"obs": torch.zeros(2, *MOBILENET_INPUT_SHAPE)}
    assert module.forward_exploration(batch)["action_dist_inputs"].shape == (2, 2)
    assert module.compute_values(batch).shape == (2,)


def test_mobilenet_in_the_algorithm() -> None:
    config = (
        ACConfig()
        .rl_module(rl_module_spec=RLModuleSpec(module_class=MobileNetActorCriticRLModule))
        .environment(
            RandomEnv,
            env_config={
                "action_space": gym.spaces.Discrete(2),
                "observation_space": BOX(0.0, 1.0, shape=MOBILENET_INPUT_SHAPE, dtype=np.float32),
            },
        )
        .env_runners(num_env_runners=0)
        .training(train_batch_size_per_learner=32, minibatch_size=16, num_epochs=1)
    )
    algo = config.build()
    try:
        algo.train()
        assert isinstance(algo.get_module(), MobileNetActorCriticRLModule)
    finally:
        algo.stop()


def test_saving_and_restoring_into_an_algorithm(env, tmp_path) -> None:
    config = ACConfig().environment("CartPole-v1")
    module = RLModuleSpec(
        module_class=ACModule,
        observation_space=env.observation_space,
        action_space=env.action_space,
        model_config=config.model_config | {"fcnet_hiddens": [32]},
        catalog_class=ActorCriticCatalog,
    ).build()
    module.save_to_path(tmp_path / "module")
    loaded = RLModule.from_checkpoint(tmp_path / "module")
    assert type(loaded) is ACModule
    assert type(loaded.catalog) is ActorCriticCatalog
    config.rl_module(model_config=config.model_config | {"fcnet_hiddens": [32]})
    algo = config.build()
    try:
        algo.restore_from_path(tmp_path / "module", component="learner_group/learner/rl_module/default_policy")
        state, restored = module.get_state(), algo.get_module().get_state()
        assert all(np.array_equal(restored[name], state[name]) for name in restored)
    finally:
        algo.stop()


def test_inference_only_api_as_documented(env) -> None:
    class MyRLModule(TorchRLModule, InferenceOnlyAPI):
        def setup(self):
            self._policy_head = nn.Linear(4, 2)
            self._value_function_head = nn.Linear(4, 1)
            self._encoder = nn.ModuleDict({"pol": nn.Linear(4, 4), "vf": nn.Linear(4, 4)})

        def get_non_inference_attributes(self):
            return ["_value_function_head", "_encoder.vf"]

    spec = RLModuleSpec(MyRLModule, env.observation_space, env.action_space, inference_only=True)
    assert {name.rpartition(".")[0] for name in spec.build().get_state()} == {"_policy_head", "_encoder.pol"}


def test_older_names() -> None:
    assert MultiAgentRLModule is MultiRLModule
    assert MultiAgentRLModuleSpec is MultiRLModuleSpec
    assert SingleAgentRLModuleSpec is RLModuleSpec
    for name in ("CLASS_AND_CTOR_ARGS_FILE_NAME", "METADATA_FILE_NAME", "STATE_FILE_NAME"):
        assert isinstance(getattr(MultiRLModule, name), str)
    assert RLModule.STATE_FILE_NAME == "module_state"


def test_example_envs() -> None:
    random = RandomEnv({"observation_space": BOX(-1, 1, (3,)), "max_episode_len": 5, "check_action_bounds": True})
    first = [random.reset(seed=3)[0], *(random.step(0)[0] for _ in range(3))]
    again = [random.reset(seed=3)[0], *(random.step(0)[0] for _ in range(3))]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    with pytest.raises(ValueError, match="not in Discrete"):
        random.step(7)
    cart = StatelessCartPole()
    obs, _ = cart.reset(seed=0)
    assert obs.shape == cart.observation_space.shape == (2,)
    assert cart.observation_space.contains(obs)
