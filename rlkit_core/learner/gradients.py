"""The half of a Learner that turns losses into steps: optimizers, gradients, clipping, the non-finite check."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rlkit_core.columns import ALL_MODULES, DEFAULT_MODULE_ID, DEFAULT_OPTIMIZER
from rlkit_core.errors import ConfigError, NonFiniteError
from rlkit_core.learner import optimizers as opt
from rlkit_core.learner.metrics import Metrics
from rlkit_core.learner.optimizers import ParamDict, RegisteredOptimizer
from rlkit_core.learner.schedule import Schedule
from rlkit_core.rl_module import MultiRLModule, RLModule


class GradientSteps:
    """Optimizers by module, and gradients on their way from a loss to a step. Every method is an override point."""

    config: Any
    metrics: Metrics
    weights_seq_no: int
    _optimizers: dict[str, RegisteredOptimizer]
    _parameters: list[nn.Parameter]

    @property
    def module(self) -> MultiRLModule:
        """The modules, by id."""
        raise NotImplementedError

    def rl_module_is_compatible(self, module: RLModule) -> bool:
        """Whether this learner can train ``module``."""
        raise NotImplementedError

    # -- optimizers ---------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> None:
        """Register the optimizers of every compatible module; override for optimizers that span modules."""
        for module_id, module in self.module.items():
            if self.rl_module_is_compatible(module):
                self.configure_optimizers_for_module(module_id, self.config.get_config_for_module(module_id))

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Register one Adam over the module's trainable parameters; a module without any gets none."""
        config = config or self.config.get_config_for_module(module_id)
        mine = [p for p in self.get_parameters(self.module[module_id]) if not self._is_registered(p)]
        if mine:
            eps = float(getattr(config, "adam_epsilon", None) or 1e-8)
            adam = torch.optim.Adam(mine, lr=1e-3, eps=eps, fused=True)
            self.register_optimizer(
                module_id=module_id, optimizer=adam, params=mine, lr_or_lr_schedule=config.lr
            )

    def _is_registered(self, parameter: nn.Parameter) -> bool:
        return any(registered.owns(parameter) for registered in self._optimizers.values())

    def register_optimizer(
        self,
        *,
        module_id: str = ALL_MODULES,
        optimizer_name: str = DEFAULT_OPTIMIZER,
        optimizer: torch.optim.Optimizer,
        params: Sequence[nn.Parameter],
        lr_or_lr_schedule: Schedule | None = None,
    ) -> None:
        """Put an optimizer in charge of parameters.

        Args:
            module_id: the module they belong to; ``ALL_MODULES`` for an optimizer that spans several.
            optimizer_name: tells several optimizers of one module apart.
            optimizer: a torch optimizer over exactly ``params``.
            params: list of parameters.
            lr_or_lr_schedule: a number or ``[[0, v0], [t1, v1], ...]`` in sampled env steps; None leaves the
                optimizer's own learning rate.

        Raises:
            ConfigError: a wrong type, or the name is taken.
        """
        self._check_registered_optimizer(optimizer, params)
        registered = opt.make_registered(
            module_id, optimizer_name, optimizer, list(params), lr_or_lr_schedule
        )
        if registered.name in self._optimizers:
            raise ConfigError(
                f"register_optimizer: {registered.name!r} is registered already; give another name"
            )
        self._optimizers[registered.name] = registered

    def _check_registered_optimizer(self, optimizer: Any, params: Any) -> None:
        opt.check_optimizer(optimizer, params)

    def get_optimizers_for_module(
        self, module_id: str = ALL_MODULES
    ) -> list[tuple[str, torch.optim.Optimizer]]:
        """``[(name, optimizer)]`` of a module, or of all of them."""
        return [(r.name, r.optimizer) for r in self._registered_of(module_id)]

    def _registered_of(self, module_id: str) -> list[RegisteredOptimizer]:
        return [r for r in self._optimizers.values() if module_id in (ALL_MODULES, r.module_id)]

    def get_optimizer(
        self, module_id: str = DEFAULT_MODULE_ID, optimizer_name: str = DEFAULT_OPTIMIZER
    ) -> torch.optim.Optimizer:
        """One optimizer; KeyError with the known names if there is none."""
        name = f"{module_id}_{optimizer_name}"
        if name not in self._optimizers:
            raise KeyError(f"no optimizer {name!r}; registered are {sorted(self._optimizers)}")
        return self._optimizers[name].optimizer

    def get_parameters(self, module: RLModule) -> list[nn.Parameter]:
        """Trainable parameters of a module, each once."""
        return [p for p in module.parameters() if p.requires_grad] if isinstance(module, nn.Module) else []

    def get_param_ref(self, param: Tensor) -> Any:
        """What stands for a parameter as a key of gradient dicts: the parameter itself."""
        return param

    def filter_param_dict_for_optimizer(
        self, param_dict: ParamDict, optimizer: torch.optim.Optimizer
    ) -> ParamDict:
        """The part of a gradient dict that ``optimizer`` steps."""
        for registered in self._optimizers.values():
            if registered.optimizer is optimizer:
                return {p: param_dict[p] for p in registered.parameters if p in param_dict}
        raise KeyError("the optimizer is not registered with this learner")

    def _set_optimizer_lr(self, optimizer: torch.optim.Optimizer, lr: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = lr

    def _get_optimizer_lr(self, optimizer: torch.optim.Optimizer) -> float:
        return float(optimizer.param_groups[0]["lr"])

    def _get_clip_function(self) -> Callable[..., Tensor | None]:
        """The function that clips gradients: :func:`~rlkit_core.learner.optimizers.clip_gradients`."""
        return opt.clip_gradients

    # -- gradients -----------------------------------------------------------------------------------------------------

    def compute_gradients(self, loss_per_module: Mapping[str, Tensor], **kwargs: Any) -> ParamDict:
        """Gradients of the summed losses: ``{parameter: gradient}``.

        Parameters of a flat buffer that the loss does not depend on have gradient zero; others are absent. A loss that
        depends on no parameter gives ``{}``.
        """
        for registered in self._optimizers.values():
            registered.zero_grad()
        losses = list(loss_per_module.values())
        total = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
        if not total.requires_grad:
            return {}
        torch.autograd.backward(total)
        return {p: p.grad for p in self._parameters if p.grad is not None}

    def postprocess_gradients(self, gradients_dict: ParamDict) -> ParamDict:
        """Clip (and check) the gradients of every module."""
        if not gradients_dict:
            return gradients_dict
        result: ParamDict = {}
        for module_id in dict.fromkeys(r.module_id for r in self._optimizers.values()):
            config = self.config if module_id == ALL_MODULES else self.config.get_config_for_module(module_id)
            mine = {p: g for r in self._registered_by(module_id) for p, g in _pick(gradients_dict, r).items()}
            result.update(
                self.postprocess_gradients_for_module(
                    module_id=module_id, config=config, module_gradients_dict=mine
                )
            )
        return result

    def _registered_by(self, module_id: str) -> list[RegisteredOptimizer]:
        return [r for r in self._optimizers.values() if r.module_id == module_id]

    def postprocess_gradients_for_module(
        self, *, module_id: str, config: Any, module_gradients_dict: ParamDict
    ) -> ParamDict:
        """Clip one module's gradients per optimizer, as ``grad_clip`` and ``grad_clip_by`` say, and log their norm.

        Raises:
            NonFiniteError: a gradient is NaN or infinite, and ``on_nonfinite`` is ``"raise"``.
        """
        clip = self._get_clip_function()
        result: ParamDict = {}
        for registered in self._registered_by(module_id):
            gradients = _pick(module_gradients_dict, registered)
            if not gradients:
                continue
            # Clipping each tensor by its own norm has to see the tensors; the others work on the buffer as a whole.
            whole = gradients if config.grad_clip_by == "norm" else _as_buffer(gradients, registered)
            norm = clip(whole, grad_clip=config.grad_clip, grad_clip_by=config.grad_clip_by)
            if norm is None:
                norm = opt.global_norm(whole.values())
            if not math.isfinite(norm) and not self._keep_non_finite(
                gradients, registered, config.on_nonfinite
            ):
                continue
            self.metrics.log_value((module_id, f"gradients_{registered.short_name}_global_norm"), norm)
            result.update(gradients)
        return result

    def _keep_non_finite(self, gradients: ParamDict, registered: RegisteredOptimizer, what: str) -> bool:
        """Whether to step all the same, after gradients were found non-finite."""
        self.metrics.log_value(
            (registered.module_id, "num_nonfinite_updates_lifetime"), 1, reduce="lifetime_sum"
        )
        if what == "zero":
            for gradient in gradients.values():
                gradient.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
            return True
        if what == "skip":
            return False
        names = {id(p): f"{mid}.{name}" for mid, name, p in self.module.unique_parameters()}
        bad = [names.get(id(p), "?") for p, g in gradients.items() if not bool(torch.isfinite(g).all())]
        raise NonFiniteError(
            f"update {self.weights_seq_no + 1}: NaN or infinite gradients of module {registered.module_id!r}, "
            f"optimizer {registered.short_name!r}, in {', '.join(bad[:4]) or 'the norm'}"
            f"{f' and {len(bad) - 4} more' if len(bad) > 4 else ''}. The weights are unchanged by this minibatch. "
            "Lower the learning rate, set grad_clip, or set on_nonfinite='skip' or 'zero'"
        )

    def apply_gradients(self, gradients_dict: ParamDict) -> None:
        """Give the parameters their gradients and step every optimizer that has any."""
        for registered in self._optimizers.values():
            stepped = False
            for parameter in registered.parameters:
                gradient = gradients_dict.get(parameter)
                if gradient is None:
                    continue
                stepped = True
                if parameter.grad is not gradient:
                    if parameter.grad is None:
                        parameter.grad = gradient
                    else:
                        parameter.grad.copy_(gradient)
            if stepped:
                registered.step()

    # -- state ---------------------------------------------------------------------------------------------------------

    def _get_optimizer_state(self) -> dict[str, Any]:
        """``{optimizer name: state}``, per parameter whatever the buffers."""
        return {name: registered.get_state() for name, registered in self._optimizers.items()}

    def _set_optimizer_state(self, state: Mapping[str, Any]) -> None:
        """Give optimizers their state back; names that are not registered are left aside."""
        for name, optimizer_state in state.items():
            if name in self._optimizers:
                self._optimizers[name].set_state(optimizer_state)


def _pick(gradients: ParamDict, registered: RegisteredOptimizer) -> ParamDict:
    return {p: gradients[p] for p in registered.parameters if p in gradients}


def _as_buffer(gradients: ParamDict, registered: RegisteredOptimizer) -> ParamDict:
    """The flat gradient buffer as one entry where ``gradients`` are exactly its views; else as they are."""
    buffer = registered.buffer
    if buffer is None or len(gradients) != len(buffer.gradients):
        return gradients
    untouched = all(gradients.get(p) is g for p, g in zip(buffer.parameters, buffer.gradients, strict=True))
    return {buffer.parameter: buffer.gradient} if untouched else gradients
