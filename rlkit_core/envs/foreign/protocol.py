"""What a class needs so that ``env_runners(env_runner_cls=)`` may name it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import gymnasium as gym

from rlkit_core.data.rollout import Rollout

if TYPE_CHECKING:
    from rlkit_core.envs.runner_base import RunnerSettings
    from rlkit_core.rl_module import MultiRLModule


class EnvRunner(Protocol):
    """A source of experience that is no gymnasium env: a recording, a simulator behind a socket, another process.

    It is made as ``cls(config, worker_index=...)`` wherever runners are (``worker_index`` 0 is the one in this process,
    1 the first elsewhere), and its methods are called one at a time.
    """

    def __init__(self, config: RunnerSettings, *, worker_index: int) -> None: ...

    def get_spaces(self) -> Mapping[str, tuple[gym.Space[Any], gym.Space[Any]]]:
        """``{module id: (observation space, action space)}``; the id ``"__env__"`` stands for every module.

        Called once, before anything else.
        """

    def set_weights(self, modules: MultiRLModule, version: int) -> None:
        """There are new weights, and ``modules`` has them: what acts (``modules[module_id].forward_exploration``).

        Called before the first sample, and before each one for which weights, or the modules themselves, have changed.
        The object is the same until modules come or go; one that only replays may ignore it.

        Args:
            modules: inference-only, in eval mode.
            version: of the weights, for ``Rollout(weights_version=...)``; a recording has None there.
        """

    def sample(self, *, num_timesteps: int, explore: bool, timestep: int) -> Rollout | Mapping[str, Rollout]:
        """Experience: one rollout, or ``{module id: rollout}``.

        Its columns are ``obs``, ``actions`` (raw, in the units of the module's distribution), ``rewards`` (float32),
        ``terminateds`` and ``truncateds`` (bool), each ``[T, N, ...]``, and what else losses read. It goes on where the
        last one ended, unless it has ``fresh_start=True``; where an episode was truncated, ``final_obs`` has its last
        observation.

        Args:
            num_timesteps: env steps that are asked for (``T * N``); it may give another number.
            explore: explore, or act deterministically.
            timestep: env steps that all runners have sampled before.
        """

    def get_state(self) -> dict[str, Any]:
        """What a continued run needs: JSON data and arrays; ``{}`` where there is nothing."""

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`get_state`."""

    def stop(self) -> None:
        """The end: free what is held."""
