"""Checkpoints that have become older: what is large and only of use in the newest one is taken out of them."""

from __future__ import annotations

import os
from pathlib import Path

from rlkit_core.checkpoint import files, strict_json
from rlkit_core.checkpoint.saved_component import directory_name, read_metadata
from rlkit_core.errors import CheckpointError

BULKY = "bulky"
"""Entry of a component's ``metadata.json``: a run may keep it in its newest checkpoint alone."""


def thin(checkpoint: str | os.PathLike[str]) -> list[str]:
    """Take the bulky components out of a checkpoint; it then says that they were left out.

    At every moment the checkpoint is complete, with them or without.

    Returns:
        Their names.

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged.
        OSError: it cannot be written; it is as it was, perhaps with a folder that nothing names.
    """
    directory = Path(checkpoint)
    metadata = read_metadata(directory)
    names = [name for name in metadata["components"] if _is_bulky(directory / directory_name(name))]
    if names:
        left_out = metadata.get("left_out")
        metadata["components"] = [name for name in metadata["components"] if name not in names]
        metadata["left_out"] = [*(left_out if isinstance(left_out, list) else []), *names]
        files.replace_file(directory / files.METADATA_FILE, strict_json.dumps(metadata))
        for name in names:
            files.remove_directory(directory / directory_name(name))
    return names


def _is_bulky(directory: Path) -> bool:
    try:
        return read_metadata(directory).get(BULKY) is True
    except CheckpointError:
        return False
