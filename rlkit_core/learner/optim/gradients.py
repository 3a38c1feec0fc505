"""The half of a Learner that turns losses into steps: optimizers, gradients, clipping, the non-finite check."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rlkit_core.columns import ALL_MODULES, DEFAULT_MODULE_ID, DEFAULT_OPTIMIZER
from rlkit_core.errors import ConfigError, NonFiniteError
from rlkit_core.learner.group.gradient_averaging import Peers
from rlkit_core.learner.metrics import Metrics
from rlkit_core.learner.optim import registered as opt
from rlkit_core.learner.optim.registered import ParamDict, RegisteredOptimizer
from rlkit_core.learner.optim.schedule import Scheduler
from rlkit_core.rl_module import MultiRLModule, RLModule


class GradientSteps:
    """Optimizers by module, and gradients on their way from a loss to a step. Every method is an override point."""

    config: Any
    metrics: Metrics
    weights_seq_no: int
    reads_values: bool
    _optimizers: dict[str, RegisteredOptimizer]
    _parameters: list[nn.Parameter]
    _losses: Mapping[str, Tensor]
    peers: Peers | None
    loss_scale: Mapping[str, float]
    bad_losses: frozenset[str]

    @property
    def module(self) -> MultiRLModule:
        """The modules, by id."""
        raise NotImplementedError

    def rl_module_is_compatible(self, module: RLModule) -> bool:
        """Whether this learner can train ``module``."""
        raise NotImplementedError

    def should_module_be_updated(self, module_id: str, batch: Any = None) -> bool:
        """Whether a module is trained."""
        raise NotImplementedError

    # -- optimizers ---------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> None:
        """Register the optimizers of every compatible module; override for optimizers that span modules.

        Modules that are trained come first, so that a parameter they share with others is theirs.
        """
        ids = sorted(self.module.keys(), key=lambda mid: not self.should_module_be_updated(mid))
        for module_id in ids:
            if self.rl_module_is_compatible(self.module[module_id]):
                self.configure_optimizers_for_module(module_id, self.config.get_config_for_module(module_id))

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Register one Adam over the module's trainable parameters; a module without any gets none."""
        config = config or self.config.get_config_for_module(module_id)
        mine = [p for p in self.get_parameters(self.module[module_id]) if not self._is_registered(p)]
        if mine:
            eps = float(getattr(config, "adam_epsilon", None) or 1e-8)
            adam = torch.optim.Adam(mine, lr=1e-3, eps=eps, fused=True)
            schedulers = config.get("torch_lr_scheduler_classes")
            if schedulers:
                opt.set_lr(adam, float(Scheduler(config.lr).get_current_value()))
            self.register_optimizer(
                module_id=module_id,
                optimizer=adam,
                params=mine,
                lr_or_lr_schedule=schedulers or config.lr,
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
        lr_or_lr_schedule: Any = None,
    ) -> None:
        """Put an optimizer in charge of parameters.

        Args:
            module_id: the module they belong to; ``ALL_MODULES`` for an optimizer that spans several.
            optimizer_name: tells several optimizers of one module apart.
            optimizer: a torch optimizer over exactly ``params``.
            params: list of parameters.
            lr_or_lr_schedule: a number, ``[[0, v0], [t1, v1], ...]`` in sampled env steps, or, stepped once per
                update, a torch scheduler of this optimizer, a class or function ``(optimizer) -> scheduler``, or a
                list of these; None leaves the optimizer's own learning rate.

        Raises:
            ConfigError: a wrong type, or the name is taken.
        """
        self._check_registered_optimizer(optimizer, params)
        registered = opt.make_registered(module_id, optimizer_name, optimizer, list(params), lr_or_lr_schedule)
        if registered.name in self._optimizers:
            raise ConfigError(f"register_optimizer: {registered.name!r} is registered already; give another name")
        twice = [r.name for r in self._optimizers.values() if any(r.owns(p) for p in params)]
        if twice:
            raise ConfigError(
                f"register_optimizer: {registered.name!r} has parameters that {twice[0]!r} steps already; a parameter "
                "belongs to one optimizer"
            )
        if registered.schedule is not None:
            self._set_optimizer_lr(optimizer, registered.schedule.get_current_value())
        self._optimizers[registered.name] = registered

    def _check_registered_optimizer(self, optimizer: Any, params: Any) -> None:
        """Raise ConfigError unless ``optimizer`` is torch's and ``params`` a list of tensors."""
        opt.check_optimizer(optimizer, params)

    def get_optimizers_for_module(self, module_id: str = ALL_MODULES) -> list[tuple[str, torch.optim.Optimizer]]:
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

    def filter_param_dict_for_optimizer(self, param_dict: ParamDict, optimizer: torch.optim.Optimizer) -> ParamDict:
        """The part of a gradient dict that ``optimizer`` steps."""
        for registered in self._optimizers.values():
            if registered.optimizer is optimizer:
                return {p: param_dict[p] for p in registered.parameters if p in param_dict}
        raise KeyError("the optimizer is not registered with this learner")

    def _set_optimizer_lr(self, optimizer: torch.optim.Optimizer, lr: float) -> None:
        """Set the learning rate of an optimizer; schedules go through here."""
        opt.set_lr(optimizer, lr)

    def _get_optimizer_lr(self, optimizer: torch.optim.Optimizer) -> float:
        """The learning rate of an optimizer."""
        return opt.get_lr(optimizer)

    def _move_schedules(self, timestep: int) -> None:
        """Move the learning rates of all optimizers on, and log them."""
        for registered in self._optimizers.values():
            if registered.schedule is not None and not registered.schedule.is_constant:
                self._set_optimizer_lr(registered.optimizer, registered.schedule.update(timestep))
            schedules = registered.torch_schedules
            if schedules is not None:
                loss = None
                if schedules.needs_loss:
                    loss = self.mean_over_learners(
                        self.metrics.peek((registered.module_id, "total_loss"), default=float("nan"))
                    )
                schedules.step(loss)
            self.metrics.log_block(registered.rate_key, [self._get_optimizer_lr(registered.optimizer)])

    def _get_clip_function(self) -> Callable[..., Tensor | None]:
        """The function that clips gradients: :func:`~rlkit_core.learner.optim.registered.clip_gradients`."""
        return opt.clip_gradients

    # -- gradients -----------------------------------------------------------------------------------------------------

    def compute_gradients(self, loss_per_module: Mapping[str, Tensor], **kwargs: Any) -> ParamDict:
        """Gradients of the summed losses: ``{parameter: gradient}``.

        Parameters that no loss here reaches are absent, as are those of modules that are not trained; within the flat
        buffer of a module that has a loss, they have gradient zero. Losses that depend on no parameter give ``{}``.
        """
        for registered in self._optimizers.values():
            registered.zero_grad(all_reached=registered.serves(loss_per_module))
        self._losses = loss_per_module
        losses = list(loss_per_module.values())
        if self.loss_scale:
            losses = [loss * self.loss_scale.get(mid, 1.0) for mid, loss in loss_per_module.items()]
        if not losses:
            return {}
        total = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
        if not total.requires_grad:
            return {}
        torch.autograd.backward(total)
        return {p: p.grad for p in self._parameters if p.grad is not None}

    def average_gradients(self, gradients_dict: ParamDict) -> ParamDict:
        """The mean of gradients over all learners of a group; one learner's are left as they are.

        An ``_update`` of one's own calls this once for all the gradients of a step, before they are clipped.
        """
        return gradients_dict if self.peers is None else self.peers.average(gradients_dict)

    def mean_over_learners(self, value: float) -> float:
        """The mean of a number over all learners of a group, for decisions that have to be the same on each.

        All learners must call it equally often, in the same order.
        """
        return value if self.peers is None else self.peers.mean(value)

    def postprocess_gradients(self, gradients_dict: ParamDict) -> ParamDict:
        """Clip (and check) the gradients of every module; optimizers of ``ALL_MODULES`` count as one more."""
        result: ParamDict = {}
        module_ids = dict.fromkeys(r.module_id for r in self._optimizers.values())
        for module_id in module_ids:
            config = self.config if module_id == ALL_MODULES else self.config.get_config_for_module(module_id)
            if len(module_ids) == 1:
                return self.postprocess_gradients_for_module(
                    module_id=module_id, config=config, module_gradients_dict=gradients_dict
                )
            owners = self._registered_by(module_id)
            mine = {p: g for r in owners for p, g in self._part_of(gradients_dict, r).items()}
            result.update(
                self.postprocess_gradients_for_module(module_id=module_id, config=config, module_gradients_dict=mine)
            )
        return result

    def _part_of(self, gradients: ParamDict, registered: RegisteredOptimizer) -> ParamDict:
        """What an optimizer steps of a gradient dict: all of it where there is but one optimizer."""
        if len(self._optimizers) == 1:
            return gradients
        return {p: gradients[p] for p in registered.parameters if p in gradients}

    def _registered_by(self, module_id: str) -> list[RegisteredOptimizer]:
        return [r for r in self._optimizers.values() if r.module_id == module_id]

    def postprocess_gradients_for_module(
        self, *, module_id: str, config: Any, module_gradients_dict: ParamDict
    ) -> ParamDict:
        """Clip one module's gradients per optimizer, as ``grad_clip`` and ``grad_clip_by`` say, and log their norm.

        Returns:
            The gradients to apply; none where ``on_nonfinite`` is ``"skip"`` and one of them or the loss is not finite.

        Raises:
            NonFiniteError: the loss or a gradient is NaN or infinite, and ``on_nonfinite`` is ``"raise"``.
        """
        what = config.on_nonfinite
        bad_loss = self._bad_loss(module_id)
        if bad_loss is not None:
            self._report_non_finite(bad_loss, module_gradients_dict, what)
            if what == "skip":
                return {}
        clip = self._get_clip_function()
        result: ParamDict = {}
        for registered in self._registered_by(module_id):
            gradients = self._part_of(module_gradients_dict, registered)
            if not gradients:
                continue
            # Clipping each tensor by its own norm has to see the tensors; the others work on the buffer as a whole.
            whole = gradients if config.grad_clip_by == "norm" else _as_buffer(gradients, registered)
            if config.log_gradients:
                self._log_gradients(module_id, gradients)
            if what == "zero":
                self._zero_non_finite(module_id, whole, counted=bad_loss is not None)
            norm = clip(whole, grad_clip=config.grad_clip, grad_clip_by=config.grad_clip_by)
            if norm is None:
                norm = opt.global_norm(whole.values())
            if what != "zero" and not self._is_finite(norm):
                self._report_non_finite(module_id, gradients, what)
                return {}
            self.metrics.log_value((module_id, f"gradients_{registered.short_name}_global_norm"), norm)
            result.update(gradients)
        return result

    def _is_finite(self, value: Tensor) -> bool:
        """Whether a 0-dim tensor is finite; the one place where a gradient step waits for the device.

        While a step is recorded nothing is read; the recording checks when it has been replayed.
        """
        return not self.reads_values or math.isfinite(value.item())

    def _bad_loss(self, module_id: str) -> str | None:
        """The module whose loss is not finite: ``module_id``, or any for ``ALL_MODULES``; None if all is well."""
        for key in self._losses if module_id == ALL_MODULES else (module_id,):
            loss = self._losses.get(key)
            if key in self.bad_losses or (loss is not None and not self._is_finite(loss)):
                return key
        return None

    def _zero_non_finite(self, module_id: str, gradients: ParamDict, *, counted: bool) -> None:
        """Set elements that are not finite to zero, so that clipping sees the others as they are."""
        if self._is_finite(opt.global_norm(gradients.values())):
            return
        if not counted:
            self._report_non_finite(module_id, gradients, "zero")
        for gradient in gradients.values():
            gradient.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)

    def _report_non_finite(self, module_id: str, gradients: ParamDict, what: str) -> None:
        """Count a minibatch of a module whose loss or gradients are not finite.

        Raises:
            NonFiniteError: ``what`` is ``"raise"``.
        """
        self.metrics.log_value((module_id, "num_nonfinite_updates_lifetime"), self._once, reduce="lifetime_sum")
        if what != "raise":
            return
        loss = self._losses.get(module_id)
        names = self._parameter_names()
        bad = [names.get(id(p), "?") for p, g in gradients.items() if not bool(torch.isfinite(g).all())]
        found, elsewhere = [], False
        if loss is not None and not math.isfinite(loss.item()):
            found.append(f"the loss is {loss.item()}")
        elif module_id in self.bad_losses:
            found.append("the loss of another learner is not finite")
            elsewhere = True
        if bad or not found:
            more = f" and {len(bad) - 4} more" if len(bad) > 4 else ""
            found.append(f"NaN or infinite gradients in {', '.join(bad[:4]) or 'their joint norm'}{more}")
        error = NonFiniteError(
            f"update {self.weights_seq_no + 1}, module {module_id!r}: {'; '.join(found)}. The weights are unchanged "
            "by this minibatch. Lower the learning rate, set grad_clip, or set on_nonfinite='skip' or 'zero'"
        )
        error.module_id, error.of_another_learner = module_id, elsewhere
        raise error

    @property
    def _once(self) -> int:
        """1 on the first learner of a group, else 0: what counts something that happens to all of them."""
        return int(self.peers is None or self.peers.rank == 0)

    def _log_gradients(self, module_id: str, gradients: ParamDict) -> None:
        names = self._parameter_names()
        norms = torch._foreach_norm(list(gradients.values()), 2.0)
        for parameter, norm in zip(gradients, norms, strict=True):
            name = names.get(id(parameter), "?").partition(".")[2]
            self.metrics.log_value((module_id, f"gradients_{name}_norm"), norm)

    def _parameter_names(self) -> dict[int, str]:
        """``"module_id.name"`` of every parameter, by its identity."""
        return {id(p): f"{mid}.{name}" for mid, name, p in self.module.unique_parameters()}

    def apply_gradients(self, gradients_dict: ParamDict) -> None:
        """Give the parameters their gradients and step every optimizer that has any.

        Parameters that are not in ``gradients_dict`` keep their values, whatever their optimizer's momentum.
        """
        for registered in self._optimizers.values():
            count = 0
            for parameter in registered.parameters:
                gradient = gradients_dict.get(parameter)
                if gradient is None:
                    continue
                count += 1
                if parameter.grad is not gradient:
                    if parameter.grad is None:
                        parameter.grad = gradient
                    else:
                        parameter.grad.copy_(gradient)
            if count:
                registered.prepare_step(count, gradients_dict)
                registered.step()

    # -- state ---------------------------------------------------------------------------------------------------------

    def _get_optimizer_state(self) -> dict[str, Any]:
        """``{optimizer name: state}``, per parameter whatever the buffers."""
        return {name: registered.get_state() for name, registered in self._optimizers.items()}

    def _set_optimizer_state(self, state: Mapping[str, Any]) -> None:
        """Give optimizers their state back.

        A module without any optimizer gets its own first; names that are not registered then are left aside.
        """
        for name, optimizer_state in state.items():
            module_id = optimizer_state["module_id"]
            if name not in self._optimizers and module_id in self.module and not self._registered_by(module_id):
                self.configure_optimizers_for_module(module_id)
            if name in self._optimizers:
                self._optimizers[name].set_state(optimizer_state)


def _as_buffer(gradients: ParamDict, registered: RegisteredOptimizer) -> ParamDict:
    """The flat gradient buffer as one entry where ``gradients`` are exactly its views; else as they are."""
    buffer = registered.buffer
    if buffer is None or len(gradients) != len(buffer.gradients):
        return gradients
    untouched = all(gradients.get(p) is g for p, g in zip(buffer.parameters, buffer.gradients, strict=True))
    return {buffer.parameter: buffer.gradient} if untouched else gradients
