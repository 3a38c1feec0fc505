"""Weights on their way from a learner to the runners."""

from __future__ import annotations

from typing import Any

from attrs import frozen


@frozen(eq=False)
class Weights:
    """Weights with the number of the update that made them.

    Attributes:
        version: the learner's ``weights_seq_no``; it grows by one with every update.
        state: ``{module id: module state}``, the inference-only part where modules know one.
    """

    version: int
    state: dict[str, Any]
