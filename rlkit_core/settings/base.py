"""What every class of settings does with them: check, convert, remember which were set, copy, compare."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import attrs

from rlkit_core.errors import ConfigError, UnknownSettingError
from rlkit_core.settings.converters import copy_containers
from rlkit_core.settings.declare import METADATA_KEY, UNSET, Setting, declared_settings
from rlkit_core.settings.other_names import OtherNames

SettingsT = TypeVar("SettingsT", bound="Settings")

# What attrs would write into each decorated subclass; a method of the class itself keeps it from doing so.
_WRITTEN_HERE = ("__init__", "__setattr__", "__eq__", "__ne__", "__hash__", "__repr__", "__getstate__", "__setstate__")


class _ConstructorSignature:
    """The signature that ``help()`` shows of a class: its settings, as they are declared."""

    def __get__(self, instance: object, owner: type[Settings]) -> inspect.Signature:
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return inspect.Signature(
            [
                inspect.Parameter(item.name, kind, default=item.make_default(), annotation=item.type)
                for item in owner.known_settings().values()
            ]
        )


@attrs.define(slots=False, auto_attribs=False)
class Settings:
    """Settings that are checked and converted when they are set, each value once.

    A subclass is decorated with ``@attrs.define`` and declares each setting with :func:`setting`. A value reaches an
    instance through the constructor, an attribute or :meth:`change`; all of them end in :meth:`change`, which checks
    every name and every value before it stores the first.

    A subclass may set the class attributes ``other_names`` (what to say about names from elsewhere), ``none_is_unset``
    (None takes a setting back instead of being a value) and ``setting_error`` (for a value that is refused).
    """

    other_names: ClassVar[OtherNames] = OtherNames()
    none_is_unset: ClassVar[bool] = False
    setting_error: ClassVar[type[ValueError]] = ConfigError

    __signature__ = _ConstructorSignature()
    _known: ClassVar[dict[str, Setting]]
    _defaults: ClassVar[dict[str, Any]]
    _set_names: set[str]

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        for name in _WRITTEN_HERE:
            if name not in cls.__dict__:
                setattr(cls, name, getattr(cls, name))

    @classmethod
    def __attrs_init_subclass__(cls) -> None:
        for attribute in attrs.fields(cls):
            declared = METADATA_KEY in attribute.metadata or attribute.name.startswith("_")
            if not attribute.inherited and not declared:
                raise TypeError(
                    f"{cls.__name__}.{attribute.name}: declare settings with rlkit_core.settings.setting(default, "
                    "section=..., help=...)"
                )
        cls.known_settings()

    def __init__(self, *args: Any, **settings: Any) -> None:
        object.__setattr__(self, "_set_names", set())
        for attribute, default in self._default_values().items():
            object.__setattr__(self, attribute, copy_containers(default))
        if args or settings:
            self.change({**self._by_position(args, settings), **settings})

    @classmethod
    def _by_position(cls, args: tuple[Any, ...], settings: Mapping[str, Any]) -> dict[str, Any]:
        names = list(cls.known_settings())
        if len(args) > len(names):
            raise TypeError(f"{cls.__name__}() takes at most {len(names)} arguments, got {len(args)}")
        twice = [name for name in names[: len(args)] if name in settings]
        if twice:
            raise TypeError(f"{cls.__name__}() got {twice[0]!r} by position and by name")
        return dict(zip(names, args, strict=False))

    def _default_values(self) -> dict[str, Any]:
        """What is stored of settings that are not set, converted once for each class (by an unpickled one, perhaps)."""
        if "_defaults" not in type(self).__dict__:
            known = self.known_settings()
            given = {name: item.make_default() for name, item in known.items()}
            type(self)._defaults = {
                known[name].attribute: value if value is None and self.none_is_unset else self.converted(name, value)
                for name, value in given.items()
            }
        return self._defaults

    @classmethod
    def known_settings(cls) -> dict[str, Setting]:
        """All settings of this class by name, its base classes' first."""
        if "_known" not in cls.__dict__:
            cls._known = declared_settings(cls)
        return cls._known

    @classmethod
    def beyond(cls, base: type[Settings]) -> list[Setting]:
        """The settings that another class does not have, or has with another default."""
        theirs = base.known_settings()
        return [
            item
            for name, item in cls.known_settings().items()
            if name not in theirs or theirs[name].make_default() != item.make_default()
        ]

    # Setting

    @classmethod
    def setting_name(cls, name: str, *, section: str | None = None, note: bool = True) -> str:
        """The setting that ``name``, given to the fluent method ``section``, means; ``note`` warns about an older name.

        Raises:
            UnknownSettingError: none; the message suggests one, or says what replaces a dropped setting.
        """
        known = cls.known_settings()
        if name in known:
            return name
        meant = next((key for key, item in known.items() if name in item.aliases), None)
        meant = meant or cls.other_names.renamed.get(name, name)
        if meant not in known:
            where = f"{cls.__name__}.{section}()" if section else cls.__name__
            raise UnknownSettingError(f"{where} has no setting {name!r}.{cls._hint(name, section)}")
        if note:
            warnings.warn(f"{name!r} is an older name of {meant!r}; taken as that", UserWarning, stacklevel=6)
        return meant

    @classmethod
    def _hint(cls, name: str, section: str | None) -> str:
        return cls.other_names.hint(name, cls.known_settings())

    def converted(self, name: str, value: object) -> Any:
        """The value that would be stored for the setting ``name``.

        Raises:
            ConfigError: the setting refuses the value; the message names both.
        """
        item = self.known_settings()[name]
        try:
            result = item.converter(value) if item.converter is not None else value
            if item.validator is not None:
                item.validator(self, attrs.fields_dict(type(self))[item.attribute], result)
        except (ValueError, TypeError) as error:
            shown = " ".join(repr(value).split())
            shown = shown if len(shown) <= 120 else shown[:117] + "..."
            kind = type(error) if isinstance(error, ConfigError) else self.setting_error
            where = item.section or type(self).__name__
            raise kind(f"{where}({item.spelled}={shown}): {error}") from None
        return result

    def change(self: SettingsT, settings: Mapping[str, Any], *, section: str | None = None) -> SettingsT:
        """Set several settings by name, or none of them; ``section`` is the fluent method that they were given to.

        Older names are taken with a note, :data:`UNSET` leaves a setting alone.

        Raises:
            UnknownSettingError: a name that is no setting (a KeyError too).
            ConfigError: a value that a setting refuses; nothing was changed then.
        """
        chosen: dict[str, Any] = {}
        for name, value in settings.items():
            if value is UNSET:
                continue
            meant = self.setting_name(name, section=section)
            if self.none_is_unset and None in (value, chosen.get(meant, UNSET)):
                value = chosen.get(meant) if value is None else value
            elif meant in chosen:
                where = section or type(self).__name__
                raise ConfigError(f"{where}(): {name!r} means {meant!r}, which is given too; keep one of them")
            chosen[meant] = value
        unset = {name for name, value in chosen.items() if value is None and self.none_is_unset}
        stored = {name: self.converted(name, value) for name, value in chosen.items() if name not in unset}
        known = self.known_settings()
        for name in unset:
            attribute = known[name].attribute
            object.__setattr__(self, attribute, copy_containers(self._default_values()[attribute]))
        for name, value in stored.items():
            object.__setattr__(self, known[name].attribute, value)
        self._set_names.difference_update(unset)
        self._set_names.update(stored)
        return self

    def __setattr__(self, name: str, value: object) -> None:
        if name.startswith("_") and name not in self.known_settings():
            object.__setattr__(self, name, value)
            return
        try:
            self.change({name: value})
        except UnknownSettingError as error:
            if "Did you mean" in str(error):  # a slip of the pen, and no setting that somebody forgot to declare
                raise
            shown = repr(value) if isinstance(value, int | float | str | list | dict | None) else "None"
            kind = type(value).__name__ if shown != "None" else "Any"
            raise UnknownSettingError(
                f"{error} A subclass, decorated with @attrs.define, declares one of its own by a line in its body: "
                f"{name}: {kind} = setting({shown}, {self._where_declared()}help='...')"
            ) from None

    def _where_declared(self) -> str:
        """How a declaration says where it belongs, as an example."""
        return ""

    # What was set

    def set_by_user(self) -> set[str]:
        """Names of the settings that were set since this was made (presets leave these alone)."""
        return set(self._set_names)

    def count_as_set(self, names: set[str]) -> None:
        """Let exactly these settings count as set, whatever was set so far."""
        object.__setattr__(self, "_set_names", set(names))

    def set_fields(self) -> dict[str, Any]:
        """The settings that were set, with their values, which keep their identity."""
        known = self.known_settings()
        return {name: getattr(self, known[name].attribute) for name in known if name in self._set_names}

    def stored(self, name: str) -> Any:
        """The stored value of a setting, where the attribute of that name is derived from it."""
        return getattr(self, self.known_settings()[name].attribute)

    def stored_values(self) -> dict[str, Any]:
        """Every setting with its stored value; containers are copied, what they hold is not."""
        return {name: copy_containers(getattr(self, item.attribute)) for name, item in self.known_settings().items()}

    # Copying and comparing

    def copy(self: SettingsT) -> SettingsT:
        """A twin whose containers are copied at every depth; what they hold (modules, spaces) stays the same object."""
        twin = object.__new__(type(self))
        twin.__setstate__({name: copy_containers(value) for name, value in self.__getstate__().items()})
        return twin

    def __copy__(self: SettingsT) -> SettingsT:
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        # Values of settings may lie in slots, everything else lies in the dict.
        values = {item.attribute: getattr(self, item.attribute) for item in self.known_settings().values()}
        return {**self.__dict__, **values}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def diff(self, other: Settings) -> dict[str, tuple[Any, Any]]:
        """Settings whose stored values differ: ``{name: (here, there)}``; a missing one is :data:`UNSET`."""
        here, there = self.stored_values(), other.stored_values()
        pairs = {name: (here.get(name, UNSET), there.get(name, UNSET)) for name in [*here, *there]}
        return {name: pair for name, pair in pairs.items() if not equal(*pair)}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Settings):
            return NotImplemented
        return type(self) is type(other) and not self.diff(other)

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        shown = (
            f"{name}={value.__name__ if isinstance(value, type) else repr(value)}"
            for name, value in self.set_fields().items()
        )
        return f"{type(self).__name__}({', '.join(shown)})"


def equal(one: object, other: object) -> bool:
    """Equality that compares containers by value and arrays whole, and never raises."""
    if one is other:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        pairs = zip(one, other, strict=False)
        return type(one) is type(other) and len(one) == len(other) and all(equal(a, b) for a, b in pairs)
    if isinstance(one, float) and isinstance(other, float) and one != one and other != other:
        return True
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    try:
        result = one == other
        return bool(result.all()) if hasattr(result, "all") else bool(result)
    except Exception:
        return False
