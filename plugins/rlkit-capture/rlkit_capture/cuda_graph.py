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
from torch.utils._python_dispatch import TorchDispatchMode

from rlkit_capture.recording import NotTraceableError, depends_on_values, reads_a_value

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
        try:
            self._warm_up(lambda: self._runs(function, between))
            self._outputs = self._capture(function)
        except RuntimeError as error:
            raise NotTraceableError(
                f"torch {torch.__version__} cannot make a CUDA graph of this step: {error}"
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
            with NoReads():
                outputs = function()
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


class NoReads(TorchDispatchMode):
    """Refuses operations that would make the host wait, with a better message than the capture has."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # asking the compiler to stay away would import it first

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if depends_on_values(func, args):
            raise NotTraceableError(reads_a_value(func))
        return func(*args, **(kwargs or {}))
