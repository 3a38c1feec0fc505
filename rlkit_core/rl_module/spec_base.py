"""The common ground of both specs: fields that know whether they were set."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

from rlkit_core.errors import UnknownSettingError, did_you_mean
from rlkit_core.rl_module.model_config import plain_model_config
from rlkit_core.rl_module.spec_json import encode_field


class FieldsSpec:
    """Fields with class-level defaults, of which an instance stores only those that were set.

    None is never stored: it means "not set" for every field. That is what merging goes by, so that ``False``, ``0`` and
    ``{}`` count when someone wrote them.
    """

    _FIELDS: ClassVar[tuple[str, ...]] = ()
    _ALIASES: ClassVar[Mapping[str, str]] = {}

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, **fields: Any) -> None:
        for name, value in fields.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        name = self._ALIASES.get(name, name)
        if name not in self._FIELDS:
            known = [*self._FIELDS, *self._ALIASES]
            raise UnknownSettingError(f"{type(self).__name__} has no field {name!r}.{did_you_mean(name, known)}")
        if value is None:
            self.__dict__.pop(name, None)
        else:
            self.__dict__[name] = self._convert(name, value)

    def _convert(self, name: str, value: Any) -> Any:
        return value

    def set_fields(self) -> dict[str, Any]:
        """Return the fields that were set, with their values."""
        return {name: self.__dict__[name] for name in self._FIELDS if name in self.__dict__}

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: classes as import paths, spaces as dicts; None for fields that are not set."""
        return {name: encode_field(name, self.__dict__.get(name)) for name in self._FIELDS}

    def copy(self) -> Any:
        """Copy one level deep: dicts are new, the values in them (networks, say) are the same objects."""
        new = copy.copy(self)
        for name, value in new.__dict__.items():
            if isinstance(value, dict):
                new.__dict__[name] = dict(value)
        return new

    def _comparable(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self._FIELDS}
        values["model_config"] = plain_model_config(values["model_config"])
        return values

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        mine, theirs = self._comparable(), other._comparable()
        return all(_same(mine[name], theirs[name]) for name in self._FIELDS)

    def __repr__(self) -> str:
        shown = (
            f"{name}={value.__name__ if isinstance(value, type) else repr(value)}"
            for name, value in self.set_fields().items()
        )
        return f"{type(self).__name__}({', '.join(shown)})"


def _same(mine: Any, theirs: Any) -> bool:
    if mine is theirs:
        return True
    try:
        return bool(mine == theirs)
    except (ValueError, RuntimeError):  # arrays in a model config
        return False
