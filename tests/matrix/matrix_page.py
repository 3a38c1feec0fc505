"""The page of the docs that says which cells there are; ``python tests/matrix/matrix_page.py`` writes it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from cells import ALGORITHMS, MODELS, Cell, all_cells

from rlkit_core import get_algorithm_config
from rlkit_core.algorithm.config.declared import names_of

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "matrix.md"
TITLES = {
    "mlp": "vectors (MLP)",
    "cnn": "images (CNN)",
    "lstm": "LSTM",
    "composed": "composed (`Dict` of image and vector)",
}
HEAD = """# What each algorithm can take

<!-- Written by tests/matrix/matrix_page.py from what the algorithms declare; a test keeps it true. -->

Each "yes" is a cell that tests build, train for two iterations, save and restore, and evaluate, with and without an
action mask (whose env raises on an illegal action), in this process and with runners in processes; steps that are
recorded equal eager ones to the last bit. A third party's encoder and a learner with a loss of its own take the place
of an algorithm's own in every column, too.

"""


def page() -> str:
    """The page's text."""
    columns = [(model, agents) for agents in (False, True) for model in MODELS]
    titles = [f"{TITLES[model]}{', several agents' if agents else ''}" for model, agents in columns]
    lines = [f"| algorithm | {' | '.join(titles)} |", f"|---|{'---|' * len(titles)}"]
    for algorithm in ALGORITHMS:
        own = [cell for cell in all_cells() if cell.algorithm == algorithm]
        words = [_word([cell for cell in own if (cell.model, cell.multi_agent) == at]) for at in columns]
        lines.append(f"| `{algorithm}` | {' | '.join(words)} |")
    text = HEAD + "\n".join(lines) + "\n\n## Spaces\n\n| algorithm | observations | actions |\n|---|---|---|\n"
    for algorithm in ALGORITHMS:
        config = get_algorithm_config(algorithm)
        kinds = (config.observation_spaces, config.action_spaces)
        seen, taken = (", ".join(f"`{name}`" for name in names_of(names)) for names in kinds)
        text += f"| `{algorithm}` | {seen} | {taken} |\n"
    return text


def _word(cells: list[Cell]) -> str:
    declared = [cell.is_declared for cell in cells]
    return "yes" if all(declared) else "no" if not any(declared) else "in part"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
