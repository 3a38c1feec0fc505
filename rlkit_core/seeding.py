"""One seed tree for everything random.

A run has one root seed. Every component and every env draws its own seed from the tree by name, so adding a
component never shifts the numbers another one sees, and the same names give the same seeds in every process.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from torch import Tensor

_MASK_32 = (1 << 32) - 1


@frozen
class SeedTree:
    """A node of the seed tree.

    Attributes:
        root: the run's seed, as the user gave it (or drew it, see :meth:`from_seed`).
        path: names from the root to this node.

    >>> tree = SeedTree(root=1)
    >>> tree.child("env_runner", 0).seed() == SeedTree(root=1).child("env_runner").child(0).seed()
    True
    >>> tree.child("env_runner", 0).seed() == tree.child("env_runner", 1).seed()
    False
    """

    root: int
    path: tuple[str, ...] = ()

    @classmethod
    def from_seed(cls, seed: int | None) -> SeedTree:
        """A tree for ``seed``; ``None`` draws a root from the system, which is then kept like a given one."""
        return cls(secrets.randbits(32) if seed is None else int(seed))

    def child(self, *names: str | int) -> SeedTree:
        """The node below this one with the given names."""
        return SeedTree(self.root, (*self.path, *(str(name) for name in names)))

    def seed(self) -> int:
        """This node's seed, an unsigned 32-bit integer (what gymnasium, numpy and torch all take)."""
        text = "\0".join((str(self.root), *self.path)).encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") & _MASK_32


class TorchRNG:
    """A private stream of torch's CPU random numbers.

    Inside :meth:`scope`, everything that draws from torch's default CPU generator (weight initialisation, sampling,
    dropout, shuffling, a third party's module) draws from this stream; outside, the global generator is as it was.

    Args:
        seed: start of the stream.
    """

    def __init__(self, seed: int) -> None:
        import torch

        self._torch = torch
        generator = torch.Generator()
        generator.manual_seed(seed)
        self._state: Tensor = generator.get_state()

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Draw from this stream until the block ends, then put the global generator back."""
        default = self._torch.default_generator
        outside = default.get_state()
        default.set_state(self._state)
        try:
            yield
        finally:
            self._state = default.get_state()
            default.set_state(outside)

    def get_state(self) -> Any:
        """The stream's position, a ``uint8`` numpy array."""
        return self._state.numpy().copy()

    def set_state(self, state: Any) -> None:
        """Continue from a position that :meth:`get_state` gave."""
        self._state = self._torch.as_tensor(state, dtype=self._torch.uint8).clone()
