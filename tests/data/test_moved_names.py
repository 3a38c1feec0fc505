"""Names that left ``rlkit_core.data``: asking for one says what to install and what to import."""

from __future__ import annotations

import pytest

import rlkit_core.data
from rlkit_core.plugins.known_packages import MOVED_NAMES


@pytest.mark.parametrize("name", MOVED_NAMES)
def test_a_name_that_left_says_where_it_is(name):
    said = f"pip install rlkit-offpolicy, then from rlkit_offpolicy import {name}$"
    with pytest.raises(ImportError, match=said):
        exec(f"from rlkit_core.data import {name}", {})
    with pytest.raises(ImportError, match=said):
        getattr(rlkit_core.data, name)


def test_names_that_never_were_are_missing_as_usual():
    assert not hasattr(rlkit_core.data, "no_such_name")
    assert "ReplayBuffer" in MOVED_NAMES
