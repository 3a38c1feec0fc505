"""What a module computes in its three phases, and how each is called."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rlkit_core.columns import Columns
from rlkit_core.rl_module.construction import accepted_names, named_arguments
from rlkit_core.rl_module.tensor_specs import PHASES, AnyOf, Specs, check_specs, wants_checks

if TYPE_CHECKING:
    import gymnasium as gym
    import torch

SelfT = TypeVar("SelfT", bound="ModuleForwards")
RowPolicy = Callable[[int, Any], Any]
"""``(step of the rollout, observations [N, ...]) -> raw actions [N, ...]``, numpy arrays both.

It may have an attribute ``columns``, ``{name: [T, N, ...]}``: arrays that it fills as it is called, further columns of
the rollout.
"""


class ModuleForwards(abc.ABC):
    """The half of an RLModule that acting and losses see: forwards, their specs, distributions and recurrent state."""

    observation_space: gym.Space[Any] | None
    action_space: gym.Space[Any] | None
    inference_only: bool
    model_config: dict[str, Any]

    def _prepare(self) -> None:
        """Decide once what the forwards would otherwise ask on every call."""
        self._accepts = {phase: accepted_names(self._forward_of(phase)) for phase in PHASES}
        self._names = {phase: named_arguments(self._forward_of(phase)) for phase in PHASES}
        self._checks = {p for p in PHASES if wants_checks(self, p, ModuleForwards)}

    def _forward_of(self, phase: str) -> Any:
        """The method that a phase ends up in: its own underscore twin, or ``_forward`` when it has none."""
        name = f"_forward_{phase}"
        return self._forward if getattr(type(self), name) is getattr(ModuleForwards, name) else getattr(self, name)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """The forward of every phase that has none of its own; the default returns nothing.

        Args:
            batch: columns (B, ...), or (B, T, ...) with ``state_in`` (B, ...) when recurrent; ``obs`` is always there.
            **kwargs: see :meth:`_forward_exploration`.

        Returns:
            Columns with the same leading axes, and ``state_out`` (B, ...) when recurrent.
        """
        return {}

    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Act and explore: ``actions``, ``action_dist_inputs`` or both.

        Args:
            batch: ``obs`` (B, ...), or (B, 1, ...) with ``state_in`` when recurrent.
            **kwargs: what an override may name, and is then given: ``t``, lifetime env steps of all runners before this
                step (an int; for what is explored less and less); ``noise``, standard normal numbers (B, D), one for
                each element of a Box action, as ``env_runners(exploration_noise=...)`` says, or None outside of a
                runner: then draw them, as ``add_exploration_noise`` does.
        """
        return self._forward(batch, **kwargs)

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Act without exploration: as :meth:`_forward_exploration`; of ``action_dist_inputs`` the mode is taken."""
        return self._forward(batch, **kwargs)

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """What the loss reads of a minibatch, with gradients: its ``fwd_out``, whatever columns that has."""
        return self._forward(batch, **kwargs)

    # -- forwards, for callers ---------------------------------------------------------------------------------

    def forward_exploration(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Forward for collecting data. Not overridden; see ``_forward_exploration``."""
        return self._call("exploration", batch, kwargs)

    def forward_inference(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Forward for acting without exploration. Not overridden; see ``_forward_inference``."""
        return self._call("inference", batch, kwargs)

    def forward_train(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        """Forward for the loss. Not overridden; see ``_forward_train``.

        Raises:
            RuntimeError: the module is ``inference_only``.
        """
        if self.inference_only:
            raise self._no_training()
        return self._call("train", batch, kwargs)

    def row_policy(
        self, *, explore: bool, timesteps: Sequence[int], num_envs: int, generator: torch.Generator
    ) -> RowPolicy | None:
        """A quicker way to act through one rollout, for modules that have one; runners ask before each rollout.

        Where the networks are small, calling them costs more than they do. The function gives the actions that the
        acting forward would; what does not change within a rollout is decided (and drawn) beforehand. There is none
        where the forward does more: when it returns columns that learning needs and the function does not fill, is
        overridden, or is listened to by hooks.

        Args:
            explore: act as ``forward_exploration`` or as ``forward_inference``.
            timesteps: lifetime env steps before each of the T steps.
            num_envs: how many envs, N.
            generator: the ``torch.Generator`` to draw from.

        Returns:
            A :data:`RowPolicy`, or None where the runner calls the forwards.
        """
        return None

    row_policy.is_default = True  # type: ignore[attr-defined]

    def forward_takes(self, phase: str, name: str) -> bool:
        """Whether the forward of a phase (``"exploration"``, ...) accepts a keyword argument of that name."""
        accepted = self._accepts[phase]
        return accepted is None or name in accepted

    def forward_names(self, phase: str, name: str) -> bool:
        """Whether the forward of a phase has an argument of that very name; ``**kwargs`` is none."""
        return name in self._names[phase]

    def distribution_settings(self) -> Mapping[str, Any]:
        """The model config as the action distribution reads it: with the defaults of what that declares."""
        return self.model_config

    def checks_specs(self, phase: str) -> bool:
        """Whether each forward of a phase is checked against its input and output specs."""
        return phase in self._checks

    def _call(self, phase: str, batch: dict[str, Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Run one underscore twin with the keyword arguments it accepts, checking specs where they are due."""
        if kwargs:
            accepted = self._accepts[phase]
            if accepted is not None:
                kwargs = {name: value for name, value in kwargs.items() if name in accepted}
        method = getattr(self, f"_forward_{phase}")
        if phase not in self._checks:
            return method(batch, **kwargs)  # type: ignore[no-any-return]
        name = f"{type(self).__name__}.forward_{phase}"
        check_specs(getattr(self, f"input_specs_{phase}")(), batch, f"input of {name}")
        out: dict[str, Any] = method(batch, **kwargs)
        check_specs(getattr(self, f"output_specs_{phase}")(), out, f"output of {name}")
        return out

    def _no_training(self) -> RuntimeError:
        return RuntimeError(
            f"{type(self).__name__} was built with inference_only=True, so it has no training forward and no value "
            "function; build it with inference_only=False to train it"
        )

    # -- input and output specs --------------------------------------------------------------------------------

    def _default_input_specs(self) -> Specs:
        return [Columns.OBS]

    def input_specs_exploration(self) -> Specs:
        """Keys (or nested keys, or ``TensorSpec``) that ``forward_exploration`` wants.

        Specs of a class that overrides them, and all specs with ``model_config["always_check_shapes"]``, are checked
        on every call.
        """
        return self._default_input_specs()

    input_specs_inference = input_specs_exploration
    input_specs_train = input_specs_exploration

    def output_specs_exploration(self) -> Specs:
        """Keys that ``forward_exploration`` gives; the default wants actions or something to take them from."""
        return AnyOf(Columns.ACTIONS, Columns.ACTION_DIST_INPUTS, Columns.ACTION_DIST)

    output_specs_inference = output_specs_exploration

    def output_specs_train(self) -> Specs:
        """Keys that ``forward_train`` gives; the default wants none, a loss may need anything."""
        return []

    # -- distributions and recurrent state ---------------------------------------------------------------------

    def get_exploration_action_dist_cls(self) -> Any:
        """The class that exploration samples from, inference makes deterministic and losses score by."""
        raise NotImplementedError(f"{type(self).__name__} has no action distribution; override this method")

    get_inference_action_dist_cls = get_exploration_action_dist_cls
    get_train_action_dist_cls = get_exploration_action_dist_cls

    def get_initial_state(self) -> Any:
        """Recurrent state of one sequence's start: a (nested) dict of arrays without a batch axis; ``{}`` if none."""
        return {}

    def is_stateful(self) -> bool:
        """Whether the module is recurrent, that is, its initial state is not empty."""
        known = self.__dict__.get("_is_stateful")
        if known is None:
            state = self.get_initial_state()
            if not isinstance(state, Mapping):
                raise TypeError(
                    f"{type(self).__name__}.get_initial_state() returned {type(state).__name__}: expected a dict of "
                    "arrays without a batch axis, {} for a module without recurrent state"
                )
            known = self._is_stateful = bool(state)
        return bool(known)

    def unwrapped(self: SelfT) -> SelfT:
        """The module itself; wrappers return the one inside."""
        return self
