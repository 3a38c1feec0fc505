"""The acting loop of envs that return torch tensors: from observation to action and back on one device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from rlkit_core.data.nested import Nested
from rlkit_core.envs.acting_loop import ActingLoop, Steps
from rlkit_core.envs.faults.mending import Finals
from rlkit_core.envs.gym_vectors.tensors.buffers import TensorBuffers, numpy_of
from rlkit_core.envs.gym_vectors.tensors.vector import TensorVectorEnv
from rlkit_core.envs.resume.promise import OWN_VECTOR
from rlkit_core.envs.resume.recorded import encode
from rlkit_core.envs.rollout_buffers import RolloutBuffers
from rlkit_core.rl_module.acting import ActionSampler
from rlkit_core.rl_module.forwards import RowPolicy

_log = logging.getLogger("rlkit_core.envs")

IN_A_ROW = 8
"""Steps, a power of two, at each of which an env that went on before ends an episode: as if it was not reset."""


class TensorLoop(ActingLoop):
    """As :class:`ActingLoop`; observations, actions and all that modules return stay tensors, on the envs' device.

    What goes to the CPU, once a rollout: rewards and flags ``[T, N]``, for statistics.
    """

    env: TensorVectorEnv
    _said = _said_untold = False

    def new_buffers(self, num_steps: int) -> TensorBuffers:
        """See :meth:`ActingLoop.new_buffers`."""
        return TensorBuffers(self.env.observation_space, num_steps, self.num_envs, self.env.device)

    def row_policy(self, sampler: ActionSampler, timesteps: Sequence[int]) -> RowPolicy | None:
        """None: those are of numpy rows."""
        return None

    def as_raw(self, actions: Nested) -> Nested:
        """Raw actions of a step: they stay as they are."""
        return actions

    def run(self, buffers: RolloutBuffers, policy: RowPolicy, after: Callable[[int], None] | None = None) -> Finals:
        """See :meth:`ActingLoop.run`; last observations are in the buffers."""
        assert isinstance(buffers, TensorBuffers)
        self.env.begin()
        finals = super().run(buffers, policy, after)
        self.env.gather()
        untold = buffers.fetch(self.env.finals, same_step=self.env.same_step_reset)
        if untold and not self._said_untold:
            self._said_untold = True
            _log.warning(
                "vector env %s resets by itself and does not tell what truncated episodes showed last "
                "(infos['final_obs']): the observation before that is taken for it",
                self.env.envs,
            )
        self._look_for_resets(buffers)
        return finals + buffers.bad_finals()  # which are told of where those of other envs are

    def _look_for_resets(self, buffers: TensorBuffers) -> None:
        """Say so, once, where an env ends an episode at every step: many simulators have to be asked to reset."""
        over = buffers.terminateds | buffers.truncateds
        if self._said or len(over) <= IN_A_ROW or not over.any():
            return
        runs, length = over, 1  # runs[t]: it ended an episode at each step t ... t + length - 1
        while length < IN_A_ROW:
            runs, length = runs[:-length] & runs[length:], 2 * length
        stuck = np.flatnonzero((runs[1:] & ~over[:-IN_A_ROW]).any(0))
        if len(stuck):
            self._said = True
            _log.warning(
                "env %d of vector env %s went on for a while, and then ended %d episodes in as many steps: it seems "
                "not to reset by itself; wrap the simulator in what does that",
                stuck[0],
                self.env.envs,
                IN_A_ROW,
            )

    def final_rows(self, steps: Steps) -> tuple[Nested, Tensor] | None:
        """See :meth:`ActingLoop.final_rows`."""
        assert isinstance(steps.buffers, TensorBuffers)
        return steps.buffers.finals

    def start(self, buffers: RolloutBuffers, seeds: Sequence[int | None]) -> None:
        """See :meth:`ActingLoop.start`; simulators draw from torch's generators, or seed them."""
        with self._rng.scope():
            super().start(buffers, seeds)

    def readable(self, rows: Nested) -> Nested:
        """Rows of observations, as who looks for what is wrong reads them."""
        return numpy_of(rows)

    def get_open(self) -> dict[str, Any]:
        """Nothing that could be gone on with."""
        return {"episodes": encode(self.env.action_space, [OWN_VECTOR] * self.num_envs)}

    def resume(self, state: Mapping[str, Any], fresh_seeds: Callable[[], Sequence[int]]) -> list[str | None]:
        """Begin with fresh episodes."""
        self.reset_later(fresh_seeds())
        return [OWN_VECTOR] * self.num_envs
