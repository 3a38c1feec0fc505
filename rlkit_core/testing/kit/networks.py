"""What encoders and heads have in common: configs that build networks, which keep to what they say."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from attrs import define
from torch import Tensor, nn

from rlkit_core.checkpoint import load_tree, save_tree
from rlkit_core.data.nested import Nested, leaves, map_leaves
from rlkit_core.plugins.guard import safe_text
from rlkit_core.rl_module.state import load_nn_state, nn_state
from rlkit_core.testing.kit.contract import Contract, advise, doing, require, seeded
from rlkit_core.testing.kit.examples import ROWS, row


def close(first: Tensor, second: Tensor) -> bool:
    """Whether two results differ by rounding alone."""
    return torch.allclose(first, second, rtol=1e-4, atol=1e-5)


@define
class Network:
    """One network that a component builds, for one space or size.

    Attributes:
        label: as findings name it.
        build: makes it.
        batch: makes an input of so many rows.
        call: gives its output for an input, a tensor of one row for each.
        output_dims: what its config says of a row of that.
    """

    label: str
    build: Callable[[], Any]
    batch: Callable[[int], Any]
    call: Callable[[Any, Any], Tensor]
    output_dims: tuple[int, ...]

    def built(self, seed: int = 0) -> nn.Module:
        """A new one, with weights drawn from ``seed``."""
        with seeded(seed), doing(f"{self.label}: build()", "let it return a new nn.Module from config and sizes alone"):
            network = self.build()
        require(
            isinstance(network, nn.Module),
            f"{self.label}: build() returned {safe_text(network, 80)}, expected a torch.nn.Module",
            "return the network",
        )
        made: nn.Module = network
        return made

    def output(self, network: nn.Module, batch: Nested, *, train: bool = False) -> Tensor:
        """What it gives for a batch, in eval mode and without gradients unless it is trained."""
        network.train(train)
        fix = "it has to take any number of rows, in train and in eval mode"
        with doing(f"{self.label}: forward()", fix), torch.set_grad_enabled(train):
            return self.call(network, batch)


class NetworkContract(Contract):
    """What a network of any kind keeps. Subclasses say which networks there are."""

    def networks(self) -> Iterator[Network]:
        """Every network that is to be looked at."""
        raise NotImplementedError

    @functools.cached_property
    def _networks(self) -> list[Network]:
        return list(self.networks())

    def test_outputs_have_the_shape_that_the_config_says(self) -> None:
        """``output_dims``, behind as many rows as there are, float32, and finite."""
        for one in self._networks:
            network = one.built()
            for rows in (1, ROWS):
                out = one.output(network, one.batch(rows))
                expected = (rows, *one.output_dims)
                require(
                    isinstance(out, Tensor) and tuple(out.shape) == expected,
                    f"{one.label}: the output for {rows} rows has shape {tuple(getattr(out, 'shape', ()))}, and "
                    f"output_dims say {expected}",
                    "return output_dims of what forward() gives, without the batch axis",
                )
                require(
                    out.dtype is torch.float32,
                    f"{one.label}: the output is {out.dtype}, expected torch.float32",
                    "compute in the dtype of the weights: x.float() where x may be another",
                )
                require(
                    bool(torch.isfinite(out).all()),
                    f"{one.label}: the output has NaN or infinity",
                    "look at divisions, logarithms and empty means",
                )

    def test_every_build_is_new_and_the_same_for_the_same_seed(self) -> None:
        """Two networks share no weights, and those of one seed are equal."""
        for one in self._networks:
            first, second, other = one.built(), one.built(), one.built(seed=1)
            mine = {id(parameter) for parameter in first.parameters()}
            require(
                first is not second and mine.isdisjoint(map(id, second.parameters())),
                f"{one.label}: two calls of build() gave the same network or weights",
                "make the network and its parameters in build(), not in the config",
            )
            require(
                equal_states(first.state_dict(), second.state_dict()),
                f"{one.label}: weights differ although the seed is the same",
                "draw them from torch's global generator, not from a generator or numpy of your own",
            )
            advise(
                not mine or not equal_states(first.state_dict(), other.state_dict()),
                f"{one.label}: weights are the same whatever the seed",
                "draw initial weights at random, or never seed a generator in build()",
            )

    def test_gradients_reach_all_parameters(self) -> None:
        """A loss on the output trains every parameter that is to be trained."""
        for one in self._networks:
            network = one.built()
            out = one.output(network, one.batch(ROWS), train=True)
            trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
            if not trained:
                continue
            require(
                out.requires_grad,
                f"{one.label}: no gradient comes back through its output",
                "no detach(), no_grad(), argmax or numpy between its weights and what it returns",
            )
            (out * torch.randn_like(out)).sum().backward()  # type: ignore[no-untyped-call]
            missed = [name for name, parameter in trained.items() if parameter.grad is None]
            require(
                not missed,
                f"{one.label}: no gradient reaches {', '.join(missed[:5])}",
                "use them in forward() without detach(), or leave them out (requires_grad_(False) where they stay)",
            )

    def test_acting_changes_nothing_and_repeats(self) -> None:
        """In eval mode the same input gives the same output, and neither weights, buffers nor the input change."""
        for one in self._networks:
            network = one.built()
            batch = one.batch(ROWS)
            given, before = map_leaves(torch.clone, batch), _copied(network.state_dict())
            first, again = one.output(network, batch), one.output(network, batch)
            changed = [name for name, value in network.state_dict().items() if not _same(before.get(name), value)]
            require(
                not changed,
                f"{one.label}: acting changes {', '.join(changed[:5])}",
                "change buffers in training only (if self.training), or better in a driver, once an update",
            )
            require(
                all(map(torch.equal, leaves(given), leaves(batch))),
                f"{one.label}: forward() writes into its input",
                "no operations in place (x += 1, x.mul_()) on what is passed in",
            )
            require(
                torch.equal(first, again),
                f"{one.label}: the same input gives another output the second time, in eval mode",
                "noise belongs under `if self.training`, and state that lasts into state_in and state_out",
            )

    def test_rows_are_independent(self) -> None:
        """A row's output does not depend on what else is in the batch, padding included."""
        for one in self._networks:
            network = one.built()
            many = one.batch(ROWS)
            together = one.output(network, many)
            alone = one.output(network, one.batch(1))
            require(
                close(together[:1], alone) and close(together[2:3], one.output(network, row(many, 2))),
                f"{one.label}: the output of a row depends on the other rows of its batch",
                "no means, norms or attention over the batch axis in eval mode; mask what pack() filled up",
            )

    def test_its_state_is_all_of_it(self) -> None:
        """A new network with the saved state, through files, gives the same outputs; other names are refused."""
        for one in self._networks:
            network, fresh = one.built(), one.built(seed=1)
            batch = one.batch(ROWS)
            state = nn_state(network)
            with tempfile.TemporaryDirectory() as folder:
                save_tree(state, folder)
                read: dict[str, Any] = load_tree(folder)
            with doing(f"{one.label}: loading its state into a new network", "name weights the same in every build"):
                load_nn_state(one.label, fresh, read)
            require(
                torch.equal(one.output(network, batch), one.output(fresh, batch)),
                f"{one.label}: a new network with the same state gives other outputs: something that it computes with "
                "is not in its state",
                "nn.Parameter or register_buffer() for every tensor, no plain attributes",
            )


def _same(first: object, second: object) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.dtype is second.dtype and torch.equal(first, second)
    return bool(np.array_equal(first, second))  # type: ignore[arg-type]


def equal_states(first: Mapping[str, object], second: Mapping[str, object]) -> bool:
    """Whether two flat states have the same names and, to the last bit, the same values."""
    return list(first) == list(second) and all(_same(first[name], second[name]) for name in first)


def _copied(state: Mapping[str, object]) -> dict[str, object]:
    return {name: value.clone() if isinstance(value, Tensor) else value for name, value in state.items()}
