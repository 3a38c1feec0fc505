"""The runner: acts in N envs and writes what happens into a rollout.

A step is: observation, one forward pass, one sample, one write, ``env.step``. Everything else (log-probabilities,
episode statistics, masks) is computed once per rollout over whole arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rlkit_core.columns import Columns
from rlkit_core.data.nested import Nested, flatten_time, index_rows, map_leaves, stack
from rlkit_core.data.rollout import Rollout
from rlkit_core.data.sequences import max_seq_len
from rlkit_core.envs.acting_modules import ActingModules, Spaces
from rlkit_core.envs.episodes import EpisodeQuota, EpisodeStats
from rlkit_core.envs.finite_checks import CHECK_EVERY, check_finals, check_step, check_steps
from rlkit_core.envs.memory import ActingMemory
from rlkit_core.envs.rollout_buffers import RolloutBuffers
from rlkit_core.envs.vector import VectorEnv, make_vector_env, stack_observations
from rlkit_core.envs.whole_episodes import play_episodes, sample_episodes
from rlkit_core.errors import ConfigError, EnvError
from rlkit_core.models.base import PREV_ACTIONS, PREV_REWARDS
from rlkit_core.rl_module import MultiRLModule, RLModule
from rlkit_core.rl_module.acting import ActionSampler, RowPolicy
from rlkit_core.rl_module.module_set import ModuleSet
from rlkit_core.rl_module.packing import ObservationPacker
from rlkit_core.rl_module.weights import Weights
from rlkit_core.seeding import SeedTree, TorchRNG

Finals = list[tuple[int, Any]]
"""Final observations with their places: the env's number, or ``t * N + n`` in a rollout."""


class EnvRunner:
    """Steps N envs with one module.

    Args:
        config: the algorithm's config.
        worker_index: which of the runners this is; 0 is the one in the driver.
        seeds: node of the seed tree that this runner draws from.
        num_envs: N; the config's ``num_envs_per_env_runner`` unless given.

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
    ) -> None:
        self.config = config
        self.worker_index = worker_index
        self.num_envs = num_envs or config.num_envs_per_env_runner
        self._seeds = seeds or SeedTree.from_seed(config.seed).child("env_runner", worker_index)
        self._rng = TorchRNG(self._seeds.child("torch").seed())
        self.env: VectorEnv = make_vector_env(
            config.env,
            config.env_config,
            self.num_envs,
            mode=config.gym_env_vectorize_mode,
            check=not config.disable_env_checking,
            next_seed=self._next_episode_seed,
        )
        self.observation_space = config.observation_space or self.env.observation_space
        self.action_space = config.action_space or self.env.action_space
        self.modules = ActingModules(config, (self.observation_space, self.action_space), self._rng)
        self._buffers: RolloutBuffers | None = None
        self._samplers: dict[bool, ActionSampler] = {}
        self._begin_to_act()
        self._resets = 0
        self._reset_seeds: list[int] | None = None
        self._in_reset_row = np.zeros(self.num_envs, np.bool_)
        self._episode_seeds: dict[int, list[int]] | None = None
        self.weights_version = 0
        self.stats = EpisodeStats(self.num_envs, config.metrics_num_episodes_for_smoothing)
        self.ended: tuple[list[float], list[int]] = (
            [],
            [],
        )  # returns and lengths of episodes in the last sample
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

    def set_modules(self, module_set: ModuleSet) -> None:
        """Have other modules from now on; see :meth:`ActingModules.set_modules`.

        The envs begin with fresh episodes if another module acts.
        """
        another_acts = self.modules.set_modules(module_set)
        self.config = module_set.config
        if another_acts:
            self._begin_to_act()
            self._buffers = None
            self.reset_envs()

    @property
    def seq_len(self) -> int | None:
        """Steps that a recurrent module is trained with at once; None for others."""
        return self._seq_len

    def _begin_to_act(self) -> None:
        """Make what depends on the acting module."""
        acting = self.acting_module.unwrapped()
        self._samplers.clear()
        self._memory = ActingMemory.of(acting, self.num_envs)
        self._seq_len = max_seq_len(acting) if self._memory is not None and self._memory.stateful else None
        self._packer = ObservationPacker.of(acting, self.observation_space)
        self._acts = acting

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
        self.ended = ([], [])
        if num_episodes is not None:
            if num_timesteps is not None:
                raise ConfigError(
                    f"sample(num_timesteps={num_timesteps}, num_episodes={num_episodes}): give one of the two"
                )
            return {self.acting_id: sample_episodes(self, num_episodes, explore=explore, timestep=timestep)}
        if num_timesteps is None:
            num_steps = self.config.get_rollout_fragment_length(self.worker_index)
        else:
            num_steps = -(-num_timesteps // self.num_envs)
        if force_reset:
            self.reset_envs()
        return {self.acting_id: self.collect(num_steps, explore=explore, timestep=timestep)}

    def collect(self, num_steps: int, *, explore: bool, timestep: int, quota: EpisodeQuota | None = None) -> Rollout:
        """Act for ``num_steps`` steps in each env; what comes after the episodes of ``quota`` is masked."""
        fresh_start = self._reset_seeds is not None
        buffers = self._prepare(num_steps)
        stride = self.num_envs * max(1, self.config.num_env_runners)
        timesteps = range(timestep, timestep + num_steps * stride, stride)
        policy = None
        if self._memory is None and self._packer is None:
            policy = self._sampler(explore).row_policy(timesteps, self.num_envs, self._rng)
        states: list[Nested] = []
        try:
            if policy is None:
                columns, finals = self._act(buffers, explore, timesteps, states)
            else:
                columns, finals = self._act_on_rows(buffers, policy)
        except Exception:
            # What is not finite may be why an env or a module failed.
            check_steps(self, buffers, _last_check(buffers.steps_taken), buffers.steps_taken)
            raise
        check_steps(self, buffers, _last_check(num_steps), num_steps)
        rollout = self._finish(buffers, columns, finals, quota)
        rollout.fresh_start = fresh_start
        if self._memory is not None:
            self._add_memory(rollout, buffers, states)
        return rollout

    def _act(
        self, buffers: RolloutBuffers, explore: bool, timesteps: range, states: list[Nested]
    ) -> tuple[dict[str, Nested], Finals]:
        """Fill the buffers, calling the module at each step.

        Returns:
            What the module returned, as columns ``[T, N, ...]``, and final observations with their places. Recurrent
            states to be kept are put into ``states``.
        """
        memory, packer = self._memory, self._packer
        outputs: dict[str, list[Nested]] = {}
        finals: Finals = []
        with torch.inference_mode(), self._rng.scope():
            sampler = self._sampler(explore)
            noise = self._noise(sampler, len(timesteps))
            for t, timestep in enumerate(timesteps):
                batch = {Columns.OBS: buffers.obs_inputs[t]}
                if packer is not None:
                    batch[Columns.OBS] = packer(batch[Columns.OBS])
                if memory is not None:
                    batch.update(memory.inputs)
                    if self._seq_len is not None and t % self._seq_len == 0:
                        states.append(memory.inputs[Columns.STATE_IN])
                    for name in memory.previous:
                        outputs.setdefault(name, []).append(memory.inputs[name])
                out = sampler(batch, noise=noise[t], t=timestep)
                actions = out[Columns.ACTIONS]
                plain = isinstance(actions, torch.Tensor)
                ended = self._step(buffers, t, actions.numpy() if plain else map_leaves(lambda x: x.numpy(), actions))
                if memory is not None:
                    starts = self._next_starts(buffers, t, self._in_reset_row)
                    memory.remember(out, buffers.reward_rows[t], starts)
                for name, value in out.items():
                    outputs.setdefault(name, []).append(value)
                if ended:
                    finals += [(t * self.num_envs + n, observation) for n, observation in ended]
        return {name: buffers.stack_output(name, steps) for name, steps in outputs.items()}, finals

    def _act_on_rows(self, buffers: RolloutBuffers, policy: RowPolicy) -> tuple[dict[str, Nested], Finals]:
        """The same with a function that takes numpy rows and returns raw actions."""
        finals: Finals = []
        raw = buffers.raw_actions
        for t in range(buffers.num_steps):
            ended = self._step(buffers, t, policy(t, buffers.obs_rows[t]))
            if ended:
                finals += [(t * self.num_envs + n, observation) for n, observation in ended]
        return {Columns.ACTIONS: buffers.stack_rows(Columns.ACTIONS, raw)}, finals

    def run_episodes(
        self, num_episodes: int, *, explore: bool = False, seeds: SeedTree | None = None
    ) -> dict[str, Any]:
        """Play whole episodes without recording them, for evaluation; see :func:`~.whole_episodes.play_episodes`.

        Returns:
            Result keys of :class:`~rlkit_core.envs.episodes.EpisodeStats`, over exactly these episodes.
        """
        seeds = seeds or self._seeds.child("episodes", self._resets)
        returns, lengths = play_episodes(self, range(num_episodes), explore=explore, seeds=seeds)
        stats = EpisodeStats(self.num_envs, num_episodes)
        stats.record(returns, lengths)
        return stats.result()

    def get_metrics(self) -> dict[str, Any]:
        """Result keys of ``env_runners`` since the last call."""
        return {**self.stats.result(), "weights_seq_no": self.weights_version}

    # -- one step -------------------------------------------------------------------------------------------------

    def _step(self, buffers: RolloutBuffers, t: int, raw: object) -> Finals:
        """Step the envs with raw actions, numpy arrays ``[N, ...]``."""
        buffers.raw_actions[t], buffers.steps_taken = raw, t
        try:
            finals = self.env.step(
                self._acts.actions_to_env(raw),
                buffers.obs_rows[t + 1],
                buffers.reward_rows[t],
                buffers.terminated_rows[t],
                buffers.truncated_rows[t],
            )
        except EnvError as error:
            raise EnvError(f"{error} (step {t} of this rollout, runner {self.worker_index})") from error.__cause__
        buffers.steps_taken = t + 1
        if not (t + 1) % CHECK_EVERY:
            check_steps(self, buffers, t + 1 - CHECK_EVERY, t + 1)
        return finals

    def _next_starts(self, buffers: RolloutBuffers, t: int, in_reset_row: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """``[N]`` bool: the row after step t is an episode's first. ``in_reset_row`` says so much of step 0."""
        if self.env.same_step_reset:
            starts: np.ndarray[Any, Any] = buffers.terminated_rows[t] | buffers.truncated_rows[t]
            return starts
        return buffers.terminated_rows[t - 1] | buffers.truncated_rows[t - 1] if t else in_reset_row

    # -- around the steps -----------------------------------------------------------------------------------------

    def _prepare(self, num_steps: int) -> RolloutBuffers:
        buffers = self._buffers
        if buffers is None or buffers.num_steps != num_steps:
            fresh = RolloutBuffers(self.env.observation_space, num_steps, self.num_envs)
            if buffers is not None:
                fresh.continue_from(buffers)
            self._buffers = buffers = fresh
        if self._reset_seeds is not None:
            self.env.reset(self._reset_seeds, buffers.obs_rows[0])
            self._reset_seeds = None
            if self._memory is not None:
                self._memory.begin()
            check_step(self, buffers.obs_rows[0], None, None, -1)
        else:
            buffers.carry_over()
            if self._memory is not None:
                self._memory.refresh()
        return buffers

    def reset_envs(self) -> None:
        """Let the next :meth:`sample` begin with fresh episodes; each reset has seeds of its own."""
        seeds = self._seeds.child("reset", self._resets)
        self._reset_seeds = [seeds.child(n).seed() for n in range(self.num_envs)]
        self._resets += 1
        self._in_reset_row = np.zeros(self.num_envs, np.bool_)
        self.stats.drop_open()

    def _next_episode_seed(self, n: int) -> int | None:
        if self._episode_seeds is None or not self._episode_seeds[n]:
            return None
        return self._episode_seeds[n].pop()

    def _sampler(self, explore: bool) -> ActionSampler:
        if explore not in self._samplers:
            self._samplers[explore] = ActionSampler(self.acting_module, explore=explore)
        return self._samplers[explore]

    def _noise(self, sampler: ActionSampler, num_steps: int) -> Any:
        """Random numbers for a whole rollout in one draw; a list of None where the sampler draws its own."""
        noise = sampler.noise(num_steps, self.num_envs)
        return [None] * num_steps if noise is None else noise.unbind(0)

    def _finish(
        self,
        buffers: RolloutBuffers,
        columns: dict[str, Nested],
        finals: list[tuple[int, Any]],
        quota: EpisodeQuota | None,
    ) -> Rollout:
        dones = buffers.terminateds | buffers.truncateds
        valid = None
        if not self.env.same_step_reset:
            valid = ~np.concatenate((self._in_reset_row[None], dones[:-1]))
            self._in_reset_row = dones[-1].copy()
            dones = dones & valid
        if quota is not None:
            counted = quota.take(dones)
            valid = counted if valid is None else counted & valid
            dones = dones & valid
        returns, lengths = self.stats.add(buffers.rewards, dones, valid)
        if len(returns):
            self.ended[0].extend(returns.tolist())
            self.ended[1].extend(lengths.tolist())
        rewards = buffers.rewards_tensor
        clip = self.config.clip_rewards
        if clip is not None and clip is not False:
            rewards = rewards.sign() if clip is True else rewards.clamp(-float(clip), float(clip))
        dist_inputs = columns.get(Columns.ACTION_DIST_INPUTS)
        if dist_inputs is not None and Columns.ACTION_LOGP not in columns:
            dist_cls = self.acting_module.get_exploration_action_dist_cls()
            with torch.no_grad():
                logp = dist_cls.from_logits(dist_inputs).logp(columns[Columns.ACTIONS])
            columns[Columns.ACTION_LOGP], columns[Columns.ACTION_PROB] = logp, logp.exp()
        obs, bootstrap_obs, final_obs = buffers.obs_steps, buffers.obs_inputs[-1], None
        if finals:
            check_finals(self, finals, buffers)
            final_obs = stack_observations(self.env.observation_space, [final for _, final in finals])
        if self._packer is not None:
            parts = [obs, bootstrap_obs, *([] if final_obs is None else [final_obs])]
            obs, bootstrap_obs, *rest = self._packer.together(parts)
            final_obs = rest[0] if rest else None
        return Rollout(
            columns={
                Columns.OBS: obs,
                **columns,
                Columns.REWARDS: rewards,
                Columns.TERMINATEDS: buffers.terminateds_tensor,
                Columns.TRUNCATEDS: buffers.truncateds_tensor,
            },
            bootstrap_obs=bootstrap_obs,
            final_obs=final_obs,
            final_index=torch.tensor([index for index, _ in finals], dtype=torch.int64) if finals else None,
            loss_mask=None if valid is None else torch.from_numpy(valid),
            weights_version=self.weights_version,
        )

    def _add_memory(self, rollout: Rollout, buffers: RolloutBuffers, states: list[Nested]) -> None:
        """What the learner needs to see a rollout as the module saw it."""
        memory = self._memory
        assert memory is not None
        if self._seq_len is not None:
            # The row after an episode's last: after its end, or after the row that shows the final observation.
            last = rollout[Columns.TERMINATEDS] | rollout[Columns.TRUNCATEDS]
            if not self.env.same_step_reset:
                assert rollout.loss_mask is not None
                last = ~rollout.loss_mask
            rollout.state_in = stack(states)
            rollout.seq_len = self._seq_len
            rollout.episode_starts = torch.cat((torch.zeros_like(last[:1]), last[:-1]))
        rollout.bootstrap_inputs = {name: memory.copied(name) for name in memory.previous}
        if rollout.final_index is not None:
            done_at = {
                PREV_ACTIONS: rollout[Columns.ACTIONS],
                PREV_REWARDS: torch.from_numpy(buffers.rewards),
            }
            rows = rollout.final_index
            rollout.final_inputs = {name: index_rows(flatten_time(done_at[name]), rows) for name in memory.previous}

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


def _last_check(steps: int) -> int:
    """The step up to which a rollout of so many steps has been looked at."""
    return steps - steps % CHECK_EVERY
