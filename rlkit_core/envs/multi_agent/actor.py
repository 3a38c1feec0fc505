"""One module acting for its agents: one forward for all that are to act in a step, of whichever env."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rlkit_core.columns import Columns
from rlkit_core.data.nested import Nested
from rlkit_core.envs.multi_agent.columns import AgentColumns
from rlkit_core.envs.multi_agent.places import Acting
from rlkit_core.envs.multi_agent.protocol import AgentID
from rlkit_core.envs.vector import action_splitter
from rlkit_core.rl_module import RLModule
from rlkit_core.rl_module.acting import ActionSampler, action_sampler
from rlkit_core.rl_module.packing import ObservationPacker
from rlkit_core.spaces import nested_map

AT_ONCE = 64
"""Steps whose random numbers are drawn at once."""
MOST_KNOWN = 5000
"""Ids that are never used again must not pile up."""


class ModuleActor:
    """Asks a module for the actions of its agents, and writes down what it returned.

    Args:
        module: acts; wrappers round it are called too.
        columns: where its agents' steps are written.
        exploration_noise: as of :class:`~rlkit_core.rl_module.acting.ActionSampler`; each slot has a sequence of its
            own, which goes on with the own steps of its agents.

    Attributes:
        module: the same.
        columns: the same.
        packer: makes arrays of observations that are none; None where all are.
        known: agents whose spaces are those of the columns.
        example: one of its agents; None before there was one.

    Raises:
        ConfigError: the module packs no such observations.
    """

    def __init__(
        self, module: RLModule, columns: AgentColumns, exploration_noise: Mapping[str, Any] | None = None
    ) -> None:
        inner = module.unwrapped()
        self.module, self.columns = module, columns
        self.packer = ObservationPacker.of(inner, columns.spaces[0])
        self._inner = inner
        self._split = action_splitter(columns.spaces[1])
        self._exploration_noise = exploration_noise
        self._samplers: dict[bool, ActionSampler] = {}
        self.known: set[AgentID] = set()
        self.example: AgentID | None = None
        self._noise: list[Tensor] = []
        self._expected = 0

    def get_to_know(self, agent: AgentID) -> None:
        """Remember that an agent has the spaces of the columns; not of more agents than a few thousand."""
        if len(self.known) >= MOST_KNOWN:
            self.known.clear()
        self.known.add(agent)
        self.example = agent

    def begin(self, num_steps: int) -> None:
        """Expect no more than so many steps from now on: as many random numbers are drawn at once as they need."""
        self._noise, self._expected = [], num_steps

    def act(self, acting: Acting, batch: dict[str, Nested], *, explore: bool, t: int) -> None:
        """Ask for the actions of some agents, one or more; ``columns.actions`` has them, in that order.

        Args:
            acting: who is to act, and where.
            batch: what they see, from :meth:`AgentColumns.look`.
            explore: explore, or act deterministically.
            t: lifetime count of env steps.
        """
        columns = self.columns
        sampler = self._samplers.get(explore) or self.sampler(explore)
        batch = seen = {**batch, **columns.remembered(acting)}
        if self.packer is not None:
            seen = {**batch, Columns.OBS: self.packer(batch[Columns.OBS])}
        out = {**sampler(seen, noise=self._noise_for(sampler, acting), t=t)}
        columns.acted(acting, batch, out)
        actions = out[Columns.ACTIONS]
        raw = actions.numpy() if isinstance(actions, Tensor) else nested_map(lambda x: x.numpy(), actions)
        columns.actions = iter(self._split(self._inner.actions_to_env(raw)))

    def sampler(self, explore: bool) -> ActionSampler:
        """What turns the module's outputs into actions; made once for each way of acting."""
        if explore not in self._samplers:
            self._samplers[explore] = action_sampler(
                self.module, explore=explore, exploration_noise=self._exploration_noise
            )
        return self._samplers[explore]

    def _noise_for(self, sampler: ActionSampler, acting: Acting) -> Tensor | None:
        """Random numbers for one step, of many that are drawn at once."""
        if not sampler.needs_noise:
            return None
        count = self.columns.width if acting.places is None else len(acting.places)
        if not self._noise or len(self._noise[-1]) < count:
            drawn = sampler.plain_noise(max(1, min(AT_ONCE, self._expected)), max(count, self.columns.width))
            if drawn is None:
                return None
            self._noise = list(drawn.unbind(0))
        self._expected -= 1
        row = self._noise.pop()
        row = row if len(row) == count else row[:count]
        process, places = sampler.process, [] if sampler.process is None else sampler.normal_places()
        if process is None or not places:
            return row
        slots = acting.slots(self.columns.width)
        index = torch.arange(count) if slots is None else torch.from_numpy(slots)
        row = row.clone()
        row[:, places] = process.next_of(index, self.columns.width, len(places))
        return row

    def add_log_probabilities(self, columns: dict[str, object]) -> None:
        """Add the log-probabilities of the actions of a rollout, where they follow from what is in it."""
        inputs = columns.get(Columns.ACTION_DIST_INPUTS)
        if inputs is None or Columns.ACTION_LOGP in columns:
            return
        dist_cls = self.module.get_exploration_action_dist_cls()
        with torch.no_grad():
            logp = dist_cls.from_logits(inputs).logp(columns[Columns.ACTIONS])
        columns[Columns.ACTION_LOGP], columns[Columns.ACTION_PROB] = logp, logp.exp()
