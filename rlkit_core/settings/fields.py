"""How a setting is declared: one attrs field line, checked whenever it is set.

A setting of an algorithm (the core's or a plugin's) is ``setting(default, section=..., help=...)`` in an
``@attrs.define`` subclass of ``AlgorithmConfig``. That one line gives the keyword argument of the section's
fluent method, attribute access, validation, the entry in ``config.json`` and the line in ``help()``.
"""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

METADATA_KEY: Final = "rlkit_setting"

SECTIONS: Final[dict[str, str]] = {
    "api_stack": "Which generation of the API is used; there is only the new one.",
    "framework": "The tensor framework; torch.",
    "environment": "The environment, its spaces and how its actions and rewards are treated.",
    "env_runners": "How experience is collected.",
    "learners": "How the modules are updated.",
    "resources": "What the machine gives to this run.",
    "training": "The algorithm's own numbers.",
    "rl_module": "The networks.",
    "multi_agent": "Modules, and which agent uses which.",
    "evaluation": "Evaluation with the deterministic policy beside training.",
    "reporting": "What ``train()`` reports, and how much work one call does.",
    "callbacks": "Functions called once an iteration or less.",
    "checkpointing": "Checkpoints.",
    "debugging": "Seed and log level.",
    "fault_tolerance": "What happens when something dies.",
    "experimental": "Settings that may change.",
    "execution": "Where runners and learners live.",
}

POSITIONAL: Final[dict[str, str]] = {
    "framework": "framework",
    "environment": "env",
    "callbacks": "callbacks_class",
}
"""Sections whose method takes its first setting by position too, as RLlib's does."""

Converter = Callable[[Any], Any]


class _Unset:
    """Stands for "leave this setting as it is" in signatures."""

    def __repr__(self) -> str:
        return "unset"

    def __bool__(self) -> bool:
        return False


UNSET: Final = _Unset()


@attrs.frozen
class Setting:
    """What is known about one setting of a config class.

    Attributes:
        name: as written in the fluent method and in ``config[name]``.
        attribute: the attrs field that holds the value (``_name`` where ``name`` is a derived property).
        section: the fluent method it belongs to.
        help: one line for people.
        default: the default value (a fresh one from :meth:`make_default`).
        converter: turns a given value into the stored one; raises ValueError or TypeError.
        validator: attrs-style ``(config, attribute, value)``, run after the converter.
        only: the values this version can honour, or None for all; checked by ``validate()``.
        only_why: why, and what to do.
        type: the declared type, as text.
    """

    name: str
    attribute: str
    section: str
    help: str
    default: Any
    converter: Converter | None
    validator: Callable[[Any, Any, Any], Any] | None
    only: tuple[Any, ...] | None
    only_why: str
    type: str

    def make_default(self) -> Any:
        """The default, a new object where it is mutable."""
        return self.default.factory() if isinstance(self.default, attrs.Factory) else self.default  # type: ignore[arg-type]


def setting(
    default: Any = None,
    *,
    section: str,
    help: str,
    converter: Converter | None = None,
    validator: Any = None,
    only: Sequence[Any] | None = None,
    only_why: str = "",
    aliases: Sequence[str] = (),
) -> Any:
    """Declare one setting of an ``AlgorithmConfig`` subclass (an attrs field).

    Args:
        default: value where the user says nothing; a dict or list is copied for each config.
        section: the fluent method that takes it: a key of :data:`SECTIONS`.
        help: one line for ``help(config.training)`` and the docs.
        converter: function from the given value to the stored one; its ValueError or TypeError becomes a
            ``ConfigError`` that names the setting. See :func:`integer`, :func:`number`, :func:`one_of` and
            others.
        validator: attrs validator or a list of them, run on the converted value.
        only: values that can be honoured at present; any other is refused by ``validate()``, not when set.
        only_why: the reason for ``only``.
        aliases: other names that mean this setting (accepted with a note).

    Example:
        >>> import attrs
        >>> @attrs.define
        ... class Toy:
        ...     beta: float = setting(0.5, section="training", help="A toy.", converter=number(ge=0))
        >>> attrs.fields(Toy).beta.metadata["rlkit_setting"]["section"]
        'training'
    """
    if section not in SECTIONS:
        raise TypeError(f"setting(section={section!r}): expected one of {', '.join(SECTIONS)}")
    if isinstance(default, dict | list | set):
        frozen_default = default
        default = attrs.Factory(lambda: copy_containers(frozen_default))
    if isinstance(validator, list | tuple):
        validator = attrs.validators.and_(*validator)
    record = {
        "section": section,
        "help": help,
        "converter": converter,
        "validator": validator,
        "only": tuple(only) if only is not None else None,
        "only_why": only_why,
        "aliases": tuple(aliases),
    }
    return attrs.field(default=default, kw_only=True, metadata={METADATA_KEY: record})


def redeclare(config_class: type, name: str, default: Any) -> Any:
    """The setting ``name`` of a base config class with another default, for a subclass.

    ``lr: Any = redeclare(AlgorithmConfig, "lr", 3e-4)`` keeps section, help, converter and the rest.

    Raises:
        TypeError: the base class has no such setting.
    """
    for attribute in attrs.fields(config_class):
        if attribute.alias == name and METADATA_KEY in attribute.metadata:
            return setting(default, **attribute.metadata[METADATA_KEY])
    raise TypeError(f"redeclare({config_class.__name__}, {name!r}): no setting of that name")


def settings_of(config_class: type) -> dict[str, Setting]:
    """All settings of a config class by name, its base classes' first. Kept per class."""
    cached = config_class.__dict__.get("_rlkit_settings")
    if cached is not None:
        return dict(cached)
    found: dict[str, Setting] = {}
    for attribute in attrs.fields(config_class):
        record = attribute.metadata.get(METADATA_KEY)
        if record is None:
            continue
        keep = {key: value for key, value in record.items() if key != "aliases"}
        found[attribute.alias or attribute.name] = Setting(
            name=attribute.alias or attribute.name,
            attribute=attribute.name,
            default=attribute.default,
            type=attribute.type if isinstance(attribute.type, str) else getattr(attribute.type, "__name__", "Any"),
            **keep,
        )
    config_class._rlkit_settings = found  # type: ignore[attr-defined]
    return dict(found)


def aliases_of(config_class: type) -> dict[str, str]:
    """Names that settings of this class declare as aliases, each with the setting's name."""
    return {
        alias: attribute.alias or attribute.name
        for attribute in attrs.fields(config_class)
        for alias in attribute.metadata.get(METADATA_KEY, {}).get("aliases", ())
    }


def copy_containers(value: Any) -> Any:
    """Copy dicts, lists and sets at every depth; everything inside keeps its identity."""
    if type(value) is dict:
        return {key: copy_containers(item) for key, item in value.items()}
    if type(value) is list:
        return [copy_containers(item) for item in value]
    if type(value) is set:
        return set(value)
    return value


# Converters. Each returns a function that gives the stored value, or raises ValueError saying what was expected.


def boolean(value: Any) -> bool:
    """True or False (numpy's too), nothing that is merely truthy."""
    if isinstance(value, bool):
        return value
    if type(value).__name__ in ("bool", "bool_") and type(value).__module__ == "numpy":
        return bool(value)
    raise ValueError("expected True or False")


def optional(converter: Converter) -> Converter:
    """None, or what ``converter`` takes."""

    def convert(value: Any) -> Any:
        if value is None:
            return None
        try:
            return converter(value)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{error} (or None)") from None

    return convert


def integer(*, ge: int | None = None, le: int | None = None) -> Converter:
    """A whole number within bounds; ``1e5`` counts as whole, True does not."""
    what = "a whole number" + _bounds(ge, le, None)

    def convert(value: Any) -> int:
        whole = isinstance(value, numbers.Integral) or (isinstance(value, numbers.Real) and _is_whole(value))
        if isinstance(value, bool) or not whole:
            raise ValueError(f"expected {what}")
        result = int(value)
        if (ge is not None and result < ge) or (le is not None and result > le):
            raise ValueError(f"expected {what}")
        return result

    return convert


def number(*, ge: float | None = None, le: float | None = None, gt: float | None = None) -> Converter:
    """A finite real number within bounds, stored as float."""
    what = "a number" + _bounds(ge, le, gt)

    def convert(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ValueError(f"expected {what}")
        result = float(value)
        low = (ge is not None and result < ge) or (gt is not None and result <= gt)
        if not math.isfinite(result) or low or (le is not None and result > le):
            raise ValueError(f"expected {what}")
        return result

    return convert


def one_of(*choices: Any) -> Converter:
    """One of the given values."""
    text = ", ".join(repr(choice) for choice in choices)

    def convert(value: Any) -> Any:
        for choice in choices:
            if type(value) is type(choice) and value == choice:
                return choice
        raise ValueError(f"expected one of {text}")

    return convert


def either(*converters: Converter) -> Converter:
    """What the first fitting of ``converters`` makes of the value."""

    def convert(value: Any) -> Any:
        reasons = []
        for converter in converters:
            try:
                return converter(value)
            except (ValueError, TypeError) as error:
                reasons.append(str(error).removeprefix("expected "))
        raise ValueError("expected " + ", or ".join(reasons))

    return convert


def schedule(*, ge: float | None = None, le: float | None = None) -> Converter:
    """A number, or ``[[env_step, value], ...]``: linear in between, constant after the last.

    The list has at least two pairs, starts at step 0, and its steps grow.
    """
    one = number(ge=ge, le=le)
    bounds = _bounds(ge, le, None)

    def convert(value: Any) -> float | list[list[float]]:
        if not isinstance(value, list | tuple):
            try:
                return float(one(value))
            except ValueError:
                raise ValueError(f"expected a number{bounds} or a list [[step, value], ...]") from None
        pairs: list[list[float]] = []
        for pair in value:
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise ValueError(f"expected pairs [step, value], got {pair!r}")
            pairs.append([int(integer(ge=0)(pair[0])), float(one(pair[1]))])
        if len(pairs) < 2:
            raise ValueError(f"a schedule needs at least two [step, value] pairs, got {len(pairs)}")
        if pairs[0][0] != 0:
            raise ValueError(f"a schedule starts at step 0, this one at {pairs[0][0]}")
        if any(after[0] <= before[0] for before, after in itertools.pairwise(pairs)):
            raise ValueError(f"the steps of a schedule must grow, got {[pair[0] for pair in pairs]}")
        return pairs

    return convert


def mapping(value: Any) -> dict[str, Any]:
    """A dict with string keys, copied (the values inside keep their identity)."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError("expected a dict")
    wrong = [key for key in value if not isinstance(key, str)]
    if wrong:
        raise ValueError(f"expected string keys, got {wrong[0]!r}")
    return {key: copy_containers(item) for key, item in value.items()}


def _bounds(ge: float | None, le: float | None, gt: float | None) -> str:
    parts = [f"{sign} {bound}" for sign, bound in ((">=", ge), (">", gt), ("<=", le)) if bound is not None]
    return " " + " and ".join(parts) if parts else ""


def _is_whole(value: Any) -> bool:
    return math.isfinite(value) and float(value).is_integer()
