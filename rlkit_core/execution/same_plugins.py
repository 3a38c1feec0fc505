"""The plugins of a worker process: those that its driver knows, whatever is installed meanwhile.

An executor sends what :func:`for_worker` gives, and calls :func:`adopt` with it over there before it makes an actor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

from rlkit_core.errors import PluginVersionError
from rlkit_core.plugins.discovery import FOUND, Snapshot, scan
from rlkit_core.plugins.host import PluginHost, default_host, use_host
from rlkit_core.plugins.used.lock import Lock, foundation, installed_version

_IN_USE: ContextVar[Lock | None] = ContextVar("rlkit_workers_use", default=None)
_ADOPTED = ExitStack()  # for the life of this process


@contextmanager
def workers_use(lock: Lock | None) -> Iterator[None]:
    """Say what workers that are started inside use; None: no more than the core and the libraries."""
    token = _IN_USE.set(lock)
    try:
        yield
    finally:
        _IN_USE.reset(token)


def for_worker() -> dict[str, Any]:
    """What a worker that is started now has to know of the plugins here, as JSON values."""
    lock = _IN_USE.get() or foundation()
    return {"snapshot": default_host().snapshot.to_dict(), "lock": lock.to_dict()}


def adopt(driver: Mapping[str, Any]) -> None:
    """Have the driver's plugins in this process from now on, without what was installed or changed since it began.

    Args:
        driver: what :func:`for_worker` gave.

    Raises:
        PluginVersionError: something that is used has another version here, or is not there.
    """
    here, lock = scan(), Lock.from_dict(driver["lock"])
    usable = {info.name: info.version for info in here.distributions if info.state == FOUND}

    def version(name: str) -> str | None:
        info = here.distribution(name)
        return installed_version(here, name) if info is None or info.state == FOUND else None

    problems = lock.compare(version)
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise PluginVersionError(
            f"what is used differs between this worker and its driver:\n{listed}\n"
            "Install the same versions and set the same RLKIT_PLUGINS* variables on both sides."
        )
    theirs = Snapshot.from_dict(driver["snapshot"])
    # The rest may differ: what is the same here takes part, as over there, and nothing else does.
    same = [info for info in theirs.distributions if usable.get(info.name) == info.version]
    _ADOPTED.enter_context(use_host(PluginHost(Snapshot(same))))
