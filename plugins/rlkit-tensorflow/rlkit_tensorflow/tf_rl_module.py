"""TfRLModule: an RLModule made of Keras layers."""

from __future__ import annotations

import copy
import random
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf
import torch

from rlkit_core.columns import Columns
from rlkit_core.errors import ConfigError, StateError
from rlkit_core.rl_module import RLModule
from rlkit_core.rl_module.state import check_names, under
from rlkit_core.spaces import batch_zeros
from rlkit_tensorflow.tensors import as_tensors
from rlkit_tensorflow.tf_distributions import Categorical, DiagGaussian
from rlkit_tensorflow.variables import TfParameter, named_variables, parameter_of, unbuilt_layers


class TfRLModule(RLModule):
    """Base of modules made of Keras layers and TensorFlow variables, which are found in its attributes.

    Forwards take batches of TensorFlow tensors (arrays and torch tensors become such) and return tensors. Layers that
    make their variables at the first call are called once when the module is built, with an observation of zeros.

    Attributes:
        training: what layers take as ``training=``, True in ``forward_train`` and False in the acting forwards.
    """

    framework = "tf2"
    training = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Keras draws the seeds of initializers from Python's generator; torch's is what a seed of the config reaches.
        before = random.getstate()
        random.seed(int(torch.randint(2**31, ()).item()))
        try:
            super().__init__(*args, **kwargs)
        finally:
            random.setstate(before)

    def _construction_done(self) -> None:
        super()._construction_done()
        if unbuilt_layers(self) and self.observation_space is not None:
            batch = {Columns.OBS: as_tensors(batch_zeros(self.observation_space, (1,)))}
            if self.is_stateful():
                state = self.get_initial_state()
                batch[Columns.OBS] = tf.nest.map_structure(lambda x: x[:, None], batch[Columns.OBS])
                batch[Columns.STATE_IN] = tf.nest.map_structure(lambda x: tf.convert_to_tensor(x)[None], state)
            try:
                self(batch)
            except Exception as error:
                raise ConfigError(
                    f"{type(self).__name__}: its layers have no variables yet, and a forward with one observation of "
                    f"zeros, to make them, failed ({type(error).__name__}: {error}). Build the layers in setup(): call "
                    "each once, or layer.build(input_shape)"
                ) from error

    @property
    def action_space(self) -> Any:
        """The action space; ``n`` of a Discrete one is Python's int, as Keras takes no other as the size of a layer."""
        return self.__dict__["_action_space"]

    @action_space.setter
    def action_space(self, space: Any) -> None:
        if isinstance(space, gym.spaces.Discrete):
            space = copy.copy(space)
            space.n = int(space.n)
        self.__dict__["_action_space"] = space

    # -- forwards ----------------------------------------------------------------------------------------------

    def __call__(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """``forward_train``, or ``forward_exploration`` of an inference-only module."""
        return self.forward_exploration(batch, **kwargs) if self.inference_only else self.forward_train(batch, **kwargs)

    def forward_exploration(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Forward for collecting data."""
        with self._evaluating():
            return super().forward_exploration(as_tensors(batch), **kwargs)

    def forward_inference(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Forward for acting without exploration."""
        with self._evaluating():
            return super().forward_inference(as_tensors(batch), **kwargs)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        was, self.training = self.training, False
        try:
            yield
        finally:
            self.training = was

    def forward_train(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Forward for the loss.

        Raises:
            RuntimeError: the module is ``inference_only``.
        """
        self.training = True
        return super().forward_train(as_tensors(batch), **kwargs)

    def train(self, mode: bool = True) -> TfRLModule:
        """Set :attr:`training`."""
        self.training = mode
        return self

    def eval(self) -> TfRLModule:
        """Set :attr:`training` to False."""
        return self.train(False)

    # -- distributions -----------------------------------------------------------------------------------------

    def get_exploration_action_dist_cls(self) -> Any:
        """``action_dist_cls``, else the plain one of the action space; for all phases unless overridden."""
        chosen = self.action_dist_cls
        return self.plain_action_dist_cls(Categorical, DiagGaussian) if chosen is None else chosen

    get_inference_action_dist_cls = get_exploration_action_dist_cls
    get_train_action_dist_cls = get_exploration_action_dist_cls

    # -- variables and state -----------------------------------------------------------------------------------

    @property
    def trainable_variables(self) -> list[Any]:
        """All trainable variables, each once."""
        return [parameter.variable for parameter in self.parameters() if parameter.requires_grad]

    def named_parameters(self) -> Iterator[tuple[str, TfParameter]]:
        """``(path, what stands for the variable)``, each variable once."""
        seen: set[int] = set()
        for name, variable in named_variables(self).items():
            if id(variable) not in seen:
                seen.add(id(variable))
                yield name, parameter_of(variable)

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        inference_only: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """All variables as numpy copies, by path; a single module has no components to choose from.

        ``inference_only`` leaves out what an inference-only copy of this module does not have.
        """
        without = self.non_inference_attributes() if inference_only else ()
        variables = named_variables(self)
        return {name: np.array(value.numpy()) for name, value in variables.items() if not under(name, without)}

    def set_state(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Assign arrays to the variables.

        Args:
            state: what ``get_state`` gave; numpy arrays or tensors.
            strict: refuse missing and unexpected names. Entries of attributes that an inference-only module has dropped
                are ignored either way.

        Raises:
            StateError: names (when strict) or shapes differ; nothing is changed.
        """
        variables, name = named_variables(self), type(self).__name__
        if strict:
            check_names(name, variables, state, ignore=self.stripped_attributes)
        arrays = {key: np.asarray(value) for key, value in state.items() if key in variables}
        wrong = [
            f"{key} is {tuple(variables[key].shape)} here and {array.shape} in the state"
            for key, array in arrays.items()
            if tuple(variables[key].shape) != array.shape or array.dtype.kind not in "fiub"
        ]
        if wrong:
            raise StateError(
                f"state does not fit {name}: size mismatch: {'; '.join(wrong)}. Build the module with the model config "
                "(layer widths) and the spaces that the state was saved with."
            )
        for key, array in arrays.items():
            variables[key].assign(array)
