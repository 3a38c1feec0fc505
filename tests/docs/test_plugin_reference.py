"""Everything of the plugin API has its text in the reference, with the arguments that it has, and a test."""

from __future__ import annotations

import re

import plugin_api
import pytest
from attrs import evolve
from plugin_api import ROOT, Entry, all_tests, covered, entries, first_cells, listed, mentioned, problems, read

PAGES = [ROOT / "README.md", *ROOT.glob("plugins/*/README.md"), *(ROOT / "docs").rglob("*.md")]
PAGES = sorted(page for page in PAGES if "_build" not in page.parts)
NAMED = {entry.id: entry for entry in entries()}
GROUPS = sorted({entry.group for entry in entries()})


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.id)
def test_the_reference_says_what_it_is(entry):
    assert list(problems(entry, read(entry.page))) == []


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.id)
def test_a_test_is_about_it(entry):
    assert all_tests().has(entry), f'no test is called after it or marked: @pytest.mark.covers("{entry.id}")'


def test_pages_write_calls_as_they_are():
    asked = [e for e in entries() if e.group in ("hook", "driver") and not e.name.endswith("_state")]  # others' too
    found = [
        f"{page.relative_to(ROOT)}: {problem}"
        for page in PAGES
        for text in [page.read_text(encoding="utf-8")]
        for entry in asked
        if entry.name in text
        for problem in mentioned(entry, text)
    ]
    assert found == []


def test_the_reference_lists_nothing_that_is_not_there():
    assert first_cells(read("environment"), re.compile("RLKIT_.*")) == names_of("variable")
    assert first_cells(read("entry-points"), re.compile(r"rlkit\.\w+|pytest11")) == names_of("group")
    shown = {thing.__name__ for thing in listed(read("errors"))}
    assert shown == names_of("error")


def test_marks_name_what_is_there():
    assert set(all_tests().marks) <= set(NAMED)


def test_there_is_something_of_every_group():
    assert GROUPS == ["driver", "error", "group", "hook", "record", "service", "state", "variable"]
    assert {"rlkit_checkpoint_migrate", "rlkit_services"} <= names_of("hook")
    assert {"NonFiniteError", "RLKitError", "RunEndedError"} <= names_of("error")


def names_of(group: str) -> set[str]:
    return {entry.name for entry in entries() if entry.group == group}


# -- it finds what is wrong -------------------------------------------------------------------------------------------

NEW = Entry("service", "logger", "hooks", ("run_dir", "config"))
HOOK = NAMED["hook:rlkit_train_result"]


@pytest.mark.parametrize(
    ("entry", "text", "problem"),
    [
        (NEW, "| `writer` | `x(y)` | made |", "no row for it"),
        (NEW, "| `logger` | | |", "an empty one"),
        (NEW, "| `logger` | `x(y)` | made as `(run_dir)` |", "made as (run_dir, config)"),
        (NAMED["state:found"], "`found` | ", "an empty one"),
        (HOOK, "", "does not list RLKitSpecs"),
        (HOOK, ".. autoclass:: rlkit_core.plugins.hookspecs.RLKitSpecs\n", "lists RLKitSpecs without it"),
        (HOOK, ".. autoclass:: rlkit_core.plugins.hookspecs.RLKitSpecs\n   :members: rlkit_heads\n", "without it"),
        (NAMED["error:SpecError"], ".. autoclass:: rlkit_core.errors.StateError\n", "does not list SpecError"),
        (evolve(NAMED["error:SpecError"], documented=(lambda: None, plugin_api)), "", "no docstring"),
    ],
)
def test_a_page_that_says_less_is_found(entry, text, problem):
    assert problem in "; ".join(problems(entry, text))


def test_what_is_right_is_not_found():
    assert not list(problems(NEW, "| `logger` | `x(y)` | made as `(run_dir, config)` |"))
    assert not list(problems(HOOK, ".. autoclass:: rlkit_core.plugins.hookspecs.RLKitSpecs\n   :members:\n"))


def test_arguments_that_are_none_are_found_in_texts():
    assert list(mentioned(HOOK, "`rlkit_train_result(view, result)` and def rlkit_train_result(result): ...")) == []
    assert list(mentioned(HOOK, "rlkit_train_result(), rlkit_train_result(...)")) == []
    assert "names algorithm" in next(mentioned(HOOK, "`rlkit_train_result(algorithm, result)`"))


def test_a_mark_a_name_and_an_expected_error_cover():
    by_name = covered(["def test_rlkit_train_result_is_called(host):\n    ..."])
    assert by_name.has(HOOK)
    assert not by_name.has(NAMED["hook:rlkit_heads"])
    by_mark = covered(['@pytest.mark.covers("state:found", "service:writer")\ndef test_x(): ...'])
    assert by_mark.has(NAMED["state:found"])
    assert not by_mark.has(NAMED["state:failed"])
    assert not covered(["def test_found(): ..."]).has(NAMED["state:found"])
    expected = covered(["    with pytest.raises((SpecError, StateError), match=''):\n"])
    assert expected.has(NAMED["error:StateError"])
    assert not expected.has(NAMED["error:EnvError"])
