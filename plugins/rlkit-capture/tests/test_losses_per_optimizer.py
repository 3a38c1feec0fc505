"""Losses that are dicts, one entry for each optimizer: recorded as they are run eagerly."""

from __future__ import annotations

import pytest
import torch
from three_optimizers import ThreeOptimizers, config_for, learner_for, rows

from rlkit_capture import engine

MID = "default_policy"


class OneNotFinite(ThreeOptimizers):
    """The critic's loss of large targets is infinite."""

    def compute_loss_for_module(self, *, batch, **given):
        losses = super().compute_loss_for_module(batch=batch, **given)
        losses["critic"] = torch.where(batch["targets"].amax() > 50, torch.inf, losses["critic"])
        return losses


@pytest.mark.parametrize("compile", ["capture", "auto"])
@pytest.mark.parametrize("ids", [(MID,), ("a", "b")])
def test_recorded_equals_eager(compile, ids, monkeypatch):
    monkeypatch.setattr(engine, "EAGER_STEPS", 1)
    eager, recorded = (
        learner_for(
            config=config_for(OneNotFinite, ids).learners(
                compile=how, on_nonfinite="skip", learner_config_dict={"delayed": True}
            )
        )
        for how in (None, compile)
    )
    for k in range(8):
        batch = {mid: rows(k + i) for i, mid in enumerate(ids)}
        if k == 6:
            batch[ids[0]]["targets"] = batch[ids[0]]["targets"] + 100
        assert str(eager.update(batch)) == str(recorded.update(batch))
    for a, b in zip(eager.module.parameters(), recorded.module.parameters(), strict=True):
        assert torch.equal(a, b)
    assert len(recorded.engine.steps) == 2  # with the actor, and without
    of_each = [
        [r.get_state()["groups"][0]["state"]["step"][0] for r in one.optimizers if r.module_id == ids[0]]
        for one in (eager, recorded)
    ]
    assert [float(steps) for steps in of_each[0]] == [float(steps) for steps in of_each[1]] == [3, 7, 7]
