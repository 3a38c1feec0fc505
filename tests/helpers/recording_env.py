"""An env whose agents come, wait, get rewards late, leave and return by lot; it keeps its own record of all of it."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Any

import gymnasium as gym
import numpy as np
from attrs import define, field

from rlkit_core.envs import MultiAgentEnv

Array = np.ndarray[Any, Any]
SEEN = gym.spaces.Box(-1e9, 1e9, (4,), np.float32)
DONE = gym.spaces.Discrete(4)


@define
class Life:
    """What an agent saw, did and got, from its first observation to its end.

    Attributes:
        agent: its id.
        seen: observations that it was to act on; one more than actions while it is to act.
        actions: as the env got them.
        rewards: for each action, all that came until the next observation.
        end: None, "terminated" or "truncated".
        last: the observation that it ended with; None where the env gave none.
        states: the env's global state with each of ``seen``.
        last_state: the same at the end.
    """

    agent: Any
    seen: list[Array] = field(factory=list)
    actions: list[Any] = field(factory=list)
    rewards: list[float] = field(factory=list)
    end: str | None = None
    last: Array | None = None
    states: list[Array] = field(factory=list)
    last_state: Array | None = None

    @property
    def complete(self) -> int:
        """How many rows are complete: what followed them is known."""
        return len(self.actions) - (self.end is None and len(self.seen) == len(self.actions) > 0)


class RecordingEnv(MultiAgentEnv):
    """Observation: ``[env, life, own step, noise]``. All that happens is drawn from ``seed`` of the config.

    Args:
        config: ``agents`` (how many ids, or None: new ones for ever), ``p_wait`` (an agent that acted is not to act in
            the next step), ``p_late`` (a reward comes while it waits), ``p_end``, ``p_come``, ``crowd`` (new ids in a
            step), ``limit`` (steps of an episode), ``with_last`` (whether a truncated agent gets a last observation),
            ``turns`` (one acts at a time).
    """

    made: list[RecordingEnv] = []

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__()
        settings = {
            "agents": 3,
            "p_wait": 0.3,
            "p_late": 0.3,
            "p_end": 0.05,
            "p_come": 0.5,
            "limit": 15,
            "seed": 0,
            "crowd": 2,
        }
        self.settings: dict[str, Any] = {**settings, "with_last": True, "turns": False, **(config or {})}
        count = self.settings["agents"]
        self.possible_agents = [f"a{k}" for k in range(count or 1)]
        self.number = len(RecordingEnv.made)
        self.random = random.Random(f"{self.settings['seed']}-{self.number}")
        self.lives: list[Life] = []
        self.episodes: list[tuple[float, int]] = []  # return and length
        self.now: dict[Any, int] = {}  # lives by agent
        self.must_act: list[Any] = []
        self.fresh = 0
        RecordingEnv.made.append(self)

    def get_observation_space(self, agent_id: Any) -> gym.Space[Any]:
        return SEEN

    def get_action_space(self, agent_id: Any) -> gym.Space[Any]:
        return DONE

    state_space = gym.spaces.Box(-1e9, 1e9, (2,), np.float32)

    def state(self) -> Array:
        return np.array([len(self.episodes), self.t], np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.t, self.total = 0, 0.0
        self.now = {}
        observations = self._let_in(first=True)
        self.must_act = list(observations)
        return observations, {agent: {} for agent in observations}

    def step(self, action_dict: dict[Any, Any]) -> Any:
        assert sorted(action_dict) == sorted(self.must_act), (action_dict, self.must_act)
        lot, settings = self.random, self.settings
        self.t += 1
        for agent, action in action_dict.items():
            life = self.lives[self.now[agent]]
            life.actions.append(action)
            life.rewards.append(0.0)
        rewards: dict[Any, float] = {}
        for agent in self.now:
            if agent in action_dict or lot.random() < settings["p_late"]:
                reward = float(lot.randint(-8, 8)) / 4
                rewards[agent] = reward
                self.lives[self.now[agent]].rewards[-1] += reward
                self.total += reward
        over = self.t >= settings["limit"]
        observations: dict[Any, Array] = {}
        terminateds: dict[Any, bool] = {"__all__": False}
        truncateds: dict[Any, bool] = {"__all__": False}
        if over:
            terminateds["__all__"] = lot.random() < 0.5
            truncateds["__all__"] = not terminateds["__all__"]
        gone: list[Life] = []
        whole = "terminated" if terminateds["__all__"] else "truncated"
        for agent in list(self.now):
            how = whole if over else lot.choice(["terminated", "truncated"])
            if over or lot.random() < settings["p_end"]:
                life = self.lives[self.now.pop(agent)]
                life.end = how
                if settings["with_last"]:
                    life.last = observations[agent] = np.array(
                        [self.number, -1.0, len(self.lives), lot.random()], np.float32
                    )
                gone.append(life)
                if not over:
                    (terminateds if how == "terminated" else truncateds)[agent] = True
        ended = {agent for agent in (*terminateds, *truncateds) if agent != "__all__"}
        if over:
            self.episodes.append((self.total, self.t))
        for life in gone:
            life.last_state = self.state()
        if over:
            self.must_act = []
            return observations, rewards, terminateds, truncateds, {}
        acting = [agent for agent in self.now if lot.random() >= settings["p_wait"]]
        if settings["turns"] and self.now:
            acting = [list(self.now)[self.t % len(self.now)]]
        shown = {agent: self._see(agent) for agent in acting}
        shown |= self._let_in(without=ended)
        self.must_act = list(shown)
        return {**observations, **shown}, rewards, terminateds, truncateds, {}

    def _let_in(self, first: bool = False, without: Collection[Any] = ()) -> dict[Any, Array]:
        """Agents that come, or come back, with what they see; not those that have just ended."""
        lot, count = self.random, self.settings["agents"]
        came: dict[Any, Array] = {}
        if count is None:
            crowd = self.settings["crowd"]
            room = range(crowd) if len(self.now) < 2 * crowd else ()
            new = [f"a{self.fresh + k}" for k in room if first or lot.random() < self.settings["p_come"]]
            self.fresh += crowd
        else:
            new = [f"a{k}" for k in range(count) if f"a{k}" not in self.now]
            new = [agent for agent in new if first or lot.random() < self.settings["p_come"]]
        for agent in new:
            if agent in without:
                continue
            self.now[agent] = len(self.lives)
            self.lives.append(Life(agent))
            came[agent] = self._see(agent)
        return came

    def _see(self, agent: Any) -> Array:
        number = self.now[agent]
        life = self.lives[number]
        row = np.array([self.number, number, len(life.seen), self.random.random()], np.float32)
        life.seen.append(row)
        life.states.append(self.state())
        return row


class Seeded(MultiAgentEnv):
    """Two agents; how long an episode lasts, and what it pays, follows from its seed alone."""

    possible_agents = ["x", "y"]

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.lot = np.random.default_rng(0)

    def get_observation_space(self, agent_id: Any) -> gym.Space[Any]:
        return gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def get_action_space(self, agent_id: Any) -> gym.Space[Any]:
        return gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        if seed is not None:
            self.lot = np.random.default_rng(seed)
        self.left = int(self.lot.integers(1, 30))
        return {"x": self._obs()}, {}

    def step(self, action_dict: dict[Any, Any]) -> Any:
        (agent,) = action_dict
        self.left -= 1
        other = "y" if agent == "x" else "x"
        rewards = {agent: float(self.lot.integers(-4, 4)) + int(action_dict[agent])}
        return {other: self._obs()}, rewards, {"__all__": self.left <= 0}, {"__all__": False}, {}

    def _obs(self) -> Array:
        return self.lot.uniform(-1, 1, 2).astype(np.float32)
