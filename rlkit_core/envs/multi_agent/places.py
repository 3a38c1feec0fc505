"""Where in the columns of a module something happens."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rlkit_core.envs.multi_agent.blocks import Array


class Final(NamedTuple):
    """What was seen last in a life that was cut off, after the step ``row`` of a slot; ``state`` is the env's."""

    row: int
    slot: int
    obs: Any
    state: Any


class Acting(NamedTuple):
    """Who acts in a step: all N slots in row ``row``; or, where ``places`` is there, those at ``places [M]``."""

    row: int
    places: Array | None

    def slots(self, width: int) -> Array | None:
        """``[M]`` int64, their slots; None: all N."""
        return None if self.places is None else self.places % width

    def rows(self, width: int) -> Array:
        """``[M]`` int64, the rows that they act in."""
        return np.full(width, self.row) if self.places is None else self.places // width
