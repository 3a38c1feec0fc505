"""The core's tests need the core alone; where that is all there is, those of the whole workspace are left out."""

from __future__ import annotations

import importlib.util

import pytest

collect_ignore = (
    [] if importlib.util.find_spec("rlkit_ppo") else ["benchmarks", "budgets", "docs", "exact", "matrix", "reference"]
)

#: Folders whose files take longest: begun first, so that at the end of a run no process is left alone with one.
LONGEST = ("tests/exact/", "tests/docs/", "tests/wheels/", "plugins/rlkit-processes/", "plugins/rlkit-ppo/", "plugins/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, in the order of :data:`LONGEST`; the others as they are."""
    items.sort(
        key=lambda item: next((k for k, part in enumerate(LONGEST) if item.nodeid.startswith(part)), len(LONGEST))
    )
