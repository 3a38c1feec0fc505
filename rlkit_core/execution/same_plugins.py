"""The plugins of a worker process: those that its driver knows, whatever is installed meanwhile.

An executor sends what :func:`for_worker` gives, and calls :func:`adopt` with it over there before it makes an actor.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

from rlkit_core.errors import PluginError, PluginVersionError
from rlkit_core.execution.foreign_code import dumps, loads
from rlkit_core.plugins.discovery import FOUND, Snapshot, scan
from rlkit_core.plugins.guard import describe
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
    """What a worker that is started now has to know of the plugins here, as JSON values.

    Raises:
        PluginError: a plugin that was registered by hand cannot be sent to another process.
    """
    host, lock = default_host(), _IN_USE.get() or foundation()
    by_hand = [[name, _sent(name, plugin)] for name, plugin in host.registered.items()]
    return {"snapshot": host.snapshot.to_dict(), "lock": lock.to_dict(), "by_hand": by_hand}


def _sent(name: str, plugin: object) -> str:
    try:
        return b64encode(dumps(plugin)).decode()
    except Exception as error:
        raise PluginError(
            f"plugin {name!r}, which was registered by hand, cannot be sent to another process ({describe(error)}); "
            "let it hold nothing that belongs to this one (files, locks), or use num_env_runners=0 and num_learners=0"
        ) from error


def adopt(driver: Mapping[str, Any]) -> None:
    """Have the driver's plugins in this process from now on, without what was installed or changed since it began.

    Args:
        driver: what :func:`for_worker` gave.

    Raises:
        PluginError: a plugin that the driver registered by hand is refused here.
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
    host = PluginHost(Snapshot(same))
    _ADOPTED.enter_context(use_host(host))
    for name, sent in driver.get("by_hand", ()):
        host.register(loads(b64decode(sent)), name=name)
