"""The reference says what the code says, where pages are written by hand; what it lists has docstrings."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import model_config_page
import pytest

from rlkit_core import DefaultModelConfig
from rlkit_core.rl_module.apis.driver_contract import EVENTS

PAGES = sorted((Path(__file__).resolve().parents[2] / "docs" / "reference").glob("*.md"))
DIRECTIVE = re.compile(
    r"^\.\. (currentmodule|autoclass|autofunction):: ([\w.]+)\n(?: +:members: ?(.*)\n)?", re.MULTILINE
)
ROW = re.compile(r"^\| (`\w+`(?:, `\w+`)*) \| ([^|]*) \|", re.MULTILINE)
WORD = re.compile(r"`(\w+)`")


def listed(page: str) -> Iterator[tuple[object, str]]:
    """Classes and functions that a page documents, and the members that it names of each."""
    module = ""
    for directive, name, members in DIRECTIVE.findall(page):
        if directive == "currentmodule":
            module = name + "."
            continue
        home, _, attribute = (name if name.startswith("rlkit") else module + name).rpartition(".")
        documented = getattr(importlib.import_module(home), attribute)
        yield documented, ""
        yield from ((documented, member.strip()) for member in members.split(",") if member.strip())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_listed_has_a_docstring(page):
    silent = []
    for documented, member in listed(page.read_text(encoding="utf-8")):
        value = inspect.getattr_static(documented, member) if member else documented
        says = inspect.isroutine(value) or inspect.isclass(value) or isinstance(value, property | classmethod)
        if says and not getattr(value, "__func__", value).__doc__:
            silent.append(f"{documented.__qualname__}.{member}")
    assert silent == []


def test_drivers_are_as_their_contract_says():
    page = next(page for page in PAGES if page.stem == "drivers").read_text(encoding="utf-8")
    shown = {}
    before: tuple[str, ...] = ()
    for events, cell in ROW.findall(page):
        names = WORD.findall(events)
        for name, keywords in zip(names, cell.split(";") if len(names) > 1 else [cell], strict=True):
            given = tuple(re.findall(r"\w+", keywords.replace("`", "")))
            before = before if given == ("the", "same") else given
            shown[name] = () if given == ("none",) else before
    assert shown == {event: tuple(keywords) for event, keywords in EVENTS.items()}


def test_the_page_of_networks_settings_is_not_stale():
    page = next(page for page in PAGES if page.stem == "model-config").read_text(encoding="utf-8")
    assert page == model_config_page.page(), "make reference writes it anew"


def test_each_setting_of_networks_is_on_their_page_once():
    page = model_config_page.page().partition("## Defaults of algorithms")[0]
    keys = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(keys) == sorted(DefaultModelConfig.known_settings())
