"""One small run for each group of classes, in which every method that RLlib's documents name is noted."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from noting import Calls
from rllib_names import NAMES

from rlkit_core import Columns, Component, MultiRLModule, MultiRLModuleSpec, RLModuleSpec, Run, Stop, load_policy
from rlkit_core.apis import SelfSupervisedLossAPI
from rlkit_core.distributions import Categorical
from rlkit_core.learner.metrics import Metrics
from rlkit_core.models import ActorCriticEncoderConfig, MLPEncoderConfig, MLPHeadConfig
from rlkit_core.testing import (
    BCConfigTest,
    BCTorchLearner,
    BCTorchRLModuleWithSharedGlobalEncoder,
    DiscreteBCTorchModule,
)

OBS, ACT = gym.spaces.Box(-1.0, 1.0, (4,), np.float32), gym.spaces.Discrete(2)
SMALL = {"fcnet_hiddens": [8]}


def public(where: str) -> Any:
    """What ``"package:Name"`` stands for; the tests of the core import no plugin by name."""
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


def methods(owner: str) -> list[str]:
    """The methods of a class that are on the list, but for those that are refused."""
    own = [n for n in NAMES if n.owner == owner and n.kind == "method" and n.status != "refused"]
    return [n.name.partition(".")[2] for n in own if n.name.count(".") == 1]


def rows() -> dict[str, torch.Tensor]:
    """A batch to clone."""
    obs = torch.randn(16, 4, generator=torch.Generator().manual_seed(1))
    return {Columns.OBS: obs, Columns.ACTIONS: (obs[:, 0] > 0).long()}


@pytest.fixture(scope="session")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Calls:
    """Who called what, after all runs."""
    calls = Calls()
    for play in (an_algorithm, q_learning, cloning, own_parts):
        with contextlib.ExitStack() as stack:
            play(calls, tmp_path_factory.mktemp(play.__name__), stack)
    return calls


def an_algorithm(calls: Calls, folder: Path, stack: contextlib.ExitStack) -> None:
    """PPO with everything replaced: it trains, evaluates, saves, restores, takes and loses modules, and is deployed."""
    module_class = calls.noting(public("rlkit_ppo:PPOTorchRLModule"), methods("RLModule"), known_as="RLModule")
    for owner in ("ValueFunctionAPI", "InferenceOnlyAPI", "Policy", "PPOTorchRLModule"):
        module_class = calls.noting(module_class, methods(owner), known_as=owner)
    spec_class = calls.noting(RLModuleSpec, methods("RLModuleSpec"))
    multi_class = calls.noting(MultiRLModule, methods("MultiRLModule"))
    multi_spec = calls.noting(MultiRLModuleSpec, methods("MultiRLModuleSpec"))
    catalog = calls.noting(public("rlkit_ppo:PPOCatalog"), methods("PPOCatalog"))
    metrics = calls.noting(Metrics, ("log_value", "log_dict"), known_as="Learner.metrics")

    class OwnMetrics(public("rlkit_ppo:PPOTorchLearner")):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.metrics = metrics()

    learner = calls.noting(OwnMetrics, methods("Learner"), known_as="Learner")
    algorithm = calls.noting(public("rlkit_ppo:PPO"), methods("Algorithm"), known_as="Algorithm")
    config_class = calls.noting(public("rlkit_ppo:PPOConfig"), methods("AlgorithmConfig"), known_as="AlgorithmConfig")
    config = (
        config_class(algo_class=algorithm)
        .api_stack(enable_rl_module_and_learner=True)
        .framework("torch")
        .environment("CartPole-v1")
        .env_runners(num_env_runners=0, num_envs_per_env_runner=1)
        .training(train_batch_size=32, minibatch_size=16, num_epochs=1, lr=[[0, 1e-3], [100, 0.0]])
        .resources(num_learners=0)
        .learners(learner_class=learner, compile=None)
        .debugging(seed=1)
    )
    one = spec_class(module_class=module_class, catalog_class=catalog, model_config=SMALL)
    both = multi_spec(multi_rl_module_class=multi_class, rl_module_specs={"default_policy": one})
    config = config.rl_module(rl_module_spec=both)
    algo = stack.enter_context(config.build_algo())
    algo.train()
    algo.evaluate(1)
    path = algo.save_to_path(folder / "whole")
    algo.restore_from_path(path)
    algo.add_module("other", spec_class(module_class=module_class, catalog_class=catalog, model_config=SMALL))
    algo.remove_module("other")
    learners = algo.learner_group.learner
    learners.set_state(learners.get_state())
    learners.get_optimizer(), learners.get_optimizers_for_module()
    modules = learners.module
    modules.foreach_module(lambda module_id, module: module_id)
    modules.get("default_policy")
    type(modules).from_checkpoint(f"{path}/learner_group/learner/rl_module")
    type(learners).from_checkpoint(f"{path}/learner_group/learner")
    module = modules["default_policy"]
    type(module).from_checkpoint(f"{path}/learner_group/learner/rl_module/default_policy")
    learner(config=algo.config, module=module).build()  # a learner for one module, without a spec
    Run(config, folder / "run", stop=Stop(iterations=1), evaluation_episodes=1, weights_from=path, plot=False).fit()
    load_policy(folder / "run").module.compute_actions(np.zeros((1, 4), np.float32))


def q_learning(calls: Calls, folder: Path, stack: contextlib.ExitStack) -> None:
    """DQN with Q values, advantages and target networks of its own."""
    for owners in (("QNetAPI", "TargetNetworkAPI"), ("advantages",)):
        module_class = public("rlkit_dqn:DQNTorchRLModule")
        for owner in owners:
            alone = ("compute_advantage_distribution",)  # where Q values are a module's own, it acts by those
            named = alone if owner == "advantages" else [name for name in methods(owner) if name not in alone]
            module_class = calls.noting(module_class, named, known_as=owner.replace("advantages", "QNetAPI"))
        config = public("rlkit_dqn:DQNConfig")().environment("CartPole-v1").debugging(seed=1)
        config.training(train_batch_size=8, num_steps_sampled_before_learning_starts=8, target_network_update_freq=8)
        config.reporting(min_sample_timesteps_per_iteration=32).learners(compile=None)
        config.rl_module(rl_module_spec=RLModuleSpec(module_class=module_class), model_config=SMALL)
        stack.enter_context(config.build_algo()).train()


def cloning(calls: Calls, folder: Path, stack: contextlib.ExitStack) -> None:
    """A module that brings its own loss, and one forward for all phases."""

    class OwnLoss(DiscreteBCTorchModule, SelfSupervisedLossAPI):
        def compute_self_supervised_loss(self, *, learner, module_id, config, batch, fwd_out, **kwargs):
            loss = -fwd_out[Columns.ACTION_DIST].log_prob(batch[Columns.ACTIONS]).mean()
            learner.metrics.log_value((module_id, "own"), loss)
            learner.metrics.log_dict({"twice": 2 * loss}, key=module_id)
            return loss

    own_loss = calls.noting(OwnLoss, methods("SelfSupervisedLossAPI"), known_as="SelfSupervisedLossAPI")
    own_loss = calls.noting(own_loss, ("_forward",), known_as="RLModule")
    config = BCConfigTest().learners(learner_class=BCTorchLearner, compile=None).debugging(seed=1)
    config.rl_module(rl_module_spec=RLModuleSpec(own_loss, OBS, ACT, model_config=SMALL))
    learner = config.build_learner()
    learner.build()
    assert {"own", "twice"} <= set(learner.update({"default_policy": rows()})["default_policy"])


def own_parts(calls: Calls, folder: Path, stack: contextlib.ExitStack) -> None:
    """Configs of networks, a distribution, and a forward that two phases share."""
    head = calls.noting(MLPHeadConfig, methods("MLPHeadConfig"))
    noted = calls.noting(ActorCriticEncoderConfig, methods("ActorCriticEncoderConfig"))
    distribution = calls.noting(Categorical, methods("Distribution"), known_as="Distribution")
    record = Component("noted", "head", head, spaces=[gym.spaces.Discrete])

    class OwnParts(public("rlkit_ppo:PPOTorchRLModule")):
        def setup(self):
            super().setup()
            base = MLPEncoderConfig(input_dims=[4], hidden_layer_dims=[], output_layer_dim=8)
            self.encoder = noted(base_encoder_config=base).build(framework="torch")

        def get_inference_action_dist_cls(self):
            return distribution

    module = OwnParts(observation_space=OBS, action_space=ACT, model_config=SMALL, components={"head:pi": record})
    module.compute_actions(np.zeros((1, 4), np.float32))
    module.compute_actions_from_input_dict({"obs": np.zeros((1, 4), np.float32)})
    deployed = calls.noting(OwnParts, methods("Policy"), known_as="Policy")(
        observation_space=OBS, action_space=ACT, model_config=SMALL
    )
    deployed.compute_actions_from_input_dict({"obs": np.zeros((1, 4), np.float32)})
    deployed.compute_log_likelihoods(np.zeros(1, np.int64), np.zeros((1, 4), np.float32))

    shared = calls.noting(BCTorchRLModuleWithSharedGlobalEncoder, ("_common_forward",))
    space = gym.spaces.Dict({"global": OBS, "local": OBS})
    settings = {"encoder": torch.nn.Linear(4, 8), "hidden_dim": 8, "local_dim": 4, "action_dim": 2}
    shared(observation_space=space, action_space=ACT, model_config=settings).compute_single_action(space.sample())
