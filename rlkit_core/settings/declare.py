"""How a setting is declared: one attrs field line, from which everything else about it is made.

``setting(default, section=..., help=...)`` in an ``@attrs.define`` subclass of
:class:`~rlkit_core.settings.Settings` gives attribute access, the check and conversion whenever it is set, the keyword
argument of its section's fluent method, the entry in a config's JSON, and the line in ``help()``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from rlkit_core.settings.converters import Converter, Schema, copy_containers, schema_of, taken

METADATA_KEY: Final = "rlkit_setting"
Validator = Callable[[Any, "attrs.Attribute[Any]", Any], object]


class _Unset:
    """Stands for "leave this setting as it is" in signatures."""

    def __repr__(self) -> str:
        return "unset"

    def __bool__(self) -> bool:
        return False


UNSET: Final = _Unset()


@attrs.frozen
class Setting:
    """What is known about one setting of a class: what :func:`setting` was given, and what the class adds.

    Attributes:
        name: as written in the fluent method and in ``config[name]``.
        attribute: the attrs field that holds the value (``_name`` where ``name`` is a derived property).
        spelled: its name in its section's fluent method; ``name`` everywhere else.
        type: the declared type, as text.
    """

    default: Any
    section: str
    help: str
    converter: Converter | None = None
    validator: Validator | None = None
    only: tuple[Any, ...] | None = None
    only_why: str = ""
    aliases: tuple[str, ...] = ()
    short: str = ""
    needs: str = ""
    name: str = ""
    attribute: str = ""
    type: str = "Any"

    @property
    def spelled(self) -> str:
        """The short name, where there is one."""
        return self.short or self.name

    def make_default(self) -> Any:
        """The default, a new object where it is mutable."""
        return self.default.factory() if isinstance(self.default, attrs.Factory) else self.default  # type: ignore[arg-type]

    @property
    def takes(self) -> str:
        """What it takes, as an annotation."""
        return (self.converter and taken(self.converter)) or self.type

    @property
    def schema(self) -> Schema:
        """The JSON Schema of what it takes, with its meaning; it refuses nothing that the setting takes."""
        return {"description": self.help, **schema_of(self.converter)}

    def declared(self) -> Any:
        """The attrs field that declares it."""
        return attrs.field(default=self.default, kw_only=True, metadata={METADATA_KEY: self})


def setting(
    default: object = None,
    *,
    section: str = "",
    help: str,
    converter: Converter | None = None,
    validator: Validator | Sequence[Validator] | None = None,
    only: Sequence[object] | None = None,
    only_why: str = "",
    aliases: Sequence[str] = (),
    short: str = "",
    needs: str = "",
) -> Any:
    """Declare one setting of a class (an attrs field).

    Args:
        default: value where the user says nothing; a dict or list is copied for each config.
        section: the fluent method that takes it; required in a class that has such methods.
        help: one line for ``help(config.training)`` and the docs.
        converter: function from the given value to the stored one; its ValueError or TypeError becomes a
            ``ConfigError`` that names the setting. See :func:`integer`, :func:`number`, :func:`one_of` and others.
        validator: attrs validator or a list of them, run on the converted value.
        only: values that can be honoured at present; any other is refused by ``validate()``, not when set.
        only_why: the reason for ``only``.
        aliases: other names that mean this setting (accepted with a note).
        short: its name in the section's fluent method, where the section says the rest:
            ``checkpointing(keep=3)`` of ``config.checkpoint_keep``.
        needs: the setting without which this one changes nothing (where that is None, False, 0 or empty), which is said
            of a config that sets this one alone.

    Example:
        >>> import attrs
        >>> @attrs.define
        ... class Toy(Settings):
        ...     beta: float = setting(0.5, help="A toy.", converter=number(ge=0))
        >>> Toy(beta=1).beta
        1.0
    """
    if isinstance(validator, Sequence):
        validator = attrs.validators.and_(*validator)
    honoured = tuple(only) if only is not None else None
    others = tuple(aliases)
    declaration = Setting(
        _fresh(default), section, help, converter, validator, honoured, only_why, others, short, needs
    )
    return declaration.declared()


def redeclare(config_class: type, name: str, default: object) -> Any:
    """The setting ``name`` of a base class with another default, for a subclass.

    ``lr: float = redeclare(AlgorithmConfig, "lr", 3e-4)`` keeps section, help, converter and the rest.

    Raises:
        TypeError: the base class has no such setting.
    """
    known = vars(config_class).get("_known") or declared_settings(config_class)
    declaration = known.get(name)
    if declaration is None:
        raise TypeError(f"redeclare({config_class.__name__}, {name!r}): no setting of that name")
    return attrs.evolve(declaration, default=_fresh(default)).declared()


def _fresh(default: object) -> Any:
    """A default that is a new object each time, where it is a container."""
    if not isinstance(default, dict | list | set):
        return default
    unchanged = copy_containers(default)
    return attrs.Factory(lambda: copy_containers(unchanged))


def declared_settings(config_class: type) -> dict[str, Setting]:
    """All settings of a class by name, its base classes' first.

    Raises:
        TypeError: a class was not decorated, so that attrs never saw its settings.
    """
    undeclared = type(attrs.field())
    for owner in config_class.__mro__:
        for name, value in vars(owner).items():
            if isinstance(value, undeclared):
                raise TypeError(f"{owner.__name__}.{name}: decorate the class with @attrs.define")
    before: dict[str, Setting] = {}
    for owner in reversed(config_class.__mro__[1:]):
        before.update(vars(owner).get("_known", {}))
    declared: dict[str, Setting] = {}
    for attribute in attrs.fields(config_class) if attrs.has(config_class) else ():
        declaration = attribute.metadata.get(METADATA_KEY)
        if isinstance(declaration, Setting):
            name = attribute.alias or attribute.name
            if attribute.inherited and name in before:
                declared[name] = before[name]
                continue
            kind = attribute.type if isinstance(attribute.type, str) else getattr(attribute.type, "__name__", "Any")
            declared[name] = attrs.evolve(declaration, name=name, attribute=attribute.name, type=kind)
    return declared
