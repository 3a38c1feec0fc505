"""Vector envs of gymnasium's interface behind the protocol of :class:`~rlkit_core.envs.vector.VectorEnv`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core.data.nested import own_copy
from rlkit_core.envs.checks.misfits import misfit
from rlkit_core.envs.events import metrics_in_rows
from rlkit_core.envs.faults.fault import Fault
from rlkit_core.envs.faults.own_type import told
from rlkit_core.envs.gym_vectors.batches import check_flags, check_observations, check_rewards
from rlkit_core.envs.resume.promise import OWN_VECTOR
from rlkit_core.envs.resume.recorded import Recorded
from rlkit_core.envs.vector import Rows, batch_writer, own_actions
from rlkit_core.errors import EnvError
from rlkit_core.spaces import map_space

_log = logging.getLogger("rlkit_core.envs")

AutoresetMode = gym.vector.AutoresetMode
FINALS = ("final_obs", "final_observation")
"""Where infos have what episodes showed last; the second was gymnasium's name before 1.0."""


def step_together(
    envs: gym.vector.VectorEnv[Any, Any, Any],
    write: Callable[[Rows, Any], None],
    actions: object,
    obs_out: Rows,
    rewards_out: np.ndarray[Any, Any],
    terminateds_out: np.ndarray[Any, Any],
    truncateds_out: np.ndarray[Any, Any],
) -> Mapping[str, Any]:
    """Step one of gymnasium's vector envs and write the results, observations with ``write``; its infos."""
    observations, rewards, terminateds, truncateds, infos = envs.step(own_actions(actions))  # which they may change
    write(obs_out, observations)
    rewards_out[:] = rewards
    terminateds_out[:] = terminateds
    truncateds_out[:] = truncateds
    return infos


def autoreset_mode(envs: object) -> AutoresetMode:
    """How a vector env resets, from its ``metadata``; the step after an episode's end where that does not say."""
    metadata = getattr(envs, "metadata", None) or {}
    mode = metadata.get("autoreset_mode")
    if mode is None:
        _log.warning(
            "vector env %s does not say how it resets; it is taken to do so in the step after an episode's end, as "
            "gymnasium takes it. Say so: metadata = {'autoreset_mode': AutoresetMode.NEXT_STEP} (or SAME_STEP)",
            envs,
        )
        return AutoresetMode.NEXT_STEP
    return mode if isinstance(mode, AutoresetMode) else AutoresetMode(getattr(mode, "value", mode))


class SomebodyElses:
    """What all vector envs of others have in common: no env of theirs can be brought anywhere, or made anew, by itself.

    Attributes:
        envs: the vector env.
        num_envs: N.
    """

    replays = resets_one = restarts_one = False
    envs: Any
    num_envs: int

    def episode_seeds(self) -> list[int | None]:
        """There are none."""
        return [None] * self.num_envs

    def own_states(self) -> list[list[Any] | None]:
        """There are none."""
        return [None] * self.num_envs

    def not_exact(self) -> list[str]:
        """Its episodes begin anew."""
        return [OWN_VECTOR]

    def resume(self, episodes: Sequence[Recorded | str], obs_out: Rows) -> list[str | None]:
        """Say that this cannot be done."""
        return [OWN_VECTOR] * self.num_envs

    def restart(self, n: int, seed: int, obs_out: Rows) -> Fault | None:
        """Never called: single ones cannot be made anew."""
        raise NotImplementedError(f"env {n} of an env's own vector implementation cannot be made anew by itself")

    def _raised(self, when: str, error: Exception) -> EnvError:
        return told(f"vector env {self.envs} raised {type(error).__name__} {when}: {error}", error)


class GymVectorEnv(SomebodyElses):
    """A vector env of gymnasium's interface, whichever way it resets; where its episodes begin nobody can say.

    One that does not reset by itself (``AutoresetMode.DISABLED``) is reset by mask, in the step that ends an episode.

    Args:
        envs: the vector env; its ``metadata["autoreset_mode"]`` says how it resets.
        info_metrics: names of numbers in ``info`` that are kept where an episode ends.

    Attributes:
        info_metrics: the same.

    Raises:
        EnvError: its spaces are no gymnasium spaces.
    """

    def __init__(self, envs: gym.vector.VectorEnv[Any, Any, Any], info_metrics: Sequence[str] = ()) -> None:
        mode = autoreset_mode(envs)
        self.envs = envs
        self.ended_infos: list[dict[str, float]] = []
        self.info_metrics = tuple(info_metrics)
        self.num_envs = envs.num_envs
        self.observation_space = space_of(envs, "single_observation_space")
        self.action_space = space_of(envs, "single_action_space")
        self.same_step_reset = mode != AutoresetMode.NEXT_STEP
        self._by_mask = mode == AutoresetMode.DISABLED
        self._write = batch_writer(self.observation_space)
        self._seeds: Sequence[int | None] = []
        self._one_seed = False  # it takes one for all of them
        self._step = self._checked_step
        self._looked_at_final = False

    # -- resets ---------------------------------------------------------------------------------------------------

    def reset(self, seeds: Sequence[int | None], obs_out: Rows) -> list[Fault]:
        """Reset every env; those that take one seed for all get the first."""
        self._seeds = seeds = _without_gaps(seeds)
        given = None if self._one_seed else self._with_a_list(seeds)
        if given is None:
            self._seeds, self._one_seed = seeds[:1], True
            try:
                given = self.envs.reset(seed=seeds[0])
            except Exception as error:
                raise self._raised(f"at a reset with seed {seeds[0]}", error) from error
        if not isinstance(given, tuple) or len(given) != 2:
            raise self._wrong("reset()", "(observations, infos)", given)
        check_observations(self.observation_space, self.num_envs, given[0], f"vector env {self.envs}: reset()")
        self._write(obs_out, given[0])
        return []

    def _with_a_list(self, seeds: Sequence[int | None]) -> object:
        """What a reset with a seed for each env gives; None where the vector env takes no lists of them."""
        try:
            return self.envs.reset(seed=list(seeds))
        except (TypeError, ValueError, AssertionError, OverflowError, gym.error.Error):
            return None
        except Exception as error:
            raise self._raised(f"at a reset with seeds {self._seeds}", error) from error

    def reset_some(self, seeds: Mapping[int, int | None], obs_out: Rows) -> list[Fault]:
        """Reset all: single ones cannot be."""
        return self.reset([seeds.get(n) for n in range(self.num_envs)], obs_out)

    # -- steps ----------------------------------------------------------------------------------------------------

    def step(
        self,
        actions: object,
        obs_out: Rows,
        rewards_out: np.ndarray[Any, Any],
        terminateds_out: np.ndarray[Any, Any],
        truncateds_out: np.ndarray[Any, Any],
    ) -> list[tuple[int, Any]]:
        """Step the vector env once; see :class:`~rlkit_core.envs.vector.VectorEnv`."""
        rows = obs_out, rewards_out, terminateds_out, truncateds_out
        try:
            infos = self._step(actions, *rows)
        except EnvError:
            raise
        except Exception as error:
            when = f"at a step with actions {actions!r}, after the reset with seeds {list(self._seeds)}"
            raise self._raised(when, error) from error
        if self.info_metrics:
            for n in np.flatnonzero(truncateds_out | terminateds_out):
                self.ended_infos.append(metrics_in_rows(infos, self.info_metrics, int(n), f"env {n} of {self.envs}"))
        if not self.same_step_reset:
            told = [name for name in FINALS if name in infos]
            if told:
                raise self._wrong("step()", f"no infos[{told[0]!r}], as its autoreset_mode is NEXT_STEP", infos)
            return []
        cut = np.flatnonzero(truncateds_out & ~terminateds_out).tolist()
        if self._by_mask:
            return self._reset_by_mask(terminateds_out | truncateds_out, cut, obs_out)
        return [(n, self._final(infos, n)) for n in cut]

    def _plain_step(self, actions: object, *rows: Rows) -> Mapping[str, Any]:
        return step_together(self.envs, self._write, actions, *rows)

    def _checked_step(self, actions: object, *rows: Rows) -> Mapping[str, Any]:
        """The first step, whose results are looked at."""
        who = f"vector env {self.envs}: step()"
        given = self.envs.step(own_actions(actions))
        if not isinstance(given, tuple) or len(given) != 5:
            raise self._wrong("step()", "(observations, rewards, terminations, truncations, infos)", given)
        observations, rewards, terminateds, truncateds, infos = given
        check_observations(self.observation_space, self.num_envs, observations, who)
        check_rewards(self.num_envs, rewards, who)
        for name, flags in (("terminations", terminateds), ("truncations", truncateds)):
            check_flags(self.num_envs, flags, name, who)
        if not isinstance(infos, Mapping):
            raise self._wrong("step()", "a dict of infos", infos)
        self._write(rows[0], observations)
        for row, values in zip(rows[1:], (rewards, terminateds, truncateds), strict=True):
            row[:] = values
        self._step = self._plain_step
        return infos

    def _final(self, infos: Mapping[str, Any], n: int) -> Any:
        """The last observation of an episode, a copy of row n of :data:`FINALS` in infos.

        That is an object array of observations, or arrays nested as the space.
        """
        final = next((infos[name] for name in FINALS if name in infos), None)
        if isinstance(final, np.ndarray) and final.dtype == object:
            final = final[n]
        elif final is not None:
            final = map_space(lambda leaf, rows: rows[n], self.observation_space, final)
        if final is None:
            raise self._wrong("step()", f"infos['final_obs'] with what env {n} showed last, as it was truncated", infos)
        if not self._looked_at_final:
            problem = misfit(self.observation_space, final)
            if problem is not None:
                raise EnvError(f"vector env {self.envs}: infos['final_obs'] of env {n} {problem}")
            self._looked_at_final = True
        return own_copy(self.observation_space, final)

    def _reset_by_mask(self, dones: np.ndarray[Any, Any], cut: list[int], obs_out: Rows) -> list[tuple[int, Any]]:
        """Reset the envs whose episodes have ended, with their own generators going on; their last observations."""
        if not dones.any():
            return []
        space = self.observation_space
        finals = [(n, own_copy(space, map_space(lambda leaf, rows: rows[n], space, obs_out))) for n in cut]  # noqa: B023
        try:
            observations = self.envs.reset(options={"reset_mask": dones.copy()})[0]
        except Exception as error:
            raise self._raised(f"at a reset with reset_mask {dones}", error) from error
        self._write(obs_out, observations)
        return finals

    def _wrong(self, what: str, expected: str, seen: object) -> EnvError:
        shown = f"a {type(seen).__name__}" if not isinstance(seen, Mapping) else f"a dict with {list(seen)}"
        if isinstance(seen, tuple):
            shown = f"a tuple of {len(seen)}"
        return EnvError(f"vector env {self.envs}: {what}: expected {expected}, got {shown}")

    def close(self) -> None:
        """Close the vector env."""
        self.envs.close()


def space_of(envs: object, *names: str) -> gym.Space[Any]:
    """The first of these spaces that a vector env has.

    Raises:
        EnvError: it has none that is a gymnasium space.
    """
    name, space = names[0], next((getattr(envs, name) for name in names if hasattr(envs, name)), None)
    if not isinstance(space, gym.Space):
        raise EnvError(
            f"vector env {envs}: {name} is a {type(space).__name__}, expected the gymnasium space of one env"
        )
    return space


def _without_gaps(seeds: Sequence[int | None]) -> list[int | None]:
    """Seeds with one for each env, if there is one at all: not every vector env knows of envs without.

    They fit 31 bits, which is what some of them take.
    """
    given = [seed for seed in seeds if seed is not None]
    if not given:
        return list(seeds)
    return [(given[0] + n if seed is None else seed) % 2**31 for n, seed in enumerate(seeds)]
