"""ValueFunctionAPI: modules with a state value."""

from __future__ import annotations

import abc
from typing import Any

import torch


class ValueFunctionAPI(abc.ABC):
    """A module that estimates how good a state is."""

    @abc.abstractmethod
    def compute_values(self, batch: dict[str, Any], embeddings: torch.Tensor | None = None) -> torch.Tensor:
        """Return value estimates.

        Args:
            batch: with ``"obs"`` of shape (B, ...), or (B, T, ...) and ``"state_in"`` when recurrent.
            embeddings: what ``forward_train`` gave as ``"embeddings"`` for this batch, to spare a second encoder
                pass.

        Returns:
            float tensor of shape (B,), or (B, T); no trailing axis of 1.

        Raises:
            RuntimeError: the module is ``inference_only``.
        """


class ValueFunctionDriver:
    """Nothing to do: learners call ``compute_values`` where their algorithm needs values."""
