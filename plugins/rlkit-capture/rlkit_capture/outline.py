"""The outline of a computation: its operations, what tells them from those of another run, and whose lines they are."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import PurePath
from types import CodeType, FrameType
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rlkit_capture.simplify import Call, memory_of, tensors_in, written_by

#: Numbers in a tensor that a computation makes of Python's are told apart up to this many of them.
MOST_NUMBERS = 64


@frozen
class Place:
    """A line of code.

    Attributes:
        module: its name.
        code: of the function.
        line: its number.
    """

    module: str
    code: CodeType = field(repr=False)
    line: int

    def __str__(self) -> str:
        # From the package on: the same on every machine and in every folder.
        depth = self.module.count(".") + (1 if self.module != "__main__" else 0)
        path = PurePath(self.code.co_filename)
        depth += path.name == "__init__.py"
        file = "/".join(path.parts[-max(1, depth) :])
        return f"{file}:{self.line} in {self.code.co_name}"


@frozen
class Operation:
    """One operation of a run.

    Attributes:
        name: in torch.
        reads: its arguments: numbers as they are, tensors by what they are in this run.
        changes: where the tensors are that it changes and that were there before the run.
        place: the line that it is from; None where none is known.
        is_backward: whether it is part of the backward pass of that line, and not the line itself.
    """

    name: str
    reads: tuple[Any, ...]
    changes: tuple[int, ...]
    place: Place | None
    is_backward: bool

    def __str__(self) -> str:
        place = "" if self.place is None else f"{self.place}: "
        if self.is_backward:
            return f"the backward pass of {place}{self.name}" if place else f"the backward pass: {self.name}"
        return f"{place}{self.name}"


@frozen
class _Kind:
    """An operator: whether it changes arguments, gives what was not there before, makes a tensor of numbers."""

    name: str
    writes: bool
    makes: bool
    lifts: bool


@functools.cache
def _kind(func: Any) -> _Kind:
    schema = func._schema
    written = any(one.alias_info is not None and one.alias_info.is_write for one in schema.arguments)
    lifts = "lift_fresh" in schema.name
    makes = lifts or all(one.alias_info is None for one in schema.returns)
    return _Kind(f"{schema.name}.{schema.overload_name}".rstrip("."), written, makes, lifts)


_PASSED_THROUGH = {"torch", "rlkit_capture", *sys.stdlib_module_names}


@functools.cache
def _package(module: str) -> str:
    return module.partition(".")[0]


class Outline(TorchDispatchMode):
    """Notes the operations below autograd, those of the backward pass included, and keeps no tensor.

    Args:
        inputs: tensors that are others in every run.

    Attributes:
        operations: in order.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # asking the compiler to stay away would import it first

    def __init__(self, inputs: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        # What is where in memory: an input, or what an operation has made.
        self._made: dict[int, tuple[str, int]] = {memory_of(t): ("input", k) for k, t in enumerate(inputs)}
        self._of_nodes: dict[int, Place | None] = {}
        self._entered_in: FrameType | None = None

    def __enter__(self) -> Outline:
        self._entered_in = sys._getframe(1)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._entered_in = None
        super().__exit__(*exc_info)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.note((func, args, kwargs or {}, out))
        return out

    def note(self, call: Call) -> None:
        """Add an operation that has just run."""
        func, args, kwargs, out = call
        kind = _kind(func)
        reads: list[Any] = []
        if kind.lifts:  # a tensor that was just made of Python's numbers
            few = args[0].device.type == "cpu" and args[0].numel() <= MOST_NUMBERS
            reads.append(args[0].tolist() if few else None)
        else:
            self._describe((*args, *kwargs.values()), reads)
        changes = [memory_of(t) for t in written_by(call)] if kind.writes else []
        changes = [place for place in changes if place not in self._made]
        self.operations.append(Operation(kind.name, tuple(reads), tuple(changes), *self._here()))
        if kind.makes:
            for tensor in tensors_in(out):
                self._made[memory_of(tensor)] = ("made", len(self.operations))

    def _describe(self, given: Any, reads: list[Any]) -> None:
        if isinstance(given, Tensor):
            reads.append(self._made.get(memory_of(given)) or ("outside", memory_of(given)))
            reads.append((given.shape, given.dtype))
        elif isinstance(given, (list, tuple)):
            reads.append(len(given))
            for item in given:
                self._describe(item, reads)
        else:
            reads.append(given)

    def _here(self) -> tuple[Place | None, bool]:
        """The line that runs, and whether it is only the backward pass of that line that does."""
        node = torch._C._current_autograd_node()
        place = self._line(in_backward=node is not None)
        if node is not None:
            return (self._of_nodes.get(node._sequence_nr()), True) if place is None else (place, False)
        # Autograd numbers what it will walk back; the operation at hand has the number before the next one.
        self._of_nodes.setdefault(torch._C._autograd._get_sequence_nr() - 1, place)
        return place, False

    def _line(self, *, in_backward: bool) -> Place | None:
        """The innermost line that is neither torch's, this engine's nor Python's own: the core's only for want of one.

        In the backward pass, that of a hook or of a backward method; None where none of these runs.
        """
        of_core: Place | None = None
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame is not self._entered_in:
            module = frame.f_globals.get("__name__", "")
            package = _package(module)
            if package not in _PASSED_THROUGH:
                place = Place(module, frame.f_code, frame.f_lineno)
                if package != "rlkit_core":
                    return place
                of_core = of_core or place
            elif in_backward and module == "torch.autograd":
                break
            frame = frame.f_back
        return of_core


def difference(recorded: Sequence[Operation], now: Sequence[Operation]) -> str | None:
    """Where a later run of the same computation was another one, in words; None where that does not show."""
    for before, after in zip_longest(recorded, now):
        if after is None:  # what was recorded may go on with optimizers
            return None
        if before is None:
            return f"{after} comes after what was recorded"
        if before.name != after.name:
            return f"{after} comes where {before} was recorded"
        if before.reads != after.reads:
            other = next((b for a, b in zip(before.reads, after.reads, strict=False) if a != b), None)
            return f"{after} takes another {'tensor' if isinstance(other, tuple) else 'number'} than was recorded"
    return None


def change(operations: Iterable[Operation], known: Iterable[Tensor]) -> str | None:
    """What changes a tensor that was there before the run, other than the known ones, in words."""
    places = {memory_of(tensor) for tensor in known}
    for operation in operations:
        if not places.issuperset(operation.changes):
            return f"{operation} changes a tensor that is no buffer of a module"
    return None
