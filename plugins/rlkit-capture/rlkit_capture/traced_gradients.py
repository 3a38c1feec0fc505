"""What a recorded step computes, from the forward pass to clipped gradients, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

from rlkit_core import Learner
from rlkit_core.columns import ALL_MODULES
from rlkit_core.data.nested import Nested
from rlkit_core.learner.metrics import BlockKeys, Key, Metrics, Reduce
from rlkit_core.learner.minibatch import Minibatch
from rlkit_core.learner.optim.clipping import ParamDict
from rlkit_core.learner.optim.losses import total
from rlkit_core.learner.optim.registered import RegisteredOptimizer
from rlkit_core.learner.row_log import RowLog

DIFFERS = (
    "a replay differs from the eager step; something in the loss or the forward pass changes from call to call without "
    "a tensor showing it. Let the learner's step_variant(module_id) name the kind of a step, keep what changes in "
    "tensors, or set capturable = False on the learner's class"
)


def differs(where: str | None) -> str:
    """What to say of a replay that is not the eager step; ``where`` is the operation to which that goes back."""
    return DIFFERS if where is None else f"{where}, so {DIFFERS}"


class MetricsTap(Metrics):
    """Takes the place of the learner's metrics while a step is recorded, and keeps what is logged, in order.

    Args:
        behind: answers for what was logged before.
    """

    def __init__(self, behind: Metrics) -> None:
        super().__init__()
        self._behind = behind
        self.logged: list[tuple[Key, Any, Reduce]] = []

    def log_value(
        self, key: str | tuple[str, ...], value: object, *, reduce: Reduce | None = "mean", **rllib: object
    ) -> None:
        """Note one value."""
        super().log_value(key, value, reduce=reduce, **rllib)
        path = (key,) if isinstance(key, str) else tuple(key)
        self.logged.append((path, value.detach() if isinstance(value, Tensor) else value, self.kinds[path]))

    def peek(self, key: str | tuple[str, ...], default: Any = None) -> Any:
        """A value of this step, or of those before it."""
        try:
            return super().peek(key)
        except KeyError:
            return self._behind.peek(key, default)


class GradientRun:
    """The part of a step that is recorded, from the forward pass to clipped gradients, and what it gives.

    Args:
        learner: whose step it is.
        batch: what :meth:`run` reads.

    Attributes:
        gradients: parameter to clipped gradient, as of the latest run.
        loose: parameters whose gradients are in no flat buffer, and so new tensors in every run.
        keys: of the metrics that are logged, in order.
        rows: module id and name of what is logged per row.
        plan: the metrics' values, or where in the numbers they are.
        num_losses: how many of the numbers, the first ones, are losses.
    """

    def __init__(self, learner: Learner, batch: Minibatch) -> None:
        self._learner, self._batch = learner, batch
        self.gradients: ParamDict = {}
        self.loose: list[nn.Parameter] = []
        self.keys: BlockKeys = ()
        self.rows: list[tuple[str, str]] = []
        self.plan: list[Any] = []
        self._checked: dict[str, list[int]] = {}
        self.num_losses = 0

    def run(self) -> list[Tensor]:
        """Run it once.

        Returns:
            ``[numbers, *rows, *loose gradients]``: ``numbers`` are the losses and metrics, a 1-dim tensor.
        """
        learner = self._learner
        tap, log = MetricsTap(learner.metrics), RowLog()
        with learner.redirected(tap, log):
            _, losses, self.gradients = learner.clipped_gradients(self._batch)
        flat = {id(g) for r in learner.optimizers for f in r.flat if f for g in f.gradients}
        self.loose = [p for p, g in self.gradients.items() if id(g) not in flat]
        self.keys = tuple((path, how) for path, _, how in tap.logged)
        self.rows = [(module_id, name) for module_id, name, _ in log.logged]
        self.num_losses = len(losses)
        scalars = [total(loss, learner.device).detach() for loss in losses.values()]
        self.plan = []
        self._checked = {module_id: [k] for k, module_id in enumerate(losses)}
        for path, value, _ in tap.logged:
            self.plan.append(value)
            if isinstance(value, Tensor):
                if path[-1].endswith("_global_norm"):
                    self._checked.setdefault(path[0], []).append(len(scalars))
                self.plan[-1] = _At(len(scalars))
                scalars.append(value)
        rows = [tensor for _, _, tensor in log.logged]
        return [_together(scalars), *rows, *(self.gradients[p] for p in self.loose)]

    def values(self, numbers: Sequence[float]) -> list[float]:
        """The values of :attr:`keys`, from the numbers of a run."""
        if len(self.plan) + self.num_losses == len(numbers):  # all of them were tensors
            return list(numbers[self.num_losses :])
        return [numbers[v.index] if isinstance(v, _At) else float(v) for v in self.plan]

    def logs_like(self, other: GradientRun) -> bool:
        """Whether another run logged the same, as far as Python tells: names, order, and what are no tensors."""
        return self.keys == other.keys and self.rows == other.rows and self.plan == other.plan

    def checked(self, module_id: str) -> list[int]:
        """Which of the numbers have to be finite for a module to be stepped: its loss and norms of its gradients."""
        if module_id != ALL_MODULES:
            return self._checked.get(module_id, [])
        return [*range(self.num_losses), *self._checked.get(ALL_MODULES, [])]

    @property
    def all_checked(self) -> list[int]:
        """Which of the numbers have to be finite for all modules to be stepped."""
        return [k for indices in self._checked.values() for k in indices]

    def place_loose(self, gradients: Sequence[Tensor]) -> None:
        """Put new gradients where eager ones would be."""
        for parameter, gradient in zip(self.loose, gradients, strict=True):
            self.gradients[parameter] = parameter.grad = gradient

    def changed(self) -> list[Tensor]:
        """Tensors that a step may change in place: gradients, parameters, buffers."""
        modules = [member for member in self._learner.module.values() if isinstance(member, nn.Module)]
        kept = [tensor for member in modules for tensor in (*member.parameters(), *member.buffers())]
        return [*kept, *self.gradients.values()]

    def direct_optimizers(self) -> list[RegisteredOptimizer] | None:
        """The optimizers to step, where ``apply_gradients`` would do nothing else; None where it would."""
        learner = self._learner
        if type(learner).apply_gradients is not Learner.apply_gradients or self.loose:
            return None
        chosen = []
        for registered in learner.optimizers:
            count = sum(parameter in self.gradients for parameter in registered.parameters)
            if count and (count < len(registered.parameters) or None in registered.flat or not registered.flat):
                return None
            if count:
                chosen.append(registered)
        return chosen


@frozen
class _At:
    """Where in the numbers of a run a metric is."""

    index: int


class StepState:
    """What a step changes besides gradients, as it was at some moment: the modules' buffers, torch's random numbers.

    Args:
        learner: whose step it is.
        more: further tensors that the step changes.

    Attributes:
        values: copies of the tensors.
        random: where torch's generators were.
    """

    def __init__(self, learner: Learner, more: Iterable[Tensor] = ()) -> None:
        self._rng = learner.rng
        modules = [member for member in learner.module.values() if isinstance(member, nn.Module)]
        self._tensors = [buffer for member in modules for buffer in member.buffers()]
        self._tensors += more
        self.values = [tensor.detach().clone() for tensor in self._tensors]
        self.random = self._rng.live_state()

    def put_back(self) -> None:
        """Undo what happened since."""
        self._rng.set_live_state(self.random)
        copy_all(self._tensors, self.values)

    def equals(self, other: StepState, equal: Equal) -> bool:
        """Whether values are those of another moment, and random numbers go on in the same way."""
        pairs = zip(self.random, other.random, strict=True)
        return equal(self.values, other.values) and all(
            a is b or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs
        )


Equal = Callable[[Iterable[Tensor], Iterable[Tensor]], bool]
"""Whether tensors are equal, one by one."""


def all_close(some: Iterable[Tensor], others: Iterable[Tensor]) -> bool:
    """Whether tensors are equal to float tolerance, NaN where the others have it."""
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True) for a, b in zip(some, others, strict=True))


def same_bits(some: Iterable[Tensor], others: Iterable[Tensor]) -> bool:
    """Whether tensors are equal to the last bit, NaN where the others have it."""
    return all(
        torch.equal(a, b) or torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True)
        for a, b in zip(some, others, strict=True)
    )


def about_equal(some: Iterable[Tensor], others: Iterable[Tensor]) -> bool:
    """Whether tensors are equal as wholes, by their norms: a recording may round in another way than the eager step."""
    for a, b in zip(some, others, strict=True):
        if not a.is_floating_point():
            if not torch.equal(a, b):
                return False
            continue
        scale, difference = torch.linalg.vector_norm(a.double()), torch.linalg.vector_norm((a - b).double())
        if not difference <= 1e-3 * scale + 1e-5 and not all_close([a], [b]):
            return False
    return True


@torch.no_grad()
def copy_all(targets: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Copy values into tensors, one by one."""
    for target, value in zip(targets, values, strict=True):
        target.copy_(value)


def _together(scalars: list[Tensor]) -> Tensor:
    """Tensors of one element as one tensor ``[len(scalars)]``: float32 if they all are, else float64."""
    if not scalars:
        return torch.zeros(0)
    if any(x.dtype != torch.float32 for x in scalars):
        scalars = [x.double() for x in scalars]
    return torch.stack([x if x.dim() == 0 else x.reshape(()) for x in scalars])


def named_leaves(struct: Nested, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of a batch with their paths, in order."""
    if isinstance(struct, Tensor):
        yield prefix, struct
    else:
        for key, value in struct.items() if isinstance(struct, dict) else enumerate(struct):
            yield from named_leaves(value, f"{prefix}/{key}")
