"""The JSON Schema of a config file, as ``--config`` takes it, for one algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import fields_dict

from rlkit_core.cli.given import NESTED
from rlkit_core.run.stop import Stop

if TYPE_CHECKING:
    from rlkit_core.algorithm.config.config import AlgorithmConfig

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_ANY_OBJECT: dict[str, Any] = {"type": "object"}


def config_schema(config_class: type[AlgorithmConfig], algo: str) -> dict[str, Any]:
    """A schema that every file validates against that ``--config`` takes, older names of settings aside.

    Args:
        config_class: of the algorithm.
        algo: its name.
    """
    from rlkit_core.models.default_config import DefaultModelConfig

    known = config_class.known_settings()
    defined = {name: item.schema for name, item in known.items()}
    networks = {name: item.schema for name, item in DefaultModelConfig.known_settings().items()}
    defined["model_config"] = {**_ANY_OBJECT, "description": known["model_config"].help, "properties": networks}
    sections = {name: _section(config_class, name) for name in config_class.sections()}
    sections["plugin"] = {**_ANY_OBJECT, "additionalProperties": _ANY_OBJECT}
    named = {name: {"$ref": f"#/$defs/{name}"} for name in known}
    both = {name: {"anyOf": [named[name], sections[name]]} for name in sections if name in named}
    limits = {"return" if name == "return_mean" else name for name in fields_dict(Stop)}
    nested = "|".join((*NESTED, "rl_module_spec", "plugin"))
    return {
        "$schema": DRAFT,
        "title": f"A run of {algo}",
        "type": "object",
        "properties": {
            **named,
            **sections,
            **both,
            "$schema": {"type": "string"},
            "algo": {"type": "string", "description": "The algorithm, as on the command line."},
            "env": {"type": "string", "description": "The environment, as on the command line."},
            "evaluate": {"type": "integer", "minimum": 1, "description": "Episodes of the evaluation that decides."},
            "stop": {
                **_ANY_OBJECT,
                "properties": {name: {"type": "number"} for name in sorted(limits)},
                "additionalProperties": False,
            },
        },
        "patternProperties": {f"^({nested})\\..": {}},
        "additionalProperties": False,
        "$defs": defined,
    }


def _section(config_class: type[AlgorithmConfig], name: str) -> dict[str, Any]:
    section, known = config_class.sections()[name], config_class.known_settings()
    taken = {item.spelled: item.name for item in section.settings_of(config_class)}
    taken |= {item.name: item.name for item in section.settings_of(config_class)}
    taken |= {also: also for also in section.also if also in known}
    return {
        **_ANY_OBJECT,
        "description": section.meaning,
        "properties": {spelled: {"$ref": f"#/$defs/{meant}"} for spelled, meant in taken.items()},
        "additionalProperties": bool(section.others),
    }
