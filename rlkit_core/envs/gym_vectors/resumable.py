"""An env in one of gymnasium's vector classes, perhaps in a process of its own, that can be brought into an episode."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from rlkit_core.envs.make import spaces_of
from rlkit_core.envs.resume.own_state import get_own_state
from rlkit_core.envs.resume.promise import not_exact_by_env
from rlkit_core.envs.resume.recorded import Recorded
from rlkit_core.envs.resume.replay import UnlikeError, resume_env
from rlkit_core.envs.vector import action_splitter, row_writer

EPISODES = "rlkit_episodes"
"""The option of ``reset`` that brings envs into open episodes, ``{n: Recorded}``."""
PROBLEM = "rlkit_problem"
"""Where ``reset`` then says why an env is not where it was: text, empty where it is."""


class Resumable(gym.Wrapper[Any, Any, Any, Any]):
    """Passes everything on; a reset may have the option :data:`EPISODES`.

    Args:
        env: the env.
        index: which one of its vector env.
    """

    is_resumable = True

    def __init__(self, env: gym.Env[Any, Any], index: int) -> None:
        super().__init__(env)
        self._index = index
        self.step = env.step  # type: ignore[method-assign]  # a call less for each step

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the env, and go on from there where that is asked for."""
        options = dict(options or {})
        episodes = options.pop(EPISODES, None)
        if episodes is None:
            return self.env.reset(seed=seed, options=options) if options else self.env.reset(seed=seed)
        episode: Recorded | None = episodes.get(self._index)
        problem = ""
        if episode is not None:
            observation_space, action_space = spaces_of(self.env)
            write, split = row_writer(observation_space), action_splitter(action_space)
            try:
                return resume_env(self.env, episode, observation_space, write, split), {PROBLEM: ""}
            except UnlikeError as error:
                problem = str(error)
        return self.env.reset(seed=seed)[0], {PROBLEM: problem}

    def own_state(self) -> list[Any] | None:
        """What the env tells of itself; None where it does not."""
        return get_own_state(self.env)

    def not_exact(self) -> list[str]:
        """What is known to keep the env from coming to where it was."""
        return not_exact_by_env(self.env)


def resumable(env: object, index: int) -> Any:
    """The env, wrapped where it is one of gymnasium's kind."""
    return Resumable(env, index) if isinstance(env, gym.Env) else env
