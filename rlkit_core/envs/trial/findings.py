"""What was found of an env, in words."""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen

from rlkit_core.findings import Report


@frozen(kw_only=True)
class EnvReport(Report):
    """What :func:`~rlkit_core.envs.trial.check_env.check_env` found.

    Attributes:
        env: what the env calls itself.
        steps, episodes: of random actions that were taken, and that ended.
        steps_per_second: of one env alone, resets included; 0 where it took no step.
    """

    env: str
    steps: int
    episodes: int
    steps_per_second: float
    all_well: ClassVar[str] = "nothing that a trainer would trip over"

    def heading(self) -> str:
        """The env, and how far it was played."""
        played = f"{self.steps} steps of random actions, {self.episodes} episodes ended"
        return f"{self.env}: {played}, {self.steps_per_second:,.0f} steps/s"
