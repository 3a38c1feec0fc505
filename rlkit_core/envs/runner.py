"""The runner: acts in N envs and writes what happens into a rollout.

What happens at each step is in :mod:`~rlkit_core.envs.acting_loop`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from rlkit_core.columns import DEFAULT_AGENT_ID
from rlkit_core.data.rollout import Rollout
from rlkit_core.envs.acting_loop import ActingLoop, Steps
from rlkit_core.envs.acting_modules import ActingModules, Spaces
from rlkit_core.envs.episodes import EpisodeQuota, EpisodeStats
from rlkit_core.envs.events import (
    NO_EPISODES,
    NO_INDICES,
    EnvCreated,
    EpisodeArrays,
    EpisodeReport,
    Floats,
    Integers,
)
from rlkit_core.envs.finite_checks import FiniteChecks
from rlkit_core.envs.memory import Bools
from rlkit_core.envs.steps_to_rollout import make_rollout
from rlkit_core.envs.vector import VectorEnv, make_vector_env
from rlkit_core.envs.whole_episodes import EpisodeSeeds, play_episodes, sample_episodes
from rlkit_core.errors import ConfigError
from rlkit_core.rl_module import MultiRLModule, RLModule
from rlkit_core.rl_module.module_set import ModuleSet
from rlkit_core.rl_module.weights import Weights
from rlkit_core.seeding import SeedTree, TorchRNG


class EnvRunner:
    """Steps N envs with one module.

    Args:
        config: the algorithm's config.
        worker_index: which of the runners this is; 0 is the one in the driver.
        seeds: node of the seed tree that this runner draws from.
        num_envs: N; the config's ``num_envs_per_env_runner`` unless given.
        env_created: is told of each env that is made.

    Attributes:
        modules: the modules that it has.
        weights_version: version of the weights it acts with.

    Raises:
        EnvError: the env cannot be made, or has no gymnasium spaces.
        ConfigError, NoComponentError, ...: the module cannot be built for the env's spaces.
    """

    def __init__(
        self,
        config: Any,
        *,
        worker_index: int = 0,
        seeds: SeedTree | None = None,
        num_envs: int | None = None,
        env_created: EnvCreated | None = None,
    ) -> None:
        self.config = config
        self.worker_index = worker_index
        self.num_envs = num_envs or config.num_envs_per_env_runner
        self._seeds = seeds or SeedTree.from_seed(config.seed).child("env_runner", worker_index)
        self._rng = TorchRNG(self._seeds.child("torch").seed())
        self._episode_seeds = EpisodeSeeds()
        self.env: VectorEnv = make_vector_env(
            config.env,
            config.env_config,
            self.num_envs,
            mode=config.gym_env_vectorize_mode,
            check=not config.disable_env_checking,
            next_seed=self._episode_seeds,
            info_metrics=config.info_metrics,
            created=None if env_created is None else env_created.in_runner(config.env_config, worker_index),
        )
        self.observation_space = config.observation_space or self.env.observation_space
        self.action_space = config.action_space or self.env.action_space
        self.modules = ActingModules(config, (self.observation_space, self.action_space), self._rng)
        self._begin_to_act()
        self._resets = 0
        self.weights_version = 0
        self.stats = EpisodeStats(self.num_envs, config.metrics_num_episodes_for_smoothing)
        self._reports: list[EpisodeReport] = []
        self.reset_envs()

    # -- what it is made of ---------------------------------------------------------------------------------------

    def get_spaces(self) -> Spaces:
        """``{module id: (observation space, action space)}`` as modules see them."""
        return {self.acting_id: (self.observation_space, self.action_space)}

    @property
    def module(self) -> MultiRLModule:
        """The modules that it has, by id."""
        return self.modules.module

    @property
    def acting_id(self) -> str:
        """Id of the module that acts: the one that the config maps the sole agent to."""
        return self.modules.acting_id

    @property
    def acting_module(self) -> RLModule:
        """The module that acts."""
        return self.modules.acting

    @property
    def episodes(self) -> EpisodeReport:
        """Episodes that ended, and began, in the last sample."""
        return EpisodeReport.concat(self.worker_index, self._reports)

    def set_modules(self, module_set: ModuleSet) -> None:
        """Have other modules from now on; see :meth:`ActingModules.set_modules`.

        The envs begin with fresh episodes if another module acts.
        """
        another_acts = self.modules.set_modules(module_set)
        self.config = module_set.config
        if another_acts:
            self._begin_to_act()
            self.reset_envs()

    def _begin_to_act(self) -> None:
        """Make what depends on the acting module."""
        self.loop = ActingLoop(
            self.env,
            self.acting_module,
            observation_space=self.observation_space,
            rng=self._rng,
            checks=FiniteChecks(self.config.env, self.worker_index, self.num_envs),
        )

    # -- sampling -------------------------------------------------------------------------------------------------

    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        force_reset: bool = False,
        timestep: int | None = None,
    ) -> dict[str, Rollout]:
        """Act for ``num_timesteps`` steps in all, ``T = ceil(num_timesteps / N)`` in each env, or for whole episodes.

        Args:
            num_timesteps: env steps; the config's rollout fragment in each env unless given.
            num_episodes: whole episodes, from fresh starts: env n plays every N-th. T is that of the env that takes
                longest; ``loss_mask`` is False for the steps of envs that had finished.
            explore: whether to explore; the config's ``explore`` unless given.
            force_reset: start with fresh episodes.
            timestep: env steps that all runners have sampled before, which exploration may depend on; this runner's
                own unless given.

        Returns:
            ``{module id: rollout}``, in this runner's own buffers: valid until the next call.

        Raises:
            ConfigError: both ``num_timesteps`` and ``num_episodes`` are given.
            EnvError: an env raised, or its observation does not fit its space.
            NonFiniteError: an observation or reward is NaN or infinite.
        """
        explore = self.config.explore if explore is None else explore
        timestep = self.stats.num_env_steps_lifetime if timestep is None else timestep
        self._reports = []
        if num_episodes is not None:
            if num_timesteps is not None:
                raise ConfigError(
                    f"sample(num_timesteps={num_timesteps}, num_episodes={num_episodes}): give one of the two"
                )
            rollout = sample_episodes(self, num_episodes, explore=explore, timestep=timestep)
            self._reports = [self.episodes.of_whole_episodes()]
            return {self.acting_id: rollout}
        if num_timesteps is None:
            num_steps = self.config.get_rollout_fragment_length(self.worker_index)
        else:
            num_steps = -(-num_timesteps // self.num_envs)
        if force_reset:
            self.reset_envs()
        return {self.acting_id: self.collect(num_steps, explore=explore, timestep=timestep)}

    def collect(self, num_steps: int, *, explore: bool, timestep: int, quota: EpisodeQuota | None = None) -> Rollout:
        """Act for ``num_steps`` steps in each env; what comes after the episodes of ``quota`` is masked."""
        stride = self.num_envs * max(1, self.config.num_env_runners)
        timesteps = range(timestep, timestep + num_steps * stride, stride)
        steps = self.loop.act(num_steps, explore=explore, timesteps=timesteps)
        experience = steps.experience
        dones = steps.dones if experience is None else steps.dones & experience
        if quota is not None:
            counted = quota.take(dones)
            experience = counted if experience is None else counted & experience
            dones = dones & experience
        returns, lengths = self.stats.add(steps.buffers.rewards, dones, experience)
        self._report(steps, dones, returns, lengths)
        rewards = _clipped(steps.buffers.rewards_tensor, self.config.clip_rewards)
        return make_rollout(self.loop, steps, rewards, experience, self.weights_version)

    def _report(self, steps: Steps, dones: Bools, returns: Floats, lengths: Integers) -> None:
        """Keep what is told of the episodes that ended in these steps (at ``dones``), and of those that began."""
        infos = steps.infos
        if infos and dones is not steps.dones:
            infos = [info for info, counts in zip(infos, dones[steps.dones], strict=True) if counts]
        ended = self._arrays(dones.nonzero()[1], returns, lengths, infos) if len(returns) else NO_EPISODES
        self.stats.record_info(ended.info)
        resets = steps.dones if steps.experience is None else ~steps.experience
        began = resets.nonzero()[1] if len(returns) or steps.experience is not None else NO_INDICES
        if steps.fresh_start:
            began = np.concatenate((np.arange(self.num_envs), began))
        if len(returns) or len(began):
            self._reports.append(
                EpisodeReport(self.worker_index, returns.tolist(), lengths.tolist(), ended, self._arrays(began))
            )

    def _arrays(
        self,
        envs: Integers,
        returns: Floats | None = None,
        lengths: Integers | None = None,
        infos: Sequence[Mapping[str, float]] = (),
    ) -> EpisodeArrays:
        return EpisodeArrays.of_one(
            envs,
            agent=DEFAULT_AGENT_ID,
            module=self.acting_id,
            worker_index=self.worker_index,
            returns=returns,
            lengths=lengths,
            infos=infos,
        )

    def run_episodes(
        self, num_episodes: int, *, explore: bool = False, seeds: SeedTree | None = None
    ) -> dict[str, Any]:
        """Play whole episodes without recording them, for evaluation; see :func:`~.whole_episodes.play_episodes`.

        Returns:
            Result keys of :class:`~rlkit_core.envs.episodes.EpisodeStats`, over exactly these episodes.
        """
        seeds = seeds or self._seeds.child("episodes", self._resets)
        stats = EpisodeStats(self.num_envs, num_episodes)
        stats.take(self.play_episodes(range(num_episodes), explore=explore, seeds=seeds))
        return stats.result()

    def play_episodes(self, episodes: Sequence[int], *, explore: bool, seeds: SeedTree) -> EpisodeReport:
        """Play episodes of these numbers without recording them; see :func:`~.whole_episodes.play_episodes`.

        Returns:
            What is told of them, in the order of ``episodes``. The envs begin with fresh episodes afterwards.
        """
        try:
            played = play_episodes(self.loop, self._episode_seeds, episodes, explore=explore, seeds=seeds)
        finally:
            self.reset_envs()
        envs = np.array([one.env for one in played], np.int64)
        returns, lengths = [one.return_ for one in played], [one.length for one in played]
        ended = self._arrays(envs, np.array(returns), np.array(lengths, np.int64), [one.info for one in played])
        return EpisodeReport(self.worker_index, returns, lengths, ended, ended.begun())

    def get_metrics(self) -> dict[str, Any]:
        """Result keys of ``env_runners`` since the last call."""
        return {**self.stats.result(), "weights_seq_no": self.weights_version}

    def reset_envs(self) -> None:
        """Let the next :meth:`sample` begin with fresh episodes; each reset has seeds of its own."""
        seeds = self._seeds.child("reset", self._resets)
        self.loop.reset_later([seeds.child(n).seed() for n in range(self.num_envs)])
        self._resets += 1
        self.stats.drop_open()

    # -- weights, state, end --------------------------------------------------------------------------------------

    def set_weights(self, weights: Weights) -> None:
        """Act with ``weights`` from now on; older ones than it has are ignored."""
        if weights.version < self.weights_version:
            return
        self.modules.set_weights(weights.state)
        self.weights_version = weights.version

    def accept_any_version(self) -> None:
        """Take the next weights whatever their version (they come from a restored checkpoint)."""
        self.weights_version = 0

    def get_state(self) -> dict[str, Any]:
        """What a continued run needs besides weights: random state, statistics, counters."""
        return {
            "seed": self._seeds.root,
            "seed_path": list(self._seeds.path),
            "rng": self._rng.get_state(),
            "resets": self._resets,
            "stats": self.stats.get_state(),
            "weights_version": self.weights_version,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`get_state`, with fresh episodes."""
        self._seeds = SeedTree(int(state["seed"]), tuple(state["seed_path"]))
        self._rng.set_state(state["rng"])
        self._resets = int(state["resets"])
        self.stats.set_state(state["stats"])
        self.weights_version = int(state["weights_version"])
        self.reset_envs()

    def stop(self) -> None:
        """Close the envs."""
        self.env.close()


def _clipped(rewards: Tensor, clip: bool | float | None) -> Tensor:
    """Rewards as they are learned from: their signs (True), within ``[-clip, clip]``, or as they are."""
    if clip is None or clip is False:
        return rewards
    return rewards.sign() if clip is True else rewards.clamp(-float(clip), float(clip))
