"""The replay buffers of an algorithm as a part of its checkpoints."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from rlkit_core.checkpoint import BULKY, Checkpointable
from rlkit_core.errors import CheckpointError


class KeepsBuffers(Protocol):
    """What the component asks of its algorithm."""

    def get_buffers(self, *, to_save: bool) -> dict[str, Any]:
        """The state of all buffers, and what is counted with them; ``to_save``: with segments."""

    def set_buffers(self, state: Mapping[str, Any]) -> None:
        """Go on with these."""


class SavedBuffers(Checkpointable):
    """The component ``replay_buffers``: all buffers of an algorithm, with what is counted for them.

    Args:
        algorithm: whose they are.
    """

    def __init__(self, algorithm: KeepsBuffers | None = None) -> None:
        self._algorithm = algorithm

    def _owner(self) -> KeepsBuffers:
        if self._algorithm is None:
            raise CheckpointError(
                "replay buffers are loaded into an algorithm: "
                "algorithm.restore_from_path(path, component='replay_buffers')"
            )
        return self._algorithm

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: object,
    ) -> dict[str, Any]:
        """The state of all buffers, in memory of its own."""
        return self._owner().get_buffers(to_save=False)

    def get_state_to_save(self, not_components: Collection[str] = ()) -> dict[str, Any]:
        """The same with segments, which checkpoints share."""
        return self._owner().get_buffers(to_save=True)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on with the buffers of a state."""
        self._owner().set_buffers(state)

    def get_metadata(self) -> dict[str, Any]:
        """As of every component, and that a run may keep it in its newest checkpoint alone."""
        return {**super().get_metadata(), BULKY: True}

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Nothing: it is made with its algorithm."""
        return (), {}
