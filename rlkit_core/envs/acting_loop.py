"""The acting loop: observation, one forward pass, one sample, one write, ``env.step``.

One loop serves sampling with a module, sampling with a row policy, and whole episodes that are only counted; what
differs is who is asked for actions. Everything else (log-probabilities, episode statistics, masks) is computed once per
rollout over whole arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from attrs import define
from torch import Tensor

from rlkit_core.columns import Columns
from rlkit_core.data.nested import Nested, leaves
from rlkit_core.data.sequences import max_seq_len
from rlkit_core.envs.checks.rollouts import CHECK_EVERY, SAY_WHERE
from rlkit_core.envs.faults.mending import Finals, Mender
from rlkit_core.envs.faults.own_type import retold
from rlkit_core.envs.memory import ActingMemory, Bools
from rlkit_core.envs.resume.history import ActionHistory
from rlkit_core.envs.resume.recorded import decode, encode
from rlkit_core.envs.rollout_buffers import RolloutBuffers
from rlkit_core.envs.vector import VectorEnv, stack_observations
from rlkit_core.errors import EnvError
from rlkit_core.rl_module import RLModule
from rlkit_core.rl_module.acting import ActionSampler, action_sampler
from rlkit_core.rl_module.forwards import RowPolicy
from rlkit_core.rl_module.packing import ObservationPacker
from rlkit_core.seeding import TorchRNG
from rlkit_core.spaces import nested_map


@define(eq=False)
class Steps:
    """What happened in T steps of N envs.

    Attributes:
        buffers: observations, rewards and flags; valid until the loop acts again.
        columns: what the module returned, ``{name: [T, N, ...]}``.
        finals: observations that ended truncated episodes, where envs reset in the same step.
        states: a recurrent module's state before rows ``0, seq_len, ...``, each ``[N, ...]``.
        dones: ``[T, N]`` bool, the step ended its episode.
        lost: ``[T, N]`` bool, the step is masked since its env failed; None where none has.
        experience: ``[T, N]`` bool, False for rows that are a reset or are lost; None where there are no such rows.
        fresh_start: ``[N]`` bool, the env was reset before the first step; None where none was.
        infos: metrics of the episodes that ended, in the order of ``dones``; empty where none are looked for.
    """

    buffers: RolloutBuffers
    columns: dict[str, Nested]
    finals: Finals
    states: list[Nested]
    dones: Bools
    lost: Bools | None
    experience: Bools | None
    fresh_start: Bools | None
    infos: list[dict[str, float]]

    @property
    def began(self) -> Bools:
        """``[T, N]`` bool, an episode begins behind the step: after an end, a reset row, the last lost one."""
        if self.experience is None:
            return self.dones
        if self.lost is None:
            return ~self.experience
        goes_on = np.zeros_like(self.lost)
        goes_on[:-1] = self.lost[1:]
        return self.dones | (self.lost & ~goes_on)

    @property
    def over(self) -> Bools:
        """``[T, N]`` bool, the step ended its episode, or is lost: what follows has nothing to do with it."""
        return self.dones if self.lost is None else self.dones | self.lost


class ActingLoop:
    """Steps N envs with the actions of one module.

    Args:
        env: the envs.
        module: acts; wrappers round it are called too.
        observation_space: as the module sees it.
        rng: random numbers are drawn from it.
        mender: lets envs that fail begin anew, and puts rollouts right.
        where: what messages call the runner.
        exploration_noise: as of :class:`~rlkit_core.rl_module.acting.ActionSampler`.
        replay_limit: how many steps of an open episode are kept, to go on with it elsewhere; None: none.

    Attributes:
        memory: what the module reads besides observations; None where it reads nothing else.
        packer: makes arrays of observations that are none; None where all are.
        seq_len: steps that a recurrent module is trained with at once; None for others.
        in_reset_row: ``[N]`` bool, the next step of an env is a reset and no experience.

    Raises:
        ConfigError: the module is recurrent without ``max_seq_len``, or packs no such observations.
    """

    def __init__(
        self,
        env: VectorEnv,
        module: RLModule,
        *,
        observation_space: gym.Space[Any],
        rng: TorchRNG,
        mender: Mender,
        where: str,
        exploration_noise: Mapping[str, Any] | None = None,
        replay_limit: int | None = None,
    ) -> None:
        inner = module.unwrapped()
        self.env, self.num_envs, self.mender = env, env.num_envs, mender
        self._where = where
        self.module = module
        self.memory = ActingMemory.of(inner, env.num_envs, getattr(env, "device", None))
        self.packer = ObservationPacker.of(inner, observation_space)
        self.seq_len = max_seq_len(inner) if self.memory is not None and self.memory.stateful else None
        self.in_reset_row = np.zeros(env.num_envs, np.bool_)
        self._inner, self._rng = inner, rng
        self._exploration_noise = exploration_noise
        self._samplers: dict[bool, ActionSampler] = {}
        self._buffers: RolloutBuffers | None = None
        self._reset_seeds: Sequence[int | None] | None = None
        self._fresh: Bools | None = None  # which envs were reset since the last step
        keeps = replay_limit is not None and env.replays
        self._history = ActionHistory(env.num_envs, env.action_space, replay_limit or 0) if keeps else None

    def sampler(self, explore: bool) -> ActionSampler:
        """What turns the module's outputs into actions; made once for each way of acting."""
        if explore not in self._samplers:
            self._samplers[explore] = action_sampler(
                self.module, explore=explore, exploration_noise=self._exploration_noise
            )
        return self._samplers[explore]

    # -- what differs where envs return tensors ---------------------------------------------------------------------

    def new_buffers(self, num_steps: int) -> RolloutBuffers:
        """Room for a rollout of so many steps."""
        return RolloutBuffers(self.env.observation_space, num_steps, self.num_envs)

    def row_policy(self, sampler: ActionSampler, timesteps: Sequence[int]) -> RowPolicy | None:
        """The module's own quicker way to act through a rollout, if it has one."""
        return sampler.row_policy(timesteps, self.num_envs, self._rng)

    def as_raw(self, actions: Nested) -> Nested:
        """Raw actions of a step, as buffers keep them: numpy arrays ``[N, ...]``."""
        return actions.numpy() if isinstance(actions, Tensor) else nested_map(lambda x: x.numpy(), actions)

    def readable(self, rows: Nested) -> Nested:
        """Rows of observations, as who looks for what is wrong reads them: numpy arrays ``[N, ...]``."""
        return rows

    def final_rows(self, steps: Steps) -> tuple[Nested, Tensor] | None:
        """Last observations of truncated episodes ``[K, ...]`` and their places ``t * N + n``; None where none are."""
        if not steps.finals:
            return None
        places, observations = zip(*steps.finals, strict=True)
        return stack_observations(self.env.observation_space, list(observations)), torch.tensor(places)

    # ---------------------------------------------------------------------------------------------------------------

    @contextmanager
    def acting(self) -> Iterator[None]:
        """The scope that modules act in: no gradients, and random numbers of this loop's own."""
        with torch.inference_mode(), self._rng.scope():
            yield

    # -- a rollout's steps ----------------------------------------------------------------------------------------

    def reset_later(self, seeds: Sequence[int | None]) -> None:
        """Let the next :meth:`act` begin with fresh episodes, env n's with ``seeds[n]``."""
        self._reset_seeds = seeds

    def act(self, num_steps: int, *, explore: bool, timesteps: Sequence[int]) -> Steps:
        """Act for ``num_steps`` steps in each env.

        Args:
            num_steps: T.
            explore: explore, or act deterministically.
            timesteps: T lifetime counts of env steps, which exploration may depend on.

        Raises:
            EnvError: an env raised, or its observation does not fit its space.
            NonFiniteError: an observation or reward is NaN or infinite.
        """
        buffers, sampler = self._prepare(num_steps), self.sampler(explore)
        fresh_start, self._fresh = self._fresh, None
        row_policy = None
        if self.memory is None and self.packer is None:
            row_policy = self.row_policy(sampler, timesteps)
        states: list[Nested] = []
        if row_policy is not None:
            finals = self.run(buffers, row_policy)
            columns = {Columns.ACTIONS: buffers.stack_rows(Columns.ACTIONS, buffers.raw_actions)}
            more = getattr(row_policy, "columns", None)
            if more is not None:
                columns |= {name: torch.from_numpy(column) for name, column in more.items()}
        else:
            policy = ModulePolicy(self, buffers, sampler, timesteps)
            with self.acting():
                policy.draw_noise()
                finals = self.run(buffers, policy, None if self.memory is None else policy.remember)
            columns, states = policy.columns(), policy.states()
        dones, lost = self.mender.settle(buffers, finals)
        experience = self.experience(dones)
        if lost is not None:
            self.mender.patch(columns, states, self.seq_len)
            experience = ~lost
        infos = list(self.env.ended_infos)
        steps = Steps(buffers, columns, finals, states, dones, lost, experience, fresh_start, infos)
        if self._history is not None:
            self._history.add(buffers.obs_after, buffers.rewards, steps.over, buffers.sent)
        return steps

    def run(self, buffers: RolloutBuffers, policy: RowPolicy, after: Callable[[int], None] | None = None) -> Finals:
        """Step the envs until the buffers are full.

        Args:
            buffers: their first row of observations has been written.
            policy: ``(t, observations [N, ...]) -> raw actions [N, ...]``, numpy arrays.
            after: is told t when a step has been taken.

        Raises:
            EnvError, NonFiniteError: see :meth:`act`.
        """
        step, to_env, mender = self.env.step, self._inner.actions_to_env, self.mender
        rows, raw_actions, sent = buffers.obs_rows, buffers.raw_actions, buffers.sent
        finals: Finals = []
        t, taken = -1, 0
        self.env.ended_infos.clear()
        mender.begin()
        while taken < buffers.num_steps:
            try:
                for t in range(taken, buffers.num_steps):
                    raw_actions[t] = raw = policy(t, rows[t])
                    sent[t] = actions = to_env(raw)
                    ended = step(
                        actions,
                        rows[t + 1],
                        buffers.reward_rows[t],
                        buffers.terminated_rows[t],
                        buffers.truncated_rows[t],
                    )
                    taken = t + 1
                    if ended:
                        finals += mender.sort_out(t, ended, buffers)
                    if after is not None:
                        after(t)
                    if not taken % CHECK_EVERY:
                        self._look(buffers, taken, finals)
                if taken % CHECK_EVERY:
                    self._look(buffers, taken, finals)
            except Exception as error:
                # What is not finite may be why a module failed, or an env that it acted in.
                if taken > t and not isinstance(error, SAY_WHERE):
                    mender.blame(buffers, t // CHECK_EVERY * CHECK_EVERY, taken)
                if taken > t or not self._look(buffers, taken, finals):
                    if isinstance(error, EnvError) and not isinstance(error, SAY_WHERE):
                        raise retold(error, f"{error} (step {t} of this rollout, {self._where})") from error.__cause__
                    raise
        return finals

    def _look(self, buffers: RolloutBuffers, taken: int, finals: Finals) -> bool:
        """Look at the last steps; whether envs have begun anew since what they returned was not finite."""
        begun = self.mender.look(buffers, (taken - 1) // CHECK_EVERY * CHECK_EVERY, taken, finals) if taken else []
        if begun and self.memory is not None:
            self.memory.begin_some(begun)
        return bool(begun)

    def start(self, buffers: RolloutBuffers, seeds: Sequence[int | None]) -> None:
        """Reset the envs and write their first observations into the first row."""
        rows = buffers.obs_rows[0]
        faults = self.env.reset(seeds, rows)
        self.mender.reset(faults, self.readable(rows))
        self._fresh = np.ones(self.num_envs, np.bool_)
        self.in_reset_row = np.zeros(self.num_envs, np.bool_)
        if self._history is not None:
            self._history.begin(buffers.obs_rows[0])
        if self.memory is not None:
            self.memory.begin()

    def restart(self, seeds: Mapping[int, int | None], buffers: RolloutBuffers) -> None:
        """Let some envs begin with fresh episodes in the first row, whatever they are in; with ``{n: seed}``."""
        rows = buffers.obs_rows[0]
        self.mender.reset(self.env.reset_some(seeds, rows), rows)
        if self.memory is not None:
            self.memory.begin_some(list(seeds))

    def next_starts(self, buffers: RolloutBuffers, t: int) -> Bools:
        """``[N]`` bool: the row after step t is an episode's first."""
        if not self.env.same_step_reset:
            if not t:
                return self.in_reset_row
            t -= 1
        starts: Bools = buffers.terminated_rows[t] | buffers.truncated_rows[t]
        return starts

    def experience(self, dones: Bools) -> Bools | None:
        """Which of the steps just taken are experience, see :class:`Steps`; to be called once for each step."""
        if self.env.same_step_reset:
            return None
        experience: Bools = ~np.concatenate((self.in_reset_row[None], dones[:-1]))
        self.in_reset_row = dones[-1].copy()
        return experience

    # -- open episodes --------------------------------------------------------------------------------------------

    def get_open(self) -> dict[str, Any]:
        """Where the envs are: seeds of resets that are due, or how to bring them into their open episodes."""
        if self._reset_seeds is not None or self._buffers is None:
            return {"reset_seeds": list(self._reset_seeds or [])}
        last = [np.array(leaf) for leaf in leaves(self._buffers.obs_rows[-1])]
        plain = not any(leaf.dtype == object for leaf in last)
        own = self.env.own_states() if plain else [None] * self.num_envs
        if self._history is None:
            episodes: Any = ["nothing of it was kept"] * self.num_envs
        else:
            episodes = self._history.episodes(self.env.episode_seeds(), own)
        return {
            "episodes": encode(self.env.action_space, episodes),
            "in_reset_row": self.in_reset_row.copy(),
            "memory": {} if self.memory is None else self.memory.get_state(),
            "obs": last if any(one is not None for one in own) else [],
        }

    def resume(self, state: Mapping[str, Any], fresh_seeds: Callable[[], Sequence[int]]) -> list[str | None]:
        """Bring the envs to where they were.

        Args:
            state: what :meth:`get_open` gave.
            fresh_seeds: gives seeds for those that begin with fresh episodes instead.

        Returns:
            For each env why it begins with a fresh episode; None where it goes on.

        Raises:
            ValueError: it was another module that acted.
        """
        if "reset_seeds" in state:
            self.reset_later(state["reset_seeds"])
            return [None] * self.num_envs
        episodes = decode(self.env.action_space, state["episodes"])
        buffers = self.new_buffers(1)
        rows = buffers.obs_rows[-1]
        problems = self.env.resume(episodes, rows)
        fresh = np.array([problem is not None for problem in problems])
        if fresh.any():
            seeds = fresh_seeds()
            failed = self.env.reset_some({n: seeds[n] for n in np.flatnonzero(fresh).tolist()}, rows)
            self.mender.reset(failed, rows)
        own = [not isinstance(one, str) and one.own is not None for one in episodes] & ~fresh
        for leaf, kept in zip(leaves(rows), state["obs"], strict=False):
            leaf[own] = np.asarray(kept)[own]
        if self.memory is not None:
            self.memory.set_state(state["memory"], fresh)
        self.in_reset_row = np.asarray(state["in_reset_row"]) & ~fresh
        if self._history is not None:
            self._history.resumed([None if bad else one for bad, one in zip(fresh, episodes, strict=True)], rows)
        self._buffers, self._reset_seeds, self._fresh = buffers, None, fresh if fresh.any() else None
        return problems

    def _prepare(self, num_steps: int) -> RolloutBuffers:
        buffers = self._buffers
        if buffers is None or buffers.num_steps != num_steps:
            fresh = self.new_buffers(num_steps)
            if buffers is not None:
                fresh.continue_from(buffers)
            self._buffers = buffers = fresh
        if self._reset_seeds is not None:
            self.start(buffers, self._reset_seeds)
            self._reset_seeds = None
        else:
            buffers.carry_over()
            if self.memory is not None:
                self.memory.refresh()
        return buffers


class ModulePolicy:
    """Asks the module for actions at each step, and keeps what it reads and returns.

    Args:
        loop: whose envs are stepped.
        buffers: the rows that are read.
        sampler: the module, exploring or not.
        timesteps: lifetime counts of env steps, one for each row.
        keep: keep all steps, for :meth:`columns` and :meth:`states`.
    """

    def __init__(
        self,
        loop: ActingLoop,
        buffers: RolloutBuffers,
        sampler: ActionSampler,
        timesteps: Sequence[int],
        *,
        keep: bool = True,
    ) -> None:
        self._loop, self._buffers, self._sampler, self._timesteps = loop, buffers, sampler, timesteps
        self._memory, self._packer, self._keep = loop.memory, loop.packer, keep
        self._noise: Sequence[Tensor | None] = [None] * buffers.num_steps
        self._out: dict[str, Nested] = {}
        self._inputs: list[dict[str, Nested]] = []
        self._outputs: list[dict[str, Nested]] = []

    def draw_noise(self) -> None:
        """Draw the random numbers of all rows at once, where the distribution lets us."""
        noise = self._sampler.noise(self._buffers.num_steps, self._loop.num_envs, self._buffers.device)
        if noise is not None:
            self._noise = noise.unbind(0)

    def __call__(self, t: int, rows: Nested) -> Nested:
        """Raw actions for row t, ``[N, ...]``."""
        batch = {Columns.OBS: self._buffers.obs_inputs[t]}
        if self._packer is not None:
            batch[Columns.OBS] = self._packer(batch[Columns.OBS])
        if self._memory is not None:
            inputs = self._memory.inputs
            batch.update(inputs)
            if self._keep:
                del self._inputs[t:]
                self._inputs.append(inputs)
        self._out = out = {**self._sampler(batch, noise=self._noise[t], t=self._timesteps[t])}
        if self._keep:
            del self._outputs[t:]  # asked again, since envs that made it fail have begun anew
            self._outputs.append(out)
        return self._loop.as_raw(out[Columns.ACTIONS])

    def remember(self, t: int) -> None:
        """Let the memory know that step t has been taken; the state leaves the outputs."""
        if self._memory is not None:
            starts = self._loop.next_starts(self._buffers, t)
            self._memory.remember(self._out, self._buffers.reward_rows[t], starts)

    def columns(self) -> dict[str, Nested]:
        """What the module read of previous steps and what it returned, ``[T, N, ...]``, in the buffers' memory."""
        previous = () if self._memory is None else self._memory.previous
        read = {name: [step[name] for step in self._inputs] for name in previous}
        returned = {name: [step[name] for step in self._outputs] for name in self._outputs[0]}
        return {name: self._buffers.stack_output(name, steps) for name, steps in {**read, **returned}.items()}

    def states(self) -> list[Nested]:
        """A recurrent module's states before every ``seq_len``-th row, each ``[N, ...]``."""
        return [] if self._loop.seq_len is None else [x[Columns.STATE_IN] for x in self._inputs[:: self._loop.seq_len]]
