"""Spec fields as JSON values: classes become import paths, spaces dicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import asdict

from rlkit_core.checkpoint import from_jsonable, register_json_type, to_jsonable
from rlkit_core.checkpoint.trust import class_ref, resolve_class
from rlkit_core.models.default_config import model_config_dict as plain_model_config
from rlkit_core.plugins.records import Component
from rlkit_core.spaces import space_from_json, space_to_json

CLASSES = frozenset(("module_class", "multi_rl_module_class", "catalog_class"))
SPACES = frozenset(("observation_space", "action_space"))


def encode_field(name: str, value: Any) -> Any:
    """Return one spec field as JSON values; None stays None.

    Raises:
        CheckpointError: the model config holds something JSON lacks, a live network say.
    """
    if value is None or name == "rl_module_specs":
        return None
    if name in CLASSES:
        return class_ref(value)
    if name in SPACES:
        return space_to_json(value)
    return to_jsonable(plain_model_config(value) if name == "model_config" else value)


def decode_field(name: str, value: object) -> Any:
    """Read what :func:`encode_field` gave; classes, spaces and other objects themselves pass through.

    Raises:
        CheckpointError: a class is not trusted or cannot be found.
    """
    if isinstance(value, str) and name in CLASSES:
        return resolve_class(value)
    if isinstance(value, Mapping) and name in SPACES:
        return space_from_json(dict(value))
    if isinstance(value, (dict, list)):
        return from_jsonable(value)
    return value


register_json_type(Component, "component", lambda record: asdict(record, recurse=False), lambda data: Component(**data))
