"""What encoders and heads have in common: configs that build networks, which keep to what they say."""

from __future__ import annotations

import contextlib
import copy
import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from attrs import define
from torch import Tensor, nn

from rlkit_core.checkpoint import load_tree, save_tree
from rlkit_core.data.nested import Nested, leaves, map_leaves
from rlkit_core.errors import StateError
from rlkit_core.plugins.guard import safe_text
from rlkit_core.rl_module.state import load_nn_state, nn_state
from rlkit_core.testing.kit.contract import BreachError, Contract, advise, doing, require, seeded
from rlkit_core.testing.kit.examples import ROWS, row


def close(first: Tensor, second: Tensor) -> bool:
    """Whether two results differ by rounding alone."""
    return torch.allclose(first, second, rtol=1e-4, atol=1e-5)


def _load(network: nn.Module, state: Mapping[str, Any]) -> None:
    load_nn_state(type(network).__name__, network, state)


@define
class Network:
    """One network that a component builds, for one space or size; or a module.

    Attributes:
        label: as findings name it.
        build: makes it.
        batch: makes an input of so many rows.
        call: gives its output for an input, a tensor of one row for each.
        output_dims: what its config says of a row of that; None where nothing does.
        losses: what a loss can be made of for an input, in training; its output unless given.
        untrained: names, or their beginnings, of parameters that no such loss has to reach.
        state, load: give its state, flat, and take one.
    """

    label: str
    build: Callable[[], Any]
    batch: Callable[[int], Any]
    call: Callable[[Any, Any], Tensor]
    output_dims: tuple[int, ...] | None = None
    losses: Callable[[Any, Any], list[Tensor]] | None = None
    untrained: Sequence[str] = ()
    state: Callable[[Any], Mapping[str, Any]] = nn_state
    load: Callable[[Any, Mapping[str, Any]], None] = _load

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
                seen = tuple(getattr(out, "shape", ()))
                wanted = (rows, *(seen[1:] if one.output_dims is None else one.output_dims))
                require(
                    isinstance(out, Tensor) and seen == wanted,
                    f"{one.label}: the output for {rows} rows has shape {seen}, and output_dims say {wanted}",
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
                equal_states(one.state(first), one.state(second)),
                f"{one.label}: weights differ although the seed is the same",
                "draw them from torch's global generator, not from a generator or numpy of your own",
            )
            advise(
                not mine or not equal_states(one.state(first), one.state(other)),
                f"{one.label}: weights are the same whatever the seed",
                "draw initial weights at random, or never seed a generator in build()",
            )

    def test_gradients_reach_all_parameters(self) -> None:
        """Some loss trains every parameter that is to be trained."""
        for one in self._networks:
            network = one.built()
            trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
            network.train()
            batch = one.batch(ROWS)
            outputs = [one.output(network, batch, train=True)] if one.losses is None else one.losses(network, batch)
            outputs = [out for out in outputs if out.requires_grad]
            if not trained:
                continue
            require(
                outputs,
                f"{one.label}: no gradient comes back through what it gives",
                "no detach(), no_grad(), argmax or numpy between its weights and what it returns",
            )
            torch.stack([(out * torch.randn_like(out)).sum() for out in outputs]).sum().backward()  # type: ignore[no-untyped-call]
            missed = [n for n, p in trained.items() if p.grad is None and not n.startswith(tuple(one.untrained))]
            require(
                not missed,
                f"{one.label}: no gradient reaches {', '.join(missed[:5])}",
                "use them without detach(); what nothing trains has requires_grad_(False), what another loss trains is "
                "named in `untrained` of a module's contract",
            )

    def test_acting_changes_nothing_and_repeats(self) -> None:
        """In eval mode the same input gives the same output, and neither weights, buffers nor the input change."""
        for one in self._networks:
            network = one.built()
            batch = one.batch(ROWS)
            given, before = map_leaves(torch.clone, batch), copy.deepcopy(dict(one.state(network)))
            first, again = one.output(network, batch), one.output(network, batch)
            after = one.state(network)
            changed = [name for name in after if name not in before or not _same(before[name], after[name])]
            require(
                not changed and len(before) == len(after),
                f"{one.label}: acting changes {', '.join(changed[:5]) or 'which parts there are'}",
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
            with tempfile.TemporaryDirectory() as folder, doing(f"{one.label}: saving its state", "keep it to arrays"):
                save_tree(dict(one.state(network)), folder)
                read: dict[str, Any] = load_tree(folder)
            with doing(f"{one.label}: loading its state into a new one", "name weights the same in every build"):
                one.load(fresh, read)
            require(
                torch.equal(one.output(network, batch), one.output(fresh, batch)),
                f"{one.label}: a new one with the same state gives other outputs: something that it computes with is "
                "not in its state",
                "nn.Parameter or register_buffer() for every tensor, no plain attributes",
            )
            without = dict(list(read.items())[1:])
            for wrong, why in ((without, f"without {next(iter(read), '')!r}"), ({**read, "x.y": 0}, "with 'x.y'")):
                with contextlib.suppress(StateError):
                    if read:
                        one.load(fresh, wrong)
                        fix = "leave it to TorchRLModule, or compare names: another module's state is taken for its own"
                        raise BreachError(f"{one.label}: it takes a state {why}", fix)


def _same(first: object, second: object) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.dtype is second.dtype and torch.equal(first, second)
    return bool(np.array_equal(first, second))  # type: ignore[arg-type]


def equal_states(first: Mapping[str, object], second: Mapping[str, object]) -> bool:
    """Whether two flat states have the same names and, to the last bit, the same values."""
    return list(first) == list(second) and all(_same(first[name], second[name]) for name in first)
