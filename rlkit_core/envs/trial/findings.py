"""What was found of an env, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from attrs import frozen

Level = Literal["error", "warning", "note"]


@frozen
class Finding:
    """One thing that a trainer would trip over.

    Attributes:
        kind: what it is about, one word or two: ``"contract"``, ``"time limit"``.
        level: ``"error"``: training fails, or learns something else; ``"warning"``: it may; ``"note"``: to be known.
        what: what was seen, and where.
        fix: what to do.
    """

    kind: str
    level: Level
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.level}: {self.what}\n    fix: {self.fix}"


@frozen
class EnvReport:
    """What :func:`~rlkit_core.envs.trial.check_env.check_env` found.

    Attributes:
        env: what the env calls itself.
        findings: errors first.
        steps, episodes: of random actions that were taken, and that ended.
        steps_per_second: of one env alone, resets included; 0 where it took no step.
    """

    env: str
    findings: tuple[Finding, ...]
    steps: int
    episodes: int
    steps_per_second: float

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Those that are errors."""
        return tuple(one for one in self.findings if one.level == "error")

    def lines(self) -> Iterator[str]:
        """The report as text."""
        played = f"{self.steps} steps of random actions, {self.episodes} episodes ended"
        yield f"{self.env}: {played}, {self.steps_per_second:,.0f} steps/s"
        for finding in self.findings:
            yield str(finding)
        counts = [(level, sum(one.level == level for one in self.findings)) for level in ("error", "warning", "note")]
        told = [f"{count} {level}{'s' if count > 1 else ''}" for level, count in counts if count]
        yield ", ".join(told) or "nothing that a trainer would trip over"

    def __str__(self) -> str:
        return "\n".join(self.lines())
