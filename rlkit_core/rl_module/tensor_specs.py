"""Input and output specs of forwards: which keys must be there, with which shape and dtype."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define

from rlkit_core.errors import SpecError
from rlkit_core.plugins.installed.variables import is_on

PHASES = ("exploration", "inference", "train")

#: A list of keys (a tuple is a path into nested dicts), or a (nested) mapping key -> TensorSpec, type or None.
Specs = Any


@define(init=False, repr=False, unsafe_hash=True)
class TensorSpec:
    """Shape and dtype of one array or tensor.

    Args:
        shape: axis names separated by commas (``"b, d"``), or a sequence of names and sizes. A name stands for one
            size throughout one check; ``"..."`` first stands for any leading axes.
        dtype: a numpy or torch dtype, or None for any.
        framework: ``"torch"``, ``"np"`` or None for any.
        **sizes: sizes of named axes, ``TensorSpec("b, h", h=64)``.

    Raises:
        ValueError: a size is given for an axis the shape does not name.
    """

    shape: tuple[str | int, ...]
    dtype: Any
    framework: str | None

    def __init__(
        self, shape: str | Sequence[str | int], *, dtype: Any = None, framework: str | None = None, **sizes: int
    ) -> None:
        names: list[str | int] = (
            [part.strip() for part in shape.split(",") if part.strip()] if isinstance(shape, str) else list(shape)
        )
        unknown = set(sizes) - {name for name in names if isinstance(name, str)}
        if unknown:
            raise ValueError(f"TensorSpec({shape!r}) names no axis {', '.join(sorted(unknown))}")
        self.shape = tuple(
            sizes.get(name, int(name) if name.isdigit() else name) if isinstance(name, str) else int(name)
            for name in names
        )
        self.dtype = dtype
        self.framework = framework

    def __repr__(self) -> str:
        dtype = f", dtype={self.dtype}" if self.dtype is not None else ""
        return f"TensorSpec('{', '.join(map(str, self.shape))}'{dtype})"

    def validate(self, value: Any, where: str = "value", sizes: dict[str, int] | None = None) -> None:
        """Check one array; ``sizes`` are the axis sizes seen so far in this check, and are filled in.

        Raises:
            SpecError: it is no array, or shape, dtype or framework differ; ``where`` is how the message calls it.
        """
        shape = getattr(value, "shape", None)
        if shape is None:
            raise SpecError(f"{where}: expected {self!r}, got {type(value).__name__}")
        if self.framework is not None:
            is_torch = type(value).__module__.partition(".")[0] == "torch" or hasattr(value, "requires_grad")
            if is_torch is not (self.framework == "torch"):
                raise SpecError(f"{where}: expected an array of {self.framework}, got {type(value).__name__}")
        if self.dtype is not None and not _same_dtype(self.dtype, value.dtype):
            raise SpecError(f"{where}: expected dtype {self.dtype}, got {value.dtype}")
        got = tuple(int(size) for size in shape)
        expected = self.shape
        tail = got
        if expected and expected[0] == "...":
            expected = expected[1:]
            tail = got[len(got) - len(expected) :] if len(got) >= len(expected) else got
        seen = sizes if sizes is not None else {}
        fits = len(tail) == len(expected)
        if fits:
            for axis, size in zip(expected, tail, strict=True):
                if isinstance(axis, int):
                    fits = fits and axis == size
                elif axis.strip("_"):
                    fits = fits and seen.setdefault(axis, size) == size
        if not fits:
            known = {axis: seen[axis] for axis in expected if isinstance(axis, str) and axis in seen}
            note = f" with {', '.join(f'{k}={v}' for k, v in known.items())}" if known else ""
            raise SpecError(f"{where}: expected shape ({', '.join(map(str, self.shape))}){note}, got {got}")


class AnyOf:
    """At least one of several keys."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys


def check_specs(specs: Specs, data: object, where: str) -> None:
    """Check ``data`` against ``specs``.

    Args:
        specs: keys, nested keys, a (nested) mapping to ``TensorSpec``, type or None, or None for no check.
        data: the batch or the forward's output.
        where: how the message calls it, ``"input of MyModule.forward_train"``.

    Raises:
        SpecError: something is missing or differs.
    """
    if specs is None:
        return
    if not isinstance(data, Mapping):
        raise SpecError(f"{where}: expected a dict, got {type(data).__name__}")
    if isinstance(specs, AnyOf):
        if not any(key in data for key in specs.keys):
            raise SpecError(f"{where}: expected one of the keys {', '.join(specs.keys)}, got {_keys(data)}")
    elif isinstance(specs, Mapping):
        _check_mapping(specs, data, where, (), {})
    else:
        for entry in [specs] if isinstance(specs, str) else specs:
            _lookup(data, entry if isinstance(entry, tuple) else (entry,), where)


def wants_checks(module: Any, phase: str, base: type) -> bool:
    """Whether this phase's specs are checked: the class overrides them, or the model config or environment asks."""
    if module.model_config.get("always_check_shapes") or is_on(os.environ, "RLKIT_CHECK_SPECS"):
        return True
    names = (f"input_specs_{phase}", f"output_specs_{phase}", "_default_input_specs")
    return any(
        getattr(type(module), name, None) is not getattr(base, name)
        and not getattr(getattr(type(module), name), "describes_only", False)
        for name in names
    )


def _check_mapping(
    specs: Mapping[Any, Any], data: object, where: str, path: tuple[str, ...], sizes: dict[str, int]
) -> None:
    for key, spec in specs.items():
        here = (*path, *key) if isinstance(key, tuple) else (*path, key)
        value = _lookup(data, key if isinstance(key, tuple) else (key,), where, path)
        name = f"{where}, key {'/'.join(map(str, here))}"
        if spec is None:
            continue
        if isinstance(spec, Mapping):
            if not isinstance(value, Mapping):
                raise SpecError(f"{name}: expected a dict, got {type(value).__name__}")
            _check_mapping(spec, value, where, here, sizes)
        elif isinstance(spec, type):
            if not isinstance(value, spec):
                raise SpecError(f"{name}: expected {spec.__name__}, got {type(value).__name__}")
        else:
            spec.validate(value, name, sizes)


def _lookup(data: object, keys: Sequence[Any], where: str, path: tuple[str, ...] = ()) -> Any:
    for depth, key in enumerate(keys):
        if not isinstance(data, Mapping) or key not in data:
            full = "/".join(map(str, (*path, *keys[: depth + 1])))
            raise SpecError(f"{where}: expected key {full}, got {_keys(data)}")
        data = data[key]
    return data


def _keys(data: object) -> str:
    if not isinstance(data, Mapping):
        return type(data).__name__
    return "keys " + (", ".join(map(str, data)) or "none")


def _same_dtype(expected: object, got: object) -> bool:
    return expected == got or str(expected).rpartition(".")[2] == str(got).rpartition(".")[2]
