"""Arrays that the driver writes by version and all actors read: once through Ray's object store, however many read."""

from __future__ import annotations

import contextlib
import itertools
import weakref
from typing import Any

from rlkit_core.errors import ActorError
from rlkit_ray import transport
from rlkit_ray.cluster import ray

_places = itertools.count(1)


class RayPublished:
    """A place for arrays, made by ``RayExecutor.published()``; only there can it publish.

    Large arrays that are read lie in the object store of the reader's machine. All readers there share them, and leave
    them as they are.

    Args:
        board: the actor that knows what is the latest.
    """

    def __init__(self, board: Any) -> None:
        self._board, self._place = board, next(_places)
        self._is_owner = True
        weakref.finalize(self, _forget, board, self._place).atexit = False

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_is_owner": False}

    def publish(self, version: int, content: Any) -> None:
        """Make ``content`` (arrays and tensors at any depth) what readers find from now on.

        Raises:
            ActorError: called by a reader, or the cluster is gone.
        """
        if not self._is_owner:
            raise ActorError("published arrays are written only by the process that made them, and read elsewhere")
        self._ask("put", version, [ray.put(transport.pack(content))])

    @property
    def version(self) -> int | None:
        """The latest version, or None before the first."""
        found = self._ask("latest", None)
        return None if found is None else int(found[0])

    def read(self, known: int | None = None) -> tuple[int, Any] | None:
        """Return the latest version and its content; None before the first, or when ``known`` is the latest.

        Raises:
            ActorError: the cluster, or the driver's machine, is gone.
        """
        found = self._ask("latest", known)
        if found is None:
            return None
        version, [reference] = found
        return version, transport.unpack(ray.get(reference))

    def _ask(self, method: str, *args: Any) -> Any:
        try:
            return ray.get(getattr(self._board, method).remote(self._place, *args))
        except ray.exceptions.RayError as error:
            raise ActorError(f"published arrays cannot be reached any more: {error}") from error


def _forget(board: Any, place: int) -> None:
    with contextlib.suppress(Exception):  # the board, or the cluster, may be gone
        if ray.is_initialized():
            board.forget.remote(place)
