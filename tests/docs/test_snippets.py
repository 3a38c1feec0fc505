"""Every code block of README.md and docs/ does what the page says."""

from __future__ import annotations

from pathlib import Path

import doc_snippets as snippets
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("plugins/*/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
PAGES = [page for page in PAGES if "_build" not in page.parts]
#: Needs TensorFlow, and is run by the tests of that plugin.
PAGES.remove(ROOT / "docs" / "how-to" / "use-tensorflow.md")
SLOW = {
    "docs/how-to/add-an-executor.md",
    "docs/how-to/check-a-plugin.md",
    "docs/how-to/compare-runs.md",
    "docs/how-to/compose-an-api-mixin.md",
    "docs/how-to/customize-the-learner.md",
    "docs/how-to/debug-a-plugin.md",
    "docs/how-to/export-a-policy.md",
    "docs/how-to/record-a-video.md",
    "docs/how-to/run-in-processes.md",
    "docs/how-to/several-seeds.md",
    "docs/how-to/train-with-several-learners.md",
    "docs/how-to/tune.md",
    "docs/how-to/write-each-kind.md",
    "docs/tutorial/api-mixin.md",
    "docs/tutorial/deployment.md",
    "docs/tutorial/memory-and-masks.md",
    "docs/tutorial/off-policy-algorithm.md",
    "docs/tutorial/on-policy-algorithm.md",
    "docs/tutorial/own-env.md",
    "docs/tutorial/publish-a-plugin.md",
    "plugins/rlkit-graph/README.md",
    "plugins/rlkit-processes/README.md",
    "plugins/rlkit-rnd/README.md",
}
"""Pages that start many processes, or learn for longer: `make test-slow` runs them."""


def runnable(page: Path) -> bool:
    blocks = snippets.read_blocks(page.read_text(encoding="utf-8"))
    return any(block.language in ("python", "console") and "not run" not in block.marks for block in blocks)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name_of(page), marks=[pytest.mark.slow] if name_of(page) in SLOW else [])
        for page in PAGES
        if runnable(page)
    ],
)
def test_page(page, tmp_path):
    with snippets.Page(name_of(page), tmp_path) as runner:
        for block in snippets.read_blocks(page.read_text(encoding="utf-8")):
            runner.run(block)


def test_the_main_pages_are_run():
    names = {name_of(page) for page in PAGES if runnable(page)}
    assert {"README.md", "docs/tutorial/encoder-plugin.md", "docs/tutorial/first-run.md"} <= names
    assert "docs/how-to/configure-ppo.md" in names
    assert names >= SLOW  # each is still there


def run_text(text: str, folder: Path) -> None:
    with snippets.Page("page.md", folder) as runner:
        for block in snippets.read_blocks(text):
            runner.run(block)


def test_blocks_share_a_namespace_and_files_are_written(tmp_path):
    text = "```python\n# pkg/one.py\nx = 2\n```\n\n```python\ny = 3\n```\n\nWords.\n\n"
    text += "```python\nfrom pathlib import Path\nassert y == 3 and Path('pkg/one.py').exists()\n```\n"
    run_text(text, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
        ("<!-- raises: KeyError -->\n```python\nx = 1\n```\n", "was not raised"),
        ("<!-- raises: KeyError -->\n```python\n1 / 0\n```\n", "ZeroDivisionError"),
        ("```console\n$ echo 'one two'\none  three\n```\n", "missing: one  three"),
        ("```console\n$ exit 3\n```\n", "exit status 3"),
    ],
)
def test_a_page_that_is_wrong_fails(text, message, tmp_path):
    with pytest.raises(AssertionError, match=message):
        run_text(text, tmp_path)


def test_marks_and_output(tmp_path):
    text = "<!-- not run: it would never end -->\n```python\nraise SystemExit\n```\n"
    text += "<!-- raises: ArithmeticError -->\n\n```python\n1 / 0\n```\n"
    text += "<!-- exits: 1 -->\n```console\n$ echo 'took 17 s'; false  # a remark\ntook … s\n```\n"
    run_text(text, tmp_path)
