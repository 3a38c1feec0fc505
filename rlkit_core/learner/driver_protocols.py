"""The methods of a driver, one Protocol each: a driver names those that it has as bases, and type checkers compare.

A driver is any class with any of these methods, and need not name them::

    class CuriosityDriver(BeforeUpdate[CuriosityAPI], ExtraLoss[CuriosityAPI]):
        def before_update(self, *, learner, module_id, module, batch): ...
        def extra_loss(self, *, learner, module_id, module, config, batch, fwd_out): ...

The parameter is the mixin whose modules it serves. A method may take fewer arguments than its Protocol has; type
checkers then want the Protocol left out. ``rl_module.apis.driver_contract`` has the same names, for checks at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from rlkit_core.data.rollout import Rollout
    from rlkit_core.learner.learner import Learner
    from rlkit_core.learner.optim.losses import Loss

ModuleT = TypeVar("ModuleT", contravariant=True)


class OnModuleBuilt(Protocol[ModuleT]):
    """Hears of every module with the mixin, wherever it is built."""

    @staticmethod
    def on_module_built(module: ModuleT) -> None:
        """The outermost constructor of a module has ended."""
        ...


class OnBuild(Protocol[ModuleT]):
    """Prepares modules that join a learner."""

    def on_build(self, *, learner: Learner, module_id: str, module: ModuleT) -> None:
        """A module has joined the learner."""
        ...


class OnRemove(Protocol):
    """Forgets modules that leave a learner."""

    def on_remove(self, *, learner: Learner, module_id: str) -> None:
        """A module has left the learner."""
        ...


class OnRollout(Protocol[ModuleT]):
    """Sees rollouts whole: what was seen last, in which rows, and which of them are no experience."""

    def on_rollout(self, *, learner: Learner, module_id: str, module: ModuleT, config: Any, rollout: Rollout) -> None:
        """Once per update, before :meth:`BeforeUpdate.before_update`, where an update is made of a rollout.

        ``rollout.columns["rewards"]``, float32 ``[T, N]``, may be changed or replaced, and columns added; what comes
        later sees that, and nobody else does. ``rollout.next_obs()`` are the true next observations. Where rollouts go
        into a replay buffer it is called on their way in, once, and not for the batches that are drawn later.
        """
        ...


class BeforeUpdate(Protocol[ModuleT]):
    """Sees the whole batch of an update."""

    def before_update(self, *, learner: Learner, module_id: str, module: ModuleT, batch: dict[str, Any]) -> None:
        """Once per update, before values and advantages; rewards may be changed and columns added.

        Columns are those of a rollout, ``[T, N, ...]``, or of a batch that was drawn from a replay buffer or given
        ready, ``[B, ...]`` (of all updates that are made of it, one after the other).
        """
        ...


class ExtraLoss(Protocol[ModuleT]):
    """Adds to the loss."""

    def extra_loss(
        self,
        *,
        learner: Learner,
        module_id: str,
        module: ModuleT,
        config: Any,
        batch: Mapping[str, Any],
        fwd_out: Mapping[str, Any],
    ) -> Loss:
        """A scalar for each minibatch, which is added to the loss of the module; or one for each of some optimizers.

        Where the loss has one entry for each optimizer, a scalar is for ``default_optimizer``.
        """
        ...


class ComputeLoss(Protocol[ModuleT]):
    """Replaces the loss."""

    def compute_loss(
        self,
        *,
        learner: Learner,
        module_id: str,
        module: ModuleT,
        config: Any,
        batch: Mapping[str, Any],
        fwd_out: Mapping[str, Any],
    ) -> Loss:
        """The loss of a minibatch, instead of the learner's own: see ``Learner.compute_loss_for_module``."""
        ...


class AfterUpdate(Protocol[ModuleT]):
    """Hears that an update has ended."""

    def after_update(self, *, learner: Learner, module_id: str, module: ModuleT, timesteps: Mapping[str, int]) -> None:
        """Once per update, after the last minibatch; ``timesteps`` are lifetime counts of env steps."""
        ...


class DriverState(Protocol):
    """Has a state, which is part of checkpoints."""

    def get_state(self) -> dict[str, Any]:
        """JSON values and arrays."""
        ...

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`get_state`."""
        ...
