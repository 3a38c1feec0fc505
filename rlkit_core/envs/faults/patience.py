"""How long episodes that are only played may take before they are cut."""

from __future__ import annotations

import time
from typing import Protocol

from attrs import define, field


class PatienceSettings(Protocol):
    """The settings of an evaluation that bound it."""

    evaluation_max_steps_per_episode: int | None
    evaluation_sample_timeout_s: float | None


@define(eq=False)
class Patience:
    """Bounds on episodes that are played until they end by themselves, which some never do.

    Attributes:
        max_steps: env steps of one episode; None: no bound.
        seconds: in which at least one episode is to end; None: no bound.
    """

    max_steps: int | None = None
    seconds: float | None = None
    _since: float = field(factory=time.monotonic)

    @classmethod
    def of(cls, settings: PatienceSettings) -> Patience:
        """What a config says, its seconds beginning now."""
        return cls(settings.evaluation_max_steps_per_episode, settings.evaluation_sample_timeout_s)

    def ended(self) -> None:
        """An episode has ended."""
        self._since = time.monotonic()

    @property
    def over(self) -> bool:
        """Whether no episode has ended for too long."""
        return self.seconds is not None and time.monotonic() - self._since > self.seconds

    def too_long(self, steps: int) -> bool:
        """Whether an episode that has taken so many steps is to be cut."""
        return self.max_steps is not None and steps >= self.max_steps
