"""The runner that asks a class of somebody else's for experience; see :class:`~.protocol.EnvRunner`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from attrs import evolve

from rlkit_core.columns import DEFAULT_AGENT_ID, Columns
from rlkit_core.data.nested import first_leaf
from rlkit_core.data.rollout import Rollout
from rlkit_core.envs.acting_modules import ActingModules, Spaces
from rlkit_core.envs.events import EpisodeArrays, EpisodeReport, Floats, Integers
from rlkit_core.envs.foreign.protocol import EnvRunner
from rlkit_core.envs.runner_base import Runner, RunnerSettings, clipped
from rlkit_core.errors import ConfigError
from rlkit_core.plugins.using import code_of
from rlkit_core.rl_module.agent_mapping import ALL_AGENTS
from rlkit_core.rl_module.module_set import ModuleSet
from rlkit_core.seeding import SeedTree

_NEEDED = (Columns.OBS, Columns.ACTIONS, Columns.REWARDS, Columns.TERMINATEDS, Columns.TRUNCATEDS)
_DTYPES = {
    Columns.REWARDS: torch.float32,
    Columns.TERMINATEDS: torch.bool,
    Columns.TRUNCATEDS: torch.bool,
}


class ForeignRunner(Runner):
    """Gets rollouts from ``config.env_runner_cls``, checks them, counts their steps and episodes.

    Args:
        config, worker_index, seeds, num_envs: see :class:`Runner`.

    Attributes:
        own: the object that gives the rollouts.

    Raises:
        ConfigError: its spaces are no dict of pairs of spaces, or agents are mapped to a module that is not among them.
    """

    def __init__(
        self,
        config: RunnerSettings,
        *,
        worker_index: int = 0,
        seeds: SeedTree | None = None,
        num_envs: int | None = None,
    ) -> None:
        super().__init__(config, worker_index=worker_index, seeds=seeds, num_envs=num_envs)
        cls = config.env_runner_cls
        assert cls is not None
        self._name = cls.__name__
        with code_of(cls, f"env runner class {self._name}, when it was made"):
            self.own: EnvRunner = cls(config, worker_index=worker_index)
            spaces = self.own.get_spaces()
        if not isinstance(spaces, Mapping) or not all(isinstance(x, tuple) and len(x) == 2 for x in spaces.values()):
            raise self._wrong("get_spaces()", "{module id: (observation space, action space)}", repr(spaces))
        self._spaces: Spaces = dict(spaces)
        self.agents = tuple(mid for mid in self._spaces if mid != ALL_AGENTS) or (DEFAULT_AGENT_ID,)
        self.modules = ActingModules(config, self._spaces, self._rng, agents=self.agents)
        self._told: int | None = None  # version of the weights that it knows
        self._open: dict[str, tuple[Floats, Integers]] = {}  # returns and lengths so far, [N] each

    def _wrong(self, what: str, expected: str, seen: str) -> ConfigError:
        return ConfigError(
            f"env_runners(env_runner_cls={self._name}): {what}: expected {expected}, got {seen}; see "
            "rlkit_core.protocols.EnvRunner"
        )

    # -- what it is made of ---------------------------------------------------------------------------------------

    def get_spaces(self) -> Spaces:
        """See :meth:`Runner.get_spaces`."""
        first = next(iter(self._spaces.values()))
        return {self.modules.acting_id: first, **self._spaces}

    def set_modules(self, module_set: ModuleSet) -> None:
        """Have other modules from now on, and say so before the next sample."""
        self.modules.set_modules(module_set)
        self.config = cast(RunnerSettings, module_set.config)
        self._told = None

    # -- sampling -------------------------------------------------------------------------------------------------

    def collect_steps(self, num_steps: int, *, explore: bool, timestep: int) -> dict[str, Rollout]:
        """Ask for ``num_steps`` steps of each env.

        Raises:
            ConfigError: what comes is no rollout of a module that is here, or lacks something.
        """
        with code_of(type(self.own), f"env runner {self._name}, sample()"):
            if self._told != self.weights_version:
                self.own.set_weights(self.module, self.weights_version)
                self._told = self.weights_version
            given = self.own.sample(num_timesteps=num_steps * self.num_envs, explore=explore, timestep=timestep)
        rollouts = dict(given) if isinstance(given, Mapping) else {self.modules.acting_id: given}
        for module_id, rollout in rollouts.items():
            self._check(module_id, rollout)
            self._count(module_id, rollout, alone=len(rollouts) == 1)
            if self.config.clip_rewards:
                rewards = clipped(rollout[Columns.REWARDS], self.config.clip_rewards)
                rollouts[module_id] = evolve(rollout, columns={**rollout.columns, Columns.REWARDS: rewards})
        self.stats.take(self.episodes, self.steps)
        return rollouts

    def _check(self, module_id: str, rollout: object) -> None:
        if module_id not in self.module:
            raise self._wrong("sample()", f"rollouts of {sorted(self.module.keys())}", f"one of {module_id!r}")
        if not isinstance(rollout, Rollout):
            raise self._wrong("sample()", "a Rollout, or a dict of them", type(rollout).__name__)
        missing = [name for name in _NEEDED if name not in rollout]
        if missing:
            raise self._wrong("sample()", f"the columns {', '.join(_NEEDED)}", f"none named {missing[0]!r}")
        lead = rollout[Columns.REWARDS].shape
        for name in _NEEDED:
            column = rollout[name]
            shape = tuple(first_leaf(column).shape)
            if shape[:2] != tuple(lead) or len(lead) != 2 or (name in _DTYPES and shape != tuple(lead)):
                raise self._wrong(f"column {name!r} of a rollout", "[T, N, ...] like its rewards [T, N]", str(shape))
            if name in _DTYPES and column.dtype != _DTYPES[name]:
                raise self._wrong(f"column {name!r} of a rollout", str(_DTYPES[name]), str(column.dtype))

    def _count(self, module_id: str, rollout: Rollout, *, alone: bool) -> None:
        """Count steps, and returns of episodes, which may go on from the last rollout."""
        rewards = rollout[Columns.REWARDS].double().cpu().numpy()
        valid = np.ones(rewards.shape, np.bool_) if rollout.loss_mask is None else rollout.loss_mask.cpu().numpy()
        dones = valid & (rollout[Columns.TERMINATEDS] | rollout[Columns.TRUNCATEDS]).cpu().numpy()
        envs = rewards.shape[1]
        before = self._open.get(module_id)
        if before is None or rollout.fresh_start or len(before[0]) != envs:
            before = np.zeros(envs), np.zeros(envs, np.int64)
        returns = np.cumsum(np.where(valid, rewards, 0.0), 0) + before[0]
        lengths = np.cumsum(valid, 0) + before[1]
        gone, steps = np.zeros(envs), np.zeros(envs, np.int64)  # of episodes that have ended in this rollout
        ended: list[tuple[int, float, int]] = []
        for t, n in zip(*(index.tolist() for index in dones.nonzero()), strict=True):
            ended.append((n, float(returns[t, n] - gone[n]), int(lengths[t, n] - steps[n])))
            gone[n], steps[n] = returns[t, n], lengths[t, n]
        self._open[module_id] = returns[-1] - gone, lengths[-1] - steps
        count = int(valid.sum())
        self.steps.env = max(self.steps.env, count)
        agent = DEFAULT_AGENT_ID if alone else module_id
        if not alone:
            self.steps.add(agent, module_id, count)
        if ended:
            places, sums, spans = zip(*ended, strict=True)
            arrays = EpisodeArrays.of_one(
                np.array(places, np.int64),
                agent=agent,
                module=module_id,
                worker_index=self.worker_index,
                returns=np.array(sums),
                lengths=np.array(spans, np.int64),
            )
            self._reports.append(EpisodeReport(self.worker_index, list(sums), list(spans), arrays))

    def collect_episodes(self, num_episodes: int, *, explore: bool, timestep: int) -> dict[str, Rollout]:
        """Raises ConfigError: it gives steps, not episodes."""
        raise self._no_episodes()

    def play_episodes(self, episodes: Sequence[int], *, explore: bool, seeds: SeedTree) -> EpisodeReport:
        """Raises ConfigError: it plays no episodes."""
        raise self._no_episodes()

    def _no_episodes(self) -> ConfigError:
        return ConfigError(
            f"env_runners(env_runner_cls={self._name}): such a runner plays no whole episodes; to evaluate, name the "
            "env to play in, environment('CartPole-v1'), or evaluation(evaluation_config={'env': 'CartPole-v1', "
            "'env_runner_cls': None}), or count steps, evaluation(evaluation_duration_unit='timesteps')"
        )

    def reset_envs(self) -> None:
        """Nothing: it begins where it likes, and says ``fresh_start``."""

    def get_open(self) -> dict[str, Any]:
        """Nothing that is known here; see :meth:`get_state`."""
        return {}

    def resume_open(self, state: dict[str, Any]) -> list[str | None]:
        """Nothing: that is its own affair."""
        return [None] * self.num_envs

    # -- state and end --------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """As of every runner, with the state of :attr:`own` and the episodes that are open."""
        with code_of(type(self.own), f"env runner {self._name}, get_state()"):
            own = self.own.get_state()
        still = {mid: {"returns": returns, "lengths": lengths} for mid, (returns, lengths) in self._open.items()}
        return {**super().get_state(), "own": own, "open": still}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`get_state`; what it did not say of an env runner of its own is left alone."""
        super().set_state(state)
        self._open = {
            mid: (np.asarray(part["returns"], np.float64), np.asarray(part["lengths"], np.int64))
            for mid, part in state.get("open", {}).items()
        }
        if "own" in state:
            with code_of(type(self.own), f"env runner {self._name}, set_state()"):
                self.own.set_state(state["own"])

    def stop(self) -> None:
        """Stop :attr:`own`."""
        self.own.stop()
