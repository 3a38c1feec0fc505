"""``rlkit new-plugin`` is held to what the core's commands are: help, completion, and one message at bad input."""

from __future__ import annotations

import pytest
from command_line import check_help, check_one_message, completed

NAMED = ["new-plugin", "acme-x", "--kind", "component"]
BAD = [
    (["new-plugin", "acme-x"], "Missing option '--kind'"),
    (
        ["new-plugin", "acme-x", "--kind", "widget"],
        "'widget' is not one of 'algorithm', 'component', 'api', 'frame",
    ),
    (["new-plugin", "acme x", "--kind", "api"], "Write 'acme-x'"),
    ([*NAMED, "--as", "Not This"], "--as gnn, say"),
    ([*NAMED, "--dir", "a.file"], "Name one: --dir FOLDER"),
    ([*NAMED, "--dir", "a.file/x"], "Name another folder: --dir FOLDER"),
    ([*NAMED, "--dir", "full"], "full holds something"),
    ([*NAMED, "--author", 'a"b'], "without double quotes"),
]


def test_help_teaches_by_examples_that_the_parser_takes():
    check_help("new-plugin")


@pytest.mark.parametrize(("words", "says"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_message(words, says, tmp_path, monkeypatch):
    (tmp_path / "a.file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    monkeypatch.chdir(tmp_path)
    check_one_message(words, says)


def test_completion_imports_no_torch(tmp_path):
    assert completed("rlkit new-plugin acme --kind a", home=tmp_path) == ["algorithm", "api"]
