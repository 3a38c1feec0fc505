"""Envs with agents that fail: they begin anew, and the lives that were open in them end with what was seen last."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from rlkit_core.envs.faults.fault import ENOUGH, Fault, Restarts
from rlkit_core.envs.faults.own_type import told
from rlkit_core.envs.multi_agent.played_env import NextSeed, PlayedEnv
from rlkit_core.envs.multi_agent.protocol import AgentEnv
from rlkit_core.errors import EnvError, NonFiniteError
from rlkit_core.seeding import SeedTree

FAILURES = (EnvError, NonFiniteError)
"""What a failure of an env is."""


class AgentMender:
    """Lets envs that failed begin anew.

    Args:
        restarts: decides whether they may.
        make_env: makes the n-th one.
        next_seed: the seed of an env's next episode, or None.
        seeds: seeds are drawn from it where that gives none.

    Attributes:
        gives_up: an episode that broke off counts as cut; otherwise another one is played in its place.
    """

    def __init__(
        self, restarts: Restarts, make_env: Callable[[int], AgentEnv], next_seed: NextSeed, seeds: SeedTree
    ) -> None:
        self._restarts, self._make_env, self._next_seed, self._seeds = restarts, make_env, next_seed, seeds
        self._drawn = 0
        self._last: dict[int, tuple[int, int]] = {}  # by env: when it began anew, and with which episode
        self.gives_up = False

    def mend(self, env: PlayedEnv, error: EnvError | NonFiniteError) -> int:
        """Let an env begin anew.

        Args:
            env: the env.
            error: why.

        Returns:
            How many steps are lost: 1, or 0 where a reset failed.

        Raises:
            EnvError, NonFiniteError: the failure, where it may not begin anew.
        """
        at_reset = env.at_reset
        since, episode = self._last.get(env.index, (0, -1))
        again = episode == env.number
        now, began = (since + env.steps, since) if again else (since + ENOUGH, since + 1)
        env.break_off()
        if self.gives_up and not at_reset:
            env.cut(failed=True)
        fault = Fault(env.index, error, at_reset)
        while True:
            self._restarts.take(fault, now=now, began=began)
            began = now
            try:
                self._renew(env)
            except FAILURES as failed:
                env.break_off()
                fault = Fault(env.index, failed, at_reset=True)
                continue
            self._last[env.index] = now, env.number
            return 0 if at_reset else 1

    def _renew(self, env: PlayedEnv) -> None:
        with suppress(Exception):
            env.env.close()
        try:
            env.env = self._make_env(env.index)
        except FAILURES:
            raise
        except Exception as error:
            raise told(f"env {env.index} could not be made anew: {error}", error) from error
        if env.playing:
            seed = self._next_seed(env.index)
            if seed is None:
                seed = self._seeds.child(self._drawn).seed()
                self._drawn += 1
            env.begin(seed)
