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


@dataclass(frozen=True)
class Lab:
    """A plugin: the module with its hooks, and the module that these name."""

    plugin: str
    parts: str


GOOD = {"encoder": Lab(ENCODER_PLUGIN, ENCODER_PARTS)}


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
        return {"source": plugin, "lab_parts": parts, "isolated": self.isolated, **self.metadata}


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
