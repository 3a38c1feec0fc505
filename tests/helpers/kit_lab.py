"""Small plugins without fault, by what they offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ENCODER_PLUGIN = """
from gymnasium.spaces import Box
from rlkit_core import Component, hookimpl
from rlkit_core.settings import integer, setting

rlkit_api = "1.0"
SETTINGS = {"waves": setting(6, help="How many.", converter=integer(ge=1))}


def is_flat(request):
    return len(request.space.shape) == 1


@hookimpl
def rlkit_encoders():
    return [Component("waves", "encoder", "lab_parts:WavesConfig", [Box], when=is_flat, settings=SETTINGS)]
"""

ENCODER_PARTS = """
import torch
from torch import nn
from rlkit_core.models import Encoder, ModelConfig


class WavesConfig(ModelConfig):
    def __init__(self, size, waves):
        self.input_dims, self.waves = (size,), waves

    @classmethod
    def from_space(cls, space, model_config):
        return cls(space.shape[0], model_config["waves"])

    @property
    def output_dims(self):
        return (2 * self.waves,)

    def build(self, framework="torch"):
        return Waves(self)


class Waves(Encoder):
    def __init__(self, config):
        super().__init__(config)
        self.frequencies = nn.Parameter(torch.randn(config.input_dims[0], config.waves))
        self.register_buffer("offset", torch.rand(config.waves))

    def forward(self, batch):
        x = batch["obs"].float()
        angles = x @ self.frequencies + self.offset
        features = torch.cat([angles.sin(), angles.cos()], dim=-1)
        return {"encoder_out": features}
"""

SPACE_ENCODER_PARTS = """
import torch
from rlkit_core.models import SpaceEncoder


class WavesConfig(SpaceEncoder):
    def setup(self, space, model_config):
        self.frequencies = torch.nn.Parameter(torch.randn(space.shape[0], model_config["waves"]))

    def forward(self, batch):
        return {"encoder_out": (batch["obs"].float() @ self.frequencies).sin()}
"""

HEAD_PLUGIN = """
from gymnasium.spaces import Discrete
from rlkit_core import Component, hookimpl

rlkit_api = "1.0"


@hookimpl
def rlkit_heads():
    return [Component("linear", "head", "lab_parts:LinearConfig", [Discrete], settings={})]
"""

HEAD_PARTS = """
from torch import nn
from rlkit_core.models import Head, ModelConfig


class LinearConfig(ModelConfig):
    def __init__(self, inputs, outputs):
        self.input_dims, self.output_dims_ = tuple(inputs), (outputs,)

    @classmethod
    def from_dims(cls, input_dims, output_dim, model_config):
        return cls(input_dims, output_dim)

    @property
    def output_dims(self):
        return self.output_dims_

    def build(self, framework="torch"):
        return Linear(self)


class Linear(Head):
    def __init__(self, config):
        super().__init__(config)
        self.layer = nn.Linear(config.input_dims[0], config.output_dims[0])

    def forward(self, x):
        return self.layer(x)
"""

DISTRIBUTION_PLUGIN = """
from gymnasium.spaces import Discrete
from rlkit_core import Component, hookimpl

rlkit_api = "1.0"


@hookimpl
def rlkit_distributions():
    return [Component("warm", "distribution", "lab_parts:Warm", [Discrete], settings={})]
"""

DISTRIBUTION_PARTS = """
import torch
from rlkit_core import Distribution
from rlkit_core.distributions import Deterministic

HEAT = 2.0


class Warm(Distribution):
    supports_mask = True

    def __init__(self, logits):
        self.logp_of = torch.log_softmax(logits / HEAT, -1)

    @classmethod
    def from_logits(cls, logits, **kwargs):
        return cls(logits)

    @classmethod
    def required_input_dim(cls, space, model_config=None, **kwargs):
        return int(space.n)

    def draw(self, sample_shape, noise):
        shape = self.logp_of.shape[:-1]
        flat = self.logp_of.detach().exp().reshape(-1, self.logp_of.shape[-1])
        return torch.multinomial(flat, 1).reshape(shape)

    def logp(self, value):
        return self.logp_of.gather(-1, value.unsqueeze(-1)).squeeze(-1)

    def entropy(self):
        return -(self.logp_of.exp() * self.logp_of).sum(-1)

    def kl(self, other):
        return (self.logp_of.exp() * (self.logp_of - other.logp_of)).sum(-1)

    def to_deterministic(self):
        return Deterministic(self.logp_of.argmax(-1))
"""

DENSITY_PLUGIN = """
from gymnasium.spaces import Box
from rlkit_core import Component, hookimpl

rlkit_api = "1.0"


@hookimpl
def rlkit_distributions():
    return [Component("logistic", "distribution", "lab_parts:Logistic", [Box], settings={})]
"""

DENSITY_PARTS = """
import math
import torch
from rlkit_core import Distribution
from rlkit_core.distributions import Deterministic


class Logistic(Distribution):
    '''A logistic distribution, squashed into (-1, 1).'''

    def __init__(self, logits):
        self.loc, log_scale = logits.chunk(2, -1)
        self.scale = log_scale.clamp(-3, 1).exp()

    @classmethod
    def from_logits(cls, logits, **kwargs):
        return cls(logits)

    @classmethod
    def required_input_dim(cls, space, model_config=None, **kwargs):
        return 2 * math.prod(space.shape)

    def draw(self, sample_shape, noise):
        u = torch.rand_like(self.loc).clamp(1e-4, 1 - 1e-4)
        return torch.tanh(self.loc + self.scale * torch.logit(u)).detach()

    def logp(self, value):
        x = torch.atanh(value.clamp(-1 + 1e-6, 1 - 1e-6))
        z = (x - self.loc) / self.scale
        density = -z - 2 * torch.nn.functional.softplus(-z) - self.scale.log()
        slope = torch.log1p(-value.square() + 1e-7)
        return (density - slope).sum(-1)

    def to_deterministic(self):
        return Deterministic(torch.tanh(self.loc))
"""

MIXIN_PLUGIN = """
from rlkit_core import ModuleAPI, hookimpl
from rlkit_core.settings import integer, setting

rlkit_api = "1.0"
SETTINGS = {"guess_width": setting(4, help="Width.", converter=integer(ge=1))}


@hookimpl
def rlkit_module_apis():
    names = "lab_parts:GuessAPI", "lab_parts:GuessDriver"
    return [ModuleAPI("guess", *names, implementation="lab_parts:Guess", settings=SETTINGS)]
"""

MIXIN_PARTS = """
import torch
from rlkit_core.apis import InferenceOnlyAPI


class GuessAPI:
    def guess(self, obs):
        raise NotImplementedError


class Guess(GuessAPI, InferenceOnlyAPI):
    def setup(self):
        super().setup()
        width = self.model_config["guess_width"]
        self.guess_net = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Tanh(), torch.nn.Linear(width, 1))

    def get_non_inference_attributes(self):
        return [*super().get_non_inference_attributes(), "guess_net"]

    def guess(self, obs):
        return self.guess_net(obs).squeeze(-1)


class GuessDriver:
    def __init__(self):
        self.updates = 0

    def extra_loss(self, module, batch):
        error = module.guess(batch["obs"]) - batch["rewards"]
        return error.square().mean() / (1 + self.updates)

    def after_update(self):
        self.updates += 1

    def get_state(self):
        return {"updates": self.updates}

    def set_state(self, state):
        self.updates = state["updates"]
"""


SERVICE_PLUGIN = """
from rlkit_core import hookimpl
from rlkit_core.plugins.records import Service

rlkit_api = "1.0"


@hookimpl
def rlkit_services():
    return [Service("KIND", "mine", "lab_parts:Mine")]
"""

WRITER_PARTS = """
import json


class Mine:
    cuts_back = False

    def __init__(self, run_dir, config, resume_at):
        self.file = open(run_dir / "mine.txt", "a")

    def write(self, result):
        self.file.write(str(result["env_runners"]["episode_return_mean"]))

    def close(self):
        self.file.close()
"""

WRAPPER_PARTS = """
import gymnasium as gym
import numpy as np


class Mine(gym.ObservationWrapper):
    def __init__(self, env):
        super().__init__(env)
        self.observation_space = gym.spaces.Box(-2, 2, (3,), np.float32)

    def observation(self, observation):
        return (2 * observation).astype(np.float32)
"""

CALLBACKS_PARTS = """
class Mine:
    def on_episode_end(self, episodes):
        self.last = float(episodes.return_[-1])

    def on_train_result(self, algorithm, result):
        result["last"] = self.last
"""

GROUP_PARTS = """
from rlkit_core.learner import LearnerGroup, Learner


class Mine(LearnerGroup):
    def make_learners(self, config, module_spec, seeds, executor, used):
        settings = config.copy(copy_frozen=False).learners(num_learners=0)
        self.inner = LearnerGroup(config=settings, module_spec=module_spec)

    def update(self, batches=None, **kwargs):
        return self.inner.update(batches, **kwargs)

    def get_weights(self, module_ids=None, *, inference_only=True):
        return self.inner.get_weights(module_ids, inference_only=inference_only)

    def get_state(self, *args, **kwargs):
        return self.inner.get_state(*args, **kwargs)

    def shutdown(self):
        pass
"""

FRAMEWORK_PARTS = """
import torch

from rlkit_core.frameworks import AlgorithmParts, Framework
from rlkit_core.learner import TorchLearner
from rlkit_core.rl_module import ActionSampler, RLModuleSpec, TorchRLModule
from rlkit_core.testing import DiscreteBCTorchModule
from rlkit_core.testing.bc_algorithm import BCTorchLearner


class Module(TorchRLModule):
    framework = "mine"


class Cloned(Module, DiscreteBCTorchModule):
    pass


class LabLearner(TorchLearner):
    framework = "mine"


class Cloning(LabLearner, BCTorchLearner):
    pass


def spec():
    return RLModuleSpec(module_class=Cloned, model_config={"fcnet_hiddens": [8]})


Mine = Framework(
    name="mine",
    module_base=Module,
    learner_base=LabLearner,
    to_numpy=lambda x: x.detach().numpy(),
    from_numpy=torch.from_numpy,
    sampler=ActionSampler,
    build=lambda config: config.build(),
    distribution=lambda cls: cls,
    algorithms={"rlkit_core.testing.bc_algorithm:BCConfigTest": AlgorithmParts(spec, Cloning)},
)
"""

CATALOG_PLUGIN = """
from rlkit_core import ActorCriticCatalog
from rlkit_core.models import MLPHeadConfig


class LabCatalog(ActorCriticCatalog):
    def build_pi_head(self, framework="torch"):
        width = self.get_action_dist_cls().required_input_dim(self.action_space)
        return MLPHeadConfig(input_dims=self.latent_dims, output_layer_dim=width).build(framework=framework)
"""

ALGORITHM_PLUGIN = """
import attrs
from rlkit_core import ActorCriticCatalog, ActorCriticTorchRLModule, Algorithm, AlgorithmConfig, Learner, RLModuleSpec


@attrs.define
class LabConfig(AlgorithmConfig):
    algo_class = "lab:Lab"
    supports_multi_agent = True
    default_learner_class = "lab:LabLearner"
    default_module_class = "lab:LabModule"


class LabModule(ActorCriticTorchRLModule):
    default_catalog_class = ActorCriticCatalog


class LabLearner(Learner):
    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        dist = self.module[module_id].get_train_action_dist_cls().from_logits(fwd_out["action_dist_inputs"])
        return -(dist.logp(batch["actions"]) * (batch["rewards"] + 1)).mean()


class Lab(Algorithm):
    def setup(self):
        self.steps = 0

    def training_step(self):
        self.steps += 1
        rollouts = self.env_runner_group.sample()
        for rollout in rollouts.values():
            rollout.columns["rewards"] += 0.1 * self.steps
        self.learner_group.update(rollouts=rollouts, timesteps=self.timesteps)
        self.sync_weights()

    def get_state(self, *args, **kwargs):
        return {**super().get_state(*args, **kwargs), "steps": self.steps}

    def set_state(self, state, **kwargs):
        super().set_state(state, **kwargs)
        self.steps = state.get("steps", self.steps)
"""


@dataclass(frozen=True)
class Lab:
    """A plugin: the module with its hooks, and the module that these name."""

    plugin: str
    parts: str
    groups: dict[str, dict[str, str]] | None = None

    def written(self) -> dict[str, Any]:
        """Arguments of the ``checked`` fixture."""
        return {"source": self.plugin, "lab_parts": self.parts, "groups": self.groups, "fast": self.groups is None}


GOOD = {
    "encoder": Lab(ENCODER_PLUGIN, ENCODER_PARTS),
    "space encoder": Lab(ENCODER_PLUGIN, SPACE_ENCODER_PARTS),
    "head": Lab(HEAD_PLUGIN, HEAD_PARTS),
    "distribution": Lab(DISTRIBUTION_PLUGIN, DISTRIBUTION_PARTS),
    "density": Lab(DENSITY_PLUGIN, DENSITY_PARTS),
    "mixin": Lab(MIXIN_PLUGIN, MIXIN_PARTS),
    "writer": Lab(SERVICE_PLUGIN.replace("KIND", "writer"), WRITER_PARTS),
    "env wrapper": Lab(SERVICE_PLUGIN.replace("KIND", "env_wrapper"), WRAPPER_PARTS),
    "callbacks": Lab(SERVICE_PLUGIN.replace("KIND", "callbacks"), CALLBACKS_PARTS),
    "learner group": Lab(SERVICE_PLUGIN.replace("KIND", "learner_group"), GROUP_PARTS),
    "framework": Lab(SERVICE_PLUGIN.replace("KIND", "framework"), FRAMEWORK_PARTS),
    "catalog": Lab(CATALOG_PLUGIN, "", {"rlkit.catalogs": {"lab": "lab:LabCatalog"}}),
    "algorithm": Lab(ALGORITHM_PLUGIN, "", {"rlkit.algorithms": {"lab": "lab:LabConfig"}}),
}
