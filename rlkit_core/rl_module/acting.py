"""From a module's outputs to actions: built once for a module and a phase, called at every step."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import torch

from rlkit_core.columns import Columns
from rlkit_core.distributions import Distribution
from rlkit_core.distributions.noise import NoiseProcess, noise_process
from rlkit_core.distributions.units import size_of
from rlkit_core.errors import ConfigError, ModuleAPIError
from rlkit_core.frameworks import TORCH, get_framework
from rlkit_core.rl_module.forwards import ModuleForwards, RowPolicy
from rlkit_core.seeding import TorchRNG
from rlkit_core.spaces import nested_map

_AT_LAST = (sys.maxsize,)  # what changes with env steps has become what it becomes


class ActionSampler:
    """Runs one acting forward and makes sure that there are actions.

    What the module may return, and what becomes of it:

    ======================== ============================================ =========================================
    the forward returned     exploring                                    not exploring
    ======================== ============================================ =========================================
    ``actions``              used as they are (numpy arrays as well)      used as they are
    ``action_dist_inputs``   a sample of the distribution made of them    the mode of its deterministic form
    both                     actions as they are; the inputs give logp    actions as they are
    a live ``action_dist``   a sample, and its log-probability at once    its mode (argmax, mean)
    ======================== ============================================ =========================================

    Log-probabilities of actions with ``action_dist_inputs`` are not computed here: they cost less for a whole rollout
    at once, ``dist_cls.from_logits(inputs).logp(actions)``.

    Recurrent modules see a time axis: observations go in as ``(N, ...)``, the module gets ``(N, 1, ...)`` and the axis
    is taken off everything it returns but ``state_out``.

    Args:
        module: the RLModule; wrappers are looked through for the distribution class.
        explore: sample (``forward_exploration``) or not (``forward_inference``).
        exploration_noise: how the noise of continuous actions hangs together over time, ``{"type": "pink"}``; of no
            account where nothing is explored.

    Attributes:
        dist_cls: the distribution class of this phase, or None where the module has none.
        needs_noise: whether drawing random numbers beforehand (:meth:`noise`) is worth it.
    """

    def __init__(
        self, module: ModuleForwards, *, explore: bool, exploration_noise: Mapping[str, Any] | None = None
    ) -> None:
        self.module = module
        self.explore = explore
        self._forward = module.forward_exploration if explore else module.forward_inference
        inner = module.unwrapped()
        phase = "exploration" if explore else "inference"
        self._wants_t = inner.forward_takes(phase, "t")
        self._stateful = inner.is_stateful()
        has_rows = module is inner and not inner.checks_specs(phase) and not hasattr(inner.row_policy, "is_default")
        self._row_policy = inner.row_policy if has_rows else None
        self._where = f"{type(inner).__name__}._forward_{phase}"
        self.dist_cls: Any = None
        self._dist_error: Exception | None = None
        try:
            self.dist_cls = (
                inner.get_exploration_action_dist_cls() if explore else inner.get_inference_action_dist_cls()
            )
        except Exception as error:  # a module that returns actions itself needs none
            self._dist_error = error
        self._mode_of = None if explore else _quick_mode(self.dist_cls)
        self.needs_noise = self._has_noise = explore and getattr(self.dist_cls, "noise", None) is not None
        #: Where the noise of continuous actions comes from; None: each number is drawn by itself.
        self.process: NoiseProcess | None = noise_process(exploration_noise) if explore else None
        #: The module adds noise to its actions itself: its forward has an argument of that name.
        self._adds_noise = explore and inner.forward_names(phase, "noise")
        self._normal: list[int] | None = None
        if self._adds_noise:
            self.needs_noise = self._has_noise = True
        if self.process is not None:
            self._row_policy = None

    def noise(self, steps: int, envs: int, device: torch.device | None = None) -> torch.Tensor | None:
        """Draw the random numbers of a whole rollout of T steps in N envs at once, on a device (the CPU).

        Returns:
            ``[T, N, D]``, whose rows are passed as ``noise`` one by one; None when the distribution draws its own.
        """
        result = self.plain_noise(steps, envs, device)
        places = self.normal_places() if self.process is not None and result is not None else []
        if self.process is not None:
            if result is None or not places:
                inner = self.module.unwrapped()
                raise ConfigError(
                    f"exploration_noise is for continuous actions, and {type(inner).__name__} draws no normal numbers "
                    f"for its actions, {inner.action_space}. Leave it out: env_runners(exploration_noise=None)"
                )
            result[..., places] = self.process.rows(steps, envs, len(places)).to(result.device)
        return result

    def plain_noise(self, steps: int, envs: int, device: torch.device | None = None) -> torch.Tensor | None:
        """As :meth:`noise`, each number drawn by itself."""
        if not self.needs_noise:
            return None
        if self._adds_noise:
            return torch.randn(steps, envs, self._action_size(), device=device)
        elsewhere = (
            {} if device is None or device.type == "cpu" else {"device": device}
        )  # a class's own may not take it
        result: torch.Tensor | None = self.dist_cls.noise((steps, envs), self._width(), **elsewhere)
        self.needs_noise = self._has_noise = result is not None
        return result

    def normal_places(self) -> list[int]:
        """Which of the D numbers of :meth:`noise` are standard normal."""
        if self._normal is None:
            whole = self._adds_noise or self.dist_cls is None
            self._normal = list(range(self._action_size())) if whole else self.dist_cls.normal_noise(self._width())
        return self._normal

    def _width(self) -> int:
        inner = self.module.unwrapped()
        width: int = self.dist_cls.required_input_dim(inner.action_space, inner.distribution_settings())
        return width

    def _action_size(self) -> int:
        space = self.module.unwrapped().action_space
        if not isinstance(space, gym.spaces.Box):
            raise ModuleAPIError(
                f"{self._where} takes noise, which is for the elements of a Box; its actions are {space}"
            )
        return size_of(space)

    def row_policy(self, timesteps: Sequence[int], num_envs: int, rng: TorchRNG | None = None) -> RowPolicy | None:
        """What the module's own ``row_policy`` gives, or None.

        Args:
            timesteps: lifetime env steps before each of the T steps.
            num_envs: N.
            rng: draws; none of its scopes may be open. None: torch's shared generator.
        """
        if self._row_policy is None or self._stateful or getattr(self.module, "training", False):
            return None
        generator = torch.default_generator if rng is None else rng.generator
        return self._row_policy(explore=self.explore, timesteps=timesteps, num_envs=num_envs, generator=generator)

    def by_row(self, obs: torch.Tensor) -> Any | None:
        """Act on one observation ``(1, D)`` by the module's ``row_policy``; None where it has none.

        It is asked for each time, as weights, hooks and methods of the module may be others by now.

        Returns:
            The raw actions, a numpy array ``(1, ...)`` of its own.
        """
        policy = self.row_policy(_AT_LAST, 1)
        return None if policy is None else policy(0, obs.numpy())

    def __call__(
        self, batch: dict[str, Any], *, noise: torch.Tensor | None = None, t: int | None = None
    ) -> dict[str, Any]:
        """Act once.

        Args:
            batch: ``"obs"`` of shape (N, ...), and ``"state_in"`` when recurrent; tensors.
            noise: one row of :meth:`noise`.
            t: lifetime env steps, for modules whose forward accepts ``t``.

        Returns:
            What the module returned, with ``"actions"`` (in the distribution's units) and no ``"action_dist"``.

        Raises:
            ModuleAPIError: the module returned neither actions nor anything to take them from.
        """
        if self._stateful:
            batch = _map_columns(batch, _add_time)
        if self._adds_noise:
            out = self._forward(batch, noise=noise, t=t)
        else:
            out = self._forward(batch, t=t) if self._wants_t and t is not None else self._forward(batch)
        if self._stateful:
            out = _map_columns(out, _drop_time)
        if Columns.ACTION_DIST in out:
            return self._live(out)
        if Columns.ACTIONS in out:
            self.needs_noise = self._adds_noise
            actions = out[Columns.ACTIONS]
            if isinstance(actions, torch.Tensor):
                return out
            return {**out, Columns.ACTIONS: nested_map(torch.as_tensor, actions)}  # rules often give numpy arrays
        inputs = out.get(Columns.ACTION_DIST_INPUTS)
        if inputs is None:
            raise ModuleAPIError(
                f"{self._where} must return 'actions', 'action_dist_inputs' or both; it returned "
                f"{', '.join(map(repr, out)) or 'an empty dict'}"
            )
        if self._mode_of is not None:
            return {**out, Columns.ACTIONS: self._mode_of(inputs)}
        if self.dist_cls is None:
            raise self._dist_error or ModuleAPIError(f"{self._where} returned 'action_dist_inputs' only")
        dist = self.dist_cls.from_logits(inputs)
        if not self.explore:
            actions = dist.to_deterministic().sample()
        elif noise is None:
            self.needs_noise = self._has_noise  # a module may have returned actions of its own, and no longer do
            actions = dist.sample()
        else:
            actions = dist.sample(noise=noise)
        return {**out, Columns.ACTIONS: actions}

    def logp(self, inputs: torch.Tensor, actions: Any) -> torch.Tensor:
        """Log-probabilities of raw actions under the distribution made of ``action_dist_inputs``."""
        if self.dist_cls is None:
            raise self._dist_error or ModuleAPIError(f"{self._where} has no action distribution")
        logp: torch.Tensor = self.dist_cls.from_logits(inputs).logp(actions)
        return logp

    def _live(self, out: dict[str, Any]) -> dict[str, Any]:
        """Take actions from a distribution object that the module made itself."""
        self.needs_noise = False
        out = dict(out)
        dist = out.pop(Columns.ACTION_DIST)
        if Columns.ACTIONS not in out:
            out[Columns.ACTIONS] = dist.sample() if self.explore else _mode(dist)
        if self.explore:
            logp = dist.logp if hasattr(dist, "logp") else dist.log_prob
            out[Columns.ACTION_LOGP] = logp(out[Columns.ACTIONS])
        if Columns.ACTION_DIST_INPUTS not in out:
            inputs = _inputs(dist)
            if inputs is not None:
                out[Columns.ACTION_DIST_INPUTS] = inputs
        return out


def action_sampler(
    module: ModuleForwards, *, explore: bool, exploration_noise: Mapping[str, Any] | None = None
) -> ActionSampler:
    """The sampler of a module: an :class:`ActionSampler`, or the one of the framework that it computes with."""
    framework = getattr(module.unwrapped(), "framework", None)
    make = ActionSampler if framework in (None, TORCH) else get_framework(framework).sampler
    made: ActionSampler = make(module, explore=explore, exploration_noise=exploration_noise)
    return made


def _quick_mode(dist_cls: object) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """A distribution class's own ``mode_of``, where no subclass of the one that has it draws modes in another way."""
    if not isinstance(dist_cls, type) or not issubclass(dist_cls, Distribution):
        return None
    for cls in dist_cls.__mro__:
        if "mode_of" in cls.__dict__:
            return None if cls is Distribution else dist_cls.mode_of
        if not {"from_logits", "to_deterministic"}.isdisjoint(cls.__dict__):
            return None
    return None


def _mode(dist: Any) -> Any:
    """The deterministic action of an rlkit or torch distribution."""
    if hasattr(dist, "to_deterministic"):
        return dist.to_deterministic().sample()
    if isinstance(dist, torch.distributions.Bernoulli):
        return (dist.probs > 0.5).to(dist.probs.dtype)
    try:
        return dist.mode
    except (AttributeError, NotImplementedError):
        return dist.mean


def _inputs(dist: Distribution) -> torch.Tensor | None:
    """The inputs that rebuild a torch distribution, where rlkit has its kind."""
    base = dist.base_dist if isinstance(dist, torch.distributions.Independent) else dist
    if isinstance(base, torch.distributions.Normal):
        return torch.cat([base.loc, base.scale.log()], dim=-1)
    logits = getattr(dist, "logits", None)
    return logits if isinstance(logits, torch.Tensor) else None


def _map_columns(data: Mapping[str, Any], function: Callable[[Any], Any]) -> dict[str, Any]:
    skip = (Columns.STATE_IN, Columns.STATE_OUT, Columns.ACTION_DIST)
    return {key: value if key in skip else nested_map(function, value) for key, value in data.items()}


def _add_time(value: object) -> Any:
    return value.unsqueeze(1) if isinstance(value, torch.Tensor) and value.dim() else value


def _drop_time(value: object) -> Any:
    return value.squeeze(1) if isinstance(value, torch.Tensor) and value.dim() > 1 else value
