"""What a learner does together with the others of its group: average gradients, and decide alike.

Every learner has the same modules and its own rows. To stay equal they have to take the same gradient steps, so all
that depends on rows is agreed on: which modules are trained, how many minibatches there are, what a minibatch weighs,
and whether it is skipped. A gradient step costs one all-reduce, whatever the number of parameters.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from rlkit_core.columns import Columns
from rlkit_core.data.sequences import num_env_steps
from rlkit_core.errors import ConfigError
from rlkit_core.learner.group.gloo import Collective
from rlkit_core.learner.minibatch import ModuleBatch, num_rows
from rlkit_core.learner.optim.flat_buffers import aligned_starts
from rlkit_core.learner.optim.registered import ParamDict, RegisteredOptimizer


class Peers:
    """The other learners of a group, as one of them sees them.

    Args:
        learner: this one.
        collective: its end of the group.
    """

    def __init__(self, learner: Any, collective: Collective) -> None:
        self._learner, self._collective = learner, collective
        self._layout: _Layout | None = None
        self._masked = False
        self._averaged = False

    @property
    def rank(self) -> int:
        """Which learner of the group this is; 0 is the first."""
        return self._collective.rank

    @property
    def size(self) -> int:
        """Number of learners."""
        return self._collective.size

    def leave(self) -> None:
        """Leave the group; whoever waits for this learner gets an error."""
        self._collective.leave()

    # -- once per update ----------------------------------------------------------------------------------------------

    def common(self, *chosen: Collection[str]) -> list[list[str]]:
        """For each choice of module ids, those that every learner has chosen."""
        ids = list(self._learner.module.keys())
        rows = self._collective.gather_numbers([float(mid in one) for one in chosen for mid in ids])
        everywhere = [min(column) > 0 for column in zip(*rows, strict=True)]
        parts = [everywhere[k * len(ids) : (k + 1) * len(ids)] for k in range(len(chosen))]
        return [[mid for mid, keep in zip(ids, part, strict=True) if keep] for part in parts]

    def plan(
        self,
        ready: Mapping[str, ModuleBatch],
        counts: Mapping[str, int],
        minibatch_size: int | None,
    ) -> tuple[dict[str, ModuleBatch], int]:
        """Agree on the gradient steps of this update.

        Args:
            ready: this learner's rows by module; none of them empty.
            counts: minibatches that each of its modules needs.
            minibatch_size: rows of a minibatch; None is all of them.

        Returns:
            The modules that every learner has rows of, and the number of minibatches: the largest that any module of
            any learner needs.
        """
        ids = list(self._learner.module.keys())
        numbers: list[float] = []
        for module_id in ids:
            rows = ready.get(module_id, {})
            numbers += [counts.get(module_id, 0), num_rows(rows), Columns.LOSS_MASK in rows]
        seen = self._collective.gather_numbers(numbers)
        common, total, self._masked = {}, 0, False
        sizes: dict[str, list[float]] = {}
        for index, module_id in enumerate(ids):
            count, rows_there, masked = zip(*(row[3 * index : 3 * index + 3] for row in seen), strict=True)
            if min(rows_there) > 0:
                common[module_id] = ready[module_id]
                total = max(total, int(max(count)))
                self._masked = self._masked or max(masked) > 0
                sizes[module_id] = list(rows_there) if minibatch_size is None else [1.0] * self.size
        self._weigh(sizes)
        return common, total

    def gather_moments(self, moments: list[Tensor]) -> list[Tensor]:
        """Moments of observations, one tensor ``[D]`` each, as those of all learners ``[size, D]``."""
        if not moments:
            return []
        together = self._collective.gather(torch.cat([m.reshape(-1).cpu() for m in moments]))
        parts = torch.split(together, [m.numel() for m in moments], dim=1)
        return [part.to(m.device) for part, m in zip(parts, moments, strict=True)]

    def mean(self, value: float) -> float:
        """The mean of a number over all learners."""
        rows = self._collective.gather_numbers([value])
        return sum(row[0] for row in rows) / self.size

    # -- once per minibatch -------------------------------------------------------------------------------------------

    def begin(self, minibatch: Mapping[str, ModuleBatch]) -> None:
        """Say how much this learner's minibatch weighs, where that can differ: by its steps that are experience."""
        self._averaged = False
        if self._masked:
            seen = self._collective.gather_numbers([num_env_steps(rows) for rows in minibatch.values()])
            self._weigh({mid: [row[k] for row in seen] for k, mid in enumerate(minibatch)})

    def end(self) -> None:
        """Check that the step averaged its gradients.

        Raises:
            ConfigError: it did not, so learners would drift apart.
        """
        if not self._averaged:
            raise ConfigError(
                f"{type(self._learner).__name__}._update() does not average its gradients over the learners: pass "
                "those of compute_gradients() through self.average_gradients(), or use num_learners=0"
            )

    def _weigh(self, sizes: Mapping[str, list[float]]) -> None:
        """Scale the losses of modules whose minibatches differ, so that the mean over learners is that over rows."""
        scale = {}
        for module_id, all_sizes in sizes.items():
            if min(all_sizes) != max(all_sizes):
                scale[module_id] = self.size * all_sizes[self.rank] / sum(all_sizes)
        self._learner.loss_scale = scale

    def average(self, gradients: ParamDict) -> ParamDict:
        """Gradients averaged over all learners, in place where they are; see ``Learner.average_gradients``."""
        learner = self._learner
        self._averaged = True
        layout = self._layout
        if layout is None or not layout.fits(learner):
            layout = self._layout = _Layout(learner)
        bad = [_not_finite(learner._losses.get(mid)) for mid in learner.module]
        present = layout.fill(gradients)
        layout.head.copy_(torch.tensor(bad + present, dtype=layout.head.dtype))
        self._collective.add(layout.buffer)
        seen = layout.head.tolist()
        learner.bad_losses = frozenset(
            mid for mid, own, found in zip(learner.module, bad, seen, strict=False) if found > 0 and not own
        )
        return layout.read(gradients, seen[len(bad) :], 1.0 / self.size)


class _Layout:
    """Where the gradients of a learner are in the one buffer that is summed; the same on every learner.

    First come flags: one per module (its loss is not finite) and one per parameter (it has a gradient).
    """

    def __init__(self, learner: Any) -> None:
        self._key = self._key_of(learner)
        trained = {id(p) for p in learner._parameters}
        self._parts: list[RegisteredOptimizer] = [
            r for r in learner._optimizers.values() if any(id(p) in trained for p in r.parameters)
        ]
        parameters = [p for part in self._parts for p in part.parameters]
        dtype = torch.float32
        for parameter in parameters:
            dtype = torch.promote_types(dtype, parameter.dtype)
        flags = len(learner.module) + len(parameters)
        total = flags + sum(aligned_starts(part.parameters)[1] for part in self._parts)
        self.buffer = torch.zeros(total, dtype=dtype, device="cpu")
        self.head = self.buffer[:flags]
        self._places: dict[Any, Tensor] = {}
        self._spans: list[Tensor] = []
        position = flags
        for part in self._parts:
            starts, length = aligned_starts(part.parameters)
            span = self.buffer[position : position + length]
            for parameter, start in zip(part.parameters, starts, strict=True):
                self._places[parameter] = span[start : start + parameter.numel()].view(parameter.shape)
            self._spans.append(span)
            position += length

    @staticmethod
    def _key_of(learner: Any) -> Any:
        return (learner._trained, tuple((id(r), len(r.parameters)) for r in learner._optimizers.values()))

    def fits(self, learner: Any) -> bool:
        """Whether modules and optimizers are still those it was made for."""
        return bool(self._key == self._key_of(learner))

    def fill(self, gradients: ParamDict) -> list[float]:
        """Copy gradients in; which parameters have one."""
        present: list[float] = []
        for part, span in zip(self._parts, self._spans, strict=True):
            flat = _whole(part, gradients)
            if flat is not None:
                span.copy_(flat)
                present += [1.0] * len(part.parameters)
                continue
            for parameter in part.parameters:
                gradient = gradients.get(parameter)
                present.append(float(gradient is not None))
                place = self._places[parameter]
                if gradient is None:
                    place.zero_()
                else:
                    place.copy_(gradient)
        return present

    def read(self, gradients: ParamDict, present: list[float], scale: float) -> ParamDict:
        """Copy means out, to where the gradients are; a parameter that has one anywhere has one everywhere."""
        result: ParamDict = dict(gradients)
        position = 0
        for part, span in zip(self._parts, self._spans, strict=True):
            count = len(part.parameters)
            flat = _whole(part, gradients)
            if flat is not None:
                flat.copy_(span.mul_(scale))
            else:
                for parameter, there in zip(part.parameters, present[position : position + count], strict=True):
                    if there > 0:
                        mean = (self._places[parameter] * scale).to(parameter.device, parameter.dtype)
                        gradient = gradients.get(parameter)
                        result[parameter] = mean if gradient is None else gradient.copy_(mean)
            position += count
        return result


def _whole(part: RegisteredOptimizer, gradients: ParamDict) -> Tensor | None:
    """The flat buffer of an optimizer's gradients, if they are exactly its views, in order."""
    buffer = part.buffer
    if buffer is None or len(buffer.parameters) != len(part.parameters):
        return None
    for own, parameter, gradient in zip(part.parameters, buffer.parameters, buffer.gradients, strict=True):
        if own is not parameter or gradients.get(parameter) is not gradient:
            return None
    return buffer.gradient


def _not_finite(loss: Tensor | None) -> float:
    return float(loss is not None and not math.isfinite(loss.item()))
