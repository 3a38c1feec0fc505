"""What every learner does for modules with a novelty: pays for it, and lets the module learn what it has seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rlkit_core import Columns, Learner
from rlkit_core.data import Rollout
from rlkit_core.learner import masked_mean
from rlkit_core.protocols import DriverState, ExtraLoss, OnRemove, OnRollout
from rlkit_rnd.api import NoveltyAPI, Observations
from rlkit_rnd.plugin import DEFAULTS
from rlkit_rnd.returns import ReturnScale


class NoveltyDriver(OnRollout[NoveltyAPI], ExtraLoss[NoveltyAPI], OnRemove, DriverState):
    """Adds novelty to rewards, in units of the deviation of its discounted return so far.

    The paper has two value functions, for rewards of the env with episodes and for novelty without; here one value
    function is of their sum, and ends with episodes. What comes behind a step that terminated its episode is not kept,
    so that step is paid for nothing.
    """

    def __init__(self) -> None:
        self.scales: dict[str, ReturnScale] = {}

    def on_rollout(self, *, learner: Learner, module_id: str, module: Any, config: Any, rollout: Rollout) -> None:
        """Pay for what was seen after each step, the last observations of truncated episodes included."""
        rewards, mask = rollout.columns[Columns.REWARDS], rollout.loss_mask
        steps, columns = rewards.shape
        with torch.no_grad():
            novelty = module.novelty(merged(rollout.next_obs())).view(steps, columns)
        counted = (
            ~rollout.columns[Columns.TERMINATEDS] if mask is None else mask & ~rollout.columns[Columns.TERMINATEDS]
        )
        novelty = torch.where(counted, novelty, 0.0)
        settings = {**DEFAULTS, **module.model_config}
        scale = self.scales.setdefault(module_id, ReturnScale(settings["rnd_gamma"]))
        bonus = settings["rnd_coeff"] * novelty / scale.take_in(novelty, mask, fresh=rollout.fresh_start)
        rollout.columns[Columns.REWARDS] = rewards + bonus
        log = {"rnd_novelty": masked_mean(novelty, mask), "rnd_bonus": masked_mean(bonus, mask)}
        learner.metrics.log_dict(log, key=module_id)

    def extra_loss(
        self,
        *,
        learner: Learner,
        module_id: str,
        module: Any,
        config: Any,
        batch: Mapping[str, Any],
        fwd_out: Mapping[str, Any],
    ) -> Tensor:
        """The mean novelty of the minibatch, which only the predictor can lower."""
        obs, mask = batch[Columns.OBS], batch.get(Columns.LOSS_MASK)
        if module.get_initial_state():  # [B, T, ...]
            obs, mask = merged(obs), None if mask is None else mask.flatten()
        loss = masked_mean(module.novelty(obs), mask)
        learner.metrics.log_value((module_id, "rnd_loss"), loss)
        weighted: Tensor = {**DEFAULTS, **module.model_config}["rnd_loss_coeff"] * loss
        return weighted

    def on_remove(self, *, learner: Learner, module_id: str) -> None:
        """Forget a module that was removed."""
        self.scales.pop(module_id, None)

    def get_state(self) -> dict[str, Any]:
        """What novelty is scaled by, of each module."""
        return {module_id: scale.get_state() for module_id, scale in self.scales.items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`get_state`."""
        self.scales = {module_id: ReturnScale.from_state(one) for module_id, one in state.items()}


def merged(obs: Observations) -> Observations:
    """Two leading axes of every leaf as one."""
    if isinstance(obs, Mapping):
        return {key: merged(part) for key, part in obs.items()}
    if isinstance(obs, tuple):
        return tuple(map(merged, obs))
    return obs.flatten(0, 1)
