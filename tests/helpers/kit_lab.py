"""Small plugins without fault, by what they offer, and faults that are planted in them one by one."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    "head": Lab(HEAD_PLUGIN, HEAD_PARTS),
    "distribution": Lab(DISTRIBUTION_PLUGIN, DISTRIBUTION_PARTS),
    "density": Lab(DENSITY_PLUGIN, DENSITY_PARTS),
    "mixin": Lab(MIXIN_PLUGIN, MIXIN_PARTS),
    "writer": Lab(SERVICE_PLUGIN.replace("KIND", "writer"), WRITER_PARTS),
    "env wrapper": Lab(SERVICE_PLUGIN.replace("KIND", "env_wrapper"), WRAPPER_PARTS),
    "callbacks": Lab(SERVICE_PLUGIN.replace("KIND", "callbacks"), CALLBACKS_PARTS),
    "learner group": Lab(SERVICE_PLUGIN.replace("KIND", "learner_group"), GROUP_PARTS),
    "framework": Lab(SERVICE_PLUGIN.replace("KIND", "framework"), "class Mine:\n    pass\n"),
    "catalog": Lab(CATALOG_PLUGIN, "", {"rlkit.catalogs": {"lab": "lab:LabCatalog"}}),
    "algorithm": Lab(ALGORITHM_PLUGIN, "", {"rlkit.algorithms": {"lab": "lab:LabConfig"}}),
}


@dataclass(frozen=True)
class Defect:
    """One fault: what stands in the place of what, in one of a lab's two modules, and words of the finding."""

    name: str
    lab: str
    old: str
    new: str
    words: tuple[str, ...]
    metadata: dict[str, Any] = field(default_factory=dict)
    isolated: bool = False

    def written(self) -> dict[str, Any]:
        """Arguments of the ``checked`` fixture."""
        lab = GOOD[self.lab]
        both = lab.plugin + lab.parts
        assert both.count(self.old) == 1 or not self.old, (
            f"{self.name}: {self.old!r} is there {both.count(self.old)} times"
        )
        plugin, parts = (text.replace(self.old, self.new) if self.old else text for text in (lab.plugin, lab.parts))
        return {**lab.written(), "source": plugin, "lab_parts": parts, "isolated": self.isolated, **self.metadata}


def _defects(lab: str, *rows: tuple[Any, ...]) -> list[Defect]:
    return [Defect(name, lab, old, new, tuple(words.split("|"))) for name, old, new, words in rows]


_BUILD = "        return Waves(self)"
_FEATURES = "        features = torch"

DEFECTS = [
    *_defects(
        "encoder",
        ("unknown-hook", "def rlkit_encoders", "def rlkit_encoder", "unknown hook 'rlkit_encoder'|rlkit_encoders"),
        ("newer-api", 'rlkit_api = "1.0"', 'rlkit_api = "1.9"', "plugins 'lab'|1.9"),
        ("no-api", 'rlkit_api = "1.0"', "", "plugins 'lab'|rlkit_api"),
        ("hook-takes-more", "def rlkit_encoders():", "def rlkit_encoders(host):", "rlkit_encoders|'host'"),
        ("hook-annotated-wrong", "def rlkit_encoders():", "def rlkit_encoders() -> int:", "rlkit_encoders|int"),
        ("target-is-not-there", "lab_parts:WavesConfig", "lab_parts:WaveConfig", "encoder 'waves'|WaveConfig"),
        ("no-from-space", "def from_space", "def of_space", "encoder 'waves'|from_space"),
        (
            "space-not-served",
            "[Box], when=is_flat",
            "[Box]",
            "encoder 'lab/waves' for Box([-1, 1], (), float32)|from_space()|when=",
        ),
        ("condition-raises", "len(request.space.shape) == 1", "request.spaces", "'lab/waves'|when(request)"),
        ("output-dims", "(2 * self.waves,)", "(self.waves,)", "'lab/waves'|output_dims|(1, 12)|(1, 6)"),
        ("undeclared-setting", '"waves": setting(6', '"wave": setting(6', "'lab/waves'|'waves'"),
        (
            "built-once",
            _BUILD,
            "        self.net = getattr(self, 'net', None) or Waves(self)\n        return self.net",
            "'lab/waves'|same network",
        ),
        (
            "seed-of-its-own",
            "nn.Parameter(torch.randn(config.input_dims[0], config.waves))",
            "nn.Parameter(torch.randn(config.input_dims[0], config.waves, "
            "generator=torch.Generator().manual_seed(id(self) % 9973)))",
            "'lab/waves'|seed is the same",
        ),
        ("detached", "x @ self.frequencies", "x @ self.frequencies.detach()", "'lab/waves'|no gradient"),
        (
            "not-in-the-state",
            'self.register_buffer("offset", torch.rand(config.waves))',
            "self.offset = torch.rand(config.waves)",
            "'lab/waves'|not in its state",
        ),
        ("acting-changes", _FEATURES, "        self.offset += 0.1\n" + _FEATURES, "'lab/waves'|acting changes offset"),
        ("rows-mix", _FEATURES, "        angles = angles - angles.mean(0)\n" + _FEATURES, "'lab/waves'|other rows"),
        (
            "random-in-eval",
            _FEATURES,
            "        angles = angles + torch.rand(1)\n" + _FEATURES,
            "'lab/waves'|second time",
        ),
        ("not-finite", _FEATURES, "        angles = angles / 0.0\n" + _FEATURES, "'lab/waves'|NaN"),
        ("another-dtype", 'batch["obs"].float()', 'batch["obs"]', "'lab/waves'|float64"),
        ("no-encoder-out", '"encoder_out": features', '"features": features', "'lab/waves'|encoder_out"),
        ("writes-into-its-input", 'batch["obs"].float()', 'batch["obs"].mul_(2).float()', "'lab/waves'|its input"),
        ("no-network", _BUILD, "        return None", "'lab/waves'|build() returned None"),
    ),
    *_defects(
        "head",
        ("width-of-its-own", "(outputs,)", "(outputs + 1,)", "head 'lab/linear'|output_dims|(4,)"),
        ("forgets-time", "self.layer(x)", "self.layer(x.flatten(0, -2))", "'lab/linear'|(B, T, 6)"),
    ),
    *_defects(
        "distribution",
        ("not-normalised", "torch.log_softmax(logits / HEAT, -1)", "logits / HEAT", "'lab/warm'|sum to"),
        ("width-is-wrong", "int(space.n)", "int(space.n) + 1", "'lab/warm'|not in the space"),
        (
            "too-many-axes",
            ".gather(-1, value.unsqueeze(-1)).squeeze(-1)",
            ".gather(-1, value.unsqueeze(-1))",
            "'lab/warm'|logp()|(1, 1)",
        ),
        ("masks-unkept", "logits / HEAT", "logits.clamp(-9, 9) / HEAT", "'lab/warm'|forbids"),
        ("no-mode", "Deterministic(self.logp_of.argmax(-1))", "self", "'lab/warm'|to_deterministic()"),
        ("entropy-raises", "self.logp_of.exp() * self.logp_of)", "self.probs * self.logp_of)", "'lab/warm'|entropy()"),
        (
            "generator-of-its-own",
            "torch.multinomial(flat, 1)",
            "torch.multinomial(flat, 1, generator=torch.Generator().manual_seed(torch.seed()))",
            "'lab/warm'|seed is the same",
        ),
        ("diverges-from-itself", "- other.logp_of)", "- 2 * other.logp_of)", "'lab/warm'|divergence from itself"),
    ),
    *_defects(
        "density",
        ("no-jacobian", "(density - slope)", "density", "'lab/logistic' for Box([-1, 1], (), float32)|integrates to"),
        ("not-divided-by-the-scale", " - self.scale.log()", "", "'lab/logistic'|integrates to"),
        ("draws-wider", "self.scale * torch.logit(u)", "2 * self.scale * torch.logit(u)", "'lab/logistic'|draws are"),
        (
            "refuses-all",
            "return 2 * math.prod(space.shape)",
            "from rlkit_core.errors import ConfigError; raise ConfigError('give it a Box of five')",
            "'lab/logistic' refuses every space|a Box of five",
        ),
    ),
    *_defects(
        "mixin",
        ("does-not-cooperate", "        super().setup()\n", "", "'lab/guess'|setup()"),
        (
            "forgets-the-others",
            '[*super().get_non_inference_attributes(), "guess_net"]',
            '["guess_net"]',
            "'lab/guess'|get_non_inference_attributes()",
        ),
        ("driver-forgets", 'self.updates = state["updates"]', "pass", "'lab/guess'|other numbers"),
        ("misspelt-event", "def after_update", "def after_updates", "'lab/guess'|after_updates"),
        ("loss-is-not-finite", "/ (1 + self.updates)", "/ self.updates", "'lab/guess'|update of a learner"),
        ("state-that-cannot-be-saved", '{"updates": self.updates}', '{"updates": object()}', "'lab/guess'"),
    ),
    *_defects(
        "writer",
        ("writer-is-made-otherwise", "run_dir, config, resume_at", "run_dir", "writer 'mine'|run_dir"),
        (
            "writer-wants-a-number",
            'str(result["env_runners"]["episode_return_mean"])',
            "f\"{int(result['env_runners']['episode_return_mean'])}\"",
            "writer 'lab/mine'|write()",
        ),
        (
            "writer-changes-results",
            'result["env_runners"]["episode_return_mean"]',
            'result["env_runners"].setdefault("mine", 1)',
            "writer 'lab/mine'|write()",
        ),
        ("writer-cannot-resume", '"mine.txt", "a"', '"mine.txt", "x"', "writer 'lab/mine'|making it"),
    ),
    *_defects(
        "env wrapper",
        ("wrapper-keeps-the-space", "(-2, 2, (3,), np.float32)", "(-2, 2, (4,), np.float32)", "'lab/mine'|shape"),
        (
            "wrapper-does-not-close",
            "    def observation(self, observation):",
            "    def close(self):\n        pass\n\n    def observation(self, observation):",
            "'lab/mine'|close()",
        ),
    ),
    *_defects(
        "callbacks",
        ("callback-misspelt", "on_episode_end", "on_episode_ends", "callbacks 'mine'|on_episode_ends"),
        ("callback-raises", "episodes.return_[-1]", "episodes.total_return[-1]", "'lab/mine'|total_return"),
    ),
    *_defects(
        "learner group",
        (
            "no-learner-group",
            "class Mine(LearnerGroup)",
            "class Mine",
            "learner group 'mine'|subclass of rlkit_core.LearnerGroup",
        ),
        (
            "updates-twice",
            "        return self.inner.update(batches, **kwargs)",
            "        self.inner.update(batches, **kwargs)\n        return self.inner.update(batches, **kwargs)",
            "learner group 'lab/mine'|other weights",
        ),
        ("state-of-nobody", "self.inner.get_state(*args, **kwargs)", "{}", "learner group 'lab/mine'|state"),
    ),
    *_defects(
        "framework",
        ("framework-leads-nowhere", "class Mine", "class Yours", "framework 'mine'|Mine"),
    ),
    *_defects(
        "catalog",
        ("head-too-wide", "output_layer_dim=width", "output_layer_dim=width + 1", "LabCatalog|action_dist_inputs"),
        ("catalog-takes-more", 'build_pi_head(self, framework="torch")', "build_pi_head(self, width)", "build_pi_head"),
    ),
    *_defects(
        "algorithm",
        ("no-algorithm", 'algo_class = "lab:Lab"', "", "LabConfig has no algo_class"),
        (
            "chance-of-its-own",
            "0.1 * self.steps",
            "__import__('numpy').random.default_rng().random()",
            "LabConfig|with the same seed",
        ),
        ("forgets-its-steps", 'state.get("steps", self.steps)', "0", "LabConfig|goes on with other weights"),
        (
            "learns-nothing",
            '-(dist.logp(batch["actions"]) * (batch["rewards"] + 1)).mean()',
            '0.0 * dist.logp(batch["actions"]).mean()',
            "LabConfig|change no weight",
        ),
        (
            "knows-one-module",
            "in rollouts.values()",
            'in [rollouts["default_policy"]]',
            "LabConfig, with two agents|KeyError",
        ),
        (
            "trains-one-of-two",
            "update(rollouts=rollouts",
            "update(rollouts=dict([next(iter(rollouts.items()))])",
            "LabConfig, with two agents|change no weight of second",
        ),
    ),
    *(
        Defect(name, "encoder", 'rlkit_api = "1.0"', f'rlkit_api = "1.0"\n{code}', words, isolated=True)
        for name, code, words in (
            ("imports-torch", "import torch", ("importing lab imports torch",)),
            ("seeds-at-import", "import random; random.seed(3)", ("importing lab changes the state of random",)),
            ("ends-python", "import os; os._exit(3)", ("importing lab ended Python with exit code 3",)),
        )
    ),
    Defect("no-requirement", "encoder", "", "", ("does not require rlkit-core",), {"requires": ()}),
    Defect("too-new", "encoder", "", "", ("incompatible", "rlkit-core>=7"), {"requires": ("rlkit-core>=7",)}),
    Defect(
        "entry-point-leads-nowhere",
        "encoder",
        "",
        "",
        ("plugins 'lab'", "lab.nowhere"),
        {"groups": {"rlkit.plugins": {"lab": "lab.nowhere"}}},
    ),
]
