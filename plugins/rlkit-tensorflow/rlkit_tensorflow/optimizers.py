"""Keras optimizers as a learner keeps them, and clipping of gradients."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from attrs import define, field

from rlkit_core.errors import CheckpointError, ConfigError
from rlkit_core.learner.metrics import BlockKeys
from rlkit_core.learner.optim.clipping import CLIP_KINDS
from rlkit_core.learner.optim.schedule import Scheduler
from rlkit_tensorflow.variables import TfParameter

Gradients = dict[Any, Any]
"""What stands for a variable (:class:`TfParameter`), to its gradient."""
_LAYOUTS = itertools.count()


@define(eq=False)
class TfOptimizer:
    """One Keras optimizer and what it steps: what ``RegisteredOptimizer`` is for torch's.

    Attributes:
        name: ``"<module id>_<optimizer name>"``.
        module_id: the module it belongs to, or ``ALL_MODULES``.
        short_name: the name it was registered under.
        optimizer: the Keras optimizer.
        parameters: what it steps, in order.
        schedule: of its learning rate, by sampled env steps.
        torch_schedules: None.
        holders: for each parameter the ids of the modules that hold it.
        module_parameters: identities of the parameters that are modules'.
        rate_key: where its learning rate is logged.
        layout: another number whenever its parameters become others.
    """

    name: str
    module_id: str
    short_name: str
    optimizer: Any
    parameters: list[TfParameter]
    schedule: Scheduler | None
    torch_schedules: None = None
    holders: frozenset[frozenset[str]] = frozenset()
    module_parameters: set[int] = field(factory=set)
    rate_key: BlockKeys = field(init=False)
    layout: int = field(init=False, factory=_LAYOUTS.__next__)
    _begun_with: Any = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.rate_key = (((self.module_id, f"{self.short_name}_learning_rate"), "last"),)
        points = None if self.schedule is None else [list(point) for point in self.schedule.points]
        self._begun_with = points or get_lr(self.optimizer)
        if not self.optimizer.built:
            self.optimizer.build([parameter.variable for parameter in self.parameters])

    def owns(self, parameter: TfParameter) -> bool:
        """Whether it steps ``parameter``."""
        return any(own is parameter for own in self.parameters)

    def serves(self, module_ids: Collection[str]) -> bool:
        """Whether losses of ``module_ids`` reach all its parameters, as far as modules tell."""
        return all(any(mid in module_ids for mid in holders) for holders in self.holders)

    def flatten(self) -> None:
        """Nothing to prepare."""

    def look_again(self) -> bool:
        """Keras optimizers keep the variables that they were built with."""
        return False

    def apply(self, gradients: Gradients) -> None:
        """Step those of its parameters that have a gradient; others keep their values."""
        mine = [(gradients[p], p.variable) for p in self.parameters if p in gradients]
        if mine:
            self.optimizer.apply(*map(list, zip(*mine, strict=True)))

    def adopt(self, parameter: TfParameter, state: dict[str, Any]) -> None:
        """Refuse: a Keras optimizer cannot take on variables once it is built."""
        raise ConfigError(
            f"optimizer {self.name!r}: Keras optimizers take no further variables, and a module that shared some has "
            "gone; register an optimizer of ALL_MODULES for what modules share"
        )

    def release(self, parameters: Collection[TfParameter]) -> dict[TfParameter, dict[str, Any]]:
        """Give up parameters; their moments stay where they are, unused."""
        leaving = {id(parameter) for parameter in parameters}
        self.parameters = [parameter for parameter in self.parameters if id(parameter) not in leaving]
        self.layout = next(_LAYOUTS)
        return {}

    def get_state(self) -> dict[str, Any]:
        """``{"module_id", "variables": [array, ...], "begun_with"}``: iteration, learning rate and moments."""
        arrays = [np.array(variable.numpy()) for variable in self.optimizer.variables]
        return {"module_id": self.module_id, "variables": arrays, "begun_with": self._begun_with}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`get_state`; a learning rate that was registered with another value is kept.

        Raises:
            CheckpointError: the variables are not those of the state.
        """
        variables, arrays = self.optimizer.variables, [np.asarray(array) for array in state["variables"]]
        here, there = [tuple(v.shape) for v in variables], [array.shape for array in arrays]
        if here != there:
            raise CheckpointError(
                f"optimizer {self.name!r}: the state has variables of shapes {there}, expected {here}"
            )
        rate = get_lr(self.optimizer)
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
        if state.get("begun_with") != self._begun_with:
            set_lr(self.optimizer, rate)

    def follow_schedule(self) -> None:
        """Take the learning rate from the schedule."""
        if self.schedule is not None:
            set_lr(self.optimizer, self.schedule.get_current_value())


def default_optimizer(config: object) -> Any:
    """The Adam of parameters that nobody gives another optimizer; ``adam_epsilon`` of the config is its epsilon."""
    return keras.optimizers.Adam(1e-3, epsilon=float(getattr(config, "adam_epsilon", None) or 1e-8))


def check_optimizer(optimizer: object, parameters: object) -> None:
    """Raise ConfigError unless ``optimizer`` is Keras's and ``parameters`` is a list of variables' stand-ins."""
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise ConfigError(
            f"register_optimizer(optimizer=...): expected a keras.optimizers.Optimizer, got {type(optimizer).__name__}"
        )
    if not isinstance(parameters, Sequence) or not all(isinstance(p, TfParameter) for p in parameters):
        raise ConfigError("register_optimizer(params=...): expected a list of variables")


def set_lr(optimizer: Any, lr: float) -> None:
    """Set the learning rate; of an optimizer with a schedule of Keras's own it stays."""
    try:
        optimizer.learning_rate = lr
    except TypeError as error:  # "This optimizer instance was created with a LearningRateSchedule"
        raise ConfigError(
            f"the learning rate of {type(optimizer).__name__} is a schedule of Keras's: {error}"
        ) from None


def get_lr(optimizer: Any) -> float:
    """The learning rate now."""
    return float(np.asarray(optimizer.learning_rate))


def global_norm(gradients: Collection[Any]) -> Any:
    """The joint L2 norm of tensors."""
    return tf.linalg.global_norm(list(gradients))


def clip_gradients(gradients: Gradients, *, grad_clip: float | None, grad_clip_by: str) -> Gradients:
    """Clipped gradients.

    Args:
        gradients: parameter to gradient.
        grad_clip: the limit c; None clips nothing.
        grad_clip_by: ``"value"`` (each element to ±c), ``"norm"`` (each tensor's L2 norm to c) or ``"global_norm"``
            (the joint L2 norm to c).

    Raises:
        ConfigError: ``grad_clip_by`` is none of these.
    """
    if grad_clip_by not in CLIP_KINDS:
        raise ConfigError(f"grad_clip_by={grad_clip_by!r}: expected one of {', '.join(CLIP_KINDS)}")
    if grad_clip is None or not gradients:
        return gradients
    if grad_clip_by == "global_norm":
        clipped, _ = tf.clip_by_global_norm(list(gradients.values()), grad_clip)
        return dict(zip(gradients, clipped, strict=True))
    clip: Callable[[Any], Any]
    if grad_clip_by == "value":
        clip = lambda x: tf.clip_by_value(x, -grad_clip, grad_clip)  # noqa: E731
    else:
        clip = lambda x: tf.clip_by_norm(x, grad_clip)  # noqa: E731
    return {parameter: clip(gradient) for parameter, gradient in gradients.items()}
