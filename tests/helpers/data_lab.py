"""A package with a config class of its own, and data files beside it, as an algorithm's distribution has them."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

MODULE = """
import attrs
from rlkit_core.algorithm import AlgorithmConfig
from rlkit_core.settings import setting
@attrs.define
class LabConfig(AlgorithmConfig):
    beta: int = setting(1, section="training", help="A setting.")
"""


@contextmanager
def data_lab(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, files: Mapping[str, Any]) -> Iterator[Any]:
    """The package ``name`` in ``folder``, imported, with ``{file name: JSON in it}`` and a package ``deep``."""
    package = folder / name
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text(MODULE)
    (package / "deep" / "__init__.py").write_text("")
    for file, content in files.items():
        (package / file).write_text(json.dumps(content))
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    try:
        yield importlib.import_module(name)
    finally:
        for one in [one for one in sys.modules if one.partition(".")[0] == name]:
            del sys.modules[one]
