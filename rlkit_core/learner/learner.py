"""The Learner: owns the trainable modules, their optimizers, and the update."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from rlkit_core.checkpoint import Checkpointable
from rlkit_core.columns import (
    ALL_MODULES,
    COMPONENT_RL_MODULE,
)
from rlkit_core.data.rollout import Rollout
from rlkit_core.errors import ConfigError, RLKitError
from rlkit_core.learner.drivers import DriverSet
from rlkit_core.learner.fused import without_compiler_import
from rlkit_core.learner.gradients import GradientSteps
from rlkit_core.learner.metrics import Metrics
from rlkit_core.learner.minibatch import ModuleBatch, as_tensors, minibatches, num_rows
from rlkit_core.learner.optimizers import RegisteredOptimizer
from rlkit_core.learner.weights import Weights
from rlkit_core.rl_module import MultiRLModule, MultiRLModuleSpec, RLModule, RLModuleSpec
from rlkit_core.rl_module.apis import check_required_apis
from rlkit_core.seeding import SeedTree, TorchRNG

TOTAL_LOSS_KEY: Final = "total_loss"


class Learner(GradientSteps, Checkpointable):
    """Turns batches into better weights.

    An algorithm overrides :meth:`compute_loss_for_module`, and :meth:`build_train_batch` where its loss needs more
    columns than the rollout has. Everything else has a working default and is an override point of its own.

    Args:
        config: the algorithm's config.
        module_spec: spec of the module to train; the config's unless given.
        module: the module itself, instead of a spec.
        seeds: node of the seed tree that this learner draws from.
    """

    framework: Final = "torch"
    TOTAL_LOSS_KEY: Final = TOTAL_LOSS_KEY

    def __init__(
        self,
        *,
        config: Any,
        module_spec: RLModuleSpec | MultiRLModuleSpec | None = None,
        module: RLModule | None = None,
        seeds: SeedTree | None = None,
    ) -> None:
        self.config = config.copy()
        self._module_spec, self._given_module = module_spec, module
        self._rng = TorchRNG(
            (seeds or SeedTree.from_seed(config.seed).child("learner", 0)).child("torch").seed()
        )
        self.metrics = Metrics()
        self.device = torch.device("cpu")
        self.weights_seq_no = 0
        self._optimizers: dict[str, RegisteredOptimizer] = {}
        self._drivers = DriverSet(self)
        self._parameters: list[nn.Parameter] = []
        self._module: MultiRLModule | None = None

    # -- build --------------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Make the module, its drivers and its optimizers; a second call does nothing.

        Raises:
            ModuleAPIError: the module lacks an API of :meth:`rl_module_required_apis`, or its APIs
                contradict each other.
        """
        if self._module is not None:
            return
        self.device = self._pick_device()
        with self._rng.scope():
            module = self._make_module()
            for module_id, member in module.items():
                check_required_apis(member.unwrapped(), module_id, self.rl_module_required_apis())
            module.to(self.device)
            self._module = module
            for module_id, member in module.items():
                self._drivers.add(module_id, member.unwrapped())
            with without_compiler_import():
                self.configure_optimizers()
        for registered in self._optimizers.values():
            registered.flatten()
        self._parameters = [p for _, _, p in module.unique_parameters() if p.requires_grad]
        self._count_parameters()

    def _pick_device(self) -> torch.device:
        if not getattr(self.config, "num_gpus_per_learner", 0):
            return torch.device("cpu")
        if not torch.cuda.is_available():
            raise ConfigError("num_gpus_per_learner > 0, but torch sees no CUDA device; set it to 0")
        return torch.device("cuda", getattr(self.config, "local_gpu_idx", 0))

    def _make_module(self) -> MultiRLModule:
        """The module given, or built from the spec given, or from the config's."""
        if self._given_module is not None:
            return self._given_module.as_multi_rl_module()
        spec = self._module_spec or self.config.get_multi_rl_module_spec()
        return spec.build().as_multi_rl_module()

    @property
    def module(self) -> MultiRLModule:
        """The modules that are trained (and those that only act), by id.

        Raises:
            RLKitError: :meth:`build` was not called.
        """
        self._check_is_built()
        assert self._module is not None
        return self._module

    def _check_is_built(self) -> None:
        if self._module is None:
            raise RLKitError(f"{type(self).__name__} is not built yet; call its build() first")

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        """API mixins that every module of this learner must implement."""
        return []

    def rl_module_is_compatible(self, module: RLModule) -> bool:
        """Whether this learner can train ``module``."""
        required = tuple(self.rl_module_required_apis())
        return isinstance(module, nn.Module) and all(isinstance(module.unwrapped(), api) for api in required)

    def _get_tensor_variable(
        self, value: Any, dtype: torch.dtype | None = None, trainable: bool = False
    ) -> Tensor:
        """A tensor (a Parameter if ``trainable``) on this learner's device."""
        tensor = torch.as_tensor(value, dtype=dtype or torch.float32, device=self.device).clone()
        return nn.Parameter(tensor) if trainable else tensor

    def _count_parameters(self) -> None:
        trainable = sum(p.numel() for p in self._parameters)
        total = sum(p.numel() for _, _, p in self.module.unique_parameters())
        self._parameter_counts = {
            "num_trainable_parameters": trainable,
            "num_non_trainable_parameters": total - trainable,
        }

    # -- update -------------------------------------------------------------------------------------------------------

    def update(
        self,
        batch: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        rollouts: Mapping[str, Rollout] | None = None,
        timesteps: Mapping[str, int] | None = None,
        num_epochs: int = 1,
        minibatch_size: int | None = None,
        shuffle_batch_per_epoch: bool = False,
        num_total_minibatches: int = 0,
    ) -> dict[str, Any]:
        """One update: prepare the data, step through epochs of minibatches, move schedules and targets on.

        Args:
            batch: ``{module id: columns}``, rows ``[B, ...]``, ready for the loss. Exactly one of ``batch`` and
                ``rollouts`` is given.
            rollouts: ``{module id: Rollout}``, which :meth:`build_train_batch` makes ready.
            timesteps: lifetime counts; ``num_env_steps_sampled_lifetime`` moves the schedules.
            num_epochs: passes over the data.
            minibatch_size: rows per minibatch and module; None takes each module's whole batch at once.
            shuffle_batch_per_epoch: a new order for every pass.
            num_total_minibatches: stop after that many; 0 means no limit.

        Returns:
            ``{module id: {metric: number}}``, and ``ALL_MODULES`` with what belongs to none.

        Raises:
            ConfigError: not exactly one data source, or a module id that is not here.
            NonFiniteError: a gradient is NaN or infinite and ``on_nonfinite`` is ``"raise"``; the weights are those
                before that minibatch.
        """
        self._check_is_built()
        timesteps = dict(timesteps or {})
        if (batch is None) == (rollouts is None):
            raise ConfigError("Learner.update: give exactly one of batch= and rollouts=")
        self._check_module_ids(batch if batch is not None else rollouts or {})
        with self._rng.scope():
            self.before_gradient_based_update(timesteps=timesteps)
            if rollouts is not None:
                ready = {mid: self._prepare(mid, r) for mid, r in rollouts.items() if self._is_updated(mid)}
            else:
                ready = {
                    mid: as_tensors(rows, self.device)
                    for mid, rows in (batch or {}).items()
                    if self._is_updated(mid)
                }
            ready = {mid: rows for mid, rows in ready.items() if num_rows(rows)}
            if not ready:
                self.metrics.log_value((ALL_MODULES, "num_empty_updates_lifetime"), 1, reduce="lifetime_sum")
                return self.metrics.reduce()
            for minibatch in minibatches(
                ready,
                num_epochs=num_epochs,
                minibatch_size=minibatch_size,
                shuffle=shuffle_batch_per_epoch,
                num_total_minibatches=num_total_minibatches,
            ):
                self._update(minibatch)
            self.weights_seq_no += 1
            self.after_gradient_based_update(timesteps=timesteps)
            for module_id in ready:
                self._drivers.after_update(module_id, self.module[module_id].unwrapped(), timesteps)
        self._log_counts(ready)
        return self.metrics.reduce()

    def update_from_batch(self, batch: Mapping[str, Mapping[str, Any]], **kwargs: Any) -> dict[str, Any]:
        """:meth:`update` with ready columns."""
        return self.update(batch=batch, **kwargs)

    def _check_module_ids(self, data: Mapping[str, Any]) -> None:
        unknown = [mid for mid in data if mid not in self.module]
        if unknown:
            raise ConfigError(
                f"batch has data of unknown modules {unknown}; this learner has {list(self.module.keys())}"
            )

    def should_module_be_updated(self, module_id: str, batch: Any = None) -> bool:
        """Whether ``policies_to_train`` names the module (None: all are trained)."""
        to_train = getattr(self.config, "policies_to_train", None)
        if to_train is None:
            return True
        return bool(to_train(module_id, batch)) if callable(to_train) else module_id in to_train

    def _is_updated(self, module_id: str) -> bool:
        return self.should_module_be_updated(module_id) and any(
            r.module_id in (module_id, ALL_MODULES) for r in self._optimizers.values()
        )

    def _prepare(self, module_id: str, rollout: Rollout) -> ModuleBatch:
        rollout = rollout.to(self.device)
        self.module[module_id].eval()
        self._drivers.before_update(module_id, self.module[module_id].unwrapped(), rollout.columns)
        with torch.no_grad():
            return self.build_train_batch(module_id, rollout)

    def build_train_batch(self, module_id: str, rollout: Rollout) -> ModuleBatch:
        """Rows ``[B, ...]`` for the loss from a time-major rollout; override to add columns (advantages, ...)."""
        return rollout.flat()

    def before_gradient_based_update(self, *, timesteps: Mapping[str, int]) -> None:
        """Called once per update, before its data is prepared."""

    def after_gradient_based_update(self, *, timesteps: Mapping[str, int]) -> None:
        """Called once per update, after its last minibatch: moves learning-rate schedules. Call super()."""
        now = timesteps.get("num_env_steps_sampled_lifetime", 0)
        for registered in self._optimizers.values():
            if registered.schedule is not None and not registered.schedule.is_constant:
                registered.set_lr(registered.schedule.update(now))
            self.metrics.log_value(
                (registered.module_id, f"{registered.short_name}_learning_rate"),
                registered.get_lr(),
                reduce="last",
            )

    def _update(self, batch: dict[str, ModuleBatch]) -> tuple[dict[str, Any], dict[str, Tensor], Metrics]:
        """One gradient step on one minibatch."""
        fwd_out = self.module.forward_train(batch)
        losses = self.compute_losses(fwd_out=fwd_out, batch=batch)
        gradients = self.compute_gradients(losses)
        gradients = self.postprocess_gradients(gradients)
        self.apply_gradients(gradients)
        return fwd_out, losses, self.metrics

    def compute_losses(self, *, fwd_out: dict[str, Any], batch: dict[str, ModuleBatch]) -> dict[str, Tensor]:
        """``{module id: loss}``; each module's own replaces the learner's where it has an API that says so."""
        losses = {}
        for module_id, module_out in fwd_out.items():
            losses[module_id] = loss = self._drivers.loss(
                self.compute_loss_for_module,
                module_id=module_id,
                module=self.module[module_id].unwrapped(),
                config=self.config.get_config_for_module(module_id),
                batch=batch[module_id],
                fwd_out=module_out,
            )
            self.metrics.log_value((module_id, TOTAL_LOSS_KEY), loss)
        return losses

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: ModuleBatch, fwd_out: dict[str, Any]
    ) -> Tensor:
        """The loss of one module, a 0-dim tensor.

        Args:
            module_id: the module's id.
            config: the config with this module's overrides.
            batch: this module's minibatch.
            fwd_out: what its ``forward_train`` returned for it.
        """
        raise NotImplementedError(f"{type(self).__name__} must override compute_loss_for_module()")

    def _log_counts(self, ready: Mapping[str, ModuleBatch]) -> None:
        total = 0
        for module_id, rows in ready.items():
            count = num_rows(rows)
            total += count
            self.metrics.log_value((module_id, "num_module_steps_trained"), count, reduce="sum")
            self.metrics.log_value(
                (module_id, "num_module_steps_trained_lifetime"), count, reduce="lifetime_sum"
            )
            self.metrics.log_value((module_id, "weights_seq_no"), self.weights_seq_no, reduce="last")
        self.metrics.log_value((ALL_MODULES, "num_module_steps_trained"), total, reduce="sum")
        self.metrics.log_value(
            (ALL_MODULES, "num_module_steps_trained_lifetime"), total, reduce="lifetime_sum"
        )
        self.metrics.log_dict(self._parameter_counts, key=ALL_MODULES, reduce="last")

    # -- weights and state --------------------------------------------------------------------------------------------

    def get_weights(self, *, inference_only: bool = True) -> Weights:
        """The modules' weights, copied, with their version."""
        return Weights(self.weights_seq_no, self.module.get_state(inference_only=inference_only))

    def get_checkpointable_components(self) -> list[tuple[str, Checkpointable]]:
        """The module, under ``rl_module``."""
        return [(COMPONENT_RL_MODULE, self.module)]

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Config and module spec."""
        return (), {"config": self.config, "module_spec": MultiRLModuleSpec.from_module(self.module)}

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        inference_only: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Everything a continued run needs; the module's part under ``rl_module``."""
        self._check_is_built()
        state: dict[str, Any] = {
            "weights_seq_no": self.weights_seq_no,
            "optimizer": self._get_optimizer_state(),
            "metrics_logger": self.metrics.get_state(),
            "rng": self._rng.get_state(),
            "drivers": self._drivers.get_state(),
        }
        if self._check_component(COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = self.module.get_state(inference_only=inference_only)
        return state

    def set_state(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Continue from :meth:`get_state`; parts that are absent are left as they are."""
        self._check_is_built()
        if COMPONENT_RL_MODULE in state:
            self.module.set_state(state[COMPONENT_RL_MODULE], strict=strict)
        if "optimizer" in state:
            self._set_optimizer_state(state["optimizer"])
        if "metrics_logger" in state:
            self.metrics.set_state(state["metrics_logger"])
        if "rng" in state:
            self._rng.set_state(state["rng"])
        if "drivers" in state:
            self._drivers.set_state(state["drivers"])
        self.weights_seq_no = int(state.get("weights_seq_no", self.weights_seq_no))

    def shutdown(self) -> None:
        """Free what the learner holds."""


TorchLearner = Learner
