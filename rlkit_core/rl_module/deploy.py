"""Acting with a module by hand: numpy observations in, env actions out. What a deployment calls."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import ArrayLike

from rlkit_core.columns import Columns
from rlkit_core.data.one_observation import Reader, observation_reader
from rlkit_core.errors import ConfigError
from rlkit_core.models.base import PREV_ACTIONS, PREV_REWARDS
from rlkit_core.models.previous import no_previous_action
from rlkit_core.plugins.using import names_plugins
from rlkit_core.rl_module.acting import ActionSampler, action_sampler
from rlkit_core.rl_module.forwards import ModuleForwards
from rlkit_core.rl_module.packing import ObservationPacker, one
from rlkit_core.spaces import as_arrays, leaves, map_space, nested_map

# Mixed into what has a module's forwards: the module itself, or a wrapper that passes on what it does not do.
if TYPE_CHECKING:
    _Forwards = ModuleForwards
else:
    _Forwards = object


class ComputeActions(_Forwards):
    """The acting methods of every RLModule, made of what it offers to everyone."""

    @functools.cached_property
    def _deployment(self) -> Deployment:
        return Deployment(self)  # travels with copies of the module

    @names_plugins
    def compute_actions(
        self, obs: object, state: Mapping[str, Any] | None = None, explore: bool = False, **kwargs: Any
    ) -> tuple[Any, dict[str, Any]]:
        """Act on a batch of observations.

        Args:
            obs: observations with a leading batch axis, (B, ...), as arrays or lists; nested as the space is.
            state: what the last call returned, None at the start of an episode.
            explore: sample instead of taking the mode.
            **kwargs: ``t``, for forwards that accept it; ``prev_rewards`` (B,), which followed the last call, where the
                module takes them as inputs (zeros unless given).

        Returns:
            ``(actions, state)``: actions in env units with a leading batch axis, and the recurrent state (``{}`` when
            there is none), with the raw ``prev_actions`` in it where the module takes those as inputs.
        """
        deployed = self._deployment
        out, actions = deployed.act(obs, state, explore, kwargs.get("t"), kwargs.get(PREV_REWARDS))
        state_out = nested_map(to_numpy, out.get(Columns.STATE_OUT, {}))
        if PREV_ACTIONS in deployed.input_columns:
            state_out = {**state_out, PREV_ACTIONS: actions}
        return self.actions_to_env(actions), state_out

    @names_plugins
    def compute_single_action(
        self, obs: object, state: Mapping[str, Any] | None = None, explore: bool = False, **kwargs: object
    ) -> tuple[Any, dict[str, Any]]:
        """As :meth:`compute_actions` of one observation, without a batch axis in what goes in and comes out.

        Raises:
            ConfigError: the observation is none of the module's space; the message names the leaf.
        """
        if not state and not kwargs and self._deployment.read_one is not None:
            return self._deployment.act_on_one(obs, explore), {}
        if self._deployment.packer is None:
            batched = nested_map(lambda x: x[None], as_arrays(self.observation_space, obs))
        else:
            batched = one(cast(Any, self.observation_space), obs)
        if PREV_REWARDS in kwargs:
            kwargs[PREV_REWARDS] = np.asarray(kwargs[PREV_REWARDS])[None]
        if state:
            state = nested_map(lambda x: np.asarray(x)[None], state)
        actions, state_out = self.compute_actions(batched, state, explore, **kwargs)
        return nested_map(lambda x: x[0], actions), nested_map(lambda x: x[0], state_out)

    @names_plugins
    def compute_actions_from_input_dict(
        self, input_dict: Mapping[str, Any], explore: bool = False, timestep: int | None = None, **kwargs: object
    ) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """Act on a batch dict with ``"obs"`` and, when recurrent, ``"state_in"``; ``timestep`` is passed as ``t``.

        Returns:
            ``(actions, state, extra)``: as :meth:`compute_actions`, and everything else the module returned, with
            ``action_logp`` and ``action_prob`` of the actions where they can be had and ``explore`` is on.
        """
        state_in = dict(input_dict.get(Columns.STATE_IN) or {})
        if PREV_ACTIONS in input_dict:
            state_in[PREV_ACTIONS] = input_dict[PREV_ACTIONS]
        prev_rewards = input_dict.get(PREV_REWARDS)
        obs = input_dict[Columns.OBS]
        out, actions = self._deployment.act(obs, state_in, explore, timestep, prev_rewards)
        extra = {k: v for k, v in out.items() if k not in (Columns.ACTIONS, Columns.STATE_OUT)}
        if explore:
            if Columns.ACTION_LOGP not in extra and Columns.ACTION_DIST_INPUTS in extra:
                sampler = self._deployment.sampler(True)
                extra[Columns.ACTION_LOGP] = sampler.logp(extra[Columns.ACTION_DIST_INPUTS], out[Columns.ACTIONS])
            if Columns.ACTION_LOGP in extra:
                extra[Columns.ACTION_PROB] = torch.exp(torch.as_tensor(extra[Columns.ACTION_LOGP]))
        state = nested_map(to_numpy, out.get(Columns.STATE_OUT, {}))
        return self.actions_to_env(actions), state, nested_map(to_numpy, extra)

    @names_plugins
    def compute_log_likelihoods(
        self, actions: object, obs_batch: object, state_batches: Mapping[str, Any] | None = None, **kwargs: object
    ) -> np.ndarray[Any, Any]:
        """Log-probabilities of given actions under the exploration distribution.

        Args:
            actions: (B, ...) in the units the distribution samples in (what rollouts store, not env units).
            obs_batch: (B, ...) observations.
            state_batches: recurrent state before them; the initial one when None.

        Returns:
            float array of shape (B,).

        Raises:
            ConfigError: the module's exploration forward returns no ``action_dist_inputs``.
        """
        deployed = self._deployment
        out, _ = deployed.act(obs_batch, state_batches, True)
        inputs = out.get(Columns.ACTION_DIST_INPUTS)
        if inputs is None:
            raise ConfigError(
                f"{type(deployed.module).__name__} returns no 'action_dist_inputs' when exploring, so the probability "
                "of given actions is not defined; return them beside 'actions'"
            )
        device = deployed.device
        raw = nested_map(lambda x: torch.as_tensor(np.asarray(x), device=device), actions)
        with torch.no_grad():
            logp = deployed.sampler(True).logp(inputs, raw)
        return cast("np.ndarray[Any, Any]", to_numpy(logp))

    def actions_to_env(self, actions: Any) -> Any:
        """Turn actions as rollouts store them (any leading axes) into env units; see ``Distribution.to_env``.

        ``normalize_actions`` and ``clip_actions`` of ``model_config`` (True unless set) turn scaling and clipping off.
        """
        return self._deployment.to_env(actions)


class Deployment:
    """What acting by hand needs of one module (or of a wrapper around it), each part made when it is first used."""

    def __init__(self, module: ModuleForwards) -> None:
        self._outer = module
        self.module = module.unwrapped()
        self._samplers: dict[bool, ActionSampler] = {}

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Columns that the module's networks read."""
        return tuple(getattr(self.module, "input_columns", ()))

    @property
    def device(self) -> torch.device | None:
        """Where the module is; None where it is no torch module."""
        device = getattr(self._outer, "device", None)
        return device if isinstance(device, torch.device) else None

    @functools.cached_property
    def packer(self) -> ObservationPacker | None:
        """What makes arrays of observations; None where all are arrays."""
        return ObservationPacker.of(self.module, self.module.observation_space)

    @functools.cached_property
    def to_env(self) -> Callable[[Any], Any]:
        """The translation to env units by the module's distribution class, or, without one, by its action space."""
        from rlkit_core.distributions import Distribution
        from rlkit_core.distributions.units import box_units, in_env_units, raw_actions_to_env

        module = self.module
        space = module.action_space
        if space is None:
            return lambda actions: actions
        try:
            dist_cls = module.get_inference_action_dist_cls()
        except (NotImplementedError, ConfigError):
            dist_cls = None
        if not hasattr(dist_cls, "to_env"):
            dist_cls = Distribution
        standard = getattr(dist_cls.to_env, "__func__", None) is Distribution.to_env.__func__  # type: ignore[attr-defined]
        if standard and isinstance(space, gym.spaces.Discrete) and not space.start:
            dtype = space.dtype
            return lambda actions: actions if actions.dtype == dtype else raw_actions_to_env(actions, space)
        normalize = bool(module.model_config.get("normalize_actions", True))
        clip = bool(module.model_config.get("clip_actions", True))
        to_env = in_env_units(dist_cls, normalize=normalize, clip=clip)
        if standard and isinstance(space, gym.spaces.Box):
            of_box = box_units(space, normalize=normalize, clip=clip)
            return lambda actions: of_box(actions) if isinstance(actions, np.ndarray) else to_env(actions, space)
        return lambda actions: to_env(actions, space)

    @functools.cached_property
    def read_one(self) -> Reader | None:
        """What makes tensors of one observation; None where the module reads more than that, or packs it."""
        space = self.module.observation_space
        if space is None or self.packer is not None or self.input_columns or self.module.is_stateful():
            return None
        return observation_reader(space)

    def act_on_one(self, obs: object, explore: bool) -> Any:
        """Act on one observation, where there is :attr:`read_one`; the action in env units, without a batch axis."""
        assert self.read_one is not None
        seen, device, sampler = self.read_one(obs), self.device, self.sampler(explore)
        if device is not None and device.type != "cpu":
            seen = nested_map(lambda x: x.to(device), seen)
        elif isinstance(seen, torch.Tensor) and (raw := sampler.by_row(seen)) is not None:
            return self.to_env(raw)[0]
        with torch.no_grad():
            raw = sampler({Columns.OBS: seen})[Columns.ACTIONS]
        return nested_map(lambda x: x[0], self.to_env(nested_map(to_numpy, raw)))

    def sampler(self, explore: bool) -> ActionSampler:
        """What turns the module's outputs into actions; made once for each way of acting."""
        if explore not in self._samplers:
            self._samplers[explore] = action_sampler(self._outer, explore=explore)
        return self._samplers[explore]

    def act(
        self,
        obs: object,
        state: Mapping[str, Any] | None,
        explore: bool,
        t: int | None = None,
        prev_rewards: ArrayLike | None = None,
    ) -> tuple[dict[str, Any], Any]:
        """Act on a batch of observations (B, ...).

        Returns:
            ``(out, actions)``: what the module returned, as tensors, and the raw actions, as numpy arrays.
        """
        module, device = self._outer, self.device
        arrays = as_arrays(module.observation_space, obs) if self.packer is None else self.packer(obs)
        space = module.observation_space if self.packer is None else None
        if space is None:
            seen = nested_map(lambda x: to_tensor(x, device), arrays)
        else:  # a leaf in float64 stays one, as in training
            seen = map_space(lambda leaf, x: to_tensor(x, device, wide=leaf.dtype == np.float64), space, arrays)
        batch: dict[str, Any] = {Columns.OBS: seen}
        rows = int(next(leaves(batch[Columns.OBS])).shape[0])
        if PREV_ACTIONS in self.input_columns:
            state = dict(state or {})
            previous = state.pop(PREV_ACTIONS, None)
            if previous is None:
                previous = no_previous_action(module, rows)
            batch[PREV_ACTIONS] = nested_map(lambda x: to_tensor(x, device), previous)
        if PREV_REWARDS in self.input_columns:
            rewards = np.zeros(rows) if prev_rewards is None else prev_rewards
            batch[PREV_REWARDS] = to_tensor(np.asarray(rewards, np.float32), device)
        if module.is_stateful():
            if not state:
                state = nested_map(lambda x: np.stack([to_numpy(x)] * rows), module.get_initial_state())
            batch[Columns.STATE_IN] = nested_map(lambda x: to_tensor(x, device), state)
        with torch.no_grad():
            out = self.sampler(explore)(batch, t=t)
        return out, nested_map(to_numpy, out[Columns.ACTIONS])


def to_tensor(value: object, device: torch.device | None = None, *, wide: bool = False) -> torch.Tensor:
    """A tensor of a numpy array; float64 becomes float32, unless it is to stay ``wide``."""
    tensor = value if isinstance(value, torch.Tensor) else torch.from_numpy(np.array(value))
    if tensor.dtype is torch.float64 and not wide:
        tensor = tensor.float()
    return tensor.to(device) if device is not None else tensor


def to_numpy(value: object) -> Any:
    """A numpy array of a tensor; other values stay."""
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
