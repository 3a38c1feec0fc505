"""QNetAPI: modules with action values, plain or distributional."""

from __future__ import annotations

import abc
from typing import Any

import torch


class QNetAPI(abc.ABC):
    """A module that estimates how good each of A actions is, perhaps as a distribution over N atoms.

    Where actions are no list of A, as those of a Box, it estimates how good the batch's ``"actions"`` are: ``qf_preds``
    is (B,), and axis A is left out everywhere.
    """

    @abc.abstractmethod
    def compute_q_values(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Return action values.

        Args:
            batch: with ``"obs"`` of shape (B, ...), or (B, T, ...) when recurrent; and ``"actions"``, raw ones, where
                they are an input.

        Returns:
            ``"qf_preds"`` (B, A); and with more than one atom ``"atoms"`` (N,), ``"qf_logits"`` (B, A, N),
            ``"qf_probs"`` (B, A, N), with ``qf_preds = sum(qf_probs * atoms)``.
        """

    def compute_advantage_distribution(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Return the distribution of the advantage stream, in the form of :meth:`compute_q_values`.

        The default is that method itself, which is right without a dueling architecture.
        """
        return self.compute_q_values(batch)


class QNetDriver:
    """Nothing to do: learners call ``compute_q_values`` where their algorithm needs action values."""
