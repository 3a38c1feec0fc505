"""TfLearner: the Learner of modules that compute with TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import torch

from rlkit_core.columns import ALL_MODULES, DEFAULT_OPTIMIZER
from rlkit_core.errors import ConfigError
from rlkit_core.learner import Learner
from rlkit_core.learner.optim.owned_schedules import OwnedSchedules
from rlkit_core.learner.optim.schedule import Scheduler
from rlkit_core.learner.peers import Peers
from rlkit_core.rl_module import RLModule
from rlkit_tensorflow.optimizers import (
    Gradients,
    TfOptimizer,
    check_optimizer,
    clip_gradients,
    default_optimizer,
    get_lr,
    global_norm,
    set_lr,
)
from rlkit_tensorflow.tensors import as_tensors, as_torch
from rlkit_tensorflow.tf_rl_module import TfRLModule
from rlkit_tensorflow.variables import parameter_of

Loss = Any
"""A tensor without axes, or ``{optimizer name: tensor without axes}``."""


class TfLearner(Learner):
    """A :class:`~rlkit_core.Learner` whose steps are TensorFlow's: gradients by tape, optimizers by Keras.

    An algorithm overrides :meth:`compute_loss_for_module`, which sees TensorFlow tensors. Rollouts and batches are
    torch tensors until a step begins. What stands for a variable in dicts of gradients is a
    :class:`~rlkit_tensorflow.TfParameter`, as variables are no keys; its ``variable`` is the variable.

    Raises:
        ConfigError: settings of torch's: ``mixed_precision``, ``torch_lr_scheduler_classes``, GPUs, several learners.
    """

    framework: ClassVar[str] = "tf2"
    capturable: ClassVar[bool] = False

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        self.schedules = OwnedSchedules(self, self.optimizers, lambda: self.module, ("keras", "tensorflow"))

    def build(self) -> None:
        """As of :class:`~rlkit_core.Learner`."""
        refused = {
            "mixed_precision": self.config.mixed_precision,
            "torch_lr_scheduler_classes": self.config.torch_lr_scheduler_classes,
            "num_gpus_per_learner": self.config.num_gpus_per_learner,
        }
        for name, value in refused.items():
            if value:
                raise ConfigError(
                    f"learners({name}={value!r}): {type(self).__name__} learns with TensorFlow; leave it out"
                )
        super().build()

    def join(self, peers: Peers) -> None:
        """Refuse to learn together with others."""
        if peers.size > 1:
            raise ConfigError(f"learners(num_learners={peers.size}): learners of TensorFlow learn alone; use 0 or 1")
        super().join(peers)

    def update(self, batch: Any = None, *, episodes: Any = None, **kwargs: Any) -> dict[str, Any]:
        """As of :class:`~rlkit_core.Learner`, from a batch or rollouts.

        Raises:
            ConfigError: it is given episodes.
        """
        if episodes is not None:
            raise ConfigError("update(episodes=...): a TfLearner takes batch= or rollouts=")
        return super().update(batch, **kwargs)

    # -- modules and optimizers --------------------------------------------------------------------------------

    def rl_module_is_compatible(self, module: RLModule) -> bool:
        """Whether this learner can train ``module``: a module of TensorFlow with the required APIs."""
        required = tuple(self.rl_module_required_apis())
        inner = module.unwrapped()
        return isinstance(inner, TfRLModule) and all(isinstance(inner, api) for api in required)

    def register_optimizer(
        self,
        *,
        module_id: str = ALL_MODULES,
        optimizer_name: str = DEFAULT_OPTIMIZER,
        optimizer: Any = None,
        params: Sequence[Any],
        lr_or_lr_schedule: Any = None,
    ) -> None:
        """Put an optimizer in charge of variables.

        Args:
            module_id: the module they belong to; ``ALL_MODULES`` for an optimizer that spans several.
            optimizer_name: tells several optimizers of one module apart.
            optimizer: a Keras optimizer; None makes an Adam, with the config's ``lr`` unless another is given.
            params: list of variables, or of what stands for them.
            lr_or_lr_schedule: a number or ``[[0, v0], [t1, v1], ...]`` in sampled env steps; None leaves the
                optimizer's own learning rate, which may be a schedule of Keras's.

        Raises:
            ConfigError: a wrong type, or the name is taken.
        """
        if optimizer is None:
            config = self.config_for(module_id)
            optimizer = default_optimizer(config)
            lr_or_lr_schedule = config.lr if lr_or_lr_schedule is None else lr_or_lr_schedule
        parameters = [parameter_of(param) for param in params]
        check_optimizer(optimizer, parameters)
        schedule = None if lr_or_lr_schedule is None else Scheduler(lr_or_lr_schedule)
        if schedule is not None:
            set_lr(optimizer, schedule.get_current_value())
        name = f"{module_id}_{optimizer_name}"
        made: Any = TfOptimizer(name, module_id, optimizer_name, optimizer, parameters, schedule)
        self.optimizers.add(made)

    def _register_adam(self, module_id: str, parameters: Sequence[Any], config: Any) -> None:
        mine = [p for p in parameters if not self.optimizers.owns(p)]
        if mine:
            self.register_optimizer(
                module_id=module_id, optimizer=default_optimizer(config), params=mine, lr_or_lr_schedule=config.lr
            )

    def _set_optimizer_lr(self, optimizer: Any, lr: float) -> None:
        set_lr(optimizer, lr)

    def _get_optimizer_lr(self, optimizer: Any) -> float:
        return get_lr(optimizer)

    # -- a step ------------------------------------------------------------------------------------------------

    def clipped_gradients(self, minibatch: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Loss], Gradients]:
        """From the forward pass, under a tape, to clipped gradients: what ``_update`` does before it applies them.

        Returns:
            What the modules gave, ``{module id: loss}``, and ``{what stands for a variable: gradient}``.
        """
        batch = as_tensors(minibatch)
        with tf.GradientTape(persistent=True) as tape:
            fwd_out = self.module.forward_train(batch)
            losses = self.compute_losses(fwd_out=fwd_out, batch=batch)
        gradients = self.compute_gradients(losses, gradient_tape=tape)
        return fwd_out, losses, self.postprocess_gradients(gradients)

    def compute_losses(self, *, fwd_out: dict[str, Any], batch: Mapping[str, Any]) -> dict[str, Loss]:
        """``{module id: loss}``.

        Raises:
            ConfigError: a loss is no tensor without axes, nor a dict of such with one entry for each optimizer.
        """
        losses: dict[str, Loss] = {}
        for module_id, module_out in fwd_out.items():
            loss = self.drivers.loss(
                self.compute_loss_for_module,
                module_id=module_id,
                module=self.module[module_id].unwrapped(),
                config=self.config_for(module_id),
                batch=batch[module_id],
                fwd_out=module_out,
            )
            losses[module_id] = self._checked(module_id, loss)
            self.metrics.log_value((module_id, self.TOTAL_LOSS_KEY), _number(loss))
        return losses

    def _checked(self, module_id: str, loss: Any) -> Any:
        for name, term in loss.items() if isinstance(loss, Mapping) else [(None, loss)]:
            if not tf.is_tensor(term) or term.shape.rank:
                raise ConfigError(f"{type(self).__name__}: the loss of {module_id!r} is {term!r}, expected one number")
            if name is not None and f"{module_id}_{name}" not in self.optimizers:
                known = [r.short_name for r in self.optimizers.of(module_id)]
                raise ConfigError(
                    f"{type(self).__name__}: the loss of module {module_id!r} has an entry {name!r}, expected names of "
                    f"its optimizers: {', '.join(map(repr, known))}"
                )
        return loss

    def compute_gradients(
        self, loss_per_module: Mapping[str, Loss], gradient_tape: Any = None, **kwargs: Any
    ) -> Gradients:
        """Gradients of the losses by the tape: of tensors their sum's, of dicts each entry's for its optimizer's part.

        Variables that no loss here reaches are absent, as are those of modules that are not trained.
        """
        self.finite.losses = {mid: torch.tensor(_number(loss)) for mid, loss in loss_per_module.items()}
        wanted: list[tuple[Any, list[Any]]] = []
        whole = [loss for loss in loss_per_module.values() if tf.is_tensor(loss)]
        if whole:
            wanted.append((whole, list(self.optimizers.parameters)))
        for module_id, loss in loss_per_module.items():
            for name, term in loss.items() if isinstance(loss, Mapping) else ():
                wanted.append((term, self.optimizers.trained_of(self.optimizers[f"{module_id}_{name}"])))
        gradients: Gradients = {}
        for target, parameters in wanted:
            found = gradient_tape.gradient(target, [p.tensor for p in parameters])
            for parameter, gradient in zip(parameters, found, strict=True):
                if gradient is not None:
                    dense = tf.convert_to_tensor(gradient)
                    gradients[parameter] = gradients[parameter] + dense if parameter in gradients else dense
        return gradients

    def average_gradients(self, gradients_dict: Gradients) -> Gradients:
        """One learner's gradients are left as they are."""
        return gradients_dict

    def postprocess_gradients_for_module(
        self, *, module_id: str, config: Any, module_gradients_dict: Gradients
    ) -> Gradients:
        """Clip one module's gradients per optimizer, as ``grad_clip`` and ``grad_clip_by`` say, and log their norm.

        Returns:
            The gradients to apply; none where ``on_nonfinite`` is ``"skip"`` and one of them or the loss is not finite.

        Raises:
            NonFiniteError: the loss or a gradient is NaN or infinite, and ``on_nonfinite`` is ``"raise"``.
        """
        what, finite, clip = config.on_nonfinite, self.finite, self._get_clip_function()
        bad_loss = finite.bad_loss(module_id)
        if bad_loss is not None:
            finite.report(bad_loss, _as_torch(module_gradients_dict), what)
            if what == "skip":
                return {}
        result: Gradients = {}
        for registered in self.optimizers.of(module_id):
            gradients: Gradients = self.optimizers.part_of(module_gradients_dict, registered)
            if not gradients:
                continue
            if config.log_gradients:
                self._log_gradients(module_id, gradients)
            norm = float(global_norm(gradients.values()))
            if not np.isfinite(norm):
                if bad_loss is None:
                    finite.report(module_id, _as_torch(gradients), what)
                if what != "zero":
                    return {}
                gradients = {p: tf.where(tf.math.is_finite(g), g, tf.zeros_like(g)) for p, g in gradients.items()}
                norm = float(global_norm(gradients.values()))
            self.metrics.log_value((module_id, f"gradients_{registered.short_name}_global_norm"), norm)
            result.update(clip(gradients, grad_clip=config.grad_clip, grad_clip_by=config.grad_clip_by))
        return result

    def _get_clip_function(self) -> Any:
        return clip_gradients

    def _log_gradients(self, module_id: str, gradients: Gradients) -> None:
        names = {id(parameter): name for name, parameter in self.module[module_id].named_parameters()}
        for parameter, gradient in gradients.items():
            name = names.get(id(parameter), "?")
            self.metrics.log_value((module_id, f"gradients_{name}_norm"), float(tf.norm(gradient)))

    def apply_gradients(self, gradients_dict: Gradients) -> None:
        """Step every optimizer that has gradients; variables without one keep their values."""
        registered: Any
        for registered in self.optimizers:
            registered.apply(gradients_dict)


def _number(loss: Loss) -> float:
    """A loss, or the sum of its entries."""
    return float(sum(map(float, loss.values()))) if isinstance(loss, Mapping) else float(loss)


def _as_torch(gradients: Gradients) -> dict[Any, torch.Tensor]:
    return {parameter: as_torch(gradient) for parameter, gradient in gradients.items()}
