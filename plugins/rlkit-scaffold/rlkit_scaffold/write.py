"""A new plugin's files: the template, filled in by copier."""

from __future__ import annotations

from pathlib import Path

from rlkit_core.errors import ConfigError
from rlkit_scaffold.answers import Answers

TEMPLATE = Path(__file__).parent / "template"


def write_plugin(answers: Answers, folder: str | Path) -> list[Path]:
    """Write a new plugin into a folder, which is made where there is none; return the files.

    Raises:
        ConfigError: the folder is a file, holds something, or cannot be made.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        seen = "holds something" if folder.is_dir() else "is a file"
        raise ConfigError(f"{folder} {seen}: a new plugin needs a new or an empty folder. Name one: --dir FOLDER")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}. Name another folder: --dir FOLDER") from error
    from copier import run_copy

    run_copy(str(TEMPLATE), folder, data=answers.for_template(), defaults=True, quiet=True)
    return sorted(path for path in folder.rglob("*") if path.is_file())
