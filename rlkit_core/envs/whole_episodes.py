"""Whole episodes: played for evaluation without being kept, or kept as a rollout, masked where envs are done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from rlkit_core.data.rollout import Rollout
from rlkit_core.envs.acting_loop import ActingLoop, ModulePolicy
from rlkit_core.envs.episodes import EpisodeCounter, EpisodeQuota
from rlkit_core.envs.faults.patience import Patience
from rlkit_core.envs.resume.seeds import EpisodeSeeds
from rlkit_core.envs.rollout_buffers import RolloutBuffers
from rlkit_core.seeding import SeedTree

CHUNK = 64
"""Steps that are sampled at once while it is unknown how long the episodes are."""


class Played(NamedTuple):
    """One whole episode: which env played it, its return and length, and the metrics in its last ``info``."""

    env: int
    return_: float
    length: int
    info: Mapping[str, float]


class Collects(Protocol):
    """What samples whole episodes need of a runner."""

    @property
    def num_envs(self) -> int:
        """N."""
        ...

    @property
    def loop(self) -> ActingLoop:
        """Steps its envs."""
        ...

    def reset_envs(self) -> None:
        """Begin with fresh episodes."""
        ...

    def collect(self, num_steps: int, *, explore: bool, timestep: int, quota: EpisodeQuota | None = None) -> Rollout:
        """See :meth:`~rlkit_core.envs.runner.EnvRunner.collect`."""
        ...


class PlayedEpisodes(NamedTuple):
    """What was played.

    Attributes:
        ended: ``{number: episode}`` of those that ended, in the order of the numbers that were asked for.
        cut: numbers of those that did not, in that order.
        cut_steps: env steps that were taken in those.
        failed: how many of those were cut because their env failed.
    """

    ended: Mapping[int, Played]
    cut: Sequence[int]
    cut_steps: int
    failed: int


def play_episodes(
    loop: ActingLoop,
    episode_seeds: EpisodeSeeds,
    episodes: Sequence[int],
    *,
    explore: bool,
    seeds: SeedTree,
    patience: Patience,
) -> PlayedEpisodes:
    """Play episodes without recording them.

    The i-th of them is played by env ``i % N``, so short episodes are not preferred to long ones. Episode k starts from
    the seed ``seeds.child(k)``, so the result depends neither on N nor on how episodes are shared out over runners
    (where the env takes one seed per episode, and does not explore).

    Args:
        loop: who plays; its envs are anywhere in an episode afterwards.
        episode_seeds: what its envs ask for the seeds of further episodes.
        episodes: numbers of the episodes.
        explore: explore, or act deterministically.
        seeds: node of the seed tree that the episodes' seeds come from.
        patience: when an episode is cut. Where envs cannot be reset one by one, an env whose episode is cut plays none
            of its others either.

    An episode whose env fails counts as cut.
    """
    num_envs = loop.num_envs
    order = [list(episodes[n::num_envs]) for n in range(num_envs)]
    queues = [[seeds.child(k).seed() for k in one] for one in order]
    counter = EpisodeCounter([len(one) for one in order])
    buffers = loop.new_buffers(1)
    policy = ModulePolicy(loop, buffers, loop.sampler(explore), (0,), keep=False)
    remember = None if loop.memory is None else policy.remember
    episode_seeds.give([queue[1:] for queue in queues])
    steps = 0
    try:
        loop.start(buffers, [queue[0] if queue else None for queue in queues])
        with loop.acting():
            while counter.missing:
                if explore:
                    policy.draw_noise()
                dones, lost = loop.mender.settle(buffers, loop.run(buffers, policy, remember))
                ended = len(counter.returns)
                counter.add(buffers.rewards[0], dones[0], loop.in_reset_row, loop.env.ended_infos)
                if lost is not None:
                    counter.give_up_failed(lost[0])
                loop.experience(dones)
                buffers.carry_over()
                steps += 1
                if len(counter.returns) > ended:
                    patience.ended()
                elif patience.over:
                    counter.give_up_all()
                if patience.too_long(steps):  # before that none can be
                    _cut_long_ones(loop, buffers, counter, episode_seeds, patience)
    finally:
        episode_seeds.give(None)
    played: dict[int, Played] = {}
    infos: Sequence[Mapping[str, float]] = counter.infos or [{}] * len(counter.envs)
    told = zip(counter.envs, counter.turns, counter.returns, counter.lengths, infos, strict=True)
    for n, turn, total, length, info in told:
        played[order[n][turn]] = Played(n, total, length, info)
    cut = {order[n][turn] for n, turn in counter.cut}
    ended_ones = {k: played[k] for k in episodes if k in played}
    return PlayedEpisodes(ended_ones, [k for k in episodes if k in cut], counter.cut_steps, counter.failed)


def _cut_long_ones(
    loop: ActingLoop,
    buffers: RolloutBuffers,
    counter: EpisodeCounter,
    episode_seeds: EpisodeSeeds,
    patience: Patience,
) -> None:
    """Cut episodes that take too long; their envs begin with the next one."""
    assert patience.max_steps is not None
    to_reset: dict[int, int | None] = {}
    for n in counter.too_long(patience.max_steps):
        if not loop.env.resets_one:
            counter.give_up_all(n)
        elif counter.give_up(n):
            to_reset[n] = episode_seeds(n)
    if to_reset:
        loop.restart(to_reset, buffers)


def sample_episodes(runner: Collects, num_episodes: int, *, explore: bool, timestep: int) -> Rollout:
    """Whole episodes as one rollout; see :meth:`~rlkit_core.envs.runner.EnvRunner.sample`.

    The envs begin with fresh episodes afterwards. Those that are done go on until the last one is, since a vector env
    steps all of them.
    """
    num_envs = runner.num_envs
    quota = EpisodeQuota([len(range(n, num_episodes, num_envs)) for n in range(num_envs)])
    unit = runner.loop.seq_len or 1
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
