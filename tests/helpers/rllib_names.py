"""The list of names that RLlib's documents have, and what became of each: ``tests/reference/names.json``."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

FILE = Path(__file__).resolve().parents[1] / "reference" / "names.json"


@frozen
class Name:
    """One name.

    Attributes:
        name: as RLlib has it, ``"RLModule.setup"``.
        kind: ``"class"``, ``"method"``, ``"attribute"``, ``"setting"``, ``"function"``, ``"constant"`` or ``"module"``.
        documents: numbers of the documents that name it.
        where: where it is here, ``"rlkit_core:RLModule.setup"``; of a refused one where it is asked for.
        status: ``"honoured"``: rlkit calls or uses what a subclass has in its place; ``"caller"``: it is for callers,
            who reach a subclass's; ``"refused"``: an error says what takes its place;
            ``"plugin"``: a distribution brings it, which an error names where it is not installed.
        instead: what takes the place of a refused one, or the distribution.
    """

    name: str
    kind: str
    documents: tuple[int, ...]
    where: str
    status: str
    instead: str | None = None

    @property
    def owner(self) -> str:
        """The class, or the name itself."""
        return self.name.partition(".")[0]

    def find(self) -> Any:
        """What it stands for here."""
        module, _, path = self.where.partition(":")
        value: Any = importlib.import_module(module)
        for part in filter(None, path.split(".")):
            value = getattr(value, part)
        return value


def read() -> tuple[list[str], list[Name]]:
    """Titles of the documents, and all names."""
    data = json.loads(FILE.read_text(encoding="utf-8"))
    return data["documents"], [Name(**{**entry, "documents": tuple(entry["documents"])}) for entry in data["names"]]


DOCUMENTS, NAMES = read()


def chosen(*, kinds: tuple[str, ...], status: str, only: Callable[[Name], bool] = lambda name: True) -> list[Any]:
    """Names of some kinds and a status, as parameters of a test."""
    return [pytest.param(n, id=n.name) for n in NAMES if n.kind in kinds and n.status == status and only(n)]


def has_called_methods(name: Name) -> bool:
    """Whether a name is of a class with methods that rlkit calls."""
    return any(n.owner == name.name and n.kind == "method" and n.status == "honoured" for n in NAMES)
