"""One env while it is played: who is there, whose turn it is, and what each step brings to whom."""

from __future__ import annotations

import logging
import math
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import gymnasium as gym

from rlkit_core.data.nested import leaves
from rlkit_core.envs.checks.misfits import misfit
from rlkit_core.envs.checks.rollouts import BadValueError, bad_value
from rlkit_core.envs.faults.own_type import retold, told
from rlkit_core.envs.multi_agent.columns import MISFITS, AgentColumns, Seat
from rlkit_core.envs.multi_agent.episode_log import EpisodeLog
from rlkit_core.envs.multi_agent.open_episode import EpisodeRecord, is_as_it_was, is_plain, sum_of
from rlkit_core.envs.multi_agent.protocol import AgentEnv, AgentEpisode, AgentID, AgentStep
from rlkit_core.envs.resume.replay import NOT_DETERMINISTIC, UnlikeError
from rlkit_core.envs.vector import own_actions
from rlkit_core.errors import EnvError, RLKitError

_log = logging.getLogger("rlkit_core.envs")

NextSeed = Callable[[int], "int | None"]


class Modules(Protocol):
    """What an env asks of the runner that plays it."""

    def columns_of(self, env: AgentEnv, agent: AgentID, episode: AgentEpisode) -> AgentColumns:
        """The columns of the module that an agent is mapped to; asked once an episode and agent."""
        ...


class PlayedEnv:
    """One of the envs of a runner.

    Args:
        index: which one.
        env: the env.
        runner_index: whose.
        modules: says which module acts for an agent.
        said: names of envs of which it has been said that they give truncated agents no last observation.
        limit: steps of an open episode that are kept, to go on with it elsewhere; None: none.
        next_seed: called with ``index`` when a further episode starts; its seed, or None.

    Attributes:
        index: which one.
        acting: who is to act next, in order.
        seats: who is there, by agent.
        playing: whether it is stepped; False once it has had its share of episodes.
        share: how many episodes it still has to end before it is no longer stepped; None: it goes on.
        log: where it is told who comes and goes.
        at_reset: it is being reset, or a reset has failed.
        number: how many episodes have begun.
    """

    def __init__(
        self,
        index: int,
        env: AgentEnv,
        *,
        runner_index: int,
        modules: Modules,
        next_seed: NextSeed,
        said: set[str],
        limit: int | None = None,
    ) -> None:
        self.index, self.env = index, env
        self._runner_index, self._modules, self._next_seed, self._said = runner_index, modules, next_seed, said
        self.acting: list[Seat] = []
        self.seats: dict[AgentID, Seat] = {}
        self.playing = True
        self.share: int | None = None
        self.log = EpisodeLog(runner_index, ())
        self._columns: dict[AgentID, AgentColumns] = {}  # of the modules of the episode's agents
        self._turn: dict[AgentID, Seat] = {}  # acting, by agent
        self._groups: list[tuple[AgentColumns, list[Seat]]] = []  # acting, by module
        self._plain_actions = True  # numbers, of which nobody can change one
        self._wants_state = False
        self.number = 0
        self.at_reset = False
        self._began: tuple[int | None, int] = (None, 0)  # last seed, episodes begun since
        self._steps, self._total = 0, 0.0
        self.episode = AgentEpisode("", index)
        self._record = EpisodeRecord(limit)

    @property
    def steps(self) -> int:
        """Env steps of the open episode so far."""
        return self._steps

    def uses(self, module_id: str) -> bool:
        """Whether an agent of the open episode is mapped to a module."""
        return any(columns.module_id == module_id for columns in self._columns.values())

    # -- episodes -------------------------------------------------------------------------------------------------

    def play(self, episodes: int | None) -> None:
        """Be stepped until so many more episodes have ended; None: for ever."""
        self.share, self.playing = episodes, episodes is None or episodes > 0

    def abandon(self) -> None:
        """Let those who are there leave their slots; the open episode does not count."""
        for seat in self.seats.values():
            seat.columns.leave(seat)
        self.forget()

    def give_up(self) -> None:
        """Cut the open episode, which counts as one of its share, and begin with the next one."""
        self.cut()
        if self.playing:
            self.begin(self._next_seed(self.index))

    def give_up_all(self) -> None:
        """Cut the open episode, and all others of its share."""
        while self.playing:
            self.cut()

    def cut(self, *, failed: bool = False) -> None:
        """Count the open episode, which is over, as one of its share that was cut, perhaps because the env failed."""
        assert self.share is not None
        self.log.given_up(self._steps, failed=failed)
        self.abandon()
        self._steps = 0
        self.play(self.share - 1)

    def break_off(self) -> None:
        """The env has failed: lives that are open end with what was seen last, and do not count as ended."""
        for seat in self.seats.values():
            seat.columns.break_off(seat, back=bool(self.wrong(seat)[0]))
            self.log.steps.add(seat.agent, seat.columns.module_id, seat.count())
        self.forget()

    def forget(self) -> None:
        """Know of nobody who is there."""
        self.seats = {}
        self._columns = {}
        self._set_turn([])

    def begin(self, seed: int | None) -> None:
        """Reset the env, with ``seed``, or with its own generator going on."""
        self.number += 1
        self._began = (self._began[0], self._began[1] + 1) if seed is None else (seed, 1)
        self.episode = AgentEpisode(f"{self._runner_index}-{self.index}-{self.number}", self.index)
        self._columns, self._steps, self._total = {}, 0, 0.0
        self._record.begin()
        self.at_reset = True
        try:
            observations, _ = self.env.reset(seed)
        except RLKitError as error:
            raise retold(error, self._placed(str(error))) from error.__cause__
        except Exception as error:
            where = f"env {self.index} ({self.env.name})"
            raise told(f"{where} raised {type(error).__name__} at a reset with seed {seed}: {error}", error) from error
        self._let_in(observations, {})
        self.at_reset = False

    # -- steps ----------------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Step the env with the actions that the modules chose; whether other agents are to act than before.

        Raises:
            EnvError: the env raised, or what it returned does not fit.
            NonFiniteError: a reward or a last observation is NaN or infinite.
        """
        if len(self._groups) == 1:  # of one module, as in a crowd
            actions = dict(zip(self._turn, self._groups[0][0].actions, strict=False))
        else:
            actions = {seat.agent: next(seat.columns.actions) for seat in self.acting}
        # An env may change the dict, and the arrays in it.
        given = dict(actions) if self._plain_actions else own_actions(actions)
        try:
            step = self.env.step(given)
        except RLKitError as error:
            raise retold(error, self._placed(f"{error}, with actions {reprlib.repr(actions)}")) from error.__cause__
        except Exception as error:
            what = (
                f"env {self.env.name}: it raised {type(error).__name__} with actions {reprlib.repr(actions)}: {error}"
            )
            raise told(self._placed(what), error) from error
        observations, rewards, terminateds, truncateds, _, over = step
        self._steps += 1
        total = sum_of(rewards)
        if not math.isfinite(total):
            self._check_finite(rewards, actions)
        self._total += total
        self._record.sent.append(actions)
        self._record.totals.append(total)
        keys = self._turn.keys()
        usual = (
            not over
            and observations.keys() == keys
            and rewards.keys() == keys
            and True not in terminateds.values()
            and True not in truncateds.values()
        )
        if usual:
            self._take(observations, rewards)
            return False
        self._take_apart(step)
        return True

    def _take(self, observations: Mapping[AgentID, Any], rewards: Mapping[AgentID, Any]) -> None:
        """The usual step: all who acted are there, and are to act again."""
        state = self.env.state() if self._wants_state else None
        for columns, seats in self._groups:
            width, obs, put, got = columns.width, columns.obs.flat, columns.obs.put, columns.rewards.flat
            try:
                if columns.obs.plain:
                    for seat in seats:
                        agent, at = seat.agent, seat.at
                        reward = rewards[agent]
                        got[at] = reward
                        seat.total += float(reward)  # a sum in float64 whatever it is
                        at += width
                        obs[at] = observations[agent]
                        seat.at = at
                else:
                    for seat in seats:
                        agent, at = seat.agent, seat.at
                        reward = rewards[agent]
                        got[at] = reward
                        seat.total += float(reward)
                        at += width
                        put(obs, at, observations[agent])
                        seat.at = at
            except MISFITS as error:
                raise self._error(agent, f"its observation {misfit(columns.spaces[0], observations[agent])}") from error
            if columns.env_state is not None:
                for seat in seats:
                    columns.env_state.put(columns.env_state.flat, seat.at, state)
            columns.rewarded(seats)

    def _take_apart(self, step: AgentStep) -> None:
        """A step after which somebody has come, gone or waits."""
        observations, rewards, terminateds, truncateds, infos, over = step
        state = self.env.state() if self._wants_state else None
        for seat in self.acting:
            seat.open = True
        for agent, reward in rewards.items():
            if agent in self.seats:
                seat = self.seats[agent]
                seat.columns.rewards.flat[seat.at] += reward
                seat.total += float(reward)
            elif reward:
                raise self._unearned(agent, reward)
        ended = {agent for flags in (terminateds, truncateds) for agent, flag in flags.items() if flag}
        if over:
            ended.update(self.seats)
        for agent in [agent for agent in self.seats if agent in ended]:
            terminated = bool(terminateds.get(agent, False))
            truncated = not terminated or bool(truncateds.get(agent))
            seat = self._end(agent, terminated, truncated, observations.get(agent), state)
            module_id, info = seat.columns.module_id, infos.get(agent)
            self.log.agent_ended(self.index, agent, module_id, seat.total, seat.length, info, f"env {self.env.name}")
        if over:
            self._end_episode()
        else:
            self._let_in({agent: obs for agent, obs in observations.items() if agent not in ended}, {"state": state})

    def _let_in(self, observations: Mapping[AgentID, Any], known: dict[str, Any]) -> None:
        """Let those with an observation act next; those that are not there yet come in."""
        new = {agent: self._columns_of(agent) for agent in observations if agent not in self.seats}
        wanted: dict[int, tuple[AgentColumns, int]] = {}
        for columns in new.values():
            wanted[id(columns)] = (columns, wanted.get(id(columns), (columns, 0))[1] + 1)
        for columns, count in wanted.values():
            columns.make_room(self.index, count)
        self._wants_state = any(columns.env_state is not None for columns in self._columns.values())
        state = known.get("state")
        if self._wants_state and state is None:
            state = self.env.state()
        acting: list[Seat] = []
        continued: dict[int, tuple[AgentColumns, list[Seat]]] = {}
        for agent, observation in observations.items():
            seat = self.seats.get(agent)
            columns = new[agent] if seat is None else seat.columns
            try:
                if seat is None:
                    problem = misfit(columns.spaces[0], observation)
                    if problem:
                        raise self._error(agent, f"its observation {problem}")
                    seat = self.seats[agent] = columns.enter(self.index, agent, observation, state)
                    self.log.agent_began(self.index, agent, columns.module_id)
                else:
                    columns.observe(seat, observation, state)
                    continued.setdefault(id(columns), (columns, []))[1].append(seat)
            except MISFITS as error:
                raise self._error(agent, f"its observation {misfit(columns.spaces[0], observation)}") from error
            acting.append(seat)
        for columns, seats in continued.values():
            columns.rewarded(seats)
        self._set_turn(acting)

    def _set_turn(self, acting: list[Seat]) -> None:
        self.acting = acting
        self._turn = {seat.agent: seat for seat in acting}
        groups: dict[int, tuple[AgentColumns, list[Seat]]] = {}
        for seat in acting:
            groups.setdefault(id(seat.columns), (seat.columns, []))[1].append(seat)
        self._groups = list(groups.values())
        self._plain_actions = all(isinstance(columns.spaces[1], gym.spaces.Discrete) for columns, _ in self._groups)

    def _columns_of(self, agent: AgentID) -> AgentColumns:
        columns = self._columns.get(agent)
        if columns is None:
            self.episode.agents.append(agent)
            try:
                columns = self._modules.columns_of(self.env, agent, self.episode)
            except RLKitError as error:
                raise retold(error, self._placed(str(error))) from error.__cause__
            self._columns[agent] = columns
        return columns

    def _end(self, agent: AgentID, terminated: bool, truncated: bool, last: object, state: object) -> Seat:
        seat = self.seats.pop(agent)
        columns = seat.columns
        if not terminated:
            if last is None:
                self._say_once(agent)
            elif (problem := misfit(columns.spaces[0], last)) is not None:
                raise self._error(agent, f"its last observation {problem}")
            else:
                bad, finite = columns.obs.problem_of(last)
                if bad:
                    raise self._bad_value(agent, bad.replace("observation", "last observation", 1), finite=finite)
        columns.end(seat, terminated=terminated, truncated=truncated, last=last, state=state)
        self.log.steps.add(agent, columns.module_id, seat.count())
        return seat

    def _end_episode(self) -> None:
        self.log.over(self._total, self._steps)
        if self.share is not None:
            self.play(self.share - 1)
        if self.playing:
            self.begin(self._next_seed(self.index))
        else:
            self._set_turn([])

    # -- from run to run ------------------------------------------------------------------------------------------

    def tidy(self) -> None:
        """Forget what is kept of an episode that is too long for it; once a rollout."""
        self._record.trim()

    def get_state(self) -> dict[str, Any]:
        """How many episodes have begun, and the open one; under ``problem`` why that cannot be gone on with."""
        return {"episodes": self.number, "problem": self._problem(), "open": self._open()}

    def _problem(self) -> str | None:
        if self._began[0] is None or self._began[1] != 1:
            return "it was reset without a seed"
        for agent, columns in self._columns.items():
            if not is_plain(agent):
                return f"the id of its agent {agent!r} is no text, number or tuple of them"
            if any(leaf.dtype == object for _, block in columns.seen() for leaf in leaves(block.flat)):
                return f"observations of its agent {agent!r} have no fixed array"
        return self._record.problem

    def _open(self) -> dict[str, Any]:
        if self._problem() is not None:
            return {}
        return {
            "seed": self._began[0],
            "id": self.episode.id_,
            "steps": self._steps,
            "total": self._total,
            "mapped": [[agent, columns.module_id] for agent, columns in self._columns.items()],
            "agents": list(self.episode.agents),
            "seats": [[agent, seat.slot] for agent, seat in self.seats.items()],
            "acting": [seat.agent for seat in self.acting],
            "record": self._record.get_state(self._played()),
        }

    def _played(self) -> dict[AgentID, tuple[str, gym.Space[Any]]]:
        return {agent: (columns.module_id, columns.spaces[1]) for agent, columns in self._columns.items()}

    def resume(self, state: Mapping[str, Any], columns: Mapping[str, AgentColumns]) -> str | None:
        """Go on from :meth:`get_state`.

        Args:
            state: what it gave.
            columns: of each module, with the seats of this env's agents.

        Returns:
            Why the env has to be reset; None where it is where it was.
        """
        self.number = int(state["episodes"])
        open_ = state["open"]
        if not open_:
            return str(state["problem"])
        self._began = (int(open_["seed"]), 1)
        self.episode = AgentEpisode(open_["id"], self.index, list(open_["agents"]))
        self._steps, self._total = int(open_["steps"]), float(open_["total"])
        self._columns = {agent: columns[module_id] for agent, module_id in open_["mapped"]}
        self.seats = {}
        for agent, slot in open_["seats"]:
            seat = self._columns[agent].seats[slot]
            assert seat is not None
            self.seats[agent] = seat
        self._record.set_state(open_["record"], self._played())
        try:
            seen = self._record.replay(self.env, int(open_["seed"]))
        except UnlikeError as error:
            return str(error)
        if seen.keys() != set(open_["acting"]):
            return f"{NOT_DETERMINISTIC}: other agents are to act after {self._steps} steps"
        acting = [self.seats[agent] for agent in open_["acting"]]
        for seat in acting:
            block = seat.columns.obs
            if not is_as_it_was(block.space, seen[seat.agent], block.flat, seat.at):
                return f"{NOT_DETERMINISTIC}: agent {seat.agent!r} sees something else after {self._steps} steps"
        self._wants_state = any(one.env_state is not None for one in self._columns.values())
        self._set_turn(acting)
        return None

    # -- what is wrong --------------------------------------------------------------------------------------------

    def wrong(self, seat: Seat) -> tuple[str, bool]:
        """What is wrong with that which an agent is to act on, "" if nothing is; and whether it is not finite."""
        for _, block in seat.columns.seen():
            bad, finite = block.problem(seat.at)
            if bad:
                return bad, finite
        return "", False

    def problem(self, seat: Seat) -> BadValueError | None:
        """What :meth:`wrong` found, as an error; None if nothing."""
        bad, finite = self.wrong(seat)
        if not bad:
            return None
        self.at_reset = not self._steps
        return self._bad_value(seat.agent, bad, finite=finite)

    def _bad_value(self, agent: AgentID, bad: str, *, finite: bool = True) -> BadValueError:
        when = f"at step {self._steps}" if self._steps else "at a reset"
        return bad_value(
            f"env {self.index} of runner {self._runner_index} ({self.env.name}) gave agent {agent!r} {bad} {when} of "
            f"episode {self.episode.id_}",
            finite=finite,
        )

    def _check_finite(self, rewards: Mapping[AgentID, Any], actions: Mapping[AgentID, Any]) -> None:
        for agent, reward in rewards.items():  # a sum may also overflow with all its terms finite
            if not math.isfinite(reward):
                raise self._bad_value(agent, f"the reward {reward} for {actions.get(agent, 'an earlier action')!r}")

    def _unearned(self, agent: AgentID, reward: float) -> EnvError:
        if agent in self._columns:
            why = "it has ended in this episode; give a last reward in the step that ends it"
        else:
            why = "it has never acted in this episode; give an agent its first observation before any reward"
        return self._error(agent, f"it got the reward {reward}, but {why}")

    def _say_once(self, agent: AgentID) -> None:
        if self.env.name not in self._said:
            self._said.add(self.env.name)
            _log.warning(
                "%s",
                self._placed(
                    f"agent {agent!r} was truncated without a last observation; the value of the one before stands in "
                    "for what was to come (said once). Give truncated agents a last observation."
                ),
            )

    def _error(self, agent: AgentID, what: str) -> EnvError:
        when = f"step {self._steps}" if self._steps else "reset"
        return EnvError(self._placed(f"env {self.env.name}, {when}, agent {agent!r}: {what}"))

    def _placed(self, message: str) -> str:
        seed, episode = self._began
        return (
            f"{message} (env {self.index} of runner {self._runner_index}, episode {episode} after the reset with seed "
            f"{seed})"
        )
