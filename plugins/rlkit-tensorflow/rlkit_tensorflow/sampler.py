"""Acting with a module of TensorFlow where the rest has torch tensors: what runners and deployments call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import torch

from rlkit_core.columns import Columns
from rlkit_core.errors import ConfigError, ModuleAPIError
from rlkit_core.rl_module.forwards import ModuleForwards
from rlkit_core.seeding import TorchRNG
from rlkit_core.spaces import nested_map
from rlkit_tensorflow.tensors import as_tensor, as_tensors, to_torch

_WHOLE = (Columns.STATE_IN, Columns.STATE_OUT)  # without a time axis


class TfActionSampler:
    """Runs one acting forward and makes sure that there are actions; torch tensors in and out.

    What the module may return is as of :class:`~rlkit_core.rl_module.acting.ActionSampler`; log-probabilities of
    explored actions are computed at once. Random numbers are drawn by torch, so they follow from the seed of a run.

    Args:
        module: the RLModule; wrappers are looked through for the distribution class.
        explore: sample (``forward_exploration``) or not (``forward_inference``).
        exploration_noise: None; noise that hangs together over time is not there for TensorFlow.

    Attributes:
        dist_cls: the distribution class of this phase, or None where the module has none.
        needs_noise: whether drawing random numbers beforehand (:meth:`noise`) is worth it.
        process: None.

    Raises:
        ConfigError: there is exploration noise.
    """

    def __init__(
        self, module: ModuleForwards, *, explore: bool, exploration_noise: Mapping[str, Any] | None = None
    ) -> None:
        if explore and exploration_noise is not None:
            raise ConfigError(
                "env_runners(exploration_noise=...) is not there for TensorFlow modules, which draw each number by "
                "itself; leave it out"
            )
        self.module, self.explore, self.process = module, explore, None
        self._forward: Callable[..., dict[str, Any]]
        self._forward = module.forward_exploration if explore else module.forward_inference
        inner = module.unwrapped()
        phase = "exploration" if explore else "inference"
        self._wants_t, self._stateful = inner.forward_takes(phase, "t"), inner.is_stateful()
        self._where = f"{type(inner).__name__}._forward_{phase}"
        self.dist_cls: Any = None
        self._dist_error: Exception | None = None
        try:
            self.dist_cls = (
                inner.get_exploration_action_dist_cls() if explore else inner.get_inference_action_dist_cls()
            )
        except Exception as error:  # a module that returns actions itself needs none
            self._dist_error = error
        self.needs_noise = self._has_noise = explore and getattr(self.dist_cls, "noise", None) is not None

    # -- random numbers ----------------------------------------------------------------------------------------

    def noise(self, steps: int, envs: int, device: torch.device | None = None) -> torch.Tensor | None:
        """The random numbers of a rollout of T steps in N envs, ``[T, N, D]``; None where none are needed."""
        if not self.needs_noise:
            return None
        inner = self.module.unwrapped()
        width = self.dist_cls.required_input_dim(inner.action_space, inner.distribution_settings())
        result: torch.Tensor | None = self.dist_cls.noise((steps, envs), width)
        self.needs_noise = self._has_noise = result is not None
        return result

    plain_noise = noise

    def normal_places(self) -> list[int]:
        """None of the numbers can be replaced by others that hang together over time."""
        return []

    # -- acting ------------------------------------------------------------------------------------------------

    def row_policy(self, timesteps: Sequence[int], num_envs: int, rng: TorchRNG | None = None) -> None:
        """There is no quicker way."""
        return

    def by_row(self, obs: torch.Tensor) -> None:
        """There is no quicker way."""
        return

    def __call__(
        self, batch: dict[str, Any], *, noise: torch.Tensor | None = None, t: int | None = None
    ) -> dict[str, Any]:
        """Act once.

        Args:
            batch: ``"obs"`` of shape (N, ...), and ``"state_in"`` when recurrent; torch tensors.
            noise: one row of :meth:`noise`.
            t: lifetime env steps, for modules whose forward accepts ``t``.

        Returns:
            What the module returned, with ``"actions"`` (in the distribution's units) and no ``"action_dist"``.

        Raises:
            ModuleAPIError: the module returned neither actions nor anything to take them from.
        """
        seen = as_tensors(batch)
        if self._stateful:
            seen = _columns(seen, lambda x: x[:, None])
            noise = None if noise is None else noise[:, None]
        out = dict(self._forward(seen, t=t) if self._wants_t and t is not None else self._forward(seen))
        live = out.pop(Columns.ACTION_DIST, None)
        if live is not None:
            self._from_live(out, live)
        elif Columns.ACTIONS in out:
            self.needs_noise = False
        else:
            self._from_inputs(out, noise)
        if self.explore and Columns.ACTION_LOGP not in out and Columns.ACTION_DIST_INPUTS in out:
            out[Columns.ACTION_LOGP] = self._dist(out).logp(out[Columns.ACTIONS])
        if Columns.ACTION_LOGP in out and Columns.ACTION_PROB not in out:
            out[Columns.ACTION_PROB] = tf.exp(out[Columns.ACTION_LOGP])
        torchs: dict[str, Any] = to_torch(_columns(out, lambda x: x[:, 0]) if self._stateful else out)
        return torchs

    def _from_inputs(self, out: dict[str, Any], noise: torch.Tensor | None) -> None:
        if Columns.ACTION_DIST_INPUTS not in out:
            raise ModuleAPIError(
                f"{self._where} must return 'actions', 'action_dist_inputs' or both; it returned "
                f"{', '.join(map(repr, out)) or 'an empty dict'}"
            )
        dist = self._dist(out)
        if self.explore:
            self.needs_noise = self._has_noise  # a module may have returned actions of its own, and no longer do
            out[Columns.ACTIONS] = dist.sample(noise=noise)
        else:
            out[Columns.ACTIONS] = dist.to_deterministic().sample()

    def _dist(self, out: dict[str, Any]) -> Any:
        if self.dist_cls is None:
            raise self._dist_error or ModuleAPIError(f"{self._where} returned 'action_dist_inputs' only")
        return self.dist_cls.from_logits(out[Columns.ACTION_DIST_INPUTS])

    def _from_live(self, out: dict[str, Any], dist: Any) -> None:
        """Take actions from a distribution object that the module made itself."""
        self.needs_noise = False
        if Columns.ACTIONS not in out:
            if self.explore:
                out[Columns.ACTIONS] = dist.sample()
            else:
                exact = hasattr(dist, "to_deterministic")
                out[Columns.ACTIONS] = dist.to_deterministic().sample() if exact else dist.mode()
        if self.explore:
            out[Columns.ACTION_LOGP] = (dist.logp if hasattr(dist, "logp") else dist.log_prob)(out[Columns.ACTIONS])
        if Columns.ACTION_DIST_INPUTS not in out and tf.is_tensor(getattr(dist, "logits", None)):
            out[Columns.ACTION_DIST_INPUTS] = dist.logits

    def logp(self, inputs: torch.Tensor, actions: Any) -> torch.Tensor:
        """Log-probabilities of raw actions under the distribution made of ``action_dist_inputs``."""
        logp = self._dist({Columns.ACTION_DIST_INPUTS: as_tensor(inputs)}).logp(as_tensors(actions))
        made: torch.Tensor = to_torch(logp)
        return made


def _columns(data: Mapping[str, Any], function: Callable[[Any], Any]) -> dict[str, Any]:
    def apply(value: Any) -> Any:
        return function(value) if len(getattr(value, "shape", ())) else value

    return {key: value if key in _WHOLE else nested_map(apply, value) for key, value in data.items()}
