"""Checkpoints: safetensors for arrays, JSON for the rest, written atomically, never a pickle."""

from __future__ import annotations

from rlkit_core.checkpoint.checkpointable import Checkpointable
from rlkit_core.checkpoint.jsonable import PassAtLoad, from_jsonable, function_ref, register_json_type, to_jsonable
from rlkit_core.checkpoint.saved_component import SavedComponent, get_checkpoint_info, read_snapshot
from rlkit_core.checkpoint.segments import Segment
from rlkit_core.checkpoint.thinning import BULKY
from rlkit_core.checkpoint.tree import load_tree, save_tree
from rlkit_core.checkpoint.trust import class_ref, resolve_class
from rlkit_core.errors import CheckpointNotFoundError

__all__ = [
    "BULKY",
    "CheckpointNotFoundError",
    "Checkpointable",
    "PassAtLoad",
    "SavedComponent",
    "Segment",
    "class_ref",
    "from_jsonable",
    "function_ref",
    "get_checkpoint_info",
    "load_tree",
    "read_snapshot",
    "register_json_type",
    "resolve_class",
    "save_tree",
    "to_jsonable",
]
