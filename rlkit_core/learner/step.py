"""Who takes gradient steps: the learner itself, operation by operation, or an engine that is installed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from rlkit_core.errors import ConfigError, PluginError
from rlkit_core.frameworks import TORCH
from rlkit_core.learner.minibatch import Minibatch
from rlkit_core.learner.override_points import OverridePoints
from rlkit_core.plugins.guard import safe_text
from rlkit_core.plugins.host import default_host
from rlkit_core.plugins.using import code_of

#: The engine that ``compile="auto"`` means, if it is installed.
AUTO = "rlkit-capture/auto"


_LOG = logging.getLogger(__name__)
#: Why steps of some learners are eager, where it was said already.
_SAID: set[str] = set()


class StepEngine(Protocol):
    """Takes the gradient steps of one learner. *Provisional*: this interface may still change between minor versions.

    A distribution registers an engine as ``Service("step_engine", name, target)``, where ``target`` is called with the
    learner once it is built and again whenever its peers change, and may raise ConfigError where it cannot serve that
    learner. ``learners(compile=name)`` chooses it. What it does has to equal ``learner.eager_step(minibatch)``, up to
    rounding. What it may ask of a learner are its public parts, and these, whose names stay:

    - ``clipped_gradients(minibatch)``, from the forward pass to clipped gradients in one call that can be traced,
      ``redirected(metrics, rows)`` round it, which lets nothing read a value, and ``forget_losses()`` behind it;
    - ``apply_gradients(gradients)``, or the steps of ``optimizers`` themselves where nobody overrides that;
    - ``recording_key`` and ``step_kind``: what else than a minibatch a step depends on.
    """

    def begin_update(self) -> None:
        """Before the first minibatch of an update; the update before may have been broken off by an error."""

    def step(self, minibatch: Minibatch) -> None:
        """One gradient step.

        Raises:
            NonFiniteError: a loss or gradient is not finite and that module's ``on_nonfinite`` is ``"raise"``; the
                weights are those before this minibatch.
        """

    def end_update(self) -> None:
        """After the last minibatch.

        Raises:
            NonFiniteError: an engine that looks at values only now found one that is not finite. It then has brought
                ``learner.rng`` back to where :meth:`begin_update` saw it, and ``minibatch_index`` of the error says
                which minibatch it was.
        """


@runtime_checkable
class StatefulEngine(StepEngine, Protocol):
    """An engine whose decisions (which shapes of minibatch it takes on, say) are part of the learner's state."""

    def get_state(self) -> dict[str, Any]:
        """JSON data; a continued run decides alike."""

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`get_state`, perhaps of another version of this engine."""


EngineMaker = Callable[[OverridePoints], StepEngine]
"""What a step engine's service names: it is called with a built learner."""


class Eager:
    """The learner's own step, operation by operation.

    Args:
        learner: whose steps these are.
    """

    def __init__(self, learner: OverridePoints) -> None:
        self.step = learner.eager_step

    def begin_update(self) -> None:
        """Nothing to prepare."""

    def end_update(self) -> None:
        """Nothing is left to look at."""


def make_engine(learner: OverridePoints, *, capturable: bool, own_update: bool) -> StepEngine:
    """The engine that ``learners(compile=...)`` names.

    Args:
        learner: a built learner.
        capturable: whether its class lets others take its steps. Else ``"auto"`` is eager, and says so once for each
            class of learners.
        own_update: whether its class overrides ``_update()``, which counts as not capturable.

    Raises:
        ConfigError: an engine is named and the learner not capturable, or the engine does not serve this learner.
        PluginNotFoundError: nothing installed has an engine of that name; the message says what to install.
        PluginError: its plugin failed or is disabled.
    """
    name = learner.config.compile
    if name is None or (name == "auto" and learner.framework != TORCH):
        return Eager(learner)
    own_step, who = None, type(learner).__name__
    if not capturable:
        own_step = f"{who}.capturable is False, so its steps are not to be recorded; set it to True if they may be"
    elif own_update:
        own_step = (
            f"{who} overrides _update(), which an engine would bypass; override compute_losses() or "
            "postprocess_gradients() instead"
        )
    if own_step is not None and name != "auto":
        raise ConfigError(f"learners(compile={name!r}): {own_step}, or use compile=None")
    try:
        service = default_host().find_service("step_engine", AUTO if name == "auto" else name)
        target: EngineMaker | None = None if own_step else service.load()
    except PluginError:  # not installed, disabled, or broken, which the host has said
        if name == "auto":
            return Eager(learner)
        raise
    if target is None:
        if own_step not in _SAID:
            _SAID.add(str(own_step))
            _LOG.warning("learners(compile='auto'): steps run eagerly: %s", own_step)
        return Eager(learner)
    with code_of(target, f"step engine {name!r}, when it was made"):
        engine = target(learner)
    missing = [one for one in ("begin_update", "step", "end_update") if not hasattr(engine, one)]
    if missing:
        raise PluginError(f"step engine {name!r}: {safe_text(engine, 80)} has no {', '.join(missing)}; see StepEngine")
    return engine
