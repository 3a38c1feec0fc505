"""The Learner: owns the trainable modules, their optimizers, and the update."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from rlkit_core.columns import ALL_MODULES, Columns
from rlkit_core.data.foreign_episodes import complete_rollout, rollout_from_episodes
from rlkit_core.data.rollout import Rollout
from rlkit_core.data.sequences import num_env_steps, train_rows
from rlkit_core.errors import ConfigError, NonFiniteError
from rlkit_core.learner.capture import make_step
from rlkit_core.learner.device import pick_device
from rlkit_core.learner.drivers import DriverSet
from rlkit_core.learner.graph_step import Later
from rlkit_core.learner.group.gradient_averaging import Peers
from rlkit_core.learner.metrics import Metrics, count_keys
from rlkit_core.learner.minibatch import ModuleBatch, as_tensors, count_minibatches, minibatches, num_rows
from rlkit_core.learner.nonfinite import write_report
from rlkit_core.learner.observation_statistics import ObservationStatistics
from rlkit_core.learner.optim.fused_adam import without_compiler_import
from rlkit_core.learner.optim.registered import RegisteredOptimizer
from rlkit_core.learner.row_log import RowLog
from rlkit_core.learner.state import LearnerState
from rlkit_core.rl_module import MultiRLModule, MultiRLModuleSpec, RLModule, RLModuleSpec
from rlkit_core.seeding import SeedTree, TorchRNG

TOTAL_LOSS_KEY: Final = "total_loss"
DIFF_NUM_GRAD_UPDATES: Final = "diff_num_grad_updates_vs_sampler_policy"


class Learner(LearnerState):
    """Turns batches into better weights.

    An algorithm overrides :meth:`compute_loss_for_module`, :meth:`build_train_batch` where its loss needs more columns
    than the rollout has, and :meth:`on_module_added` for what it keeps per module. Everything else has a working
    default and is an override point of its own.

    Args:
        config: the algorithm's config.
        module_spec: spec of the module to train; the config's unless given.
        module: the module itself, instead of a spec.
        seeds: node of the seed tree that this learner draws from.

    Attributes:
        config: a copy of its own; changes of the set of modules replace it.
        metrics: what is logged here is in the next result of :meth:`update`.
        rows: what losses log per row, see :meth:`log_rows`.
        device: where modules and batches are.
        weights_seq_no: the number of updates so far.
        peers: the other learners of a group that averages gradients; None where there are none.
        loss_scale: factors of losses that make a mean over learners one over their rows; those left out are 1.
        report_dir: where the minibatch of a ``NonFiniteError`` is saved; None is a new temporary folder each time.
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
        self.seeds = seeds or SeedTree.from_seed(config.seed).child("learner", 0)
        self._rng = TorchRNG(self.seeds.child("torch").seed())
        self.metrics = Metrics()
        self.rows = RowLog()
        self.device = torch.device("cpu")
        self.weights_seq_no = 0
        self.peers: Peers | None = None
        self.loss_scale: Mapping[str, float] = {}
        self.bad_losses: frozenset[str] = frozenset()
        self._optimizers: dict[str, RegisteredOptimizer] = {}
        self._drivers = DriverSet(self)
        self._count_keys: dict[tuple[str, ...], Any] = {}
        self._observation_statistics = ObservationStatistics()
        self._parameters: list[nn.Parameter] = []
        self._steppable: set[str] = set()
        self._trained: tuple[str, ...] | None = None
        self._losses: Mapping[str, Tensor] = {}
        self._step: Callable[[Any], Any] = self._update
        self.reads_values = True
        self._module: MultiRLModule | None = None
        self.report_dir: Path | None = Path(config.nonfinite_dir) if config.nonfinite_dir else None

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
        self._rng.use_device(self.device)
        with self._rng.scope():
            module = self._make_module()
            for module_id, member in module.items():
                self._check_module(module_id, member)
            module.to(self.device)
            self._module = module
            for module_id, member in module.items():
                self._drivers.add(module_id, member.unwrapped())
                self.on_module_added(module_id)
            with without_compiler_import():
                self.configure_optimizers()
        self._modules_changed()
        self._step = make_step(self)

    def _pick_device(self) -> torch.device:
        """See :func:`~rlkit_core.learner.device.pick_device`."""
        return pick_device(self.config)

    def _make_module(self) -> MultiRLModule:
        """The module given, or built from the spec given, or from the config's."""
        if self._given_module is not None:
            return self._given_module.as_multi_rl_module()
        spec = self._module_spec or self.config.get_multi_rl_module_spec()
        module: RLModule = spec.build()
        return module.as_multi_rl_module()

    def _get_tensor_variable(self, value: object, dtype: torch.dtype | None = None, trainable: bool = False) -> Tensor:
        """A tensor (a Parameter if ``trainable``) on this learner's device."""
        tensor = torch.as_tensor(value, dtype=dtype or torch.float32, device=self.device).clone()
        return nn.Parameter(tensor) if trainable else tensor

    # -- update -------------------------------------------------------------------------------------------------------

    def update(
        self,
        batch: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        rollouts: Mapping[str, Rollout | Sequence[Rollout]] | None = None,
        episodes: Mapping[str, Sequence[Any]] | Sequence[Any] | None = None,
        timesteps: Mapping[str, int] | None = None,
        num_epochs: int = 1,
        minibatch_size: int | None = None,
        shuffle_batch_per_epoch: bool = False,
        num_total_minibatches: int = 0,
        reduce_metrics: bool = True,
    ) -> dict[str, Any]:
        """One update: prepare the data, step through epochs of minibatches, move schedules and targets on.

        Exactly one of ``batch``, ``rollouts`` and ``episodes`` is given. Modules that are not trained, and those
        without rows, are left out; with nothing left the update does nothing but count itself.

        Args:
            batch: ``{module id: columns}``, rows ``[B, ...]``, ready for the loss.
            rollouts: ``{module id: Rollout}``, which :meth:`build_train_batch` makes ready; several of one module,
                in a list, are joined along their envs.
            episodes: ``{module id: episodes}``, or the episodes of the only module; see
                :func:`~rlkit_core.data.foreign_episodes.rollout_from_episodes` for what an episode may be. They
                become a rollout each module.
            timesteps: lifetime counts; ``num_env_steps_sampled_lifetime`` moves the schedules.
            num_epochs: passes over the data.
            minibatch_size: rows per minibatch and module; None takes each module's whole batch at once.
            shuffle_batch_per_epoch: a new order for every pass.
            num_total_minibatches: stop after that many; 0 means no limit.
            reduce_metrics: False leaves the metrics until :meth:`reduce_metrics`, and returns ``{}``: of many small
                updates they are read once, together.

        Returns:
            ``{module id: {metric: number}}``, and ``ALL_MODULES`` with what belongs to none.

        Raises:
            ConfigError: not exactly one data source, or a module id that is not here.
            NonFiniteError: a loss or gradient is NaN or infinite and ``on_nonfinite`` is ``"raise"``; the weights are
                those before that minibatch, and a folder that the message names holds what replays it.
        """
        self._check_is_built()
        self.rows.clear()
        timesteps = dict(timesteps or {})
        given = [source for source in (batch, rollouts, episodes) if source is not None]
        if len(given) != 1:
            raise ConfigError("Learner.update: give exactly one of batch=, rollouts= and episodes=")
        data = self._by_module(given[0])
        trained = tuple(mid for mid in self.module if self.should_module_be_updated(mid, data.get(mid)))
        wanted = {mid: part for mid, part in data.items() if self._is_updated(mid, part) and _has_rows(part)}
        if self.peers is not None and callable(self.config.policies_to_train):
            trained, common = map(tuple, self.peers.common(trained, wanted))
            wanted = {mid: wanted[mid] for mid in common}
        self._set_trained(trained)
        if not wanted:
            return self._nothing_to_do(reduce_metrics)
        with self._rng.scope():
            self.before_gradient_based_update(timesteps=timesteps)
            self._observation_statistics.clear()
            if batch is not None:
                ready = {mid: as_tensors(rows, self.device) for mid, rows in wanted.items()}
                for mid, rows in ready.items():
                    self._observation_statistics.gather(
                        self.module[mid], rows.get(Columns.OBS), rows.get(Columns.LOSS_MASK)
                    )
            else:
                if episodes is not None:
                    wanted = {mid: self._rollout_from_episodes(mid, part) for mid, part in wanted.items()}
                self._log_off_policyness(wanted)
                ready = {mid: self._prepare(mid, _joined(rollout)) for mid, rollout in wanted.items()}
                ready = {mid: rows for mid, rows in ready.items() if num_rows(rows)}
            counts = count_minibatches(
                ready,
                num_epochs=num_epochs,
                minibatch_size=minibatch_size,
                num_total_minibatches=num_total_minibatches,
            )
            total = max(counts.values(), default=0)
            if self.peers is not None:
                ready, total = self.peers.plan(ready, counts, minibatch_size)
            if not ready:
                return self._nothing_to_do(reduce_metrics)
            self._take_steps(
                lambda: minibatches(
                    ready,
                    num_epochs=num_epochs,
                    minibatch_size=minibatch_size,
                    shuffle=shuffle_batch_per_epoch,
                    num_minibatches=total,
                )
            )
            self._observation_statistics.take_in(self.peers)
            self.weights_seq_no += 1
            self.after_gradient_based_update(timesteps=timesteps)
            for module_id in ready:
                self._drivers.after_update(module_id, self.module[module_id].unwrapped(), timesteps)
        self._log_counts(ready)
        return self.metrics.reduce() if reduce_metrics else {}

    def reduce_metrics(self) -> dict[str, Any]:
        """The metrics of all updates since they were last reduced, as :meth:`update` returns those of one."""
        return self.metrics.reduce()

    def _take_steps(self, make_minibatches: Callable[[], Iterator[dict[str, ModuleBatch]]]) -> None:
        """A gradient step on every minibatch of an update."""
        later: Later | None = getattr(self._step, "later", None)
        if later is not None:
            later.begin_update(self._rng)
        for minibatch in make_minibatches():
            if self.peers is not None:
                self.peers.begin(minibatch)
            try:
                self._step(minibatch)
            except NonFiniteError as error:
                raise write_report(self, error, minibatch) from None
            if self.peers is not None:
                self.peers.end()
        found = later.read(self) if later is not None else None
        if found is not None:  # the same random numbers make the same minibatches
            index, problem, random = found
            self._rng.set_live_state(random)
            raise write_report(self, problem, next(islice(make_minibatches(), index, None)))

    def update_from_batch(self, batch: Mapping[str, Mapping[str, Any]], **kwargs: Any) -> dict[str, Any]:
        """:meth:`update` with ready columns."""
        return self.update(batch=batch, **kwargs)

    def update_from_episodes(
        self, episodes: Mapping[str, Sequence[Any]] | Sequence[Any], **kwargs: Any
    ) -> dict[str, Any]:
        """:meth:`update` with episodes."""
        return self.update(episodes=episodes, **kwargs)

    def _nothing_to_do(self, reduce_metrics: bool) -> dict[str, Any]:
        self.metrics.log_value((ALL_MODULES, "num_empty_updates_lifetime"), self._once, reduce="lifetime_sum")
        return self.metrics.reduce() if reduce_metrics else {}

    def _by_module(self, data: Any) -> dict[str, Any]:
        """Data by module id; episodes without one are the only module's."""
        if not isinstance(data, Mapping):
            ids = list(self.module.keys())
            if len(ids) != 1:
                raise ConfigError(
                    f"Learner.update: there are modules {ids}; give the episodes as {{module id: [episode, ...]}}"
                )
            data = {ids[0]: data}
        unknown = [mid for mid in data if mid not in self.module]
        if unknown:
            raise ConfigError(
                f"batch has data of unknown modules {unknown}; this learner has {list(self.module.keys())}"
            )
        return dict(data)

    def _rollout_from_episodes(self, module_id: str, episodes: Sequence[Any]) -> Rollout:
        rollout = rollout_from_episodes(episodes, self.module[module_id].observation_space)
        return complete_rollout(self.module[module_id], rollout.to(self.device))

    def _log_off_policyness(self, rollouts: Mapping[str, Rollout | Sequence[Rollout]]) -> None:
        """Log how many updates lie between the weights that acted and those here: mean and largest of the rollouts."""
        for module_id, found in rollouts.items():
            for rollout in [found] if isinstance(found, Rollout) else found:
                if rollout.weights_version is not None:
                    behind = self.weights_seq_no - rollout.weights_version
                    self.metrics.log_value((module_id, DIFF_NUM_GRAD_UPDATES), behind)
                    self.metrics.log_value((module_id, f"{DIFF_NUM_GRAD_UPDATES}_max"), behind, reduce="max")

    def _prepare(self, module_id: str, rollout: Rollout) -> ModuleBatch:
        rollout = rollout.to(self.device)
        module = self.module[module_id]
        module.eval()
        self._observation_statistics.gather(module, rollout[Columns.OBS], rollout.loss_mask)
        self._drivers.before_update(module_id, self.module[module_id].unwrapped(), rollout.columns)
        with torch.no_grad():
            return self.build_train_batch(module_id, rollout)

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

    def _update(self, batch: dict[str, ModuleBatch]) -> tuple[dict[str, Any], dict[str, Tensor], Metrics]:
        """One gradient step on one minibatch."""
        fwd_out = self.module.forward_train(batch)
        losses = self.compute_losses(fwd_out=fwd_out, batch=batch)
        gradients = self.average_gradients(self.compute_gradients(losses))
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

    def _log_counts(self, ready: Mapping[str, ModuleBatch]) -> None:
        ids = tuple(ready)
        if ids not in self._count_keys:
            self._count_keys[ids] = count_keys(ids, self._parameter_counts)
        values: list[float] = []
        for rows in ready.values():
            count = num_env_steps(rows)
            values += (count, count, self.weights_seq_no)
        total = sum(values[::3])
        self.metrics.log_block(self._count_keys[ids], [*values, total, total, *self._parameter_counts.values()])

    def shutdown(self) -> None:
        """Free what the learner holds."""


def _has_rows(data: Any) -> bool:
    if isinstance(data, Rollout):
        return data.num_env_steps > 0
    if isinstance(data, Sequence) and data and isinstance(data[0], Rollout):
        return any(rollout.num_env_steps > 0 for rollout in data)
    return num_rows(data) > 0 if isinstance(data, Mapping) else len(data) > 0


def _joined(rollouts: Rollout | Sequence[Rollout]) -> Rollout:
    if isinstance(rollouts, Rollout):
        return rollouts
    return rollouts[0] if len(rollouts) == 1 else Rollout.concat(rollouts)


TorchLearner = Learner
