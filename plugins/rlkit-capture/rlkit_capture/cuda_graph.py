"""A computation recorded as a CUDA graph: the launches of all its kernels become one.

A graph reads and writes the same memory every time it is replayed. What it follows: its inputs, which a replay copies
into place, and every tensor that existed before, as long as it is changed in place. What it freezes: shapes, Python
numbers, branches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rlkit_capture.outline import Operation, Outline
from rlkit_capture.recording import NotTraceableError, depends_on_values, last_line, reads_a_value
from rlkit_capture.simplify import Call

#: Runs before the capture: libraries pick kernels and reserve workspaces in the first ones.
WARM_UPS = 3


class CudaGraphRecording:
    """A recorded computation on a GPU, with the interface of :class:`~rlkit_capture.recording.Recording`.

    Args:
        function: returns a list of tensors, computed from ``inputs`` and tensors that stay where they are. It is run
            :data:`WARM_UPS` times for real, and once more while the graph is made, which computes nothing.
        inputs: tensors by name, for the recording alone; a replay copies others of the same shapes into them.
        between: called before every run, and after the last; puts back what a run changes.

    Attributes:
        names: of the inputs.
        outputs: what the first run returned, copied.
        operations: of every run for real.

    Raises:
        NotTraceableError: the computation reads values on the host, or does what a CUDA graph cannot hold.
    """

    def __init__(
        self,
        function: Callable[[], Sequence[Tensor]],
        inputs: Mapping[str, Tensor],
        *,
        between: Callable[[], None],
    ) -> None:
        self.names = list(inputs)
        self._inputs = list(inputs.values())
        self._device = self._inputs[0].device
        self.outputs: list[Tensor] = []
        self.operations: list[list[Operation]] = []
        try:
            self._warm_up(lambda: self._runs(function, between))
            self._outputs = self._capture(function)
        except RuntimeError as error:
            raise NotTraceableError(
                f"torch {torch.__version__} cannot make a CUDA graph of this step: {last_line(error)}"
            ) from error
        between()

    def replay(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Run on other inputs, in the order of :attr:`names`; the host does not wait for the result.

        Returns:
            The outputs; they are overwritten by the next replay.
        """
        with torch.no_grad():
            torch._foreach_copy_(self._inputs, list(inputs))
        self._replay()
        return self._outputs

    def _runs(self, function: Callable[[], Sequence[Tensor]], between: Callable[[], None]) -> None:
        for k in range(WARM_UPS):
            between()
            with NoReads(self._inputs) as watched:
                outputs = function()
            self.operations.append(watched.operations)
            if not k:
                self.outputs = [tensor.detach().clone() for tensor in outputs]
        del outputs
        between()

    # -- the only calls of torch.cuda ----------------------------------------------------------------------------------

    def _warm_up(self, runs: Callable[[], None]) -> None:
        """Call ``runs`` on the stream that will be captured, which the current one then waits for."""
        with torch.cuda.device(self._device):
            self._stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                runs()
            torch.cuda.current_stream().wait_stream(self._stream)

    def _capture(self, function: Callable[[], Sequence[Tensor]]) -> list[Tensor]:
        """Make the graph, and return the tensors that its replays will fill."""
        captured: list[Tensor] = []
        with torch.cuda.device(self._device):
            self._graph: Any = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=self._stream):
                captured += function()
        return captured

    def _replay(self) -> None:
        with torch.cuda.device(self._device):
            self._graph.replay()


class NoReads(Outline):
    """Refuses operations that would make the host wait, with a better message than the capture has."""

    def note(self, call: Call) -> None:
        """Add an operation that has just run."""
        super().note(call)
        if depends_on_values(*call[:2]):
            raise NotTraceableError(reads_a_value(self.operations[-1]))
