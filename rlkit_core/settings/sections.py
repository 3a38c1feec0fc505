"""Settings in sections, each with a fluent method that takes its settings by name and returns the config."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from rlkit_core.errors import UnknownSettingError
from rlkit_core.settings.base import Settings, equal
from rlkit_core.settings.declare import UNSET, Setting

ConfigT = TypeVar("ConfigT", bound="SectionedSettings")


class section:  # noqa: N801 - stands where a method would
    """A fluent method of a config: takes the settings of one section by name and returns the config.

    Signature and docstring come from the class it is looked up on, so that ``help(PPOConfig.training)`` has a plugin's.

    Args:
        meaning: what the section is about, one sentence.
        positional: the setting that may be given by position too.
        also: settings of other sections that it takes as well.
        others: whose settings others that it takes are; the config's ``change()`` sees to them.
    """

    name = ""

    def __init__(
        self, meaning: str, *, positional: str | None = None, also: tuple[str, ...] = (), others: str = ""
    ) -> None:
        self.meaning, self.positional, self.also, self.others = meaning, positional, also, others

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, config: SectionedSettings | None, owner: type[SectionedSettings]) -> Callable[..., Any]:
        """The method, bound to ``config`` when there is one."""

        def method(config: SectionedSettings, /, *args: object, **settings: object) -> SectionedSettings:
            return config.change(self._by_name(owner, args, settings), section=self.name)

        known = sorted(self.settings_of(owner), key=lambda item: item.name != self.positional)
        first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        signature = inspect.Signature([first, *(self._parameter(item.spelled) for item in known)])
        method.__signature__ = signature  # type: ignore[attr-defined]
        method.__name__ = self.name
        method.__qualname__ = f"{owner.__name__}.{self.name}"
        method.__doc__ = self._doc(known)
        return method if config is None else MethodType(method, config)

    def settings_of(self, owner: type[SectionedSettings]) -> list[Setting]:
        """The settings of this section that a class has."""
        return [item for item in owner.known_settings().values() if item.section == self.name]

    def _by_name(self, owner: type, args: tuple[Any, ...], settings: dict[str, Any]) -> dict[str, Any]:
        if not args:
            return settings
        first = self.positional
        if first is None or len(args) > 1 or first in settings:
            takes = f"at most one positional argument ({first})" if first else "keyword arguments only"
            raise TypeError(f"{owner.__name__}.{self.name}() takes {takes}, got {args!r}")
        return {first: args[0], **settings}

    def _parameter(self, name: str) -> inspect.Parameter:
        positional = name == self.positional
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if positional else inspect.Parameter.KEYWORD_ONLY
        return inspect.Parameter(name, kind, default=UNSET)

    def _doc(self, known: list[Setting]) -> str:
        lines = [f"{self.meaning}\n\nOnly what is given changes; returns the config.\n"]
        if known:
            lines.append("Args:")
            for item in known:
                lines.append(f"    {item.spelled} ({item.type}): {item.help} Default: {item.make_default()!r}.")
        if self.others:
            lines.append(f"    **others: settings of {self.others}.")
        return "\n".join(lines) + "\n"


class SectionedSettings(Settings):
    """Settings that belong to sections, can be read and set like a mapping, and can be frozen."""

    _is_frozen = False
    _sections: ClassVar[dict[str, section]]

    @classmethod
    def __attrs_init_subclass__(cls) -> None:
        super().__attrs_init_subclass__()
        for item in cls.known_settings().values():
            if item.section not in cls.sections():
                raise TypeError(
                    f"{cls.__name__}.{item.name}: setting(section={item.section!r}): expected one of "
                    f"{', '.join(cls.sections())}"
                )

    @classmethod
    def sections(cls) -> dict[str, section]:
        """The sections of this class by name."""
        if "_sections" not in cls.__dict__:
            cls._sections = {
                name: value
                for owner in reversed(cls.__mro__)
                for name, value in vars(owner).items()
                if isinstance(value, section)
            }
        return cls._sections

    @classmethod
    def setting_name(cls, name: str, *, section: str | None = None, note: bool = True) -> str:
        """As :meth:`Settings.setting_name`; a setting of another section than ``section`` is refused."""
        if section is not None:
            for item in cls.sections()[section].settings_of(cls):
                if item.short == name:
                    return item.name
        meant = super().setting_name(name, section=section, note=note)
        home = cls.known_settings()[meant].section
        if section is not None and meant == name and home != section and name not in cls.sections()[section].also:
            raise UnknownSettingError(
                f"{cls.__name__}.{section}() does not take {name!r}: it belongs to {home}({name}=...)"
            )
        return meant

    @classmethod
    def _hint(cls, name: str, section: str | None) -> str:
        hint = super()._hint(name, section)
        if hint or section is None:
            return hint
        local = [item.spelled for item in cls.sections()[section].settings_of(cls)]
        return f" Settings of {section}(): {', '.join(local)}." if local else f" {section}() has none yet."

    def _where_declared(self) -> str:
        return "section='training', "

    def change(self: ConfigT, settings: Mapping[str, Any], *, section: str | None = None) -> ConfigT:
        """As :meth:`Settings.change`.

        Raises:
            AttributeError: it is frozen.
        """
        if self._is_frozen and settings:
            raise AttributeError(
                f"{type(self).__name__} is frozen, so {next(iter(settings))!r} cannot be set; change a copy: "
                "config.copy(copy_frozen=False)"
            )
        return super().change(settings, section=section)

    def __setattr__(self, name: str, value: object) -> None:
        if self._is_frozen:
            self.change({name: value})
        super().__setattr__(name, value)

    if not TYPE_CHECKING:  # a type checker knows the settings, and finds an unknown one itself

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            gone = self.other_names.methods.get(name)
            if gone is not None:
                raise UnknownSettingError(f"{type(self).__name__} has no method {name!r}: {gone}.")
            methods = [other for other in dir(type(self)) if not other.startswith("_")]
            hint = self.other_names.hint(name, [*self.known_settings(), *methods])
            raise UnknownSettingError(f"{type(self).__name__} has no setting or method {name!r}.{hint}")

    # The whole as a mapping

    def __getitem__(self, name: str) -> Any:
        """The effective value: ``config["lr"]`` is ``config.lr``."""
        return self._effective(self.setting_name(name))

    def __contains__(self, name: object) -> bool:
        return name in self.known_settings()

    def get(self, name: str, default: object = None) -> Any:
        """The effective value of a setting, or ``default`` where there is no such setting."""
        return self._effective(name) if name in self.known_settings() else default

    def _effective(self, name: str) -> Any:
        """``config.NAME``, or the stored value where that is a method (``framework``)."""
        return self.stored(name) if name in self.sections() else getattr(self, name)

    def keys(self) -> list[str]:
        """Names of all settings."""
        return list(self.known_settings())

    def items(self) -> list[tuple[str, Any]]:
        """All settings with their stored values."""
        return list(self.to_dict().items())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.known_settings())

    def to_dict(self) -> dict[str, Any]:
        """Every setting with its stored value; containers are copied, what they hold is not."""
        return self.stored_values()

    @classmethod
    def from_dict(cls: type[ConfigT], settings: Mapping[str, Any]) -> ConfigT:
        """A config with the given settings (as :meth:`to_dict` gives); those equal to a default count as unset."""
        config = cls()
        defaults = config.to_dict()
        return config.update_from_dict(
            {name: value for name, value in settings.items() if not equal(defaults.get(name, UNSET), value)}
        )

    def update_from_dict(self: ConfigT, settings: Mapping[str, Any]) -> ConfigT:
        """Set several settings by name; see :meth:`change`."""
        return self.change(settings)

    @classmethod
    def overrides(cls, **settings: object) -> dict[str, Any]:
        """Some settings as a dict, for ``algorithm_config_overrides_per_module`` or ``evaluation_config``.

        Raises:
            UnknownSettingError: a name that is no setting (a KeyError too).
        """
        return {cls.setting_name(name): value for name, value in settings.items()}

    # Freezing

    @property
    def is_frozen(self) -> bool:
        """Whether attributes can no longer be set."""
        return self._is_frozen

    def freeze(self) -> None:
        """Refuse every change from now on."""
        object.__setattr__(self, "_is_frozen", True)

    def copy(self: ConfigT, copy_frozen: bool | None = None) -> ConfigT:
        """As :meth:`Settings.copy`; ``copy_frozen`` says whether the copy is frozen, None keeps it as it is here."""
        twin = super().copy()
        if copy_frozen is not None:
            object.__setattr__(twin, "_is_frozen", copy_frozen)
        return twin
