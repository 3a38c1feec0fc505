"""The variables of a module, each under the path of attributes that leads to it, and what stands for one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from weakref import WeakValueDictionary

import keras
import numpy as np
import tensorflow as tf

#: Attributes of an RLModule that hold no networks.
_ASIDE: Final = frozenset({"config", "observation_space", "action_space", "model_config", "catalog", "action_dist_cls"})


class TfParameter:
    """What stands for a variable where the learner keeps parameters, as variables themselves are no keys of dicts.

    Two of one variable are the same object (see :func:`parameter_of`).

    Attributes:
        variable: of Keras, or a ``tf.Variable``.
    """

    def __init__(self, variable: Any) -> None:
        self.variable = variable

    @property
    def requires_grad(self) -> bool:
        """Whether it is trainable."""
        return bool(self.variable.trainable)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(self.variable.shape)

    @property
    def tensor(self) -> Any:
        """The ``tf.Variable`` that a tape watches."""
        return self.variable.value if isinstance(self.variable, keras.Variable) else self.variable

    def numel(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape))


_MADE: WeakValueDictionary[int, TfParameter] = WeakValueDictionary()


def parameter_of(variable: Any) -> TfParameter:
    """What stands for a variable, the same object each time; a :class:`TfParameter` for itself."""
    if isinstance(variable, TfParameter):
        return variable
    found = _MADE.get(id(variable))
    if found is None:  # it holds the variable, so no other can have that identity while it lives
        _MADE[id(variable)] = found = TfParameter(variable)
    return found


def is_variable(value: object) -> bool:
    """Whether it is one of Keras or TensorFlow."""
    return isinstance(value, keras.Variable | tf.Variable)


def named_variables(module: object) -> dict[str, Any]:
    """``{path: variable}`` of all that layers and variables in a module's attributes hold, ``"policy.0.kernel"``.

    Containers and the parts of layers are followed. A variable that several paths lead to is listed under each. Seeds
    of random layers and what metrics keep are no part of it.
    """
    roots = {name: value for name, value in vars(module).items() if name not in _ASIDE and not name.startswith("_")}
    return dict(_walk("", roots, ()))


def _walk(path: str, value: Any, above: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    if id(value) in above:
        return
    above = (*above, id(value))
    if is_variable(value):
        yield path, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _walk(_join(path, key), part, above)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _walk(_join(path, index), part, above)
    elif isinstance(value, keras.layers.Layer):
        yield from _layer(path, value, above)


def _layer(path: str, layer: Any, above: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    own = {id(variable): variable for variable in layer.weights}
    parts = {"": layer.layers} if isinstance(layer, keras.Model) else {}
    parts |= {name: part for name, part in vars(layer).items() if not name.startswith("_") and not is_variable(part)}
    for name, part in parts.items():
        for found, variable in _walk(_join(path, name) if name else path, part, above):
            if own.pop(id(variable), None) is not None:
                yield found, variable
    names = [variable.name for variable in own.values()]
    for index, variable in enumerate(own.values()):
        unique = names.count(variable.name) == 1
        yield _join(path, variable.name if unique else f"{index}.{variable.name}"), variable


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def unbuilt_layers(module: object) -> bool:
    """Whether a layer has no variables yet, as its first call makes them."""
    roots = [value for name, value in vars(module).items() if name not in _ASIDE and not name.startswith("_")]
    return any(not layer.built for layer in _layers(roots, ()))


def _layers(value: Any, above: tuple[int, ...]) -> Iterator[Any]:
    if id(value) in above:
        return
    above = (*above, id(value))
    if isinstance(value, keras.layers.Layer):
        yield value
        if isinstance(value, keras.Model):
            yield from _layers(value.layers, above)
        yield from _layers({name: part for name, part in vars(value).items() if not name.startswith("_")}, above)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _layers(part, above)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _layers(part, above)
