"""What every encoder keeps, as tests that anybody's encoder can be run through."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import gymnasium as gym
import torch
from attrs import define
from torch import Tensor, nn

from rlkit_core.catalog import ActorCriticCatalog, make_catalog
from rlkit_core.catalog.scope import takes_child
from rlkit_core.columns import ENCODER_OUT, Columns
from rlkit_core.data.nested import Nested, has_array, leaves, map_leaves
from rlkit_core.models.base import build_network, initial_state_of
from rlkit_core.rl_module.packing import ObservationPacker, packs_of_encoders
from rlkit_core.spaces import describe, flat_leaves
from rlkit_core.testing.kit.component import ComponentContract
from rlkit_core.testing.kit.contract import doing, require
from rlkit_core.testing.kit.examples import ROWS, SMALL, Space, as_tensors, example_rows, with_time
from rlkit_core.testing.kit.networks import Network, NetworkContract, close

ACTIONS = gym.spaces.Discrete(3)
STEPS = 3
"""Of the sequences that a recurrent encoder is given."""


@define
class _Encoding:
    """How one encoder is called: packed, in sequences, with a state."""

    label: str
    space: Space
    recurrent: bool
    packer: ObservationPacker | None

    def batch(self, count: int) -> Nested:
        """Observations, ``(B, ...)``, or ``(B, T, ...)``."""
        with doing(f"{self.label}: pack()", "let it take any list of observations, and return arrays with a row each"):
            batch = as_tensors(self.space, example_rows(self.space, count), self.packer)
        return with_time(batch, STEPS) if self.recurrent else batch

    def call(self, network: nn.Module, obs: Nested) -> Tensor:
        """``encoder_out``, the last step's where there are several."""
        out: Tensor = self.whole(network, obs)[ENCODER_OUT]
        return out[:, -1] if self.recurrent else out

    def whole(self, network: nn.Module, obs: Nested, state: Nested = None) -> dict[str, Any]:
        """All that it returns."""
        batch = {Columns.OBS: obs}
        if self.recurrent:
            batch[Columns.STATE_IN] = self.first_state(network, obs) if state is None else state
        out = network(batch)
        keys = (ENCODER_OUT, Columns.STATE_OUT) if self.recurrent else (ENCODER_OUT,)
        missing = [key for key in keys if not isinstance(out, Mapping) or key not in out]
        seen = sorted(map(str, out)) if isinstance(out, Mapping) else type(out).__name__
        require(
            not missing,
            f"{self.label}: forward() returned {seen}, expected a dict with {', '.join(map(repr, keys))}",
            f"return {{{ENCODER_OUT!r}: features}}, with 'state_out' where it is recurrent",
        )
        return dict(out)

    def first_state(self, network: nn.Module, obs: Nested) -> Nested:
        """The state before an episode, for each row."""
        rows = len(next(leaves(obs)))
        state = initial_state_of(network)
        require(
            state,
            f"{self.label}: recurrent is True, and its network has no get_initial_state() that gives a state",
            "return a dict of tensors without a batch axis from get_initial_state()",
        )
        return map_leaves(lambda x: torch.stack([torch.as_tensor(x)] * rows), state)


class EncoderContract(ComponentContract, NetworkContract):
    """What every encoder keeps. Subclass it and say which::

        class TestGCN(EncoderContract):
            component = "acme-graph/gcn"

    Attributes:
        component: its id, its record, its class, or ``"package.module:Class"``.
        spaces: observation spaces; small ones of each class that its record declares unless given.
        model_config: settings above small defaults.
    """

    about = "encoder"
    kind: ClassVar[str] = "encoder"
    slot: ClassVar[str] = "encoder"

    def networks(self) -> Iterator[Network]:
        """One for each space."""
        for _, label, config, encoding in self._encoders:
            dims: Any = getattr(config, "output_dims", None)
            require(
                isinstance(dims, (tuple, list)) and dims and all(type(n) is int and n > 0 for n in dims),
                f"{label}: output_dims is {dims!r}, expected positive ints, the shape without the batch axis",
                "return (width,) where forward() gives (B, width)",
            )
            yield Network(label, config.build, encoding.batch, encoding.call, tuple(dims))

    @functools.cached_property
    def _encoders(self) -> list[tuple[Space, str, Any, _Encoding]]:
        made = []
        for space in self.served:
            label = f"{self.name} for {describe(space)}"
            fix = "serve the space, or narrow the record: Component(..., when=lambda request: ...), other spaces"
            with doing(f"{label}: from_space()", fix):
                catalog = make_catalog(
                    catalog_class=ActorCriticCatalog,
                    own_class=None,
                    catalogs=(),
                    components={"encoder": self.record.record},
                    observation_space=space,
                    action_space=ACTIONS,
                    model_config={**SMALL, **self.model_config},
                )
                with catalog.working():
                    config = catalog.get_tokenizer_config(space, catalog.model_config_dict)
            odd = None
            if not all(has_array(leaf) for _, leaf in flat_leaves(space)):
                with doing(f"{label}: packing observations", "write the method pack(space, observations)"):
                    odd = ObservationPacker(space, packs_of_encoders(catalog.trace, build_network(config)))
            made.append((space, label, config, _Encoding(label, space, bool(config.recurrent), odd)))
        return made

    def make(self, space: Space, settings: Mapping[str, Any]) -> object:
        """Its config and a network, by hand; parts of a composed space are the core's."""
        children = {}
        if takes_child(self.target.from_space):
            catalog = ActorCriticCatalog(space, ACTIONS, SMALL)
            children["child"] = lambda part, path: catalog.get_tokenizer_config(part, catalog.model_config_dict)
        return self.target.from_space(space, settings, **children).build(framework="torch")

    def test_sequences_are_steps_one_after_the_other(self) -> None:
        """A recurrent encoder gives for ``(B, T, ...)`` what it gives step by step, and keeps the state's shapes."""
        for space, label, config, encoding in self._encoders:
            if not encoding.recurrent:
                continue
            network = Network(label, config.build, encoding.batch, encoding.call, ()).built().eval()
            obs = as_tensors(space, example_rows(space, ROWS * STEPS), encoding.packer)
            obs = map_leaves(lambda x: x.reshape(ROWS, STEPS, *x.shape[1:]), obs)
            with torch.no_grad(), doing(f"{label}: forward() of (B, T, ...)", "take a batch and a time axis"):
                whole = encoding.whole(network, obs)
                state, outs = None, []
                for t in range(STEPS):
                    out = encoding.whole(network, map_leaves(lambda x, t=t: x[:, t : t + 1], obs), state)
                    state = out[Columns.STATE_OUT]
                    outs.append(out[ENCODER_OUT])
            first = encoding.first_state(network, obs)
            shapes = [[tuple(x.shape) for x in leaves(one)] for one in (first, whole[Columns.STATE_OUT])]
            require(
                shapes[0] == shapes[1],
                f"{label}: state_out has shapes {shapes[1]}, and get_initial_state() says {shapes[0]}",
                "return the state after the last step, with the batch axis first, in the structure of the initial one",
            )
            require(
                close(whole[ENCODER_OUT], torch.cat(outs, 1)),
                f"{label}: a sequence gives other outputs than its steps one by one",
                "use state_in, return the state after the last step as state_out, and look ahead at no later step",
            )
