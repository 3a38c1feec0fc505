"""Whole episodes: played for evaluation without being kept, or kept as a rollout, masked where envs are done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rlkit_core.columns import Columns
from rlkit_core.data.nested import map_leaves
from rlkit_core.data.rollout import Rollout
from rlkit_core.envs.episodes import EpisodeCounter, EpisodeQuota
from rlkit_core.envs.finite_checks import check_steps
from rlkit_core.envs.memory import ActingMemory
from rlkit_core.envs.rollout_buffers import RolloutBuffers
from rlkit_core.seeding import SeedTree

if TYPE_CHECKING:
    from rlkit_core.envs.runner import EnvRunner

CHUNK = 64
"""Steps that are sampled at once while it is unknown how long the episodes are."""


def play_episodes(
    runner: EnvRunner, episodes: Sequence[int], *, explore: bool, seeds: SeedTree
) -> tuple[list[float], list[int]]:
    """Play episodes without recording them.

    The i-th of them is played by env ``i % N``, so short episodes are not preferred to long ones. Episode k starts from
    the seed ``seeds.child(k)``, so the result depends neither on N nor on how episodes are shared out over runners
    (where the env takes one seed per episode, and does not explore).

    Args:
        runner: who plays; its envs begin with fresh episodes afterwards.
        episodes: numbers of the episodes.
        explore: explore, or act deterministically.
        seeds: node of the seed tree that the episodes' seeds come from.

    Returns:
        Returns and lengths, in the order of ``episodes``.
    """
    num_envs, env = runner.num_envs, runner.env
    order = [list(episodes[n::num_envs]) for n in range(num_envs)]
    queues = {n: [seeds.child(k).seed() for k in order[n]][::-1] for n in range(num_envs)}
    counter = EpisodeCounter([len(one) for one in order])
    buffers = RolloutBuffers(env.observation_space, 1, num_envs)
    in_reset_row = np.zeros(num_envs, np.bool_)
    memory = None if runner._memory is None else ActingMemory.of(runner.acting_module.unwrapped(), num_envs)
    runner._episode_seeds = queues
    try:
        env.reset([queue.pop() if queue else None for queue in queues.values()], buffers.obs_rows[0])
        with torch.inference_mode(), runner._rng.scope():
            sampler = runner._sampler(explore)
            noise: list[Any] = [None]
            while counter.missing:
                if explore:
                    noise = runner._noise(sampler, 1)
                batch = {Columns.OBS: buffers.obs_inputs[0]}
                if runner._packer is not None:
                    batch[Columns.OBS] = runner._packer(batch[Columns.OBS])
                if memory is not None:
                    batch.update(memory.inputs)
                out = sampler(batch, noise=noise[0], t=0)
                runner._step(buffers, 0, map_leaves(lambda x: x.numpy(), out[Columns.ACTIONS]))
                check_steps(runner, buffers, 0, 1)
                if memory is not None:
                    memory.remember(out, buffers.rewards[0], runner._next_starts(buffers, 0, in_reset_row))
                dones = buffers.terminateds[0] | buffers.truncateds[0]
                counter.add(buffers.rewards[0], dones, in_reset_row)
                if not env.same_step_reset:
                    in_reset_row = dones
                buffers.carry_over()
    finally:
        runner._episode_seeds = None
        runner.reset_envs()
    played: dict[int, tuple[float, int]] = {}
    waiting = [iter(one) for one in order]
    for n, total, length in zip(counter.envs, counter.returns, counter.lengths, strict=True):
        played[next(waiting[n])] = (total, length)
    return [played[k][0] for k in episodes], [played[k][1] for k in episodes]


def sample_episodes(runner: EnvRunner, num_episodes: int, *, explore: bool, timestep: int) -> Rollout:
    """Whole episodes as one rollout; see :meth:`EnvRunner.sample`. The envs begin with fresh episodes afterwards.

    Envs that are done go on until the last one is, since a vector env steps all of them.
    """
    num_envs = runner.num_envs
    quota = EpisodeQuota([len(range(n, num_episodes, num_envs)) for n in range(num_envs)])
    unit = runner.seq_len or 1
    chunk = -(-CHUNK // unit) * unit  # states are kept every `unit` steps
    parts: list[Rollout] = []
    runner.reset_envs()
    try:
        while quota.missing or not parts:
            at = timestep + len(parts) * chunk * num_envs
            parts.append(runner.collect(chunk, explore=explore, timestep=at, quota=quota).clone())
    finally:
        runner.reset_envs()
    whole = Rollout.concat_time(parts)
    assert whole.loss_mask is not None
    return whole.cut_time(int(whole.loss_mask.any(1).nonzero().max()) + 1)
