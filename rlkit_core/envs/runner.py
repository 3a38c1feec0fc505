"""The runner: acts in N envs and writes what happens into a rollout.

A step is: observation, one forward pass, one sample, one write, ``env.step``. Everything else (log-probabilities,
episode statistics, masks) is computed once per rollout over whole arrays.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from rlkit_core.columns import DEFAULT_MODULE_ID, Columns
from rlkit_core.data.buffers import RolloutBuffers
from rlkit_core.data.nested import Nested, leaves, map_leaves
from rlkit_core.data.rollout import Rollout
from rlkit_core.envs.episodes import EpisodeStats
from rlkit_core.envs.vector import Rows, VectorEnv, make_vector_env
from rlkit_core.errors import EnvError, ModuleAPIError, NonFiniteError
from rlkit_core.learner.weights import Weights
from rlkit_core.rl_module import MultiRLModule, RLModule
from rlkit_core.rl_module.acting import ActionSampler
from rlkit_core.seeding import SeedTree, TorchRNG
from rlkit_core.spaces import nested_map

Spaces = dict[str, tuple[gym.Space[Any], gym.Space[Any]]]


class EnvRunner:
    """Steps N envs with one module.

    Args:
        config: the algorithm's config.
        worker_index: which of the runners this is; 0 is the one in the driver.
        seeds: node of the seed tree that this runner draws from.
        num_envs: N; the config's ``num_envs_per_env_runner`` unless given.

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
        with self._rng.scope():
            spec = config.get_multi_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
            self.module: MultiRLModule = spec.build()
        if isinstance(self.module, torch.nn.Module):
            self.module.eval()
        self._buffers: RolloutBuffers | None = None
        self._samplers: dict[bool, ActionSampler] = {}
        self._resets = 0
        self._reset_seeds: list[int] | None = None
        self._in_reset_row = np.zeros(self.num_envs, np.bool_)
        self._episode_seeds: dict[int, list[int]] | None = None
        self._weights_version = 0
        self.stats = EpisodeStats(self.num_envs, config.metrics_num_episodes_for_smoothing)
        self.reset_envs()

    # -- what it is made of ---------------------------------------------------------------------------------------

    def get_spaces(self) -> Spaces:
        """``{module id: (observation space, action space)}`` as modules see them."""
        return {DEFAULT_MODULE_ID: (self.observation_space, self.action_space)}

    @property
    def acting_module(self) -> RLModule:
        """The module that acts."""
        module: RLModule = self.module[DEFAULT_MODULE_ID]
        return module

    # -- sampling -------------------------------------------------------------------------------------------------

    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        explore: bool | None = None,
        force_reset: bool = False,
    ) -> dict[str, Rollout]:
        """Act for ``num_timesteps`` steps in all, ``T = ceil(num_timesteps / N)`` in each env.

        Args:
            num_timesteps: env steps; the config's rollout fragment in each env unless given.
            explore: whether to explore; the config's ``explore`` unless given.
            force_reset: start with fresh episodes.

        Returns:
            ``{module id: rollout}``, in this runner's own buffers: valid until the next call.

        Raises:
            EnvError: an env raised, or its observation does not fit its space.
            NonFiniteError: an observation or reward is NaN or infinite.
        """
        if num_timesteps is None:
            num_steps = self.config.get_rollout_fragment_length(self.worker_index)
        else:
            num_steps = -(-num_timesteps // self.num_envs)
        explore = self.config.explore if explore is None else explore
        if force_reset:
            self.reset_envs()
        fresh_start = self._reset_seeds is not None
        buffers = self._prepare(num_steps)
        outputs: dict[str, list[Nested]] = {}
        finals: list[tuple[int, Any]] = []
        with torch.inference_mode(), self._rng.scope():
            sampler = self._sampler(explore)
            noise = self._noise(sampler, num_steps)
            start = self.stats.num_env_steps_lifetime
            for t in range(num_steps):
                out = sampler(
                    {Columns.OBS: buffers.obs_inputs[t]}, noise=noise[t], t=start + t * self.num_envs
                )
                for name, value in out.items():
                    outputs.setdefault(name, []).append(value)
                ended = self._step(buffers, t, out[Columns.ACTIONS])
                if ended:
                    finals += [(t * self.num_envs + n, observation) for n, observation in ended]
        columns = {name: buffers.stack_output(name, steps) for name, steps in outputs.items()}
        rollout = self._finish(buffers, columns, finals)
        rollout.fresh_start = fresh_start
        return {DEFAULT_MODULE_ID: rollout}

    def run_episodes(
        self, num_episodes: int, *, explore: bool = False, seeds: SeedTree | None = None
    ) -> dict[str, Any]:
        """Play whole episodes without recording them, for evaluation.

        Episode k is played by env ``k % N``, so short episodes are not preferred to long ones, and starts from a
        seed of its own, so the result does not depend on N (where the env takes one seed per episode).

        Args:
            num_episodes: how many.
            explore: explore, or act deterministically.
            seeds: node of the seed tree the episodes' seeds come from.

        Returns:
            Result keys of :class:`~rlkit_core.envs.episodes.EpisodeStats`, over exactly these episodes.
        """
        seeds = seeds or self._seeds.child("episodes", self._resets)
        quota = [len(range(n, num_episodes, self.num_envs)) for n in range(self.num_envs)]
        self._episode_seeds = {
            n: [seeds.child(k).seed() for k in range(n, num_episodes, self.num_envs)][::-1]
            for n in range(self.num_envs)
        }
        stats = EpisodeStats(self.num_envs, num_episodes)
        buffers = RolloutBuffers(self.env.observation_space, 1, self.num_envs)
        finished = np.zeros(self.num_envs, np.int64)
        in_reset_row = np.zeros(self.num_envs, np.bool_)
        try:
            first = [queue.pop() if queue else None for queue in self._episode_seeds.values()]
            self.env.reset(first, buffers.obs_rows[0])
            with torch.inference_mode(), self._rng.scope():
                sampler = self._sampler(explore)
                noise: list[Any] = [None]
                while (finished < quota).any():
                    if explore:
                        noise = self._noise(sampler, 1)
                    out = sampler({Columns.OBS: buffers.obs_inputs[0]}, noise=noise[0], t=0)
                    self._step(buffers, 0, out[Columns.ACTIONS])
                    dones = buffers.terminateds | buffers.truncateds
                    counts = (finished < quota)[None] & ~in_reset_row[None]
                    stats.add(buffers.rewards, dones & counts, counts)
                    finished += (dones & counts)[0]
                    if not self.env.same_step_reset:
                        in_reset_row = dones[0].copy()
                    buffers.carry_over()
        finally:
            self._episode_seeds = None
            self.reset_envs()
        return stats.result()

    def get_metrics(self) -> dict[str, Any]:
        """Result keys of ``env_runners`` since the last call."""
        return {**self.stats.result(), "weights_seq_no": self._weights_version}

    # -- one step -------------------------------------------------------------------------------------------------

    def _step(self, buffers: RolloutBuffers, t: int, actions: Nested) -> list[tuple[int, Any]]:
        module = self.acting_module
        raw = map_leaves(lambda x: x.numpy(), actions)
        obs_out, rewards = buffers.obs_rows[t + 1], buffers.reward_rows[t]
        try:
            finals = self.env.step(
                module.actions_to_env(raw),
                obs_out,
                rewards,
                buffers.terminated_rows[t],
                buffers.truncated_rows[t],
            )
        except EnvError as error:
            raise EnvError(
                f"{error} (step {t} of this rollout, runner {self.worker_index})"
            ) from error.__cause__
        if not math.isfinite(rewards.sum()) or not _finite(obs_out):
            self._report_non_finite(obs_out, rewards, raw, t)
        return finals

    def _report_non_finite(self, obs: Rows, rewards: np.ndarray[Any, Any], actions: Any, t: int) -> None:
        # The sums were not finite; look for the culprit (a sum may also overflow with all its terms finite).
        for n in range(self.num_envs):
            bad = None
            if not math.isfinite(rewards[n]):
                bad = f"reward {rewards[n]}"
            else:
                for leaf in leaves(obs):
                    if leaf.dtype.kind == "f" and not np.isfinite(leaf[n]).all():
                        bad = f"a non-finite observation ({np.array2string(leaf[n], threshold=12)})"
                        break
            if bad is not None:
                action = nested_map(lambda a, n=n: a[n], actions)
                raise NonFiniteError(
                    f"env {n} of runner {self.worker_index} ({self.config.env}) returned {bad} at step {t} of this "
                    f"rollout, after raw action {action!r}; fix the env, or wrap it to replace such values"
                )

    # -- around the steps -----------------------------------------------------------------------------------------

    def _prepare(self, num_steps: int) -> RolloutBuffers:
        buffers = self._buffers
        if buffers is None or buffers.num_steps != num_steps:
            fresh = RolloutBuffers(self.env.observation_space, num_steps, self.num_envs)
            if buffers is not None:
                nested_map(np.copyto, fresh.obs_rows[-1], buffers.obs_rows[-1])
            self._buffers = buffers = fresh
        if self._reset_seeds is not None:
            self.env.reset(self._reset_seeds, buffers.obs_rows[0])
            self._reset_seeds = None
            if not _finite(buffers.obs_rows[0]):
                self._report_non_finite(
                    buffers.obs_rows[0], np.zeros(self.num_envs), np.zeros(self.num_envs), -1
                )
        else:
            buffers.carry_over()
        return buffers

    def reset_envs(self) -> None:
        """Let the next :meth:`sample` begin with fresh episodes; each reset has seeds of its own."""
        seeds = self._seeds.child("reset", self._resets)
        self._reset_seeds = [seeds.child(n).seed() for n in range(self.num_envs)]
        self._resets += 1
        self._in_reset_row[:] = False
        self.stats.drop_open()

    def _next_episode_seed(self, n: int) -> int | None:
        if self._episode_seeds is None or not self._episode_seeds[n]:
            return None
        return self._episode_seeds[n].pop()

    def _sampler(self, explore: bool) -> ActionSampler:
        if explore not in self._samplers:
            module = self.acting_module
            if module.is_stateful():
                raise ModuleAPIError(
                    f"{type(module).__name__} is recurrent (get_initial_state() is not empty); "
                    "this version of rlkit trains and runs modules without state only"
                )
            self._samplers[explore] = ActionSampler(module, explore=explore)
        return self._samplers[explore]

    def _noise(self, sampler: ActionSampler, num_steps: int) -> Any:
        """Random numbers for a whole rollout in one draw; a list of None where the sampler draws its own."""
        noise = sampler.noise(num_steps, self.num_envs)
        return [None] * num_steps if noise is None else noise.unbind(0)

    def _finish(
        self, buffers: RolloutBuffers, columns: dict[str, Nested], finals: list[tuple[int, Any]]
    ) -> Rollout:
        dones = buffers.terminateds | buffers.truncateds
        valid = None
        if not self.env.same_step_reset:
            valid = ~np.concatenate((self._in_reset_row[None], dones[:-1]))
            self._in_reset_row = dones[-1].copy()
            dones = dones & valid
        self.stats.add(buffers.rewards, dones, valid)
        rewards = torch.from_numpy(buffers.rewards)
        clip = self.config.clip_rewards
        if clip is not None and clip is not False:
            rewards = rewards.sign() if clip is True else rewards.clamp(-float(clip), float(clip))
        dist_inputs = columns.get(Columns.ACTION_DIST_INPUTS)
        if dist_inputs is not None and Columns.ACTION_LOGP not in columns:
            dist_cls = self.acting_module.get_exploration_action_dist_cls()
            with torch.no_grad():
                logp = dist_cls.from_logits(dist_inputs).logp(columns[Columns.ACTIONS])
            columns[Columns.ACTION_LOGP], columns[Columns.ACTION_PROB] = logp, logp.exp()
        return Rollout(
            columns={
                Columns.OBS: map_leaves(lambda x: x[:-1], buffers.obs),
                **columns,
                Columns.REWARDS: rewards,
                Columns.TERMINATEDS: torch.from_numpy(buffers.terminateds),
                Columns.TRUNCATEDS: torch.from_numpy(buffers.truncateds),
            },
            bootstrap_obs=map_leaves(lambda x: x[-1], buffers.obs),
            final_obs=_stack_observations(self.env.observation_space, [obs for _, obs in finals]),
            final_index=torch.tensor([index for index, _ in finals], dtype=torch.int64) if finals else None,
            loss_mask=None if valid is None else torch.from_numpy(valid),
            weights_version=self._weights_version,
        )

    # -- weights, state, end --------------------------------------------------------------------------------------

    def set_weights(self, weights: Weights) -> None:
        """Act with ``weights`` from now on; older ones than it has are ignored."""
        if weights.version < self._weights_version:
            return
        self.module.set_state(weights.state)
        self._weights_version = weights.version

    def accept_any_version(self) -> None:
        """Take the next weights whatever their version (they come from a restored checkpoint)."""
        self._weights_version = 0

    def get_state(self) -> dict[str, Any]:
        """What a continued run needs besides weights: random state, statistics, counters."""
        return {
            "seed": self._seeds.root,
            "rng": self._rng.get_state(),
            "resets": self._resets,
            "stats": self.stats.get_state(),
            "weights_version": self._weights_version,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`get_state`, with fresh episodes."""
        self._seeds = SeedTree(int(state["seed"]), self._seeds.path)
        self._rng.set_state(state["rng"])
        self._resets = int(state["resets"])
        self.stats.set_state(state["stats"])
        self._weights_version = int(state["weights_version"])
        self.reset_envs()

    def stop(self) -> None:
        """Close the envs."""
        self.env.close()


def _finite(rows: Rows) -> bool:
    if isinstance(rows, np.ndarray):
        return rows.dtype.kind != "f" or math.isfinite(rows.sum())
    return all(leaf.dtype.kind != "f" or math.isfinite(leaf.sum()) for leaf in leaves(rows))


def _stack_observations(space: gym.Space[Any], observations: list[Any]) -> Nested | None:
    if not observations:
        return None
    from rlkit_core.envs.vector import row_writer
    from rlkit_core.spaces import batch_zeros

    rows = batch_zeros(space, (len(observations),))
    write = row_writer(space)
    for index, observation in enumerate(observations):
        write(rows, index, observation)
    return nested_map(torch.from_numpy, rows)
