"""What a learner does together with the others of its group: average gradients, and decide alike.

Every learner has the same modules and its own rows. To stay equal they have to take the same gradient steps, so all
that depends on rows is agreed on: which modules are trained, how many minibatches there are, what a minibatch weighs,
and whether it is skipped. A gradient step costs one all-reduce, whatever the number of parameters.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Hashable, Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor

from rlkit_core.columns import Columns
from rlkit_core.data.sequences import num_env_steps
from rlkit_core.errors import ConfigError
from rlkit_core.learner.minibatch import ModuleBatch, num_rows
from rlkit_core.learner.optim.clipping import ParamDict
from rlkit_core.learner.optim.flat_buffers import aligned_starts
from rlkit_core.learner.optim.optimizer_set import OptimizerSet
from rlkit_core.learner.optim.registered import RegisteredOptimizer
from rlkit_processes.learners.gloo import Collective


class GradientAveraging:
    """The other learners of a group; see :class:`~rlkit_core.learner.peers.Peers`.

    Args:
        collective: this learner's end of the group.
        learner_name: of its class, for messages.

    Attributes:
        rank: which learner of the group this is; 0 is the first.
        size: number of learners.
        loss_scale: of this minibatch's losses, by module.
        bad_losses: modules whose loss was not finite on another learner.
    """

    def __init__(self, collective: Collective, learner_name: str = "Learner") -> None:
        self._collective, self._learner_name = collective, learner_name
        self.rank, self.size = collective.rank, collective.size
        self._layout: _Layout | None = None
        self._masked = False
        self._averaged = False
        self.loss_scale: Mapping[str, float] = {}
        self.bad_losses: Collection[str] = frozenset()

    def leave(self) -> None:
        """Leave the group; whoever waits for this learner gets an error."""
        self._collective.leave()

    # -- once per update ----------------------------------------------------------------------------------------------

    def common(self, module_ids: Sequence[str], *chosen: Collection[str]) -> list[tuple[str, ...]]:
        """For each choice of module ids, those that every learner has chosen."""
        rows = self._collective.gather_numbers([float(mid in one) for one in chosen for mid in module_ids])
        everywhere = [min(column) > 0 for column in zip(*rows, strict=True)]
        count = len(module_ids)
        parts = [everywhere[k * count : (k + 1) * count] for k in range(len(chosen))]
        return [tuple(mid for mid, keep in zip(module_ids, part, strict=True) if keep) for part in parts]

    def plan(
        self,
        module_ids: Sequence[str],
        ready: dict[str, ModuleBatch],
        counts: Mapping[str, int],
        size: int | None,
        kind: Hashable = None,
    ) -> tuple[dict[str, ModuleBatch], int]:
        """The modules that every learner has rows of, and the largest number of minibatches that any needs.

        Raises:
            ConfigError: the learners are about to take steps of different kinds.
        """
        numbers: list[float] = []
        for module_id in module_ids:
            rows = ready.get(module_id, {})
            numbers += [counts.get(module_id, 0), num_rows(rows), Columns.LOSS_MASK in rows]
        numbers.append(zlib.crc32(repr(kind).encode()))  # a hash() differs from process to process
        seen = self._collective.gather_numbers(numbers)
        if any(row[-1] != seen[0][-1] for row in seen):
            raise ConfigError(
                f"{self._learner_name}.step_variant() differs from learner to learner: on learner {self.rank} the step "
                f"is {kind!r}. It has to depend on what is equal on all of them: weights_seq_no, timesteps, settings"
            )
        common, total, self._masked = {}, 0, False
        sizes: dict[str, list[float]] = {}
        for index, module_id in enumerate(module_ids):
            count, rows_there, masked = zip(*(row[3 * index : 3 * index + 3] for row in seen), strict=True)
            if min(rows_there) > 0:
                common[module_id] = ready[module_id]
                total = max(total, int(max(count)))
                self._masked = self._masked or max(masked) > 0
                sizes[module_id] = list(rows_there) if size is None else [1.0] * self.size
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
                f"{self._learner_name}._update() does not average its gradients over the learners: pass "
                "those of compute_gradients() through self.average_gradients(), or use num_learners=0"
            )

    def _weigh(self, sizes: Mapping[str, list[float]]) -> None:
        """Scale the losses of modules whose minibatches differ, so that the mean over learners is that over rows."""
        scale = {}
        for module_id, all_sizes in sizes.items():
            if min(all_sizes) != max(all_sizes):
                scale[module_id] = self.size * all_sizes[self.rank] / sum(all_sizes)
        self.loss_scale = scale

    def average(self, gradients: ParamDict, losses: Mapping[str, Tensor], optimizers: OptimizerSet) -> ParamDict:
        """Gradients averaged over all learners, in place where they are; see ``Learner.average_gradients``."""
        self._averaged = True
        layout = self._layout
        if layout is None or not layout.fits(losses, optimizers):
            layout = self._layout = _Layout(losses, optimizers, self._collective.device)
        bad = [float(not math.isfinite(loss.item())) for loss in losses.values()]
        present = layout.fill(gradients)
        layout.head.copy_(torch.tensor(bad + present, dtype=layout.head.dtype))
        for sums in layout.sums:
            self._collective.add(sums)
        seen = layout.head.tolist()
        flags = zip(losses, bad, seen, strict=False)
        self.bad_losses = frozenset(mid for mid, mine, anywhere in flags if anywhere > 0 and not mine)
        return layout.read(gradients, seen[len(bad) :], 1.0 / self.size)


class _Layout:
    """Where the gradients of a learner are in the one buffer that is summed; the same on every learner.

    First come flags: one per loss (it is not finite) and one per parameter (it has a gradient). Where the sums are a
    GPU's, flags are apart from them, and the CPU's: who reads them would wait for the GPU.

    Args:
        losses: by module id.
        optimizers: those of the learner.
        device: where the sums are made.
    """

    def __init__(self, losses: Mapping[str, Tensor], optimizers: OptimizerSet, device: torch.device) -> None:
        self._ids, self._made_for = tuple(losses), optimizers.layout
        self._trained = optimizers.parameters
        trained = {id(p) for p in optimizers.parameters}
        self._parts = [_Part(r) for r in optimizers if any(id(p) in trained for p in r.parameters)]
        parameters = [p for part in self._parts for p in part.parameters]
        dtype = torch.float32
        for parameter in parameters:
            dtype = torch.promote_types(dtype, parameter.dtype)
        flags = len(losses) + len(parameters)
        length = sum(part.length for part in self._parts)
        if device.type == "cpu":
            buffer = torch.zeros(flags + length, dtype=dtype, device="cpu")
            self.sums, self.head, body = [buffer], buffer[:flags], buffer[flags:]
        else:
            self.head, body = torch.zeros(flags, device="cpu"), torch.zeros(length, dtype=dtype, device=device)
            self.sums = [self.head, body]
        spans = torch.split(body, [part.length for part in self._parts])
        for part, span in zip(self._parts, spans, strict=True):
            part.place(span)

    def fits(self, losses: Mapping[str, Tensor], optimizers: OptimizerSet) -> bool:
        """Whether losses, trained modules and optimizers are still those it was made for."""
        return (
            self._trained is optimizers.parameters
            and self._ids == tuple(losses)
            and self._made_for == optimizers.layout
        )

    def fill(self, gradients: ParamDict) -> list[float]:
        """Copy gradients in; which parameters have one."""
        return [flag for part in self._parts for flag in part.fill(gradients)]

    def read(self, gradients: ParamDict, present: list[float], scale: float) -> ParamDict:
        """Copy means out, to where the gradients are; a parameter that has one anywhere has one everywhere."""
        result: ParamDict = dict(gradients)
        there = iter(present)
        for part in self._parts:
            result.update(part.read(gradients, list(islice(there, len(part.parameters))), scale))
        return result


class _Part:
    """The gradients of one optimizer in the buffer.

    Args:
        registered: the optimizer.
    """

    def __init__(self, registered: RegisteredOptimizer) -> None:
        self._registered = registered
        self.parameters = registered.parameters
        self._starts, self.length = aligned_starts(self.parameters)
        buffer = registered.buffer
        # A buffer that has the same parameters in the same order is laid out as the span is.
        self._alike = buffer is not None and len(buffer.parameters) == len(self.parameters)
        for mine, other in zip(self.parameters, buffer.parameters if buffer else (), strict=False):
            self._alike = self._alike and mine is other

    def place(self, span: Tensor) -> None:
        """Take a part of the buffer, ``[length]``."""
        self._span = span
        self._places = [
            span[start : start + p.numel()].view(p.shape)
            for p, start in zip(self.parameters, self._starts, strict=True)
        ]

    def _flat(self, gradients: ParamDict) -> Tensor | None:
        return self._registered.flat_gradient(gradients) if self._alike else None

    def fill(self, gradients: ParamDict) -> list[float]:
        """Copy gradients in; which parameters have one."""
        flat = self._flat(gradients)
        if flat is not None:
            self._span.copy_(flat)
            return [1.0] * len(self.parameters)
        for parameter, place in zip(self.parameters, self._places, strict=True):
            gradient = gradients.get(parameter)
            if gradient is None:
                place.zero_()
            else:
                place.copy_(gradient)
        return [float(parameter in gradients) for parameter in self.parameters]

    def read(self, gradients: ParamDict, present: list[float], scale: float) -> ParamDict:
        """Copy means out, and give them for the parameters that have a gradient anywhere."""
        flat = self._flat(gradients)
        if flat is not None:
            flat.copy_(self._span.mul_(scale))
            return {}
        means: ParamDict = {}
        for parameter, place, there in zip(self.parameters, self._places, present, strict=True):
            if there > 0:
                mean = (place * scale).to(parameter.device, parameter.dtype)
                gradient = gradients.get(parameter)
                means[parameter] = mean if gradient is None else gradient.copy_(mean)
        return means
