"""Counts where the host would wait for a device, on a CPU as well."""

from __future__ import annotations

import torch


class Waits:
    """Counts what makes the host wait for a device: reading values, and looking for where something holds."""

    NAMES = ("item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__float__", "__int__", "__index__")

    def __init__(self, monkeypatch):
        self.count = 0
        for name in self.NAMES:
            monkeypatch.setattr(torch.Tensor, name, self._counting(getattr(torch.Tensor, name)))

    def _counting(self, was):
        def counting(*args, **kwargs):
            self.count += 1
            return was(*args, **kwargs)

        return counting
