"""What every config does with its settings, whichever they are: check, remember, freeze, copy, compare."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

import attrs

from rlkit_core.errors import ConfigError, UnknownSettingError
from rlkit_core.settings.aliases import METHODS, RENAMED, unknown_name_hint
from rlkit_core.settings.fields import (
    METADATA_KEY,
    POSITIONAL,
    SECTIONS,
    UNSET,
    Setting,
    aliases_of,
    copy_containers,
    settings_of,
)

ConfigT = TypeVar("ConfigT", bound="SettingsBase")


class section_method:  # noqa: N801 - reads like the decorator it stands beside
    """A fluent method of a config: takes the settings of one section by name and returns the config.

    Its signature and docstring are made from the settings of the class it is looked up on, so a plugin's
    settings appear in ``help(PPOConfig.training)``.
    """

    def __init__(self, section: str) -> None:
        self.section = section

    def __get__(self, config: Any, owner: type[Any]) -> Callable[..., Any]:
        """The method, bound to ``config`` when there is one."""
        section = self.section

        if config is None:

            def method(config: Any, *args: Any, **settings: Any) -> Any:
                return config._set_section(section, args, settings)
        else:

            def method(*args: Any, **settings: Any) -> Any:  # type: ignore[misc]
                return config._set_section(section, args, settings)

        known = [item for item in settings_of(owner).values() if item.section == section]
        parameters = [] if config is not None else [_parameter("self", positional=True, default=False)]
        known.sort(key=lambda item: item.name != POSITIONAL.get(section))
        parameters += [_parameter(item.name, positional=item.name == POSITIONAL.get(section)) for item in known]
        method.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        method.__name__ = section
        method.__qualname__ = f"{owner.__name__}.{section}"
        method.__doc__ = _section_doc(section, known)
        return method


def _parameter(name: str, *, positional: bool, default: bool = True) -> inspect.Parameter:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if positional else inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=UNSET if default else inspect.Parameter.empty)


def _section_doc(section: str, known: list[Setting]) -> str:
    lines = [f"{SECTIONS[section]}\n\nOnly what is given changes; returns the config.\n"]
    if known:
        lines.append("Args:")
        for item in known:
            lines.append(f"    {item.name} ({item.type}): {item.help} Default: {item.make_default()!r}.")
    return "\n".join(lines) + "\n"


@attrs.define(slots=False, eq=False, repr=False)
class SettingsBase:
    """Settings that are checked when set; see :class:`~rlkit_core.algorithm.config.config.AlgorithmConfig`."""

    _ready: bool = attrs.field(default=False, init=False)
    _is_frozen: bool = attrs.field(default=False, init=False)
    _validated: bool = attrs.field(default=False, init=False)
    _user_set: set[str] = attrs.field(factory=set, init=False)
    _module_configs: dict[str, Any] = attrs.field(factory=dict, init=False)

    _rlkit_settings: ClassVar[dict[str, Setting]]

    @classmethod
    def __attrs_init_subclass__(cls) -> None:
        for attribute in cls.__dict__["__attrs_attrs__"]:
            if METADATA_KEY not in attribute.metadata and not attribute.name.startswith("_"):
                raise TypeError(
                    f"{cls.__name__}.{attribute.name}: declare settings with rlkit_core.settings.setting(default, "
                    "section=..., help=...)"
                )
        # attrs.define writes these for a subclass unless told not to; the base's are the right ones.
        for name in ("__setattr__", "__eq__", "__ne__", "__repr__"):
            code = getattr(cls.__dict__.get(name), "__code__", None)
            if code is not None and code.co_filename.startswith("<attrs generated"):
                delattr(cls, name)
        if cls.__dict__.get("__hash__", ()) is None:
            del cls.__hash__

    def __attrs_post_init__(self) -> None:
        for name, value in vars(type(self)).items():
            if type(value).__name__ == "_CountingAttr":
                raise TypeError(f"{type(self).__name__}.{name}: decorate the class with @attrs.define")
        for item in settings_of(type(self)).values():
            value = getattr(self, item.attribute)
            if not _equal(value, item.make_default()):
                self._user_set.add(item.name)
            object.__setattr__(self, item.attribute, self._checked(item, value))
        object.__setattr__(self, "_ready", True)

    # One value

    def _checked(self, item: Setting, value: Any) -> Any:
        """The value to store, or a ConfigError that names the setting."""
        try:
            result = item.converter(value) if item.converter is not None else value
            if item.validator is not None:
                item.validator(self, getattr(attrs.fields(type(self)), item.attribute), result)
        except (ValueError, TypeError) as error:
            shown = repr(value)
            shown = shown if len(shown) <= 120 else shown[:117] + "..."
            kind = type(error) if isinstance(error, ConfigError) else ConfigError
            raise kind(f"{item.section}({item.name}={shown}): {error}") from None
        return result

    def __setattr__(self, name: str, value: Any) -> None:
        if not self.__dict__.get("_ready", False):
            object.__setattr__(self, name, value)
            return
        if self._is_frozen:
            raise AttributeError(
                f"{type(self).__name__} is frozen, so {name!r} cannot be set; change a copy: "
                "config.copy(copy_frozen=False)"
            )
        known = settings_of(type(self))
        if name not in known and name.startswith("_"):
            object.__setattr__(self, name, value)
            return
        item = known[self._setting_name(name)]
        object.__setattr__(self, item.attribute, self._checked(item, value))
        object.__setattr__(self, "_validated", False)
        self._user_set.add(item.name)
        self._module_configs.clear()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name in METHODS:
            raise UnknownSettingError(f"{type(self).__name__} has no method {name!r}: {METHODS[name]}.")
        known = settings_of(type(self))
        methods = [other for other in dir(type(self)) if not other.startswith("_")]
        hint = unknown_name_hint(name, [*known, *methods])
        raise UnknownSettingError(f"{type(self).__name__} has no setting or method {name!r}.{hint}")

    @classmethod
    def _setting_name(cls, name: str, *, section: str | None = None, note: bool = True) -> str:
        """The setting that ``name`` means.

        Raises:
            UnknownSettingError: none; the message suggests one, or says what replaces a dropped setting.
        """
        known = settings_of(cls)
        meant = name
        if name not in known:
            meant = aliases_of(cls).get(name) or RENAMED.get(name, name)
        where = f"{cls.__name__}.{section}()" if section else cls.__name__
        if meant not in known:
            hint = unknown_name_hint(name, known)
            if not hint and section is not None:
                local = [item.name for item in known.values() if item.section == section]
                hint = f" Settings of {section}(): {', '.join(local)}." if local else f" {section}() has none yet."
            raise UnknownSettingError(f"{where} has no setting {name!r}.{hint}")
        if meant != name and note:
            warnings.warn(f"{name!r} is an older name of {meant!r}; taken as that", UserWarning, stacklevel=4)
        home = known[meant].section
        if section is not None and home != section and (section, meant) not in ALSO_IN and meant == name:
            raise UnknownSettingError(f"{where} does not take {name!r}: it belongs to {home}({name}=...)")
        return meant

    def _set_section(self: ConfigT, section: str, args: tuple[Any, ...], settings: dict[str, Any]) -> ConfigT:
        """What every fluent method does: check the names, then all values, then set them."""
        if args:
            first = POSITIONAL.get(section)
            if first is None or len(args) > 1 or first in settings:
                takes = f"at most one positional argument ({first})" if first else "keyword arguments only"
                raise TypeError(f"{type(self).__name__}.{section}() takes {takes}, got {args!r}")
            settings = {first: args[0], **settings}
        wanted: dict[str, Any] = {}
        for name, value in settings.items():
            if value is UNSET:
                continue
            meant = self._setting_name(name, section=section)
            if meant in wanted:
                raise ConfigError(f"{section}(): {name!r} means {meant!r}, which is given too; keep one of them")
            wanted[meant] = value
        known = settings_of(type(self))
        for name, value in wanted.items():
            self._checked(known[name], value)
        for name, value in wanted.items():
            setattr(self, name, value)
        return self

    # The whole as a mapping

    def __getitem__(self, name: str) -> Any:
        """The effective value: ``config["lr"]`` is ``config.lr``."""
        return self._effective(self._setting_name(name))

    def __contains__(self, name: object) -> bool:
        return name in settings_of(type(self))

    def get(self, name: str, default: Any = None) -> Any:
        """The effective value of a setting, or ``default`` where there is no such setting."""
        return self._effective(name) if name in settings_of(type(self)) else default

    def _effective(self, name: str) -> Any:
        """``config.NAME``, or the stored value where that is a method (``framework``)."""
        return getattr(self, settings_of(type(self))[name].attribute if name in SECTIONS else name)

    def keys(self) -> list[str]:
        """Names of all settings."""
        return list(settings_of(type(self)))

    def items(self) -> list[tuple[str, Any]]:
        """All settings with their stored values."""
        return list(self.to_dict().items())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def to_dict(self) -> dict[str, Any]:
        """Every setting with its stored value; containers are copied, what they hold is not."""
        return {item.name: copy_containers(getattr(self, item.attribute)) for item in settings_of(type(self)).values()}

    @classmethod
    def from_dict(cls: type[ConfigT], settings: Mapping[str, Any]) -> ConfigT:
        """A config with the given settings (as :meth:`to_dict` gives); those equal to a default count as unset."""
        config = cls()
        defaults = config.to_dict()
        config.update_from_dict(
            {
                name: value
                for name, value in settings.items()
                if name not in defaults or not _equal(defaults[name], value)
            }
        )
        return config

    def update_from_dict(self: ConfigT, settings: Mapping[str, Any]) -> ConfigT:
        """Set several settings by name.

        Raises:
            UnknownSettingError: a name that is no setting (a KeyError too).
            ConfigError: a value that a setting refuses; nothing was changed then.
        """
        known = settings_of(type(self))
        meant = {self._setting_name(name): value for name, value in settings.items()}
        for name, value in meant.items():
            self._checked(known[name], value)
        for name, value in meant.items():
            setattr(self, name, value)
        return self

    @classmethod
    def overrides(cls, **settings: Any) -> dict[str, Any]:
        """Some settings as a dict, for ``algorithm_config_overrides_per_module`` or ``evaluation_config``.

        Raises:
            UnknownSettingError: a name that is no setting (a KeyError too).
        """
        return {cls._setting_name(name): value for name, value in settings.items()}

    # Freezing, copying, comparing

    @property
    def is_frozen(self) -> bool:
        """Whether attributes can no longer be set."""
        return bool(self._is_frozen)

    def freeze(self) -> None:
        """Refuse every change from now on."""
        object.__setattr__(self, "_is_frozen", True)

    def copy(self: ConfigT, copy_frozen: bool | None = None) -> ConfigT:
        """A config with the same settings.

        Containers are copied at every depth; what they hold (modules, spaces, classes) stays the same object.

        Args:
            copy_frozen: whether the copy is frozen; None keeps it as it is here.
        """
        twin = object.__new__(type(self))
        for name, value in self.__dict__.items():
            object.__setattr__(twin, name, copy_containers(value))
        for attribute in attrs.fields(type(self)):
            object.__setattr__(twin, attribute.name, copy_containers(getattr(self, attribute.name)))
        object.__setattr__(twin, "_module_configs", {})
        if copy_frozen is not None:
            object.__setattr__(twin, "_is_frozen", copy_frozen)
        return twin

    def __copy__(self: ConfigT) -> ConfigT:
        return self.copy()

    def set_by_user(self) -> set[str]:
        """Names of the settings that were set since the config was made (presets leave these alone)."""
        return set(self._user_set)

    def diff(self, other: SettingsBase) -> dict[str, tuple[Any, Any]]:
        """Settings whose stored values differ: ``{name: (here, there)}``; a missing one is :data:`UNSET`."""
        here, there = self.to_dict(), other.to_dict()
        names = dict.fromkeys([*here, *there])
        pairs = {name: (here.get(name, UNSET), there.get(name, UNSET)) for name in names}
        return {name: pair for name, pair in pairs.items() if not _equal(*pair)}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SettingsBase):
            return NotImplemented
        return type(self) is type(other) and not self.diff(other)

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        known = settings_of(type(self))
        shown = ", ".join(
            f"{name}={getattr(self, known[name].attribute)!r}" for name in known if name in self._user_set
        )
        return f"{type(self).__name__}({shown})"


ALSO_IN = {
    ("training", "learner_class"),
    ("training", "learner_config_dict"),
    ("multi_agent", "algorithm_config_overrides_per_module"),
    ("training", "model_config"),
    ("resources", "num_learners"),
    ("resources", "num_gpus_per_learner"),
}
"""(section, setting) pairs that RLlib takes in a second place too."""


def _equal(one: Any, other: Any) -> bool:
    """Equality that compares containers by value and arrays whole, and never raises."""
    if one is other:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        pairs = zip(one, other, strict=False)
        return type(one) is type(other) and len(one) == len(other) and all(_equal(a, b) for a, b in pairs)
    if isinstance(one, float) and isinstance(other, float) and one != one and other != other:
        return True
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    try:
        result = one == other
        return bool(result.all()) if hasattr(result, "all") else bool(result)
    except Exception:
        return False
