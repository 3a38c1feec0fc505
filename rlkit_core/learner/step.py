"""Who takes gradient steps: the learner itself, operation by operation, or an engine that is installed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from rlkit_core.errors import ConfigError, PluginError
from rlkit_core.learner.metrics import Metrics
from rlkit_core.learner.minibatch import ModuleBatch
from rlkit_core.learner.optim.clipping import ParamDict
from rlkit_core.learner.optim.optimizer_set import OptimizerSet
from rlkit_core.learner.peers import Peers
from rlkit_core.learner.row_log import RowLog
from rlkit_core.plugins.host import default_host
from rlkit_core.rl_module import MultiRLModule
from rlkit_core.seeding import TorchRNG

Minibatch = dict[str, ModuleBatch]
"""Module id to columns of tensors ``[B, ...]`` (``[B, L, ...]`` of a recurrent module) on the learner's device."""

#: The engine that ``compile="auto"`` means, if it is installed.
AUTO = "rlkit-capture/auto"


class StepEngine(Protocol):
    """Takes the gradient steps of one learner. *Provisional*: this interface may still change between minor versions.

    A distribution registers an engine as ``Service("step_engine", name, target)``, where ``target`` is called with the
    learner (a :class:`SteppedLearner`) once it is built and again whenever its peers change, and may raise ConfigError
    where it cannot serve that learner. ``learners(compile=name)`` chooses it. What it does has to equal
    ``learner.eager_step(minibatch)``, up to rounding.
    """

    def begin_update(self) -> None:
        """Before the first minibatch of an update; the update before may have been broken off by an error."""
        raise NotImplementedError

    def step(self, minibatch: Minibatch) -> None:
        """One gradient step.

        Raises:
            NonFiniteError: a loss or gradient is not finite and that module's ``on_nonfinite`` is ``"raise"``; the
                weights are those before this minibatch.
        """
        raise NotImplementedError

    def end_update(self) -> None:
        """After the last minibatch.

        Raises:
            NonFiniteError: an engine that looks at values only now found one that is not finite. It then has brought
                ``learner.rng`` back to where :meth:`begin_update` saw it, and ``minibatch_index`` of the error says
                which minibatch it was.
        """
        raise NotImplementedError


@runtime_checkable
class StatefulEngine(StepEngine, Protocol):
    """An engine whose decisions (which shapes of minibatch it takes on, say) are part of the learner's state."""

    def get_state(self) -> dict[str, Any]:
        """JSON data; a continued run decides alike."""
        raise NotImplementedError

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`get_state`, perhaps of another version of this engine."""
        raise NotImplementedError


class SteppedLearner(Protocol):
    """What an engine may ask of a learner; everything here is public and stays.

    Attributes:
        config: settings; ``config.compile`` is the name that chose the engine.
        device: where modules and minibatches are.
        metrics: where losses log.
        rows: where losses log per row.
        rng: its stream of random numbers; while steps are taken, torch's own generators draw from it.
        optimizers: what is stepped.
        peers: the learners that gradients are averaged with.
        weights_seq_no: the number of updates so far.
    """

    config: Any
    device: torch.device
    metrics: Metrics
    rows: RowLog
    rng: TorchRNG
    optimizers: OptimizerSet
    peers: Peers
    weights_seq_no: int

    @property
    def module(self) -> MultiRLModule:
        """The modules, by id."""
        raise NotImplementedError

    @property
    def recording_key(self) -> tuple[Any, tuple[int, ...]]:
        """Config and layout of the optimizers' tensors: another value makes recorded steps worthless."""
        raise NotImplementedError

    @property
    def step_kind(self) -> tuple[Hashable, ...]:
        """Trained modules and variants of their steps: a recorded step serves its own kind only."""
        raise NotImplementedError

    def config_for(self, module_id: str) -> Any:
        """The config with a module's overrides; of ``ALL_MODULES`` the config itself."""
        raise NotImplementedError

    def eager_step(self, minibatch: Minibatch) -> None:
        """One gradient step, operation by operation."""
        raise NotImplementedError

    def clipped_gradients(self, minibatch: Minibatch) -> tuple[dict[str, Any], dict[str, Tensor], ParamDict]:
        """From the forward pass to clipped gradients, as one call that can be traced."""
        raise NotImplementedError

    def apply_gradients(self, gradients_dict: ParamDict) -> None:
        """Step the optimizers."""
        raise NotImplementedError

    def redirected(self, metrics: Metrics, rows: RowLog) -> AbstractContextManager[None]:
        """Let what losses log go elsewhere, and nothing read a value, until the block ends."""
        raise NotImplementedError

    def forget_losses(self) -> None:
        """Drop the losses of the latest step, which keep autograd's graph alive."""
        raise NotImplementedError


EngineMaker = Callable[[SteppedLearner], StepEngine]
"""What a step engine's service names: it is called with a built learner."""


class Eager:
    """The learner's own step, operation by operation.

    Args:
        learner: whose steps these are.
    """

    def __init__(self, learner: SteppedLearner) -> None:
        self.step = learner.eager_step

    def begin_update(self) -> None:
        """Nothing to prepare."""

    def end_update(self) -> None:
        """Nothing is left to look at."""


def make_engine(learner: SteppedLearner, *, own_step: bool) -> StepEngine:
    """The engine that ``learners(compile=...)`` names.

    Args:
        learner: a built learner.
        own_step: its class overrides ``_update()`` or says that its steps are not to be taken by others. ``"auto"``
            then is eager.

    Raises:
        ConfigError: an engine is named and ``own_step``, or the engine does not serve this learner.
        PluginNotFoundError: nothing installed has an engine of that name; the message says what to install.
        PluginError: its plugin failed or is disabled.
    """
    name = learner.config.compile
    if name is None or (name == "auto" and own_step):
        return Eager(learner)
    if own_step:
        raise ConfigError(
            f"learners(compile={name!r}): {type(learner).__name__} overrides _update(), which an engine would bypass; "
            "override compute_losses() or postprocess_gradients() instead, or use compile=None"
        )
    try:
        target: EngineMaker = default_host().get_service("step_engine", AUTO if name == "auto" else name)
    except PluginError:  # not installed, disabled, or broken, which the host has said
        if name == "auto":
            return Eager(learner)
        raise
    return target(learner)
