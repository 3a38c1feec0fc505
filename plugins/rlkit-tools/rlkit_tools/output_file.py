"""The file that a command writes: refused at once where it cannot be written, not after minutes of work."""

from __future__ import annotations

import os
from pathlib import Path

import click


class OutputFile(click.Path):
    """An option's or argument's type: a file to write, of some kinds, in a folder that is there or can be made.

    Args:
        *kinds: the endings of its name, ``".mp4"``; any unless given.
    """

    def __init__(self, *kinds: str) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)
        self.kinds = kinds

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """The path; fails with what is wrong with it, and makes nothing."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if self.kinds and path.suffix not in self.kinds:
            self.fail(f"{path}: the name has to end in {' or '.join(self.kinds)}", param, ctx)
        above = next(folder for folder in path.absolute().parents if folder.exists())
        if not above.is_dir():
            self.fail(f"{path}: {above} is a file, so nothing can be written below it; name another place", param, ctx)
        if not os.access(above, os.W_OK):
            self.fail(f"{path}: {above} cannot be written to; name another place", param, ctx)
        return path
