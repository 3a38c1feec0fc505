"""Every link of the documentation leads somewhere, and every page can be reached from the home page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("plugins/*/README.md")),
    *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts),
]
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?\)|<img[^>]* src=\"([^\"]+)\"")
FENCED = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)


def links(page: Path) -> Iterator[str]:
    """Where a page's links lead that stay among these files; what is in a block is no link."""
    for found in LINK.finditer(FENCED.sub("", page.read_text(encoding="utf-8"))):
        target = found[1] or found[2]
        if not re.match(r"\w+:", target):
            yield target


def anchors(page: Path) -> set[str]:
    """What the headings of a page are linked by."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead(page: Path) -> list[str]:
    """Links of a page that lead nowhere."""
    found = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_link_is_dead(page):
    assert dead(page) == []


def test_the_home_page_leads_everywhere():
    """By links that a reader sees; the table of contents at the side is no such."""
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in links(DOCS / "index.md")}
    pages = {page for page in PAGES if DOCS in page.parents} - {DOCS / "index.md"}
    assert sorted(str(page.relative_to(DOCS)) for page in pages - linked) == []


def test_dead_links_would_be_seen(tmp_path):
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# One, and `two`\n", encoding="utf-8")
    page.write_text(
        "# Here\n[a](other.md#one-and-two) [b](other.md#three) [c](gone.md) [d](#here) [e](https://x.org)\n"
        "```text\n[f](gone.md)\n```\n",
        encoding="utf-8",
    )
    assert dead(page) == ["other.md#three", "gone.md"]
