"""The page of RLlib's names is what the list says."""

from __future__ import annotations

from rllib_page import PAGE, page


def test_the_page_is_not_stale():
    assert PAGE.read_text(encoding="utf-8") == page(), "make reference writes it anew"
