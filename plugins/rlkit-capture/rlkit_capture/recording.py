"""Recording a computation once and replaying it without Python or autograd, on the CPU.

A dispatch mode sees every operation below autograd, those of the backward pass included. They become one TorchScript
graph, whose interpreter runs them one after the other in C++: the same kernels in the same order, so the results are
those of the eager run.

What a recording freezes: shapes and dtypes, Python numbers, and the branches that Python took. What it follows: the
inputs it is replayed with, and every tensor that existed before (parameters, gradients, schedules held in 0-dim
tensors), as long as they are changed in place.

The interfaces used here are torch's own and not public, so callers treat a :class:`NotTraceableError` as "run eagerly".
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rlkit_capture.outline import Operation, Outline
from rlkit_capture.simplify import Call, simplify
from rlkit_core.data.nested import map_leaves
from rlkit_core.errors import RLKitError

#: TorchScript writes these as numbers.
_ENUMS: dict[Any, int] = {
    torch.contiguous_format: 0,
    torch.preserve_format: 1,
    torch.channels_last: 2,
    torch.channels_last_3d: 3,
    torch.strided: 0,
}
#: Where gradients are off, these do not give what their backward operations need (there are none of their own here).
_NEEDS_GRAD_MODE = {"aten::mkldnn_rnn_layer"}
_ENUM_TYPES = (torch.memory_format, torch.layout)


class NotTraceableError(RLKitError):
    """A computation cannot be recorded; the message says what stands in the way, and in which line where it can."""


class Trace(Outline):
    """A computation that was run once, for real, with each of its operations.

    Every operation is noted with its arguments and results, which keeps their memory apart.

    Args:
        function: takes the inputs and returns a list of tensors.
        inputs: see :class:`Outline`.

    Attributes:
        calls: the operations, in order.
        outputs: what it returned.
        problem: why it cannot be recorded; None where it perhaps can.
    """

    def __init__(self, function: Callable[[], Sequence[Tensor]], inputs: Iterable[Tensor] = ()) -> None:
        super().__init__(inputs)
        self.calls: list[Call] = []
        self.problem: str | None = None
        with self:
            self.outputs = list(function())

    def note(self, call: Call) -> None:
        """Add an operation that has just run, as long as all can be recorded."""
        if self.problem is not None:
            return
        super().note(call)
        self.calls.append(call)
        if depends_on_values(*call[:2]):
            self.problem = reads_a_value(self.operations[-1])
            self.calls.clear()

    def fails_at(self) -> Operation | None:
        """The first operation that fails where all are repeated as a replay does it: without autograd, in a chain.

        It changes in place what they change.
        """
        new: dict[Any, Any] = {}

        def now(given: Any) -> Any:
            return new.get(_place(given), given) if isinstance(given, Tensor) else given

        with torch.no_grad():
            for (func, args, kwargs, out), operation in zip(self.calls, self.operations, strict=True):
                try:
                    again = func(*map_leaves(now, args), **{name: map_leaves(now, one) for name, one in kwargs.items()})
                except (RuntimeError, TypeError):
                    return operation
                results = zip(out, again, strict=False) if isinstance(out, (list, tuple)) else [(out, again)]
                new |= {_place(before): after for before, after in results if isinstance(before, Tensor)}
        return None


class Recording:
    """A recorded computation.

    Args:
        trace: of the computation.
        inputs: tensors by name; a replay takes others of the same shapes.
        builder: what makes a function of the recorded calls; :class:`TorchScriptBuilder` unless given.
        exact: keep TorchScript's optimizer out. It splits matrix products from their sums, which rounds in another way,
            and saves some percent of the time.

    Raises:
        NotTraceableError: the computation reads values on the host, moves between devices, or uses an operation that
            TorchScript does not have.
    """

    def __init__(
        self,
        trace: Trace,
        inputs: Mapping[str, Tensor],
        builder: type[Builder] | None = None,
        *,
        exact: bool = False,
    ) -> None:
        if trace.problem is not None:
            raise NotTraceableError(trace.problem)
        builder = builder or TorchScriptBuilder
        self.names = list(inputs)
        try:
            built = builder(inputs)
            calls = simplify(trace.calls, trace.outputs) if builder.simplifies else trace.calls
            operations = {id(call): operation for call, operation in zip(trace.calls, trace.operations, strict=True)}
            for call in calls:
                try:
                    built.add(call)
                except NotTraceableError as error:
                    raise NotTraceableError(f"{operations.get(id(call), call[0])} {error}") from None
            self._run = built.finish(trace.outputs)
        except (AttributeError, RuntimeError, TypeError) as error:  # another torch may do it in another way
            reason = f"torch {torch.__version__} refuses the recorded graph: {last_line(error)}"
            raise NotTraceableError(reason) from error
        self._outer, self._exact = [tensor.detach() for tensor in built.outer], exact
        needs_grad = any(func._schema.name in _NEEDS_GRAD_MODE for func, *_ in calls)
        # Autograd's part of each operation takes as long as a small one. Tensors made without it may not be given to
        # all of torch later: only who returns one, to be read, can do so.
        self._quick, self._grad_mode = len(trace.outputs) == 1 and not needs_grad, needs_grad
        self.num_operations = len(calls)

    def replay(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Run the recorded operations on other inputs, in the order of :attr:`names`.

        Returns:
            The outputs, new tensors each time (one that was there before the recording is returned as it is). A single
            one may be an inference tensor.
        """
        optimizes = torch._C._get_graph_executor_optimize()
        torch._C._set_graph_executor_optimize(optimizes and not self._exact)
        try:
            # The first is what torch.inference_mode() enters, without what that does beside it.
            with torch._C._InferenceMode(True) if self._quick else torch.set_grad_enabled(self._grad_mode):
                out = self._run(*inputs, *self._outer)
        finally:
            torch._C._set_graph_executor_optimize(optimizes)
        return list(out) if isinstance(out, tuple) else [] if out is None else [out]


class Builder:
    """Puts recorded calls into a graph. Tensors are told apart by the memory they look at.

    Attributes:
        outer: tensors that existed before the recording, which the graph takes after its own inputs.
        hoists_views: whether views of outer tensors are made once, while recording.
        simplifies: whether it wants :func:`~rlkit_capture.simplify.simplify` to come before.
    """

    hoists_views = True
    simplifies = True

    def __init__(self, inputs: Mapping[str, Tensor]) -> None:
        self.outer: list[Tensor] = []
        self._values: dict[Any, Any] = {}
        self._outer_places: set[Any] = set()
        for index, tensor in enumerate(inputs.values()):
            self._values[_place(tensor)] = self.add_input(f"in_{index}")

    def add_input(self, name: str) -> Any:
        """A further input of the graph."""
        raise NotImplementedError

    def add_node(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """Add one operation, and note under :attr:`_values` what it gives."""
        raise NotImplementedError

    def finish(self, outputs: Sequence[Tensor]) -> Callable[..., Any]:
        """The graph as a function of inputs and outer tensors."""
        raise NotImplementedError

    def add(self, call: Call) -> None:
        """Add a recorded call, unless its result only looks at memory that is known already."""
        func, args, kwargs, out = call
        if func.is_view and isinstance(out, Tensor):
            if _place(out) in self._values:
                return
            if self.hoists_views and isinstance(args[0], Tensor):
                seen = _place(args[0])
                # A view of a tensor that stays where it is (a parameter, say) is made once, here.
                if seen in self._outer_places or seen not in self._values:
                    self.value_of(out)
                    return
        self.add_node(func, args, kwargs, out)

    def value_of(self, tensor: Tensor) -> Any:
        """What stands for a tensor in the graph; one not seen before is an outer tensor."""
        place = _place(tensor)
        if place not in self._values:
            self._values[place] = self.add_input(f"outer_{len(self.outer)}")
            self._outer_places.add(place)
            self.outer.append(tensor)
        return self._values[place]


class TorchScriptBuilder(Builder):
    """A TorchScript graph, ready at once; its interpreter runs the operations in C++."""

    def __init__(self, inputs: Mapping[str, Tensor]) -> None:
        self._graph: Any = torch._C.Graph()
        super().__init__(inputs)

    def add_input(self, name: str) -> Any:
        """An input of the graph."""
        return self._graph.addInput(name)

    def add_node(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """Add a node; every argument of the schema is given, defaults included."""
        schema = func._schema
        if any(a.alias_info is not None and "List" in str(a.type) for a in schema.arguments):
            raise NotTraceableError("changes a list of tensors in place, which TorchScript may leave out")
        values = []
        for index, argument in enumerate(schema.arguments):
            if index < len(args):
                given = args[index]
            elif argument.name in kwargs:
                given = kwargs[argument.name]
            else:
                given = argument.default_value
            values.append(self._argument(given, argument.type))
        node = self._graph.create(schema.name, values, len(schema.returns))
        self._graph.insertNode(node)
        results = [out] if len(schema.returns) == 1 else list(out or ())
        for produced, declared, result in zip(node.outputs(), schema.returns, results, strict=True):
            produced.setType(declared.type)
            if isinstance(result, Tensor):
                self._values[_place(result)] = produced
            elif isinstance(result, (list, tuple)) and all(isinstance(item, Tensor) for item in result):
                unpack = self._graph.create("prim::ListUnpack", [produced], len(result))
                self._graph.insertNode(unpack)
                for item, value in zip(result, unpack.outputs(), strict=True):
                    self._values[_place(item)] = value
            elif result is not None:  # a call may leave an output out
                raise NotTraceableError(f"returns a {type(result).__name__} to Python")

    def _argument(self, given: Any, kind: Any) -> Any:
        if isinstance(given, Tensor):
            return self.value_of(given)
        text = str(kind)
        if isinstance(given, (list, tuple)):
            if any(isinstance(item, Tensor) for item in given):
                if any(item is None for item in given):
                    raise NotTraceableError("takes a list of optional tensors")
                node = self._graph.create("prim::ListConstruct", [self.value_of(item) for item in given], 1)
                self._graph.insertNode(node)
                value = next(iter(node.outputs()))
                value.setType(torch._C.ListType(torch._C.TensorType.get()))
                return value
            if not given:
                node = self._graph.create("prim::ListConstruct", [], 1)
                self._graph.insertNode(node)
                value = next(iter(node.outputs()))
                value.setType(torch._C.ListType(getattr(kind, "getElementType", torch._C.IntType.get)()))
                return value
            given = [float(item) for item in given] if "float" in text else list(given)
        elif "float" in text and isinstance(given, int) and not isinstance(given, bool):
            given = float(given)
        if isinstance(given, torch.Generator):
            raise NotTraceableError("draws from a generator of its own")
        try:
            return self._graph.insertConstant(_ENUMS.get(given, given) if type(given) in _ENUM_TYPES else given)
        except TypeError as error:
            raise NotTraceableError(f"takes {given!r}, which a TorchScript graph cannot hold") from error

    def finish(self, outputs: Sequence[Tensor]) -> Callable[..., Any]:
        """The graph as a function."""
        for tensor in outputs:
            self._graph.registerOutput(self.value_of(tensor))
        if not outputs:
            self._graph.registerOutput(self._graph.insertConstant(None))
        if len(outputs) > 1:
            self._graph.makeMultiOutputIntoTuple()
        self._graph.lint()
        run: Callable[..., Any] = torch._C._create_function_from_graph("recorded", self._graph)
        return run


class InductorBuilder(Builder):
    """The same calls as a torch.fx graph, compiled by torch's inductor: slow to make, for long runs."""

    hoists_views = False
    simplifies = False

    def __init__(self, inputs: Mapping[str, Tensor]) -> None:
        self._graph = torch.fx.Graph()
        super().__init__(inputs)

    def add_input(self, name: str) -> Any:
        """An input of the graph."""
        return self._graph.placeholder(name)

    def value_of(self, tensor: Tensor) -> Any:
        """As for every graph; outer tensors that share memory (views of a flat buffer) are cut from one input."""
        place = _place(tensor)
        if place in self._values or not tensor.is_contiguous():
            return super().value_of(tensor)
        whole = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
        start, aten = tensor.storage_offset(), torch.ops.aten
        part = self._graph.call_function(aten.slice.Tensor, (super().value_of(whole), 0, start, start + tensor.numel()))
        value = self._values[place] = self._graph.call_function(aten.view.default, (part, list(tensor.shape)))
        return value

    def add_node(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """Add a node."""
        node = self._graph.call_function(
            func,
            map_leaves(self._argument, tuple(args)),
            {k: map_leaves(self._argument, v) for k, v in kwargs.items()},
        )
        if isinstance(out, Tensor):
            self._values[_place(out)] = node
            return
        for index, item in enumerate(out or ()):
            if not isinstance(item, Tensor):
                raise NotTraceableError(f"returns a {type(item).__name__} to Python")
            self._values[_place(item)] = self._graph.call_function(operator.getitem, (node, index))

    def _argument(self, given: Any) -> Any:
        if isinstance(given, torch.Generator):
            raise NotTraceableError("draws from a generator of its own")
        return self.value_of(given) if isinstance(given, Tensor) else given

    def finish(self, outputs: Sequence[Tensor]) -> Callable[..., Any]:
        """The graph as a compiled function (compiled when it is first called)."""
        self._graph.output(tuple(self.value_of(tensor) for tensor in outputs))
        module = torch.fx.GraphModule(torch.nn.Module(), self._graph)
        compiled: Callable[..., Any] = torch.compile(module, dynamic=False)
        return compiled


def reads_a_value(operation: Operation) -> str:
    """What to say of an operation that :func:`depends_on_values`."""
    return (
        f"{operation} reads a tensor's value on the host (an .item(), an if on a tensor, a boolean index); "
        "keep such decisions in tensors (torch.where, masks), or run eagerly"
    )


def last_line(error: Exception) -> str:
    """What an error of torch comes down to; there are tracebacks of its own around it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    told = [line for line in lines if line.startswith("RuntimeError: ")]
    return (told or lines)[-1].replace("RuntimeError: ", "")


def depends_on_values(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether an operation hands a value to Python, or makes a shape from values: a replay could follow neither."""
    if torch.Tag.data_dependent_output in func.tags:
        return True
    if torch.Tag.dynamic_output_shape not in func.tags:
        return False
    if func._schema.name != "aten::index":
        return True
    return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])


def _place(tensor: Tensor) -> Any:
    """What a tensor looks at: two tensors of one place are the same values, now and later.

    Raises:
        NotTraceableError: it is no plain tensor on the CPU.
    """
    if tensor.device.type != "cpu" or tensor.layout != torch.strided:
        raise NotTraceableError(f"has to do with a {tensor.device.type} tensor of layout {tensor.layout}")
    return (
        tensor.untyped_storage().data_ptr(),
        tensor.storage_offset(),
        tuple(tensor.shape),
        tuple(tensor.stride()),
        tensor.dtype,
    )
