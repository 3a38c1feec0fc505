"""The override points of a Learner, each with its default: modules, optimizers, losses, gradients, a step."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import torch
from torch import Tensor, nn

from rlkit_core.columns import ALL_MODULES, DEFAULT_MODULE_ID, DEFAULT_OPTIMIZER
from rlkit_core.data.rollout import Rollout
from rlkit_core.data.sequences import train_rows
from rlkit_core.frameworks import TORCH
from rlkit_core.learner.drivers import DriverSet
from rlkit_core.learner.learner_settings import LearnerSettings
from rlkit_core.learner.metrics import Metrics
from rlkit_core.learner.minibatch import Minibatch, ModuleBatch
from rlkit_core.learner.nonfinite import FiniteCheck, parameter_names
from rlkit_core.learner.observation_statistics import ObservationStatistics
from rlkit_core.learner.optim.clipping import ParamDict, clip_gradients, global_norm
from rlkit_core.learner.optim.losses import Loss, check_loss, differentiate, split_modules, total
from rlkit_core.learner.optim.optimizer_set import OptimizerSet
from rlkit_core.learner.optim.owned_schedules import OwnedSchedules
from rlkit_core.learner.optim.registered import check_optimizer, default_optimizer, get_lr, make_registered, set_lr
from rlkit_core.learner.optim.schedule import Scheduler
from rlkit_core.learner.peers import Peers
from rlkit_core.learner.row_log import RowLog
from rlkit_core.models.machine import forward_train
from rlkit_core.rl_module import MultiRLModule, RLModule
from rlkit_core.rl_module.module_set import is_trained
from rlkit_core.seeding import TorchRNG

TOTAL_LOSS_KEY: Final = "total_loss"


class OverridePoints:
    """What a subclass of Learner may do in another way, through the learner's public parts; the names are RLlib's."""

    framework: ClassVar[str] = TORCH
    config: Any
    device: torch.device
    rng: TorchRNG
    weights_seq_no: int
    observation_statistics: ObservationStatistics
    metrics: Metrics
    optimizers: OptimizerSet
    drivers: DriverSet
    schedules: OwnedSchedules
    finite: FiniteCheck
    peers: Peers
    rows: RowLog
    TOTAL_LOSS_KEY: Final = TOTAL_LOSS_KEY

    @property
    def module(self) -> MultiRLModule:
        """The modules that are trained (and those that only act), by id."""
        raise NotImplementedError

    @property
    def trained_modules(self) -> tuple[str, ...]:
        """Ids of the modules that the latest update (or the next, before the first) steps if they have rows."""
        raise NotImplementedError

    # -- modules ------------------------------------------------------------------------------------------------------

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        """API mixins that every module that this learner trains must implement."""
        return []

    def rl_module_is_compatible(self, module: RLModule) -> bool:
        """Whether this learner can train ``module``: a torch module with the required APIs."""
        required = tuple(self.rl_module_required_apis())
        return isinstance(module, nn.Module) and all(isinstance(module.unwrapped(), api) for api in required)

    def should_module_be_updated(self, module_id: str, batch: Mapping[str, Any] | None = None) -> bool:
        """Whether ``policies_to_train`` names the module (None: all are trained), or says so of it and its batch."""
        return is_trained(self.config, module_id, batch)

    def on_module_added(self, module_id: str) -> None:
        """Called for every module that joins, by :meth:`build` and :meth:`add_module`, before it has optimizers.

        The place for what a learner keeps per module: schedules, coefficients, statistics. Call super().
        """

    def on_module_removed(self, module_id: str) -> None:
        """Called for every module that leaves; drop what :meth:`on_module_added` made. Call super()."""

    def config_for(self, module_id: str) -> Any:
        """The config with a module's overrides; of ``ALL_MODULES`` the config itself."""
        return self.config if module_id == ALL_MODULES else self.config.get_config_for_module(module_id)

    def tensor_variable(self, value: object, dtype: torch.dtype | None = None, trainable: bool = False) -> Tensor:
        """A tensor on this learner's device: of float32 unless given, a Parameter if ``trainable``."""
        return self._get_tensor_variable(value, dtype, trainable)

    def _get_tensor_variable(self, value: object, dtype: torch.dtype | None = None, trainable: bool = False) -> Tensor:
        tensor = torch.as_tensor(value, dtype=dtype or torch.float32, device=self.device).clone()
        return nn.Parameter(tensor) if trainable else tensor

    # -- optimizers ---------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> None:
        """Register the optimizers of every compatible module; override for optimizers that span modules.

        Modules that are trained come first, so that a parameter they share with others is theirs; what no module holds
        comes last.
        """
        for module_id in sorted(self.module.keys(), key=lambda mid: not self.should_module_be_updated(mid)):
            if self.rl_module_is_compatible(self.module[module_id]):
                self.configure_optimizers_for_module(module_id, self.config.get_config_for_module(module_id))
        if len(self.optimizers):
            self.configure_optimizers_for_whole()

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Register one Adam over the module's trainable parameters; a module without any gets none."""
        self._register_adam(
            module_id, self.get_parameters(self.module[module_id]), config or self.config_for(module_id)
        )

    def configure_optimizers_for_whole(self) -> None:
        """Register one Adam, of ``ALL_MODULES``, over trainable parameters that only the MultiRLModule itself holds.

        They learn from the losses of all modules that use them.
        """
        own = [p for owner, _, p in self.module.unique_parameters() if owner == ALL_MODULES and p.requires_grad]
        self._register_adam(ALL_MODULES, own, self.config)

    def _register_adam(self, module_id: str, parameters: Sequence[nn.Parameter], config: LearnerSettings) -> None:
        """Put one Adam in charge of those parameters that no optimizer steps yet."""
        mine = [p for p in parameters if not self.optimizers.owns(p)]
        if mine:
            adam, schedulers = default_optimizer(mine, config), config.torch_lr_scheduler_classes
            if schedulers:
                set_lr(adam, float(Scheduler(config.lr).get_current_value()))
            rate = schedulers or config.lr
            self.register_optimizer(module_id=module_id, optimizer=adam, params=mine, lr_or_lr_schedule=rate)

    def register_optimizer(
        self,
        *,
        module_id: str = ALL_MODULES,
        optimizer_name: str = DEFAULT_OPTIMIZER,
        optimizer: torch.optim.Optimizer | None = None,
        params: Sequence[nn.Parameter],
        lr_or_lr_schedule: Any = None,
    ) -> None:
        """Put an optimizer in charge of parameters.

        Args:
            module_id: the module they belong to; ``ALL_MODULES`` for an optimizer that spans several.
            optimizer_name: tells several optimizers of one module apart.
            optimizer: a torch optimizer over exactly ``params``; None makes an Adam, with the config's ``lr`` unless
                another is given.
            params: list of parameters.
            lr_or_lr_schedule: a number, ``[[0, v0], [t1, v1], ...]`` in sampled env steps, or, stepped once per
                update, a torch scheduler of this optimizer, a class or function ``(optimizer) -> scheduler``, or a
                list of these; None leaves the optimizer's own learning rate.

        Raises:
            ConfigError: a wrong type, or the name is taken.
        """
        if optimizer is None:
            config = self.config if module_id == ALL_MODULES else self.config_for(module_id)
            optimizer = default_optimizer(params, config)
            lr_or_lr_schedule = config.lr if lr_or_lr_schedule is None else lr_or_lr_schedule
        self._check_registered_optimizer(optimizer, params)
        registered = make_registered(module_id, optimizer_name, optimizer, params, lr_or_lr_schedule)
        self.optimizers.add(registered)
        if registered.schedule is not None:
            self._set_optimizer_lr(optimizer, registered.schedule.get_current_value())

    def _check_registered_optimizer(self, optimizer: object, params: object) -> None:
        """Raise ConfigError unless ``optimizer`` is torch's and ``params`` a list of tensors."""
        check_optimizer(optimizer, params)

    def get_optimizers_for_module(self, module_id: str = ALL_MODULES) -> list[tuple[str, torch.optim.Optimizer]]:
        """``[(name, optimizer)]`` of a module, or of all of them."""
        return [(r.name, r.optimizer) for r in self.optimizers if module_id in (ALL_MODULES, r.module_id)]

    def get_optimizer(
        self, module_id: str = DEFAULT_MODULE_ID, optimizer_name: str = DEFAULT_OPTIMIZER
    ) -> torch.optim.Optimizer:
        """One optimizer; KeyError with the known names if there is none."""
        return self.optimizers[f"{module_id}_{optimizer_name}"].optimizer

    def params_of(self, module_id: str, optimizer_name: str = DEFAULT_OPTIMIZER) -> list[nn.Parameter]:
        """The parameters that one optimizer of a module steps, in order; KeyError with the known names if none is it.

        Args:
            module_id: the module it was registered for, or ``ALL_MODULES``.
            optimizer_name: its name.
        """
        return list(self.optimizers[f"{module_id}_{optimizer_name}"].parameters)

    def get_parameters(self, module: RLModule) -> list[nn.Parameter]:
        """Trainable parameters of a module, each once."""
        return [p for p in module.parameters() if p.requires_grad]

    def get_param_ref(self, param: nn.Parameter) -> nn.Parameter:
        """What stands for a parameter as a key of gradient dicts: the parameter itself."""
        return param

    def filter_param_dict_for_optimizer(self, param_dict: ParamDict, optimizer: torch.optim.Optimizer) -> ParamDict:
        """The part of a gradient dict that ``optimizer`` steps; KeyError if it is not registered."""
        return {p: param_dict[p] for p in self.optimizers.record_of(optimizer).parameters if p in param_dict}

    def _set_optimizer_lr(self, optimizer: torch.optim.Optimizer, lr: float) -> None:
        """Set the learning rate of an optimizer; schedules go through here."""
        set_lr(optimizer, lr)

    def _get_optimizer_lr(self, optimizer: torch.optim.Optimizer) -> float:
        """The learning rate of an optimizer."""
        return get_lr(optimizer)

    def _move_schedules(self, timestep: int) -> None:
        """Move the learning rates of all optimizers on, and log them."""
        for registered in self.optimizers:
            if registered.schedule is not None and not registered.schedule.is_constant:
                self._set_optimizer_lr(registered.optimizer, registered.schedule.update(timestep))
            schedules = registered.torch_schedules
            if schedules is not None:
                loss = None
                if schedules.needs_loss:
                    key = (registered.module_id, TOTAL_LOSS_KEY)
                    loss = self.mean_over_learners(self.metrics.peek(key, default=float("nan")))
                schedules.step(loss)
            self.metrics.log_block(registered.rate_key, [self._get_optimizer_lr(registered.optimizer)])

    def _get_optimizer_state(self) -> dict[str, Any]:
        """``{optimizer name: state}``, per parameter whatever the buffers."""
        return self.optimizers.get_state()

    def _set_optimizer_state(self, state: Mapping[str, Any]) -> None:
        """Give optimizers their state back.

        A module without any optimizer gets its own first; names that are not registered then are left aside.
        """
        for name, optimizer_state in state.items():
            module_id = optimizer_state["module_id"]
            if name not in self.optimizers and module_id in self.module and not self.optimizers.of(module_id):
                self.configure_optimizers_for_module(module_id)
            if name in self.optimizers:
                self.optimizers[name].set_state(optimizer_state)

    # -- an update ----------------------------------------------------------------------------------------------------

    def build_train_batch(self, module_id: str, rollout: Rollout) -> ModuleBatch:
        """Columns for the loss from a time-major rollout; override to add some (advantages, ...).

        Rows ``[B, ...]``, or whole sequences ``[B, L, ...]`` of a recurrent module; see
        :func:`~rlkit_core.data.sequences.train_rows`.
        """
        return train_rows(self.module[module_id].unwrapped(), rollout)

    def before_gradient_based_update(self, *, timesteps: Mapping[str, int]) -> None:
        """Called once per update, before its data is prepared."""

    def after_gradient_based_update(self, *, timesteps: Mapping[str, int]) -> None:
        """Called once per update, after its last minibatch: moves learning-rate schedules. Call super()."""
        self._move_schedules(timesteps.get("num_env_steps_sampled_lifetime", 0))

    def mean_over_learners(self, value: float) -> float:
        """The mean of a number over all learners of a group, for decisions that have to be the same on each.

        All learners must call it equally often, in the same order.
        """
        return self.peers.mean(value)

    # -- a step -------------------------------------------------------------------------------------------------------

    def _update(self, batch: Minibatch) -> tuple[dict[str, Any], dict[str, Loss], Metrics]:
        """One gradient step on one minibatch."""
        fwd_out, losses, gradients = self.clipped_gradients(batch)
        self.apply_gradients(gradients)
        return fwd_out, losses, self.metrics

    def clipped_gradients(self, minibatch: Minibatch) -> tuple[dict[str, Any], dict[str, Loss], ParamDict]:
        """From the forward pass to clipped gradients: what ``_update`` does before it applies them.

        Returns:
            What the modules gave, ``{module id: loss}``, and ``{parameter: gradient}``.
        """
        fwd_out = forward_train(self.module, minibatch, self.config.mixed_precision, self.device)
        losses = self.compute_losses(fwd_out=fwd_out, batch=minibatch)
        gradients = self.average_gradients(self.compute_gradients(losses))
        return fwd_out, losses, self.postprocess_gradients(gradients)

    def step_variant(self, module_id: str) -> Hashable:
        """Which kind of step the next one is, where there are several (a policy that is stepped every other time).

        What a loss decides in Python (an ``if``, a number, the entries of its dict) is frozen when a step is recorded,
        so it belongs into what this returns: a recorded step is replayed only where the variants of all trained modules
        are those it was recorded with, and each combination has a recording of its own. So there should be few. It is
        asked before every step, must be equal on all learners of a group (checked once an update, by its ``repr``), and
        must not change anything.
        """
        return None

    def compute_losses(self, *, fwd_out: dict[str, Any], batch: Minibatch) -> dict[str, Loss]:
        """``{module id: loss}``; each module's own replaces the learner's where it has an API that says so.

        Raises:
            ConfigError: a loss has an entry for an optimizer that its module does not have.
        """
        losses: dict[str, Loss] = {}
        for module_id, module_out in fwd_out.items():
            losses[module_id] = loss = self.drivers.loss(
                self.compute_loss_for_module,
                module_id=module_id,
                module=self.module[module_id].unwrapped(),
                config=self.config.get_config_for_module(module_id),
                batch=batch[module_id],
                fwd_out=module_out,
            )
            if not isinstance(loss, Tensor):
                check_loss(loss, module_id, self.optimizers, f"{type(self).__name__}: the loss")
                loss = total(loss, self.device)
            self.metrics.log_value((module_id, TOTAL_LOSS_KEY), loss)
        return losses

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: ModuleBatch, fwd_out: dict[str, Any]
    ) -> Loss:
        """The loss of one module.

        Args:
            module_id: the module's id.
            config: the config with this module's overrides.
            batch: this module's minibatch.
            fwd_out: what its ``forward_train`` returned for it.

        Returns:
            A 0-dim tensor, which is differentiated for every parameter that it reaches; or a dict of them, one entry
            for each optimizer (of the module, or of ``ALL_MODULES``) that is to take a step, under its name. Those are
            all computed from the weights before the step and may share a forward pass. Each is differentiated for its
            optimizer's own parameters and no others; an optimizer without entry is not stepped.
        """
        if type(self).compute_loss_for_module is OverridePoints.compute_loss_for_module:
            raise NotImplementedError(f"{type(self).__name__} must override compute_loss_for_module()")
        return torch.zeros((), device=self.device)  # for who calls super()

    def compute_gradients(self, loss_per_module: Mapping[str, Loss], **kwargs: Any) -> ParamDict:
        """Gradients of the losses: ``{parameter: gradient}``; tensors are summed, entries of dicts each have their own.

        Parameters that no loss here reaches are absent, as are those of modules that are not trained; within the flat
        buffer of a module that has a loss, they have gradient zero. Losses that depend on no parameter give ``{}``.
        """
        scale = self.peers.loss_scale
        losses = [loss for loss in loss_per_module.values() if isinstance(loss, Tensor)]
        if len(losses) < len(loss_per_module):
            self.finite.losses = {mid: total(loss, self.device) for mid, loss in loss_per_module.items()}
            self.finite.split = split_modules(loss_per_module)
            return differentiate(loss_per_module, scale, self.optimizers)
        self.optimizers.zero_grad(loss_per_module)
        self.finite.losses = dict(zip(loss_per_module, losses, strict=True))
        if scale:
            losses = [loss * scale.get(mid, 1.0) for mid, loss in self.finite.losses.items()]
        if not losses:
            return {}
        summed = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
        if not summed.requires_grad:
            return {}
        torch.autograd.backward(summed)
        return self.optimizers.gradients()

    def average_gradients(self, gradients_dict: ParamDict) -> ParamDict:
        """The mean of gradients over all learners of a group; one learner's are left as they are.

        An ``_update`` of one's own calls this once for all the gradients of a step, before they are clipped.
        """
        return self.peers.average(gradients_dict, self.finite.losses, self.optimizers)

    def postprocess_gradients(self, gradients_dict: ParamDict) -> ParamDict:
        """Clip (and check) the gradients of every module; optimizers of ``ALL_MODULES`` count as one more."""
        optimizers = self.optimizers
        module_ids = optimizers.module_ids()
        result: ParamDict = {}
        for module_id in module_ids:
            mine = gradients_dict
            if len(module_ids) > 1:
                parts = [optimizers.part_of(gradients_dict, registered) for registered in optimizers.of(module_id)]
                mine = {p: g for part in parts for p, g in part.items()}
            clipped = self.postprocess_gradients_for_module(
                module_id=module_id, config=self.config_for(module_id), module_gradients_dict=mine
            )
            result = {**result, **clipped} if result else clipped
        return result

    def postprocess_gradients_for_module(
        self, *, module_id: str, config: Any, module_gradients_dict: ParamDict
    ) -> ParamDict:
        """Clip one module's gradients per optimizer, as ``grad_clip`` and ``grad_clip_by`` say, and log their norm.

        Returns:
            The gradients to apply; none where ``on_nonfinite`` is ``"skip"`` and one of them or the loss is not finite.

        Raises:
            NonFiniteError: the loss or a gradient is NaN or infinite, and ``on_nonfinite`` is ``"raise"``.
        """
        what, finite = config.on_nonfinite, self.finite
        bad_loss = finite.bad_loss(module_id)
        if bad_loss is not None:
            finite.report(bad_loss, module_gradients_dict, what)
            if what == "skip":
                return {}
        clip = self._get_clip_function()
        result: ParamDict = {}
        for registered in self.optimizers.of(module_id):
            gradients = self.optimizers.part_of(module_gradients_dict, registered)
            if not gradients:
                continue
            # Clipping each tensor by its own norm has to see the tensors; the others work on the buffer as a whole.
            whole = gradients if config.grad_clip_by == "norm" else registered.as_buffer(gradients)
            if config.log_gradients:
                self._log_gradients(module_id, gradients)
            if what == "zero":
                finite.zero(module_id, whole, counted=bad_loss is not None)
            norm = clip(whole, grad_clip=config.grad_clip, grad_clip_by=config.grad_clip_by)
            if norm is None:
                norm = global_norm(whole.values())
            if what != "zero" and not finite.is_finite(norm):
                finite.report(module_id, gradients, what)
                return {}
            self.metrics.log_value((module_id, f"gradients_{registered.short_name}_global_norm"), norm)
            result.update(gradients)
        return result

    def _get_clip_function(self) -> Callable[..., Tensor | None]:
        """The function that clips gradients: :func:`~rlkit_core.learner.optim.clipping.clip_gradients`."""
        return clip_gradients

    def _log_gradients(self, module_id: str, gradients: ParamDict) -> None:
        names = parameter_names(self.module)
        norms = torch._foreach_norm(list(gradients.values()), 2.0)
        for parameter, norm in zip(gradients, norms, strict=True):
            name = names.get(id(parameter), "?").partition(".")[2]
            self.metrics.log_value((module_id, f"gradients_{name}_norm"), norm)

    def apply_gradients(self, gradients_dict: ParamDict) -> None:
        """Give the parameters their gradients and step every optimizer that has any.

        Parameters that are not in ``gradients_dict`` keep their values, whatever their optimizer's momentum.
        """
        self.optimizers.apply(gradients_dict)

    # -- rows ---------------------------------------------------------------------------------------------------------

    def log_rows(self, module_id: str, name: str, rows: Tensor) -> None:
        """Keep what a loss has per row of its minibatch, for :meth:`take_rows`; nothing waits for the device.

        Args:
            module_id: the module whose loss this is.
            name: such as ``"td_error"``.
            rows: ``[B, ...]``, in the order of the minibatch's rows; detached. Not to be changed in place later.

        Raises:
            ConfigError: ``rows`` has no row axis.
        """
        self.rows.add(module_id, name, rows)

    def take_rows(self) -> dict[str, dict[str, Tensor]]:
        """``{module id: {name: rows}}`` that losses logged in the latest :meth:`update`; they are given out once.

        The rows of all minibatches one after the other, ``[sum of B, ...]``: those of the batch, in its order, after
        one epoch without shuffling.
        """
        return self.rows.take()

    # -- for step engines ---------------------------------------------------------------------------------------------

    @property
    def recording_key(self) -> tuple[Any, tuple[int, ...]]:
        """The config, and the layout of the optimizers' tensors: another value makes recorded steps worthless."""
        return (self.config, self.optimizers.layout)

    @property
    def step_kind(self) -> tuple[Hashable, ...]:
        """Which modules are trained and the :meth:`step_variant` of each: a recorded step serves its own kind only."""
        return (trained := self.trained_modules, *map(self.step_variant, trained))

    def eager_step(self, minibatch: Minibatch) -> None:
        """One gradient step, operation by operation."""
        self._update(minibatch)

    @contextmanager
    def redirected(self, metrics: Metrics, rows: RowLog) -> Iterator[None]:
        """Let what losses log go elsewhere, and nothing read a value, until the block ends."""
        before = self.metrics, self.rows, True
        self.metrics, self.rows, self.finite.reads_values = metrics, rows, False
        try:
            yield
        finally:
            self.metrics, self.rows, self.finite.reads_values = before

    def forget_losses(self) -> None:
        """Drop the losses of the latest step, which keep autograd's graph alive."""
        self.finite.losses = {}
