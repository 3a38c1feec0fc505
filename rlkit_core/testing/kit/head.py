"""What every head keeps, as tests that anybody's head can be run through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from rlkit_core.data.nested import Nested
from rlkit_core.plugins.records import ComponentRequest
from rlkit_core.testing.kit.component import ActionComponentContract
from rlkit_core.testing.kit.contract import doing, require
from rlkit_core.testing.kit.examples import ROWS, Space
from rlkit_core.testing.kit.networks import Network, NetworkContract, close

INPUTS, WIDTH = 6, 4
SLOTS = ("pi", "vf", "qf", "af")


def _features(count: int) -> Tensor:
    return torch.randn(ROWS, INPUTS, generator=torch.Generator().manual_seed(0))[:count]


def _call(network: nn.Module, features: Nested) -> Tensor:
    out: Tensor = network(features)
    return out


class HeadContract(ActionComponentContract, NetworkContract):
    """What every head keeps: a network from an encoder's output to distribution inputs or values.

    Attributes are those of :class:`EncoderContract`; ``spaces`` are action spaces.
    """

    about = "head"
    kind: ClassVar[str] = "head"

    def requests(self, space: Space) -> Iterator[ComponentRequest]:
        """One for each slot that a head may go to."""
        for slot in SLOTS:
            yield ComponentRequest("head", slot, (), space, space, self.settings)

    def networks(self) -> Iterator[Network]:
        """Of two widths: a policy's and a value's, where its condition lets it be one."""
        for width in (WIDTH, 1) if self.served else ():
            when, settings = self.record.record.when, self.settings
            slot = "vf" if width == 1 else "pi"
            space = self.served[0]
            if width == 1 and when is not None and not when(ComponentRequest("head", slot, (), space, space, settings)):
                continue
            label = f"{self.name} from {INPUTS} to {width}"
            with doing(f"{label}: from_dims()", "serve any number of inputs and outputs"):
                config = self.target.from_dims((INPUTS,), width, settings)
            dims = getattr(config, "output_dims", None)
            require(
                isinstance(dims, (tuple, list)) and tuple(dims) == (width,),
                f"{label}: output_dims is {dims!r}, expected ({width},)",
                "from_dims(input_dims, output_dim, model_config) is told how wide the output has to be",
            )
            yield Network(label, config.build, _features, _call, (width,))

    def make(self, space: Space, settings: Mapping[str, object]) -> object:
        """Its config and a network, by hand."""
        return self.target.from_dims((INPUTS,), WIDTH, settings).build(framework="torch")

    def test_steps_of_sequences_are_independent(self) -> None:
        """``(B, T, D)`` goes in where a module is recurrent, and each step gives what it gives alone."""
        for one in self.networks():
            network, features = one.built(), _features(ROWS)
            flat = one.output(network, features)
            long = one.output(network, torch.stack([features, features], 1))
            require(
                tuple(long.shape) == (ROWS, 2, *flat.shape[1:]) and close(long[:, 1], flat),
                f"{one.label}: (B, T, {INPUTS}) gives {tuple(long.shape)}, or other numbers than step by step",
                "let every operation keep leading axes: nn.Linear does, flatten() and BatchNorm1d do not",
            )
