"""Vector envs that return torch tensors, as simulators on a GPU do."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import gymnasium as gym
import torch
from torch import Tensor

from rlkit_core.data.nested import Nested, has_array, index_rows, leaves, map_leaves
from rlkit_core.envs.events import metrics_in_rows
from rlkit_core.envs.faults.fault import Fault
from rlkit_core.envs.gym_vectors.batches import check_flags, check_observations, check_rewards
from rlkit_core.envs.gym_vectors.classes import FINALS, AutoresetMode, SomebodyElses
from rlkit_core.envs.gym_vectors.tensors.buffers import Cut, numpy_of
from rlkit_core.errors import EnvError
from rlkit_core.spaces import describe, flat_leaves, map_space

TIME_OUTS = ("time_outs", "TimeLimit.truncated")
"""Where infos say that an episode's end was a truncation, for envs whose step gives one flag."""


MOST_KEPT = 2**28
"""Bytes of last observations that wait to be looked at together."""


class Simulator(Protocol):
    """What is asked of a simulator; what it returns is looked at."""

    num_envs: int

    def reset(self, **settings: object) -> object:
        """Observations ``[N, ...]``, or a tuple of them and infos; ``seed`` is an integer, where it takes one."""

    def step(self, actions: Nested, /) -> object:
        """Observations ``[N, ...]``, rewards, terminations and truncations ``[N]``, infos."""


class TensorVectorEnv(SomebodyElses):
    """N envs of a simulator whose observations, rewards and flags are torch tensors.

    They stay where they are: :class:`~.loop.TensorLoop` acts on their device.

    Args:
        envs: has ``num_envs``, ``reset()`` and ``step(actions)``, and resets by itself.
        device: where its tensors are.
        observation_space, action_space: of one env.
        autoreset: how it resets.
        observation_key: of a dict of observations, the one that is looked at; None: as the space has them.

    Attributes:
        finals: for each step since :meth:`begin`, as far as :meth:`gather` has come, what truncated episodes showed
            last; None where there was none, or the simulator did not tell.
        info_metrics: names of numbers in ``info`` that are kept where an episode ends.

    Raises:
        EnvError: observations have no fixed arrays.
    """

    def __init__(
        self,
        envs: Simulator,
        device: torch.device,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        *,
        autoreset: AutoresetMode = AutoresetMode.SAME_STEP,
        observation_key: str | None = None,
    ) -> None:
        if autoreset == AutoresetMode.DISABLED:
            raise EnvError(f"vector env {envs}: autoreset is disabled; a simulator has to reset its envs by itself")
        for path, leaf in flat_leaves(observation_space):
            if not has_array(leaf):
                raise EnvError(f"vector env {envs}: there are no tensors of {'.'.join(path)} {describe(leaf)}")
        self.envs, self.device = envs, device
        self.num_envs = int(envs.num_envs)
        self.observation_space, self.action_space = observation_space, action_space
        self.same_step_reset = autoreset == AutoresetMode.SAME_STEP
        self.ended_infos: list[dict[str, float]] = []
        self.info_metrics: tuple[str, ...] = ()
        self.finals: list[Cut | None] = []
        self._waiting: list[tuple[Nested | None, Tensor, Tensor]] = []
        self._most_waiting: int | None = None
        self._key = observation_key
        parameters = inspect.signature(envs.reset).parameters.values()
        self._seeded = any(p.name == "seed" or p.kind is p.VAR_KEYWORD for p in parameters)
        self._seed: int | None = None
        self._looked_at = self._looked_at_final = False

    # -- resets ---------------------------------------------------------------------------------------------------

    def reset(self, seeds: Sequence[int | None], obs_out: Nested) -> list[Fault]:
        """Reset all envs, with the first seed where there is one and they take it."""
        seed = next((seed for seed in seeds if seed is not None), None)
        self._seed = None if seed is None or not self._seeded else seed % 2**31
        try:
            given = self.envs.reset() if self._seed is None else self.envs.reset(seed=self._seed)
        except Exception as error:
            raise self._raised(f"at a reset with seed {self._seed}", error) from error
        observations = given[0] if isinstance(given, tuple) and len(given) == 2 else given
        self._write(obs_out, observations, "reset()", look=True)
        return []

    def reset_some(self, seeds: Mapping[int, int | None], obs_out: Nested) -> list[Fault]:
        """Reset all: single ones cannot be."""
        return self.reset(list(seeds.values()), obs_out)

    # -- steps ----------------------------------------------------------------------------------------------------

    def step(
        self, actions: Nested, obs_out: Nested, rewards_out: Nested, terminateds_out: Nested, truncateds_out: Nested
    ) -> list[tuple[int, Any]]:
        """Step all envs and write the results into tensors; what truncated episodes showed last is in :attr:`finals`.

        The simulator computes with ordinary tensors, which it may change later on, and without gradients.
        """
        with torch.inference_mode(False), torch.no_grad():
            own = map_leaves(torch.clone, actions)
            try:
                given = self.envs.step(own)
            except Exception as error:
                raise self._raised(f"at a step, after the reset with seed {self._seed}", error) from error
            observations, rewards, terminateds, truncateds, infos = self._five(given)
            look = not self._looked_at
            if look:
                who = f"vector env {self.envs}: step()"
                for values, name in ((terminateds, "terminations"), (truncateds, "truncations")):
                    check_flags(self.num_envs, values, name, who)
                check_rewards(self.num_envs, rewards, who)
            rewards_out.copy_(rewards)
            terminateds_out.copy_(terminateds)
            truncateds_out.copy_(truncateds)
            if self.same_step_reset:
                self._waiting.append((self._last(infos), terminateds_out, truncateds_out))
            self._write(obs_out, observations, "step()", look=look)
            self._looked_at = True
            if self.info_metrics:
                self._keep_metrics(infos, terminateds, truncateds)
            if len(self._waiting) == self._most_waiting:
                self.gather()
        return []

    def _five(self, given: Nested) -> tuple[Any, Any, Any, Any, Mapping[str, Any]]:
        """Observations, rewards, terminations, truncations and infos; also of a step that gives one flag of ends."""
        if isinstance(given, tuple) and len(given) == 5 and isinstance(given[4], Mapping):
            return given
        if isinstance(given, tuple) and len(given) == 4 and isinstance(given[3], Mapping):
            observations, rewards, dones, infos = given
            dones = dones.bool()
            late = next((infos[name] for name in TIME_OUTS if name in infos), None)
            truncateds = torch.zeros_like(dones) if late is None else late.bool() & dones
            return observations, rewards, dones & ~truncateds, truncateds, infos
        shown = f"a tuple of {len(given)}" if isinstance(given, tuple) else f"a {type(given).__name__}"
        raise EnvError(
            f"vector env {self.envs}: step(): expected (observations, rewards, terminations, truncations, infos), got "
            f"{shown}"
        )

    def _last(self, infos: Mapping[str, Any]) -> Nested | None:
        """What all envs showed before resets, as a copy; None where infos do not have it."""
        final = next((infos[name] for name in FINALS if name in infos), None)
        if final is None:
            return None
        final = self._of_space(final, "infos['final_obs']")
        if not self._looked_at_final:
            who = f"vector env {self.envs}: infos['final_obs']"
            check_observations(self.observation_space, self.num_envs, final, who)
            self._looked_at_final = True
            self._most_waiting = max(1, MOST_KEPT // sum(leaf.nbytes for leaf in leaves(final)))
        return map_leaves(torch.clone, final)

    def begin(self) -> None:
        """A rollout begins: forget the last observations of the one before."""
        self.finals, self._waiting = [], []

    def gather(self) -> None:
        """Pick what truncated episodes showed last, of the steps that nobody has looked at; waits for the device.

        Where episodes end is known on the device alone: to ask at each step would be to wait at each.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        rows, terminateds, truncateds = zip(*waiting, strict=True)
        cut = torch.stack(truncateds) & ~torch.stack(terminateds)
        steps, envs = cut.nonzero().unbind(-1)
        counts = torch.bincount(steps, minlength=len(waiting)).tolist()
        for row, where in zip(rows, torch.split(envs, counts), strict=True):
            told = row is not None and len(where)
            self.finals.append((where, index_rows(row, where)) if told else None)

    def _write(self, obs_out: Nested, observations: Nested, what: str, *, look: bool) -> None:
        """Copy observations into rows, after looking at them where that is asked for."""
        observations = self._of_space(observations, what)
        if look:
            who = f"vector env {self.envs}: {what}"
            check_observations(self.observation_space, self.num_envs, observations, who)
            for leaf in leaves(observations):
                if not isinstance(leaf, Tensor):
                    raise EnvError(f"{who}: observations are {type(leaf).__name__}, expected tensors")
                if leaf.device.type != self.device.type:
                    raise EnvError(f"{who}: observations are on {leaf.device}, expected {self.device}")
        map_leaves(lambda row, new: row.copy_(new), obs_out, observations)

    def _of_space(self, observations: Nested, what: str) -> Nested:
        """Observations nested as the space is; what it does not name is left out."""
        if self._key is not None:
            observations = observations[self._key]
        composed = isinstance(self.observation_space, (gym.spaces.Dict, gym.spaces.Tuple))
        if not composed and isinstance(observations, Mapping):
            raise EnvError(
                f"vector env {self.envs}: {what}: observations are a dict with {list(observations)}, and its space is "
                f"{describe(self.observation_space)}: as_vector_env(env, observation_key=...) names one of them"
            )
        try:
            return map_space(lambda _, leaf: leaf, self.observation_space, observations)
        except (KeyError, IndexError, TypeError) as error:
            raise EnvError(
                f"vector env {self.envs}: {what}: observations lack {error} of {describe(self.observation_space)}"
            ) from error

    def _keep_metrics(self, infos: Mapping[str, Any], terminateds: Tensor, truncateds: Tensor) -> None:
        known = {name: infos[name] for name in (*self.info_metrics, "final_info") if name in infos}
        ended = (terminateds | truncateds).nonzero().squeeze(-1).tolist() if known else ()
        if ended:
            known = numpy_of(known)
        for n in ended:
            self.ended_infos.append(metrics_in_rows(known, self.info_metrics, n, f"env {n} of {self.envs}"))

    def close(self) -> None:
        """Close the simulator, if it can be."""
        close = getattr(self.envs, "close", None)
        if callable(close):
            close()
