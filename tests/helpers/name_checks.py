"""Checks that what a subclass, a field or a setting says is used: one function for one or several names."""

from __future__ import annotations

import functools
from collections.abc import Callable

CHECKS: dict[str, Callable[[], None]] = {}
"""A check that raises, for each name that it is about."""


def check(*names: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a function as the check of these names; it runs once."""

    def register(function: Callable[[], None]) -> Callable[[], None]:
        once = functools.cache(function)
        for name in names:
            owner, dot, member = name.partition(".")
            for one in member.split() if dot else [""]:
                full = f"{owner}.{one}" if one else owner
                assert full not in CHECKS, full
                CHECKS[full] = once
        return function

    return register
