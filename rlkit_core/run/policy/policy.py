"""Acting with a module in one env: an observation in, an action out, recurrent state kept in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from rlkit_core.columns import Columns
from rlkit_core.data.one_observation import Reader, observation_reader
from rlkit_core.errors import ConfigError
from rlkit_core.models.base import PREV_ACTIONS, PREV_REWARDS
from rlkit_core.models.previous import no_previous_action
from rlkit_core.plugins.using import names_plugins
from rlkit_core.rl_module.acting import action_sampler
from rlkit_core.rl_module.base import RLModule
from rlkit_core.rl_module.deploy import Deployment, to_numpy, to_tensor
from rlkit_core.rl_module.packing import one
from rlkit_core.spaces import nested_map


class Policy:
    """What a deployment calls: ``action = policy(observation)``.

    It has the state of one episode: call :meth:`reset` when another one begins. Several envs take a policy each
    (:meth:`another` shares the module), or batches: ``policy.module.compute_actions(observations)``.

    Args:
        module: acts; it is put into eval mode.
        explore: sample actions instead of taking the best.
        make_env: what :meth:`make_env` calls.

    Raises:
        ConfigError: the module does not say what it observes and does.

    Attributes:
        module: the module.
        explore: whether actions are sampled.
        observation_space: of the observations that it takes, which are those of the wrapped env.
        action_space: of the actions that it gives, as the wrapped env takes them.
    """

    def __init__(
        self, module: RLModule, *, explore: bool = False, make_env: Callable[..., gym.Env[Any, Any]] | None = None
    ) -> None:
        if module.observation_space is None or module.action_space is None:
            raise ConfigError(f"{type(module).__name__} has no spaces, so nobody knows which observations it takes")
        getattr(module, "eval", lambda: None)()
        self.observation_space, self.action_space = module.observation_space, module.action_space
        self.module, self.explore, self._make_env = module, explore, make_env
        deployed = Deployment(module)
        self._deployed, self._device = deployed, deployed.device
        on = None if self._device is None or self._device.type == "cpu" else self._device
        self._sampler = action_sampler(module, explore=explore)
        packer, space = deployed.packer, self.observation_space
        self._read: Reader
        if packer is not None:
            self._read = lambda observation: nested_map(
                lambda x: to_tensor(x, self._device), packer(one(space, observation))
            )
        else:
            self._read = observation_reader(space, on, reuse=not module.is_stateful())  # a state may keep them
        self._to_env = deployed.to_env
        self._previous = [name for name in (PREV_ACTIONS, PREV_REWARDS) if name in deployed.input_columns]
        self._stateful = module.is_stateful()
        self._remembers = self._stateful or bool(self._previous)
        self._plain = isinstance(module.action_space, gym.spaces.Discrete)
        rows = isinstance(self.observation_space, gym.spaces.Box) and packer is None and on is None
        self._by_row = self._sampler.by_row if rows and not self._remembers else None
        self._state: Any = None
        self._memory: dict[str, Any] = {}

    @names_plugins
    def __call__(self, observation: object, *, reward: float = 0.0) -> Any:
        """Act.

        Args:
            observation: one, without a batch axis, as the wrapped env gives it.
            reward: which followed the last action, for modules that take it as an input (``lstm_use_prev_reward``).

        Returns:
            The action, in the units of the env.

        Raises:
            ConfigError: the observation is of another shape or kind; the message names the leaf.
        """
        seen = self._read(observation)
        if self._by_row is not None:
            rows = self._by_row(seen)
            if rows is not None:
                action = self._to_env(rows)[0]
                return action if self._plain else np.array(action)
        batch: dict[str, Any] = {Columns.OBS: seen}
        if self._remembers:
            self._recall(batch, reward)
        with torch.inference_mode():
            out = self._sampler(batch)
        raw = out[Columns.ACTIONS]
        if self._remembers:
            self._state = out.get(Columns.STATE_OUT)
            self._memory = {PREV_ACTIONS: raw}
        if type(raw) is torch.Tensor:
            action = self._to_env((raw if raw.is_cpu else raw.cpu()).numpy())[0]
            return action if self._plain else np.array(action)
        return nested_map(lambda x: np.array(x[0]), self._to_env(nested_map(to_numpy, raw)))

    act = __call__

    def _recall(self, batch: dict[str, Any], reward: float) -> None:
        """Add what there is of the step before."""
        if self._stateful:
            if self._state is None:
                initial = self.module.get_initial_state()
                self._state = nested_map(lambda x: to_tensor(to_numpy(x)[None], self._device), initial)
            batch[Columns.STATE_IN] = self._state
        if PREV_ACTIONS in self._previous:
            if not self._memory:
                first = no_previous_action(self.module, 1)
                self._memory = {PREV_ACTIONS: nested_map(lambda x: to_tensor(x, self._device), first)}
            batch[PREV_ACTIONS] = self._memory[PREV_ACTIONS]
        if PREV_REWARDS in self._previous:
            batch[PREV_REWARDS] = to_tensor(np.array([reward], np.float32), self._device)

    def reset(self) -> None:
        """Another episode begins: forget the one before."""
        self._state, self._memory = None, {}

    def another(self, *, explore: bool | None = None) -> Policy:
        """One with the same module and an episode of its own."""
        return Policy(self.module, explore=self.explore if explore is None else explore, make_env=self._make_env)

    def make_env(self, **env_config: object) -> gym.Env[Any, Any]:
        """Make the env that it was trained in, wrapped, without what is for training only.

        Args:
            **env_config: settings of the env beside, or in place of, those of the run: ``render_mode="human"``.

        Raises:
            ConfigError: it is a policy of a module alone.
            CheckpointError: no env is known, or it or a wrapper cannot be trusted or was a function.
            EnvError: it cannot be made.
        """
        if self._make_env is None:
            raise ConfigError("this policy is of a module alone, which knows no env; load_policy(RUN) knows its run's")
        return self._make_env(**env_config)

    def get_state(self) -> Mapping[str, Any]:
        """Where it is in its episode: arrays; ``{}`` where there is nothing to remember."""
        return nested_map(to_numpy, {**({} if self._state is None else {"state": self._state}), **self._memory})  # type: ignore[no-any-return]

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`get_state`."""
        tensors = nested_map(lambda x: to_tensor(x, self._device), dict(state))
        self._state = tensors.pop("state", None)
        self._memory = tensors

    def __repr__(self) -> str:
        return f"Policy({type(self.module).__name__}, explore={self.explore})"
