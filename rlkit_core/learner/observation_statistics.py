"""Running observation statistics of modules: gathered with an update's data, taken in after its last minibatch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rlkit_core.data.nested import Nested
from rlkit_core.learner.peers import Peers
from rlkit_core.models.normalizer import ObservationNormalizer, observation_normalizers

if TYPE_CHECKING:
    from rlkit_core.rl_module import RLModule


class ObservationStatistics:
    """Moments of one update's observations, per module.

    A module acts and trains with the statistics of the updates before; those of this update's observations come in
    when it is over. All normalisers of a module (an actor's and a critic's) see the same observations.
    """

    def __init__(self) -> None:
        self._gathered: list[tuple[ObservationNormalizer, Tensor]] = []
        self._of_module: dict[Any, list[ObservationNormalizer]] = {}

    def modules_changed(self) -> None:
        """Look for normalisers anew; which a module has is otherwise remembered."""
        self._of_module = {}

    def gather(self, module: RLModule, obs: Nested, mask: Tensor | None = None) -> None:
        """Compute the moments of raw observations; modules without normalisers cost a look.

        Args:
            module: the module.
            obs: observations with any leading axes; None: there are none.
            mask: of the leading axes; only rows where it is True count.
        """
        if obs is None:
            return
        normalizers = self._of_module.get(module)
        if normalizers is None:
            normalizers = observation_normalizers(module) if isinstance(module, nn.Module) else []
            self._of_module[module] = normalizers
        moments: Tensor | None = None
        for index, normalizer in enumerate(normalizers):
            if moments is None or not normalizer.covers_the_same_as(normalizers[index - 1]):
                moments = normalizer.moments(obs, mask)
            self._gathered.append((normalizer, moments))

    def take_in(self, peers: Peers) -> None:
        """Merge what this learner and its peers have gathered into the modules' statistics."""
        of_all = peers.gather_moments([moments for _, moments in self._gathered])
        if self._gathered:
            with torch.no_grad():
                for (normalizer, _), moments in zip(self._gathered, of_all, strict=True):
                    normalizer.merge(moments)
            self.clear()

    def clear(self) -> None:
        """Forget what was gathered."""
        self._gathered = []
