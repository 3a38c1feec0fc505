"""How a call travels: its structure as a small message, its arrays beside it.

``encode`` walks any Python object (cloudpickle's pickler, as transport only). Where it meets a numpy array or a dense
torch tensor it notes an offset instead, and the bytes are copied once, to that offset of a shared segment. ``decode``
builds arrays that look at those bytes where they lie. What ``__main__`` defines, and modules that a fresh process could
not import, travel by value; everything else by reference.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any

import cloudpickle
import numpy as np

from rlkit_core.execution.foreign_code import loads, take_along
from rlkit_processes.segments import aligned

COPY_BELOW = 32 * 1024
"""Arrays under this many bytes are copied out by the receiver, so that a small one kept for long pins no segment."""

_PLAIN_KINDS = frozenset("?biufcmMSUV")  # numpy kinds whose bytes are the value
_Array = np.ndarray[Any, Any]


class Encoded:
    """A message: its structure, and the arrays that go beside it.

    Attributes:
        structure: bytes for :func:`decode`.
        nbytes: room that the arrays need.
        attachments: objects in it that travel by other means, those with shared memory of their own above all.
    """

    __slots__ = ("_sources", "attachments", "nbytes", "structure")

    def __init__(self) -> None:
        self.structure = b""
        self.nbytes = 0
        self.attachments: list[Any] = []
        self._sources: list[tuple[int, _Array]] = []

    def place(self, array: _Array) -> int:
        """Note an array, and return the offset at which its bytes will be."""
        offset = self.nbytes
        self._sources.append((offset, array))
        self.nbytes = aligned(offset + array.nbytes)
        return offset

    def pieces(self) -> list[_Array]:
        """The bytes of each array by itself, for :class:`Pieces`; copied only where they do not lie side by side."""
        flat = [array.reshape(-1, order=_order(array)) for _, array in self._sources if array.nbytes]
        return [np.ascontiguousarray(array).view(np.uint8) for array in flat]

    def write(self, buffer: Any, start: int) -> None:
        """Copy the arrays into ``buffer``, which holds ``nbytes`` from ``start`` (a multiple of 64) on."""
        for offset, array in self._sources:
            if array.nbytes:
                order = _order(array)
                target: _Array = np.ndarray(array.shape, array.dtype, buffer=buffer, offset=start + offset, order=order)
                np.copyto(target, array)


def encode(obj: Any, *, classes_of_peer: dict[type, Any] | None = None) -> Encoded:
    """Encode any object.

    Args:
        obj: what to send.
        classes_of_peer: classes that came from the receiver by value, with their tokens: they are named by token, and
            so are the very same classes over there.
    """
    message = Encoded()
    with io.BytesIO() as file:
        _Pickler(file, message, classes_of_peer or {}).dump(obj)
        message.structure = file.getvalue()
    return message


def decode(structure: Any, source: Source | None = None) -> Any:
    """Build the object that :func:`encode` was given, its arrays on ``source``."""
    before = getattr(_local, "source", None)
    _local.source = source
    try:
        return loads(structure)
    finally:
        _local.source = before


class Source:
    """Where a message's arrays are.

    Args:
        memory: a buffer that holds them from ``start`` on.
        start: see there.
        borrow: returns the same bytes as an object that arrays may keep; None: every array is copied out.
        attachments: what :attr:`Encoded.attachments` became on this side.
    """

    def __init__(
        self,
        memory: Any,
        start: int,
        borrow: Callable[[], _Array] | None = None,
        attachments: Sequence[Any] = (),
    ) -> None:
        self._memory = memory
        self._start = start
        self._borrow = borrow
        self._loan: _Array | None = None
        self.attachments = attachments

    @property
    def borrowed(self) -> bool:
        """Whether an array looks at the memory itself."""
        return self._loan is not None

    def array(self, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any) -> _Array:
        """The array at an offset, writable."""
        nbytes = dtype.itemsize
        for length in shape:
            nbytes *= length
        if not nbytes:
            return np.empty(shape, dtype, order)
        keep = nbytes >= COPY_BELOW and self._borrow is not None
        if keep and self._loan is None:
            assert self._borrow is not None
            self._loan = self._borrow()
        buffer = self._loan if keep else self._memory
        view: _Array = np.ndarray(shape, dtype, buffer=buffer, offset=self._start + offset, order=order)
        return view if keep else view.copy(order="K")


class Pieces(Source):
    """A message's arrays, each in memory of its own: what :meth:`Encoded.pieces` became on this side.

    Args:
        pieces: the bytes of each, in that order. Arrays are built on them, and are as writable as they are.
    """

    def __init__(self, pieces: Sequence[_Array]) -> None:
        super().__init__(None, 0)
        self._pieces: dict[int, _Array] = {}
        offset = 0
        for piece in pieces:
            self._pieces[offset] = piece
            offset = aligned(offset + piece.nbytes)

    def array(self, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any) -> _Array:
        """The array at an offset."""
        if not dtype.itemsize or not all(shape):
            return np.empty(shape, dtype, order)
        view: _Array = np.ndarray(shape, dtype, buffer=self._pieces[offset], order=order)
        return view


_local = threading.local()


def to_bytes(obj: Any, *, classes_of_peer: dict[type, Any] | None = None) -> tuple[bytes, _Array]:
    """Encode into private memory: ``(structure, bytes of the arrays)``."""
    message = encode(obj, classes_of_peer=classes_of_peer)
    memory = np.empty(message.nbytes, np.uint8)
    message.write(memory, 0)
    return message.structure, memory


def from_bytes(structure: Any, memory: _Array) -> Any:
    """Decode what lies in private memory, which the arrays keep."""
    return decode(structure, Source(memory, 0, lambda: memory))


# ------------------------------------------------------------------------------------------------ building on arrival


def _source() -> Source:
    source: Source | None = _local.source
    assert source is not None, "a message with arrays came without its segment"
    return source


def _numpy_array(offset: int, dtype: Any, shape: tuple[int, ...], order: str) -> _Array:
    return _source().array(offset, np.dtype(dtype), shape, order)


def _tensor(offset: int, dtype: str, shape: tuple[int, ...], device: str, requires_grad: bool, parameter: bool) -> Any:
    import torch

    kind = getattr(torch, dtype)
    nbytes = kind.itemsize
    for length in shape:
        nbytes *= length
    if nbytes:
        raw = _source().array(offset, np.dtype(np.uint8), (nbytes,), "C")
        tensor = torch.from_numpy(raw).view(kind).reshape(shape)
    else:
        tensor = torch.empty(shape, dtype=kind)
    if device != "cpu":
        tensor = tensor.to(device)
    if parameter:
        return torch.nn.Parameter(tensor, requires_grad=requires_grad)
    return tensor.requires_grad_() if requires_grad else tensor


def _attachment(index: int) -> Any:
    return _source().attachments[index]


def _class_of_token(token: Any) -> type:
    found = _tracker("_DYNAMIC_CLASS_TRACKER_BY_ID").get(token)
    if found is None:
        raise LookupError("a class that travelled by value to an actor does not exist here any more")
    return found  # type: ignore[no-any-return]


# ---------------------------------------------------------------------------------------------------- the way out


class Attachable:
    """Base of objects that bring their own shared memory with them (:attr:`Encoded.attachments`)."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Attachable:
        return self  # a copy would look at the same memory


class _Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO, message: Encoded, classes_of_peer: dict[type, Any]) -> None:
        super().__init__(file, protocol=5)
        self._message = message
        self._classes_of_peer = classes_of_peer
        self._torch = sys.modules.get("torch")
        self._tensors = (
            () if self._torch is None else (self._torch.Tensor, self._torch.nn.Parameter)
        )  # and no subclass, which knows better how it travels

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is np.ndarray:
            return self._numpy(obj)
        if kind in self._tensors:
            return self._tensor(obj)
        if isinstance(obj, type | FunctionType):
            token = self._classes_of_peer.get(obj) if isinstance(obj, type) else None
            if token is not None:
                return _class_of_token, (token,)
            take_along(getattr(obj, "__module__", None))
        elif isinstance(obj, Attachable):
            return self._attach(obj)
        return super().reducer_override(obj)

    def _attach(self, obj: Any) -> Any:
        self._message.attachments.append(obj)
        return _attachment, (len(self._message.attachments) - 1,)

    def _numpy(self, array: _Array) -> Any:
        dtype = array.dtype
        if dtype.hasobject or dtype.kind not in _PLAIN_KINDS:
            return NotImplemented
        # dtype.str says all but names of fields and types registered by others
        described = dtype if dtype.kind == "V" else dtype.str
        return _numpy_array, (self._message.place(array), described, array.shape, _order(array))

    def _tensor(self, tensor: Any) -> Any:
        torch = self._torch
        assert torch is not None
        plain = tensor.detach()
        if plain.layout is not torch.strided or plain.is_quantized or plain.device.type == "meta":
            return NotImplemented
        if plain.is_conj() or plain.is_neg():
            plain = plain.resolve_conj().resolve_neg()
        device, shape = str(plain.device), tuple(plain.shape)
        raw = plain.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        offset = self._message.place(raw)
        # a tensor inside a graph arrives without it
        requires_grad = tensor.requires_grad and tensor.is_leaf
        parameter = type(tensor) is torch.nn.Parameter
        return _tensor, (
            offset,
            str(plain.dtype).removeprefix("torch."),
            shape,
            device,
            requires_grad,
            parameter,
        )


def _order(array: _Array) -> Any:
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"


def _tracker(name: str) -> Any:
    return getattr(cloudpickle.cloudpickle, name, {})


def tracked_classes() -> Mapping[type, Any]:
    """Classes of this process that have travelled by value, in either direction, with cloudpickle's token of each.

    A live view: its length tells whether there are new ones.
    """
    found: Mapping[type, Any] = _tracker("_DYNAMIC_CLASS_TRACKER_BY_CLASS")
    return found


class ClassesOfPeer(dict[type, Any]):
    """Classes that the other side sent by value, with cloudpickle's token of each, for ``encode(classes_of_peer=...)``.

    They are held, so that tokens stay true.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[type, Any] = {}  # those, and others that cloudpickle has met

    def received(self) -> None:
        """Take in what a message has brought that was just decoded."""
        tracked = tracked_classes()
        if len(tracked) != len(self._seen):
            new = {kind: token for kind, token in list(tracked.items()) if kind not in self._seen}
            self.update(new)
            self._seen.update(new)

    def sent(self) -> None:
        """Leave out classes of this process's own making that a message has taken along."""
        tracked = tracked_classes()
        if len(tracked) != len(self._seen):
            self._seen.update(tracked)
