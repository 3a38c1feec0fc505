"""What losses give per row (priorities, say), kept as tensors from minibatch to minibatch of one update."""

from __future__ import annotations

import torch
from torch import Tensor

from rlkit_core.errors import ConfigError


class RowLog:
    """Rows by module and name, in the order in which they were logged. Nothing is read from the device.

    Attributes:
        logged: ``(module id, name, rows)``, one entry per call of :meth:`add`.
    """

    def __init__(self) -> None:
        self.logged: list[tuple[str, str, Tensor]] = []

    def add(self, module_id: str, name: str, rows: Tensor) -> None:
        """Keep the rows of one minibatch, ``[B, ...]``, detached.

        Raises:
            ConfigError: ``rows`` has no row axis.
        """
        if not isinstance(rows, Tensor) or rows.dim() == 0:
            seen = "a 0-dim tensor" if isinstance(rows, Tensor) else f"a {type(rows).__name__}"
            raise ConfigError(
                f"log_rows({module_id!r}, {name!r}, ...): expected a tensor with one entry per row, got {seen}; single "
                "numbers go to learner.metrics.log_value()"
            )
        self.logged.append((module_id, name, rows.detach()))

    def take(self) -> dict[str, dict[str, Tensor]]:
        """``{module id: {name: rows of all minibatches, in order}}``; the log is empty afterwards."""
        parts: dict[str, dict[str, list[Tensor]]] = {}
        for module_id, name, rows in self.logged:
            parts.setdefault(module_id, {}).setdefault(name, []).append(rows)
        self.clear()
        return {
            module_id: {name: rows[0] if len(rows) == 1 else torch.cat(rows) for name, rows in named.items()}
            for module_id, named in parts.items()
        }

    def clear(self) -> None:
        """Forget everything."""
        self.logged.clear()
