"""The runner of envs with one agent: acts in N of them and writes what happens into a rollout.

What happens at each step is in :mod:`~rlkit_core.envs.acting_loop`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np
from attrs import evolve

from rlkit_core.columns import DEFAULT_AGENT_ID
from rlkit_core.data.rollout import Rollout
from rlkit_core.envs.acting_loop import ActingLoop, Steps
from rlkit_core.envs.acting_modules import ActingModules, Spaces
from rlkit_core.envs.checks.rollouts import RolloutChecks
from rlkit_core.envs.episodes import EpisodeQuota
from rlkit_core.envs.events import (
    NO_EPISODES,
    NO_INDICES,
    EnvCreated,
    EpisodeArrays,
    EpisodeReport,
    Floats,
    Integers,
)
from rlkit_core.envs.faults.mending import Mender
from rlkit_core.envs.faults.patience import Patience
from rlkit_core.envs.gym_vectors.make import make_vector_env
from rlkit_core.envs.gym_vectors.tensors.loop import TensorLoop
from rlkit_core.envs.gym_vectors.tensors.vector import TensorVectorEnv
from rlkit_core.envs.memory import Bools
from rlkit_core.envs.runner_base import Runner, RunnerSettings, clipped
from rlkit_core.envs.steps_to_rollout import make_rollout
from rlkit_core.envs.vector import VectorEnv
from rlkit_core.envs.whole_episodes import play_episodes, sample_episodes
from rlkit_core.envs.wrapping.entries import counts_below
from rlkit_core.rl_module import RLModule
from rlkit_core.rl_module.acting import ActionSampler
from rlkit_core.rl_module.agent_mapping import ALL_AGENTS
from rlkit_core.rl_module.module_set import ModuleSet
from rlkit_core.seeding import SeedTree


class EnvRunner(Runner):
    """Steps N envs with one module.

    Args:
        config: the algorithm's config.
        worker_index: which of the runners this is; 0 is the one in the driver.
        seeds: node of the seed tree that this runner draws from.
        num_envs: N; the config's ``num_envs_per_env_runner`` unless given.
        env_created: is told of each env that is made.
        first_env: one of the envs, where it has been made (and told of) already.

    Raises:
        EnvError: the env cannot be made, or has no gymnasium spaces.
        ConfigError, NoComponentError, ...: the module cannot be built for the env's spaces.
    """

    def __init__(
        self,
        config: RunnerSettings,
        *,
        worker_index: int = 0,
        seeds: SeedTree | None = None,
        num_envs: int | None = None,
        env_created: EnvCreated | None = None,
        first_env: gym.Env[Any, Any] | None = None,
    ) -> None:
        super().__init__(config, worker_index=worker_index, seeds=seeds, num_envs=num_envs)
        self.env: VectorEnv = make_vector_env(
            config.env,
            config.env_config,
            self.num_envs,
            worker_index=worker_index,
            mode=config.gym_env_vectorize_mode,
            check=not config.disable_env_checking,
            next_seed=self._episode_seeds,
            info_metrics=config.info_metrics,
            first=first_env,
            timeout_s=config.sub_environment_timeout_s,
            wrappers=config.wrappers,
            created=None if env_created is None else env_created.in_runner(config.env_config, worker_index),
        )
        self._counts_below = counts_below(config.wrappers)
        self.observation_space = config.observation_space or self.env.observation_space
        self.action_space = config.action_space or self.env.action_space
        spaces = (self.observation_space, self.action_space)
        self._mender = Mender(
            self.env,
            self.restarts,
            RolloutChecks(config.env, self.worker_index, self.num_envs, self.env.observation_space),
            self._episode_seeds,
            self._seeds.child("anew"),
        )
        device = self.env.device if isinstance(self.env, TensorVectorEnv) else None
        self._rng.use_device(device)
        self.modules = ActingModules(config, {ALL_AGENTS: spaces}, self._rng, device=device)
        self._begin_to_act()
        self.reset_envs()

    # -- what it is made of ---------------------------------------------------------------------------------------

    def get_spaces(self) -> Spaces:
        """See :meth:`Runner.get_spaces`; the id is that of the module that acts."""
        spaces = (self.observation_space, self.action_space)
        return {self.acting_id: spaces, ALL_AGENTS: spaces}

    @property
    def acting_id(self) -> str:
        """Id of the module that acts: the one that the config maps the sole agent to."""
        return self.modules.acting_id

    @property
    def acting_module(self) -> RLModule:
        """The module that acts."""
        return self.modules.acting

    def set_modules(self, module_set: ModuleSet) -> None:
        """Have other modules from now on; see :meth:`ActingModules.set_modules`.

        The envs begin with fresh episodes if another module acts.
        """
        before = self.acting_module.unwrapped()
        self.modules.set_modules(module_set)
        self.config = cast(RunnerSettings, module_set.config)
        if self.acting_module.unwrapped() is not before:
            self._begin_to_act()
            if self._to_resume is None:
                self.reset_envs()

    def _begin_to_act(self) -> None:
        """Make what depends on the acting module."""
        loop = TensorLoop if isinstance(self.env, TensorVectorEnv) else ActingLoop
        self.loop: ActingLoop = loop(
            self.env,
            self.acting_module,
            observation_space=self.observation_space,
            rng=self._rng,
            mender=self._mender,
            where=f"runner {self.worker_index}",
            exploration_noise=self.config.exploration_noise,
            replay_limit=self.replay_limit,
        )

    def exploring(self) -> dict[str, ActionSampler]:
        """See :meth:`Runner.exploring`."""
        return {self.acting_id: self.loop.sampler(True)}

    # -- sampling -------------------------------------------------------------------------------------------------

    def collect_steps(self, num_steps: int, *, explore: bool, timestep: int) -> dict[str, Rollout]:
        """Act for ``num_steps`` steps in each env."""
        return {self.acting_id: self.collect(num_steps, explore=explore, timestep=timestep)}

    def collect_episodes(self, num_episodes: int, *, explore: bool, timestep: int) -> dict[str, Rollout]:
        """Act for whole episodes; see :func:`~.whole_episodes.sample_episodes`."""
        return {self.acting_id: sample_episodes(self, num_episodes, explore=explore, timestep=timestep)}

    def collect(self, num_steps: int, *, explore: bool, timestep: int, quota: EpisodeQuota | None = None) -> Rollout:
        """Act for ``num_steps`` steps in each env; what comes after the episodes of ``quota`` is masked."""
        steps = self.loop.act(num_steps, explore=explore, timesteps=self.timesteps(num_steps, timestep))
        experience = steps.experience
        dones = steps.dones if experience is None else steps.dones & experience
        if quota is not None:
            counted = quota.take(dones)
            experience = counted if experience is None else counted & experience
            dones = dones & experience
        self._count(steps, dones, experience)
        rewards = clipped(steps.buffers.rewards_tensor, self.config.clip_rewards)
        rollout = make_rollout(self.loop, steps, rewards, experience, self.weights_version)
        self.steps.env += rollout.num_env_steps
        return rollout

    def _count(self, steps: Steps, dones: Bools, experience: Bools | None) -> None:
        """Keep what is told of the episodes that ended in these steps (at ``dones``), and of those that began."""
        infos: Sequence[Mapping[str, float]] = steps.infos
        if infos and dones is not steps.dones:
            infos = [info for info, counts in zip(infos, dones[steps.dones], strict=True) if counts]
        returns, lengths = self.stats.count(steps.buffers.rewards, dones, experience, steps.lost)
        envs = dones.nonzero()[1] if len(returns) else NO_INDICES
        began = steps.began.nonzero()[1] if len(returns) or steps.experience is not None else NO_INDICES
        if self._counts_below:
            if steps.lost is not None:
                self.stats.held.drop(np.flatnonzero(steps.lost.any(0)).tolist())
            envs, returns, lengths, infos = self.stats.held.take(envs, lengths, infos)
        ended = NO_EPISODES
        if len(returns):
            self.stats.record(returns.tolist(), lengths.tolist(), steps=0)
            ended = self._arrays(envs, returns, lengths, infos)
            self.stats.record_info(ended.info)
        if steps.fresh_start is not None:
            began = np.concatenate((np.flatnonzero(steps.fresh_start), began))
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

    def play_episodes(self, episodes: Sequence[int], *, explore: bool, seeds: SeedTree) -> EpisodeReport:
        """Play episodes of these numbers without recording them; see :func:`~.whole_episodes.play_episodes`.

        Returns:
            What is told of those that ended, in the order of ``episodes``, and which were cut. The envs begin with
            fresh episodes afterwards.
        """
        try:
            played = play_episodes(
                self.loop,
                self._episode_seeds,
                episodes,
                explore=explore,
                seeds=seeds,
                patience=Patience.of(self.config),
            )
        finally:
            self.reset_envs()
        all_ended = list(played.ended.values())
        envs = np.array([one.env for one in all_ended], np.int64)
        returns, lengths = [one.return_ for one in all_ended], [one.length for one in all_ended]
        ended = self._arrays(envs, np.array(returns), np.array(lengths, np.int64), [one.info for one in all_ended])
        report = EpisodeReport(self.worker_index, returns, lengths, ended, ended.begun())
        return evolve(report, cut=played.cut, cut_steps=played.cut_steps, failed=played.failed)

    def reset_envs(self) -> None:
        """Let the next :meth:`sample` begin with fresh episodes; each reset has seeds of its own."""
        self.loop.reset_later(self.fresh_seeds())

    def get_open(self) -> dict[str, Any]:
        """See :meth:`Runner.get_open`."""
        return self.loop.get_open()

    def _not_exact_by_envs(self) -> list[str]:
        return self.env.not_exact()

    def _open_problems(self, state: dict[str, Any]) -> list[str]:
        problems = state["episodes"]["problems"] if "episodes" in state else []
        return [f"{self._name_of(n)}: {problem}" for n, problem in enumerate(problems) if problem is not None]

    def resume_open(self, state: dict[str, Any]) -> list[str | None]:
        """See :meth:`Runner.resume_open`."""
        return self.loop.resume(state, self.fresh_seeds)

    def stop(self) -> None:
        """Close the envs."""
        self.env.close()
