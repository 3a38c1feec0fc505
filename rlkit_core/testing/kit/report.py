"""What the kit says of what it looked at."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable

import torch
from attrs import frozen

from rlkit_core.errors import ContractError
from rlkit_core.findings import Finding, Report, in_order
from rlkit_core.plugins.quarantine import learning_kept
from rlkit_core.testing.kit.contract import ContractWarning


@frozen(kw_only=True)
class KitReport(Report):
    """What the kit found.

    Attributes:
        subject: what was looked at.
        seconds: how long that took.
    """

    subject: str
    seconds: float

    def heading(self) -> str:
        """What was looked at, and how long it took."""
        return f"{self.subject}: looked at in {self.seconds:.1f} s"

    def judged(self, strict: bool) -> KitReport:
        """Itself; if ``strict``, warnings are told as such first, and errors are raised.

        Raises:
            ContractError: there are errors.
        """
        if strict:
            for finding in self.warnings:
                warnings.warn(ContractWarning(f"{self.subject}: {finding.what}", finding.fix), stacklevel=4)
            if self.errors:
                raise ContractError("\n".join([f"{self.subject} breaks its contract:", *map(str, self.errors)]))
        return self


def report_of(subject: str, find: Callable[[], Iterable[Finding]], *, strict: bool) -> KitReport:
    """Look, and report; what is found several times is told once.

    Raises:
        ContractError: there are errors, and it is ``strict``.
    """
    begun = time.perf_counter()
    with learning_kept():
        torch.set_num_threads(1)  # for small networks more of them wait for each other, a lot where the machine is busy
        found = list(dict.fromkeys(find()))
    report = KitReport(findings=in_order(found), subject=subject, seconds=time.perf_counter() - begun)
    return report.judged(strict)
