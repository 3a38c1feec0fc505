"""Faults that are planted in small plugins, one by one, and words of what the kit says of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kit_lab import GOOD


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
        "space encoder",
        ("no-setup", "def setup", "def set_up", "encoder 'waves'|no setup(space, model_config)"),
        ("setup-takes-less", "setup(self, space, model_config)", "setup(self, space)", "'waves'|setup is called as"),
        ("loses-the-batch", ".sin()}", ".sin().flatten()}", "'lab/waves'|keep the batch axis"),
        ("width-by-the-rows", ".sin()}", ".sin().repeat(1, len(batch['obs']))}", "'lab/waves'|output_dims"),
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
        ("framework-leads-nowhere", "Mine = Framework", "Yours = Framework", "framework 'mine'|Mine"),
        ("framework-is-none", "Mine = Framework(", "Mine = dict(", "framework 'lab/mine'|dict, expected a rlkit_core"),
        ("framework-of-another-name", 'name="mine"', 'name="other"', "module_base|framework = 'other'"),
        ("framework-widens", "x.detach().numpy()", "x.detach().double().numpy()", "float32 does not come back"),
        ("framework-other-twin", "cls: cls", "cls: cls.get_partial_dist_cls(temperature=2.0)", "logp of a Categorical"),
        ("framework-bare-network", "config.build()", "config.build().net", "build(MLPEncoderConfig"),
        (
            "framework-own-learner",
            "AlgorithmParts(spec, Cloning)",
            "AlgorithmParts(spec, BCTorchLearner)",
            "BCTorchLearner",
        ),
        (
            "framework-samples-lists",
            "sampler=ActionSampler",
            'sampler=lambda module, explore: lambda batch: {"actions": [0] * 32}',
            "sampled actions are list",
        ),
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
