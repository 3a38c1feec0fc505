"""What a contract is: a class with ``test_`` methods, which pytest collects in a subclass, and which the kit runs too.

Each thing that is asked of a plugin is written once, as a method of a contract. What is wrong is a :class:`BreachError`
assertion, what may be is a :class:`ContractWarning`; both say what was seen and what to do. Needs no pytest: a method
for which there is nothing to test raises ``unittest.SkipTest``, which pytest knows.
"""

from __future__ import annotations

import time
import traceback
import unittest
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from attrs import frozen

from rlkit_core.errors import ContractError
from rlkit_core.findings import Finding, Report, in_order
from rlkit_core.plugins.guard import safe_text
from rlkit_core.plugins.quarantine import learning_kept


class BreachError(AssertionError):
    """A contract is not kept.

    Args:
        what: what was seen, of which part, and what was expected.
        fix: what to do.
    """

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"{what}\n    fix: {fix}")
        self.what, self.fix = what, fix


class ContractWarning(UserWarning):
    """Something that a contract advises against; see :class:`BreachError`."""

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(f"{what}\n    fix: {fix}")
        self.what, self.fix = what, fix


def require(holds: object, what: str, fix: str) -> None:
    """Raise :class:`BreachError` unless something holds."""
    if not holds:
        raise BreachError(what, fix)


def advise(holds: object, what: str, fix: str) -> None:
    """Warn unless something holds."""
    if not holds:
        warnings.warn(ContractWarning(what, fix), stacklevel=3)


def skip(why: str) -> None:
    """Leave the test: there is nothing that it could look at."""
    raise unittest.SkipTest(why)


@contextmanager
def doing(what: str, fix: str) -> Iterator[None]:
    """Around code of a plugin: what it raises is a :class:`BreachError` contract, chained from its exception."""
    try:
        yield
    except (KeyboardInterrupt, BreachError, unittest.SkipTest):
        raise
    except BaseException as error:
        raise BreachError(f"{what} raised {type(error).__name__}: {safe_text(error, 600)}", fix) from error


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Global generators that begin with ``seed``; they, and torch's settings, are put back."""
    import random

    with learning_kept():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        yield


class Contract:
    """Base of contracts. Subclass one in a test module, say what it is about in attributes, and pytest runs it."""

    #: What a finding is about, in a word or two.
    about = "contract"


def tests_of(contract: type[Any]) -> list[str]:
    """Names of the test methods of a class, those of its bases first, in the order in which they are written."""
    names = dict.fromkeys(name for base in reversed(contract.__mro__) for name in vars(base))
    return [name for name in names if name.startswith("test_") and callable(getattr(contract, name))]


def findings_of(contract: type[Any], *, without: Collection[str] = (), label: str = "") -> Iterator[Finding]:
    """Run a contract's tests and yield what they find, each thing once.

    Args:
        contract: any class whose test methods need no fixtures.
        without: names of tests that are left out.
        label: whose contract it is, for tests that do not say so themselves.
    """
    about = getattr(contract, "about", contract.__name__.removesuffix("Contract"))
    holder = contract()
    seen: set[str] = set()
    for name in tests_of(contract):
        if name in without:
            continue
        for finding in _run(getattr(holder, name), about, f"{label}{contract.__name__}.{name}"):
            if finding.what not in seen:
                seen.add(finding.what)
                yield finding


def _run(test: Callable[[], object], about: str, place: str) -> list[Finding]:
    found: list[Finding] = []
    with warnings.catch_warnings(record=True) as told, seeded():
        warnings.simplefilter("always")
        try:
            test()
        except KeyboardInterrupt:
            raise
        except BreachError as error:
            found.append(Finding(about, "error", error.what, error.fix))
        except unittest.SkipTest as error:
            found.append(Finding(about, "note", f"not looked at: {error}", ""))
        except BaseException as error:
            found.append(_finding_of(error, about, place, test.__doc__ or ""))
    advice = [one.message for one in told if isinstance(one.message, ContractWarning)]
    return found + [Finding(about, "warning", one.what, one.fix) for one in advice]


def _finding_of(error: BaseException, about: str, place: str, doc: str) -> Finding:
    """What a bare assertion, or any other exception, says."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    says = safe_text(error, 600) or (last.line or "")
    rule = " ".join(doc.split())
    what = f"{place}: {type(error).__name__}: {says}"
    return Finding(about, "error", what, f"the contract says: {rule} (seen in {last.filename}:{last.lineno})")


# -- reports ----------------------------------------------------------------------------------------------------------


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
