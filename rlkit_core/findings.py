"""What a check found of somebody's code, in words: of an env, a plugin, a module, an algorithm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from attrs import frozen

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@frozen
class Finding:
    """One thing that whoever uses it would trip over.

    Attributes:
        kind: what it is about, one word or two: ``"contract"``, ``"time limit"``.
        level: ``"error"``: it fails, or does something else; ``"warning"``: it may; ``"note"``: to be known.
        what: what was seen, and where.
        fix: what to do; empty where there is nothing to be done.
    """

    kind: str
    level: Level
    what: str
    fix: str

    def __str__(self) -> str:
        fix = f"\n    fix: {self.fix}" if self.fix else ""
        return f"{self.level}: {self.what}{fix}"


def in_order(findings: list[Finding]) -> tuple[Finding, ...]:
    """Errors first, then warnings, then notes; each as they came."""
    return tuple(sorted(findings, key=lambda one: LEVELS.index(one.level)))


@frozen
class Report:
    """What a check found, errors first. Subclasses say of what.

    Attributes:
        findings: errors first.
    """

    findings: tuple[Finding, ...]
    #: What is said where nothing was found.
    all_well: ClassVar[str] = "all is well"

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Those that are errors."""
        return tuple(one for one in self.findings if one.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Those that are warnings."""
        return tuple(one for one in self.findings if one.level == "warning")

    def heading(self) -> str:
        """What was looked at, in a line."""
        return type(self).__name__

    def lines(self) -> Iterator[str]:
        """The report as text."""
        yield self.heading()
        for finding in self.findings:
            yield str(finding)
        counts = [(level, sum(one.level == level for one in self.findings)) for level in LEVELS]
        told = [f"{count} {level}{'s' if count > 1 else ''}" for level, count in counts if count]
        yield ", ".join(told) or self.all_well

    def __str__(self) -> str:
        return "\n".join(self.lines())
