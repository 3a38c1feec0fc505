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
    from collections.abc import Mapping

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
    """A private stream of torch's random numbers: of the CPU, and of a GPU where one is given.

    Inside :meth:`scope`, everything that draws from torch's default generators (weight initialisation, sampling,
    dropout, shuffling, a third party's module) draws from this stream; outside, the global generators are as they were.

    Args:
        seed: start of the stream.
        device: a CUDA device, whose default generator is taken care of as well.
    """

    def __init__(self, seed: int, device: Any = None) -> None:
        import torch

        self._torch = torch
        generator = torch.Generator()
        generator.manual_seed(seed)
        self._state: Tensor = generator.get_state()
        self._generator = generator
        self._lent = False  # whether the generator, not the state, says where the stream is
        self._seed = seed
        self._gpu: Any = None
        self._gpu_state: Tensor | None = None
        self.use_device(device)

    def use_device(self, device: Any) -> None:
        """Take care of a CUDA device's generator from now on; another device changes nothing."""
        if device is None or device.type != "cuda":
            return
        self._torch.cuda.init()  # type: ignore[no-untyped-call]
        self._gpu = self._torch.cuda.default_generators[device.index or 0]
        start = self._torch.Generator(device=device)
        start.manual_seed(self._seed)
        self._gpu_state = start.get_state()

    @property
    def generator(self) -> Any:
        """A CPU ``torch.Generator`` that draws from this stream, valid until the next :meth:`scope`.

        For who draws with a generator of their own a scope is not needed, and costs more than a few numbers do.
        """
        if not self._lent:
            self._generator.set_state(self._state)
            self._lent = True
        return self._generator

    def _take_back(self) -> Tensor:
        """Where the CPU stream is."""
        if self._lent:
            self._state, self._lent = self._generator.get_state(), False
        return self._state

    def scope(self) -> TorchScope:
        """Draw from this stream until the block ends, then put the global generators back."""
        return TorchScope(self)

    def begin(self) -> tuple[Tensor, Tensor | None]:
        """Let torch's default generators be where this stream is; where they were."""
        outside = self.live_state()
        self.set_live_state((self._take_back(), self._gpu_state))
        return outside

    def end(self, outside: tuple[Tensor, Tensor | None]) -> None:
        """The stream goes on from where the default generators are now; these are put back to ``outside``."""
        self._state, self._gpu_state = self.live_state()
        self.set_live_state(outside)

    def live_state(self) -> tuple[Tensor, Tensor | None]:
        """Where torch's default generators are now: the CPU's, the GPU's."""
        gpu = None if self._gpu is None else self._gpu.get_state()
        return self._torch.default_generator.get_state(), gpu

    def set_live_state(self, state: tuple[Tensor, Tensor | None]) -> None:
        """Bring torch's default generators to where they were."""
        self._torch.default_generator.set_state(state[0])
        if self._gpu is not None and state[1] is not None:
            self._gpu.set_state(state[1])

    def get_state(self) -> Any:
        """The CPU stream's position, a ``uint8`` numpy array."""
        return self._take_back().numpy().copy()

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a position that :meth:`get_state` gave."""
        self._state, self._lent = self._torch.as_tensor(state, dtype=self._torch.uint8).clone(), False

    def get_gpu_state(self) -> Any:
        """The GPU stream's position, a ``uint8`` numpy array; None without a GPU."""
        return None if self._gpu_state is None else self._gpu_state.numpy().copy()

    def set_gpu_state(self, state: Any) -> None:
        """Continue from a position that :meth:`get_gpu_state` gave; without a GPU, or a position, nothing happens."""
        if self._gpu is not None and state is not None:
            self._gpu_state = self._torch.as_tensor(state, dtype=self._torch.uint8).clone()


class TorchScope:
    """A block that draws from a stream; see :meth:`TorchRNG.scope`."""

    __slots__ = ("_outside", "_rng")

    def __init__(self, rng: TorchRNG) -> None:
        self._rng = rng

    def __enter__(self) -> None:
        self._outside = self._rng.begin()

    def __exit__(self, *exc_info: object) -> None:
        self._rng.end(self._outside)


class GlobalGenerators:
    """Python's ``random`` and numpy's ``np.random`` for who draws from them: seeded in a scope, put back after it.

    Args:
        seed: where both start.

    Attributes:
        drawn: whether something has drawn from them within a scope.
    """

    def __init__(self, seed: int) -> None:
        import random

        import numpy as np

        self._python, self._numpy = random, np.random
        self._state: tuple[Any, Any] = (
            random.Random(seed).getstate(),
            np.random.RandomState(seed).get_state(legacy=False),
        )
        self.drawn = False

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Draw from here until the block ends, then put the global generators back; takes a tenth of a millisecond."""
        outside, before = self._live(), self._state
        self._set_live(before)
        try:
            yield
        finally:
            self._state = self._live()
            self._set_live(outside)
            self.drawn = self.drawn or _position(self._state) != _position(before)

    def keep(self) -> None:
        """Let this process draw from here for good."""
        self._set_live(self._state)

    def look(self) -> None:
        """See whether something has drawn since :meth:`keep`."""
        self.drawn = self.drawn or _position(self._live()) != _position(self._state)

    def _live(self) -> tuple[Any, Any]:
        return self._python.getstate(), self._numpy.get_state(legacy=False)

    def _set_live(self, state: tuple[Any, Any]) -> None:
        self._python.setstate(state[0])
        self._numpy.set_state(state[1])

    def get_state(self) -> dict[str, Any]:
        """Where both are, as numbers and arrays."""
        import numpy as np

        (version, words, gauss), numpy_state = self._state
        return {
            "python": {"version": version, "words": np.array(words, np.uint32), "gauss": gauss},
            "numpy": {**numpy_state, "state": {**numpy_state["state"]}},
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`get_state`."""
        import numpy as np

        kept = state["python"]
        words = tuple(np.asarray(kept["words"]).tolist())
        known = {**state["numpy"], "state": {**state["numpy"]["state"]}}
        known["state"]["key"] = np.asarray(known["state"]["key"], np.uint32)
        self._state = (int(kept["version"]), words, kept["gauss"]), known


def _position(state: tuple[Any, Any]) -> tuple[Any, ...]:
    """What tells whether anything was drawn between two states; all of their words need not be compared."""
    (_, words, gauss), numpy_state = state
    place = numpy_state["state"]
    return words[-1], words[0], gauss, place["pos"], int(place["key"][0]), numpy_state["has_gauss"]
