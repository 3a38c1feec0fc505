"""The page ``docs/reference/rllib-names.md``, made of the list of names: ``python tests/helpers/rllib_page.py``."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from rllib_names import DOCUMENTS, NAMES, Name

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "rllib-names.md"
INTRO = """# Names of RLlib's

<!-- Made by tests/helpers/rllib_page.py of tests/reference/names.json: `make reference`. -->

Who comes from RLlib finds classes, methods and attributes under the names that they have there; what scripts become is
told for [the new stack](../how-to/from-rllib.md) and [the old one](../how-to/from-rllib-policies.md). These are all
names in four pages of RLlib's documentation:
{documents}. What becomes of each:

- *used*: put a class, method, attribute or value of your own in its place, and rlkit uses that one: while it builds,
  trains, acts, saves or restores.
- *yours to call*: it is there for who has the object; rlkit itself does not call it, and a subclass's is what you get.
- *override ... instead*: it is there to be called; a subclass that overrides it is refused where it is defined, with an
  `OverrideError`, as nothing would come of it.
- *use ... instead*: it is not here; importing it is an `ImportError` that says what is.
- *with ...*: it is there once that distribution is installed; before, asking for it is a `PluginNotFoundError` that
  says so.

A test holds each row true: what is used is seen to be, in a run; what is not raises, and names what takes its place.
"""
STATUS = {"honoured": "used", "caller": "yours to call"}
SAID = {
    "no mark": "leave it out: no mark is needed",
    "the member's class": "override it in the member's class instead",
    "the same for all": "an override is refused: the same for all, by which checkpoints are found",
    "the parameters themselves": "an override is refused: the parameters themselves are the keys",
}
PREFIX = {"tf_distributions": "models.tf.", "torch_distributions": "models.torch."}


def becomes(name: Name) -> str:
    """The last cell of a row."""
    if name.status == "plugin":
        return f"with `{name.instead}`"
    if name.status != "refused":
        return STATUS[name.status]
    instead = name.instead or ""
    if " " in instead:
        return SAID[instead]
    verb = "override" if name.kind == "method" and name.owner not in ABSENT else "use"
    return f"{verb} `{instead}` instead"


def row(name: Name) -> str:
    """One line of the table."""
    gone = name.status == "refused" and (name.kind in ("class", "module") or name.owner in ABSENT)
    gone = gone or name.name == "MultiRLModule.build"
    here = "" if gone else f"`{name.where.replace(':', '.')}`"
    call = "()" if name.kind in ("method", "function") else ""
    return f"| `{PREFIX.get(name.name, '')}{name.name}{call}` | {here} | {becomes(name)} |"


ABSENT = {name.name for name in NAMES if name.kind == "class" and name.status == "refused"}


def page() -> str:
    """The text of the page."""
    listed = ", ".join(DOCUMENTS[:-1]) + f" and {DOCUMENTS[-1]}"
    parts = [INTRO.format(documents=listed), "## Classes with members", ""]
    alone = []
    for owner, names in groupby(NAMES, key=lambda name: name.owner):
        rows = [row(name) for name in names]
        if len(rows) == 1:
            alone += rows
            continue
        parts += [f"### {owner}", "", "| RLlib's name | here | what becomes of it |", "|---|---|---|", *rows, ""]
    parts += ["## Other names", "", "| RLlib's name | here | what becomes of it |", "|---|---|---|", *alone]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
