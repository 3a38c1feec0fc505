"""The page of the documentation about TensorFlow, whose own environment has none."""

from __future__ import annotations

from pathlib import Path

import doc_snippets as snippets

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_runs(tmp_path):
    text = (ROOT / "docs" / "how-to" / "use-tensorflow.md").read_text(encoding="utf-8")
    blocks = list(snippets.read_blocks(text))
    assert sum(block.language == "python" for block in blocks) == 5
    with snippets.Page("use-tensorflow.md", tmp_path) as page:
        for block in blocks:
            page.run(block)
