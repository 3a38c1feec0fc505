"""Standard normal numbers that hang together over time: noise by which a policy of continuous actions explores.

Each number by itself is standard normal and independent of those of other envs and action elements; what differs from
plain draws is how it goes on from step to step. So a distribution that samples by such noise has at every step the
density that its ``logp`` says.

Noise is stationary. An episode's end does not interrupt it: a step's noise has the same distribution whether an episode
began there or not, and a rollout goes on where the one before has ended.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class NoiseProcess(abc.ABC):
    """A sequence for each of N columns (envs, or slots of agents) and D action elements, drawn ``length`` steps ahead.

    Numbers are drawn from torch's default generator. Columns may be read in step (:meth:`rows`) or each at its own pace
    (:meth:`next_of`); they are made as they are asked for.

    Args:
        length: steps that are drawn at once.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self._block = torch.empty(length, 0, 0)
        self._at = torch.empty(0, dtype=torch.int64)  # of each column: the step to be read next

    @abc.abstractmethod
    def draw(self, columns: int, size: int, before: Tensor | None) -> Tensor:
        """The next ``length`` steps of some columns.

        Args:
            columns: how many.
            size: D.
            before: ``[columns, D]``, the steps that these go on from; None: they begin.

        Returns:
            float32 ``[length, columns, D]``.
        """

    def rows(self, steps: int, columns: int, size: int) -> Tensor:
        """The next ``steps`` of all columns, float32 ``[steps, columns, size]``; a copy."""
        self._have(columns, size)
        parts: list[Tensor] = []
        missing = steps
        while missing:
            at = int(self._at[0])
            parts.append(self._block[at : at + missing])
            self._at += len(parts[-1])
            missing -= len(parts[-1])
            self._renew()
        return torch.cat(parts)

    def next_of(self, columns: Tensor, width: int, size: int) -> Tensor:
        """The next step of some ``columns [M]`` (int64, each once) of ``width``, float32 ``[M, size]``."""
        self._have(width, size)
        row = self._block[self._at[columns], columns]
        self._at[columns] += 1
        self._renew()
        return row

    def _have(self, columns: int, size: int) -> None:
        have = self._block.shape[1]
        if have >= columns and self._block.shape[2] == size:
            return
        if self._block.shape[2] != size:
            have, self._block = 0, torch.empty(self.length, 0, size)
            self._at = self._at[:0]
        self._block = torch.cat((self._block, self.draw(columns - have, size, None)), 1)
        self._at = torch.cat((self._at, self._at.new_zeros(columns - have)))

    def _renew(self) -> None:
        done = (self._at >= self.length).nonzero().squeeze(-1)
        if not len(done):
            return
        fresh = self.draw(len(done), self._block.shape[2], self._block[-1, done])
        if len(done) == self._block.shape[1]:
            self._block = fresh
        else:
            self._block = self._block.index_copy(1, done, fresh)
        self._at[done] = 0

    def get_state(self) -> dict[str, Any]:
        """What has been drawn and not read yet, as arrays."""
        return {"block": self._block.numpy().copy(), "at": self._at.numpy().copy()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`get_state`."""
        block = torch.as_tensor(state["block"], dtype=torch.float32).clone()
        if len(block) == self.length:  # other settings begin anew
            self._block, self._at = block, torch.as_tensor(state["at"], dtype=torch.int64).clone()


class OrnsteinUhlenbeck(NoiseProcess):
    """``x[t + 1] = phi x[t] + sqrt(1 - phi^2) e``, ``phi = exp(-theta)``: autocorrelation ``exp(-theta k)`` at lag k.

    Uhlenbeck and Ornstein (1930), in its stationary form; Lillicrap et al., "Continuous control with deep reinforcement
    learning" (2015), explore by it with ``theta`` 0.15.
    """

    def __init__(self, theta: float = 0.15, length: int = 256) -> None:
        super().__init__(length)
        self.theta = theta
        lags = torch.arange(length, dtype=torch.float64)
        between = (lags.unsqueeze(1) - lags).clamp(min=0)
        spread = math.sqrt(-math.expm1(-2.0 * theta))
        self._mix = (torch.exp(-theta * between) * spread).tril().float()
        self._decay = torch.exp(-theta * (lags + 1)).float()

    def draw(self, columns: int, size: int, before: Tensor | None) -> Tensor:
        """See :class:`NoiseProcess`."""
        start = torch.randn(columns, size) if before is None else before
        fresh = torch.randn(self.length, columns * size)
        steps = self._decay.unsqueeze(1) * start.reshape(1, -1) + self._mix @ fresh
        return steps.view(self.length, columns, size)


class ColoredNoise(NoiseProcess):
    """A power spectrum of ``f^-exponent``: 0 is white, 1 pink, 2 red.

    Timmer and König, "On generating power law noise" (1995); Eberhard et al., "Pink Noise Is All You Need" (ICLR 2023),
    explore by pink noise, in sequences as long as an episode. A sequence has ``length`` steps; the lowest frequency,
    ``1 / length``, stands for those below it, the mean's among them. The next one is independent of it.
    """

    def __init__(self, exponent: float = 1.0, length: int = 1024) -> None:
        super().__init__(length)
        self.exponent = exponent
        frequency = torch.fft.rfftfreq(length, dtype=torch.float64)
        frequency[0] = frequency[1]
        amplitude = frequency ** (-exponent / 2.0)
        # An inverse transform adds twice the real part of each entry but those without a twin: the mean's, and for an
        # even length the highest one's. These are real, and count as much with sqrt(2) the amplitude.
        self._real, self._imaginary = amplitude.clone(), amplitude.clone()
        alone = [0, -1] if length % 2 == 0 else [0]
        self._real[alone] *= math.sqrt(2.0)
        self._imaginary[alone] = 0.0
        power = 4.0 * amplitude.square()
        power[alone] = 2.0 * amplitude[alone].square()
        scale = length / power.sum().sqrt()
        self._real, self._imaginary = (self._real * scale).float(), (self._imaginary * scale).float()

    def draw(self, columns: int, size: int, before: Tensor | None) -> Tensor:
        """See :class:`NoiseProcess`; ``before`` makes no difference."""
        real, imaginary = torch.randn(2, columns * size, len(self._real)).unbind(0)
        spectrum = torch.complex(real * self._real, imaginary * self._imaginary)
        steps: Tensor = torch.fft.irfft(spectrum, n=self.length)
        return steps.t().reshape(self.length, columns, size)


def noise_process(settings: Mapping[str, Any] | None) -> NoiseProcess | None:
    """The process that ``exploration_noise`` asks for, ``{"type": "pink", ...}``; None: draws are independent."""
    options = dict(settings or {})
    kind = options.pop("type", "independent")
    if kind == "independent":
        return None
    return OrnsteinUhlenbeck(**options) if kind == "ou" else ColoredNoise(**options)
