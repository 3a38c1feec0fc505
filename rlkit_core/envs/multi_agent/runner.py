"""The runner of envs with several agents: one forward per module and step, a rollout for each module."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from attrs import evolve

from rlkit_core.columns import Columns
from rlkit_core.data.nested import Nested
from rlkit_core.data.rollout import Rollout
from rlkit_core.envs.acting_modules import ActingModules, Spaces
from rlkit_core.envs.checks.returned import check_one_object_each
from rlkit_core.envs.checks.rollouts import BadValueError
from rlkit_core.envs.events import EpisodeReport
from rlkit_core.envs.faults.patience import Patience
from rlkit_core.envs.gym_vectors.make import OWN_MODES
from rlkit_core.envs.multi_agent.actor import ModuleActor
from rlkit_core.envs.multi_agent.columns import AgentColumns, Seat
from rlkit_core.envs.multi_agent.episode_log import EpisodeLog
from rlkit_core.envs.multi_agent.memory import SlotMemory
from rlkit_core.envs.multi_agent.mending import FAILURES, AgentMender
from rlkit_core.envs.multi_agent.open_episode import is_plain
from rlkit_core.envs.multi_agent.places import Acting
from rlkit_core.envs.multi_agent.played_env import PlayedEnv
from rlkit_core.envs.multi_agent.protocol import AgentEnv, AgentEpisode, AgentID
from rlkit_core.envs.multi_agent.to_rollout import make_rollout
from rlkit_core.envs.runner_base import Runner, RunnerSettings
from rlkit_core.errors import ConfigError, EnvError, RLKitError
from rlkit_core.rl_module.acting import ActionSampler
from rlkit_core.rl_module.agent_mapping import SpacePair, spaces_by_module
from rlkit_core.rl_module.module_set import ModuleSet
from rlkit_core.seeding import SeedTree

_log = logging.getLogger("rlkit_core.envs")

CHUNK = 64
"""Steps whose room is made at once while it is unknown how long episodes are."""


class MultiAgentEnvRunner(Runner):
    """Steps N envs whose agents come and go, with the modules that they are mapped to.

    Args:
        config: the algorithm's config.
        make_env: makes the n-th of the envs.
        worker_index: which of the runners this is; 0 is the one in the driver.
        seeds: node of the seed tree that this runner draws from.
        num_envs: N; the config's ``num_envs_per_env_runner`` unless given.

    Attributes:
        envs: the envs, as they are played.

    Raises:
        EnvError: the env cannot be made, or names no agents.
        ConfigError, NoComponentError, ...: a module cannot be built for its agents' spaces, or there is another
            ``gym_env_vectorize_mode`` than "auto" and "sync".
    """

    def __init__(
        self,
        config: RunnerSettings,
        make_env: Callable[[int], AgentEnv],
        *,
        worker_index: int = 0,
        seeds: SeedTree | None = None,
        num_envs: int | None = None,
    ) -> None:
        super().__init__(config, worker_index=worker_index, seeds=seeds, num_envs=num_envs)
        if config.gym_env_vectorize_mode not in OWN_MODES:
            raise ConfigError(
                f"gym_env_vectorize_mode={config.gym_env_vectorize_mode!r} is for envs with one agent: gymnasium's "
                "vector envs have no agents. Leave it at 'auto'; several runners step beside each other: "
                "env_runners(num_env_runners=...)"
            )
        made = [make_env(n) for n in range(self.num_envs)]
        check_one_object_each([getattr(one, "env", one) for one in made])
        self.agents = made[0].possible_agents
        if not self.agents:
            raise EnvError(f"env {made[0].name} names no agents; give it possible_agents, a list of their ids")
        self._first_env = made[0]
        self._spaces = self._spaces_by_module(lambda agent: str(config.policy_mapping_fn(agent, AgentEpisode("", 0))))
        self.modules = ActingModules(config, self._spaces, self._rng, agents=self.agents)
        said: set[str] = set()
        self.envs = [
            PlayedEnv(
                n,
                env,
                runner_index=worker_index,
                modules=self,
                next_seed=self._episode_seeds,
                said=said,
                limit=self.replay_limit,
            )
            for n, env in enumerate(made)
        ]
        self._mender = AgentMender(self.restarts, make_env, self._episode_seeds, self._seeds.child("anew"))
        self._actors: dict[str, ModuleActor] = {}
        self._turn: list[tuple[ModuleActor, list[Seat]]] | None = None  # who acts next, by module
        self._to_reset: dict[int, int | None] = {}  # seeds, by env
        self._rows = 2
        self.reset_envs()

    # -- what it is made of ---------------------------------------------------------------------------------------

    def get_spaces(self) -> Spaces:
        """See :meth:`Runner.get_spaces`; ids are those of the modules that agents are mapped to."""
        return self._spaces

    def set_modules(self, module_set: ModuleSet) -> None:
        """Have other modules from now on; see :meth:`ActingModules.set_modules`.

        A new mapping holds for episodes that begin from now on. An open episode that uses a module which is no longer
        there begins anew.
        """
        difference = self.modules.set_modules(module_set)
        self.config = cast(RunnerSettings, module_set.config)
        self._spaces = self._spaces_by_module(module_set.module_of)
        gone = [module_id for module_id in difference.gone if module_id in self._actors]
        lost = [env for env in self.envs if any(env.uses(module_id) for module_id in gone)]
        for module_id in gone:
            del self._actors[module_id]
        if lost:
            names = ", ".join(map(repr, gone))
            _log.warning("%d open episodes begin anew, since they used modules that are gone: %s", len(lost), names)
            seeds = self.fresh_seeds()
            for env in lost:
                env.abandon()
                self._to_reset.setdefault(env.index, seeds[env.index])
        self._turn = None

    def _spaces_by_module(self, module_of: Callable[[AgentID], str]) -> Spaces:
        agents = {agent: self._spaces_of(self._first_env, agent) for agent in self.agents}
        return dict(spaces_by_module(agents, module_of))

    def _spaces_of(self, env: AgentEnv, agent: AgentID) -> SpacePair:
        """Observation and action space of an agent: the config's where it has some."""
        observation_space = self.config.observation_space or env.observation_space(agent)
        return observation_space, self.config.action_space or env.action_space(agent)

    def columns_of(self, env: AgentEnv, agent: AgentID, episode: AgentEpisode) -> AgentColumns:
        """The columns of the module that an agent is mapped to.

        Raises:
            EnvError, ConfigError: the agent has no spaces, or others than the agents of that module have.
        """
        module_id = self.modules.module_set.module_of(agent, episode)
        actor = self._actors.get(module_id)
        if actor is not None and agent in actor.known:  # comparing spaces takes longer than a step
            return actor.columns
        spaces = self._spaces_of(env, agent)
        if actor is None:
            actor = self._actors[module_id] = self._new_actor(module_id, spaces, env)
        columns = actor.columns
        if any(own is not theirs and own != theirs for own, theirs in zip(spaces, columns.spaces, strict=True)):
            raise EnvError(
                f"env {env.name}: agent {agent!r} is mapped to module {module_id!r}, whose agents have the spaces "
                f"{columns.spaces}; its own are {spaces}. Map it to another module"
            )
        actor.get_to_know(agent)
        return columns

    def _new_actor(self, module_id: str, spaces: tuple[Any, Any], env: AgentEnv) -> ModuleActor:
        module = self.modules.member(module_id)
        inner = module.unwrapped()
        state_space = None
        if Columns.ENV_STATE in getattr(inner, "input_columns", ()):
            state_space = env.state_space()
            if state_space is None:
                raise EnvError(
                    f"module {module_id!r} reads 'env_state', the global state, but env {env.name} has none; give it "
                    "state() and state_space"
                )
        columns = AgentColumns(module_id, spaces, SlotMemory.of(inner), state_space, self._rows)
        actor = ModuleActor(module, columns, self.config.exploration_noise)
        self._restore_exploring(module_id, actor.sampler(True))
        return actor

    def exploring(self) -> dict[str, ActionSampler]:
        """See :meth:`Runner.exploring`."""
        return {module_id: actor.sampler(True) for module_id, actor in self._actors.items()}

    # -- sampling -------------------------------------------------------------------------------------------------

    def collect_steps(self, num_steps: int, *, explore: bool, timestep: int) -> dict[str, Rollout]:
        """Act for ``num_steps`` steps in each env."""
        fresh_start = bool(self._to_reset)
        with self._acting():
            self._begin(num_steps, self._new_log())
            steps = self._run(self.timesteps(num_steps, timestep), explore=explore)
        return self._rollouts(steps, fresh_start)

    def collect_episodes(self, num_episodes: int, *, explore: bool, timestep: int) -> dict[str, Rollout]:
        """Act for whole episodes, env n playing every N-th; an env that is done is not stepped on."""
        self.reset_envs()
        for env in self.envs:
            env.play(len(range(env.index, num_episodes, self.num_envs)))
        try:
            with self._acting():
                self._begin(CHUNK, self._new_log())
                done = steps = 0
                while any(env.playing for env in self.envs):
                    self._make_rows(done + CHUNK)
                    timesteps = self.timesteps(done + CHUNK, timestep)[done:]
                    steps += self._run(timesteps, explore=explore)
                    done += CHUNK
            return self._rollouts(steps, True)
        finally:
            self._all_play()

    def play_episodes(self, episodes: Sequence[int], *, explore: bool, seeds: SeedTree) -> EpisodeReport:
        """See :meth:`Runner.play_episodes`; the i-th of them is played by env ``i % N``."""
        order = [list(episodes[n :: self.num_envs]) for n in range(self.num_envs)]
        queues = [[seeds.child(k).seed() for k in one] for one in order]
        self._episode_seeds.give([queue[1:] for queue in queues])
        self._to_reset = {n: queue[0] if queue else None for n, queue in enumerate(queues)}
        patience = Patience.of(self.config)
        logs = [EpisodeLog(self.worker_index, self.config.info_metrics, patience.max_steps) for _ in self.envs]
        for env, one in zip(self.envs, order, strict=True):
            env.play(len(one))
        self._mender.gives_up = True
        try:
            with self._acting():
                self._begin(CHUNK, *logs)
                while any(env.playing for env in self.envs):
                    ended = sum(len(log.returns) for log in logs)
                    self._run(range(CHUNK), explore=explore)
                    if sum(len(log.returns) for log in logs) > ended:
                        patience.ended()
                    self._give_up_long_ones(patience)
                    self._begin(CHUNK, *logs)
        finally:
            self._mender.gives_up = False
            self._episode_seeds.give(None)
            self._all_play()
        played: dict[int, tuple[float, int]] = {}
        for one, log in zip(order, logs, strict=True):
            ended_ones = [one[turn] for turn in log.turns]
            played.update(zip(ended_ones, zip(log.returns, log.lengths, strict=True), strict=True))
        whole = EpisodeReport.concat(self.worker_index, [log.report() for log in logs]).of_whole_episodes()
        returns, lengths = zip(*(played[k] for k in episodes if k in played), strict=True) if played else ((), ())
        return evolve(
            whole,
            returns=list(returns),
            lengths=list(lengths),
            cut=[k for k in episodes if k not in played],
            cut_steps=sum(log.cut_steps for log in logs),
            failed=sum(log.failed for log in logs),
        )

    def _give_up_long_ones(self, patience: Patience) -> None:
        """Cut episodes that take too long, or all that is left to play where nothing has ended for too long."""
        over = patience.over
        for env in self.envs:
            if over:
                env.give_up_all()
            elif env.playing and patience.too_long(env.steps):
                try:
                    env.give_up()
                except FAILURES as error:
                    self._mender.mend(env, error)
        self._turn = None

    @contextmanager
    def _acting(self) -> Iterator[None]:
        """The scope that modules act in; after an error nothing of what was open is trusted."""
        try:
            with torch.inference_mode(), self._rng.scope():
                yield
        except BaseException:
            self._actors = {}
            for env in self.envs:
                env.forget()
            self.reset_envs()
            raise

    def _new_log(self) -> EpisodeLog:
        return EpisodeLog(self.worker_index, self.config.info_metrics)

    def _begin(self, num_steps: int, *logs: EpisodeLog) -> None:
        """Begin new rollouts of ``num_steps`` steps; envs that are to be reset are.

        Args:
            num_steps: for which there is room.
            logs: where each env tells who comes and goes; one for all, or one for each.
        """
        to_reset, self._to_reset = self._to_reset, {}
        for env in self.envs:
            env.log = logs[env.index % len(logs)]
            env.tidy()
            if env.index in to_reset:
                env.abandon()
        self._rows = num_steps + 2  # one that was carried, and one to act on
        for actor in self._actors.values():
            actor.columns.begin(self._rows)
        for n, seed in to_reset.items():
            if self.envs[n].playing:
                try:
                    self.envs[n].begin(seed)
                except FAILURES as error:
                    self._mender.mend(self.envs[n], error)
        if to_reset:
            self._turn = None

    def _make_rows(self, num_steps: int) -> None:
        self._rows = num_steps + 2
        for actor in self._actors.values():
            actor.columns.make_rows(self._rows)

    def _run(self, timesteps: Sequence[int], *, explore: bool) -> int:
        """Step every env that plays, once for each of ``timesteps``; how many steps that were."""
        playing, steps = [env for env in self.envs if env.playing], 0
        for actor in self._actors.values():
            actor.begin(len(timesteps))
        for t in timesteps:
            if not playing:
                break
            seen, lost = self._look()
            steps -= lost
            for actor, acting, batch in seen:
                actor.act(acting, batch, explore=explore, t=t)
            changed = False
            for env in playing:
                try:
                    changed |= env.step()
                except FAILURES as error:
                    steps -= self._mender.mend(env, error)
                    changed = True
            steps += len(playing)
            if changed:
                self._turn = None
                playing = [env for env in playing if env.playing]
        return steps

    def _whose_turn(self) -> list[tuple[ModuleActor, list[Seat]]]:
        """Who acts next, by module."""
        if self._turn is None:
            seats: dict[str, list[Seat]] = {}
            for env in self.envs:
                for seat in env.acting:
                    seats.setdefault(seat.columns.module_id, []).append(seat)
            self._turn = [(self._actors[module_id], theirs) for module_id, theirs in seats.items()]
        return self._turn

    def _look(self) -> tuple[list[tuple[ModuleActor, Acting, dict[str, Nested]]], int]:
        """Where agents are to act, and what they see, by module; how many steps are lost.

        Envs that show what is NaN or infinite begin anew first.

        Raises:
            NonFiniteError: one of them may not.
        """
        lost = 0
        while True:
            seen, failed = [], None
            for actor, seats in self._whose_turn():
                acting = actor.columns.acting(seats)
                batch, fine = actor.columns.look(acting)
                seen.append((actor, acting, batch))
                if not fine:
                    failed = self._first_problem(seats)
                    if failed is not None:
                        break
            if failed is None:
                return seen, lost
            lost += self._mender.mend(*failed)
            self._turn = None

    def _first_problem(self, seats: Sequence[Seat]) -> tuple[PlayedEnv, BadValueError] | None:
        """An env that shows what is not well; none, where only a sum has overflown."""
        for seat in seats:
            error = self.envs[seat.env_index].problem(seat)
            if error is not None:
                return self.envs[seat.env_index], error
        return None

    def _rollouts(self, steps: int, fresh_start: bool) -> dict[str, Rollout]:
        """What has been collected, by module."""
        steps -= self._look()[1]
        log = self.envs[0].log
        log.steps.env = steps
        rollouts = {}
        for module_id, actor in self._actors.items():
            for seat in actor.columns.seats:
                if seat is not None:
                    log.steps.add(seat.agent, module_id, seat.count())
            rollout = make_rollout(
                actor, self.config.clip_rewards, weights_version=self.weights_version, fresh_start=fresh_start
            )
            if rollout is not None:
                rollouts[module_id] = rollout
                log.steps.columns[module_id] = rollout.num_envs
        report = log.report()
        self.steps, self._reports = log.steps, [report]
        self.stats.take(report, log.steps)
        return rollouts

    # -- resets and the end ---------------------------------------------------------------------------------------

    def reset_envs(self) -> None:
        """Let the next :meth:`sample` begin with fresh episodes; each reset has seeds of its own."""
        if self._to_resume is not None:  # episodes that are not gone on with count
            self._set_numbers(self._to_resume["envs"].get("numbers", [env.number for env in self.envs]))
        self._to_reset = dict(enumerate(self.fresh_seeds()))

    def _set_numbers(self, numbers: Sequence[int]) -> None:
        for env, number in zip(self.envs, numbers, strict=True):
            env.number = int(number)

    def _all_play(self) -> None:
        """Let every env play on, with fresh episodes."""
        for env in self.envs:
            env.play(None)
        self.reset_envs()

    # -- from run to run ------------------------------------------------------------------------------------------

    def get_open(self) -> dict[str, Any]:
        """See :meth:`Runner.get_open`."""
        numbers = [env.number for env in self.envs]
        if len(self._to_reset) == self.num_envs:
            return {"to_reset": list(self._to_reset.items()), "numbers": numbers}
        return {
            "to_reset": list(self._to_reset.items()),
            "numbers": numbers,
            "columns": {
                module_id: {"example": actor.example, **actor.columns.get_state()}
                for module_id, actor in self._actors.items()
                if is_plain(actor.example)
            },
            "envs": [env.get_state() for env in self.envs],
        }

    def _open_problems(self, state: dict[str, Any]) -> list[str]:
        problems = [env["problem"] for env in state.get("envs", ())]
        return [f"{self._name_of(n)}: {problem}" for n, problem in enumerate(problems) if problem is not None]

    def resume_open(self, state: dict[str, Any]) -> list[str | None]:
        """See :meth:`Runner.resume_open`."""
        problems: list[str | None] = [None] * self.num_envs
        for env in self.envs:
            env.forget()
        self._keep_exploring()  # of the checkpoint, too
        self._actors, self._turn = {}, None
        self._to_reset = {int(n): seed for n, seed in state["to_reset"]}
        self._set_numbers(state["numbers"])
        if "envs" not in state:
            return problems
        try:
            for module_id, kept in state["columns"].items():
                spaces = self._spaces_of(self._first_env, kept["example"])
                actor = self._actors[module_id] = self._new_actor(module_id, spaces, self._first_env)
                actor.get_to_know(kept["example"])
                actor.columns.set_state(kept)
        except (RLKitError, LookupError, ValueError) as error:
            self._actors = {}
            raise ValueError(str(error)) from error
        columns = {module_id: actor.columns for module_id, actor in self._actors.items()}
        for env, kept in zip(self.envs, state["envs"], strict=True):
            if env.index not in self._to_reset:
                problems[env.index] = env.resume(kept, columns)
        lost = [n for n, problem in enumerate(problems) if problem is not None]
        if lost:
            seeds = self.fresh_seeds()
            self._to_reset.update({n: seeds[n] for n in lost})
            self._leave(columns, set(self._to_reset))
        return problems

    def _leave(self, columns: Mapping[str, AgentColumns], envs: set[int]) -> None:
        """Let the agents of some envs leave their seats."""
        for one in columns.values():
            for seat in list(one.seats):
                if seat is not None and seat.env_index in envs:
                    one.leave(seat)
        for env in self.envs:
            if env.index in envs:
                env.forget()

    def stop(self) -> None:
        """Close the envs."""
        for env in self.envs:
            env.env.close()
