"""This process's tie to a Ray cluster, which its executors share."""

from __future__ import annotations

import logging
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rlkit_core.errors import ActorError

try:
    import ray as ray
except ImportError:
    ray = None

_log = logging.getLogger("rlkit_ray")
REACH_S = 10.0
"""Seconds in which the port of an address has to answer."""
HEALTH_S = 30.0
"""Seconds in which a cluster has to say that it is well: to join one that is not can take for ever."""
_BY_NAME = ("auto", "local")  # that Ray resolves by itself


class Cluster:
    """A connection to a cluster that was there, or to one that was started for it on this machine.

    Attributes:
        arrived: what is to be done by the thread that receives answers.
    """

    def __init__(self, address: str | None) -> None:
        self._begun = not ray.is_initialized()
        if self._begun:
            _connect(address)
        elif address not in (None, "auto", ray.get_runtime_context().gcs_address):
            raise ActorError(
                f"execution(address={address!r}): this process is connected to the Ray cluster at "
                f"{ray.get_runtime_context().gcs_address}; leave address out, or call ray.shutdown() first"
            )
        self.holders = 0
        self.job = ray.get_runtime_context().get_job_id()
        self.arrived: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        threading.Thread(target=_receive, args=(self.arrived,), name="rlkit-ray", daemon=True).start()

    @property
    def connected(self) -> bool:
        """Whether nobody has disconnected this process, or connected it to another cluster."""
        return bool(ray.is_initialized()) and ray.get_runtime_context().get_job_id() == self.job

    def end(self) -> None:
        """Disconnect, and end what was started here, unless somebody else had connected this process."""
        self.arrived.put(None)
        if self._begun and self.connected:
            ray.shutdown()


_lock = threading.Lock()
_current: list[Cluster] = []


def acquire(address: str | None) -> Cluster:
    """Join the cluster that this process is connected to, or connect it.

    Raises:
        ActorError: Ray is not installed, nobody answers at the address, or a cluster of another Ray or Python.
    """
    if ray is None:
        raise ActorError("the executor 'ray' needs Ray, which is not installed here: pip install ray")
    with _lock:
        if _current and not _current[0].connected:
            _current.pop().end()
        if not _current:
            _current.append(Cluster(address))
        _current[0].holders += 1
        return _current[0]


def release(cluster: Cluster) -> None:
    """Leave; the last one to do so disconnects."""
    with _lock:
        cluster.holders -= 1
        if not cluster.holders and cluster in _current:
            _current.remove(cluster)
            cluster.end()


def no_room(name: str, options: Mapping[str, Any], seconds: float) -> str:
    """What is said of an actor that the cluster did not start in time."""
    wanted = {key: options[key] for key in ("num_cpus", "num_gpus", "memory", "resources") if options.get(key)}
    there, free = (_readable(found()) for found in (ray.cluster_resources, ray.available_resources))
    return (
        f"actor {name} was not started within {seconds:g} s: it wants {wanted or 'no resources'}, of {there} in the "
        f"cluster {free} are free; ask for less in runner_options and learner_options, use fewer actors, add nodes, or "
        "wait longer with execution(start_timeout=...)"
    )


def _readable(resources: Mapping[str, float]) -> dict[str, float]:
    return {name: round(amount, 2) for name, amount in sorted(resources.items()) if not name.startswith("node:")}


def _receive(arrived: queue.SimpleQueue[Callable[[], object] | None]) -> None:
    for answer in iter(arrived.get, None):
        try:
            answer()
        except Exception:  # the others are waited for as well
            _log.exception("an answer of an actor was lost")
        del answer


def _connect(address: str | None) -> None:
    target = address or os.environ.get("RAY_ADDRESS")
    said = f"execution(address={address!r})" if address else f"RAY_ADDRESS={target}" if target else "executor 'ray'"
    if target and target not in _BY_NAME:
        _probe(target, said)
    elif target != "local" and (latest := _latest()):
        why = _unwell(latest)
        if why and target:
            raise ActorError(f"{said}: the Ray cluster at {latest}, the latest one here, does not answer: {why}")
        if why:
            _log.warning("one Ray cluster is started here: the one at %s does not answer (%s)", latest, why)
            address = "local"
    try:
        ray.init(address=address, include_dashboard=False, logging_level=logging.WARNING)
    except Exception as error:
        ray.shutdown()
        text = " ".join(str(error).split())
        fix = "start one with `ray start --head`, or leave the address out to have one started here"
        if "ersion mismatch" in text:
            fix = "install the cluster's versions of Ray and Python here, or these on every node"
        elif target and target not in _BY_NAME:
            fix = _NOT_OURS
        raise ActorError(f"{said}: cannot join or start a Ray cluster: {text}; {fix}") from error


_NOT_OURS = (
    "somebody answers there, so see whether it is the port that `ray start --head` prints, and whether this process "
    "has the cluster's token (RAY_AUTH_MODE=token, and ~/.ray/auth_token as on its head)"
)


def _latest() -> str:
    """The address of the cluster that was started last on this machine, where `ray.init` looks for it; or nothing."""
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    try:
        return (Path(folder) / "ray" / "ray_current_cluster").read_text().strip()
    except OSError:
        return ""


def _unwell(target: str) -> str:
    """Why a cluster cannot be joined; nothing where it says that it is well. In a process that can be given up."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--skip-version-check", "--address", target]
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=HEALTH_S, check=True)
    except subprocess.TimeoutExpired:
        return f"no answer within {HEALTH_S:g} s"
    except subprocess.CalledProcessError as error:
        said: str = error.stderr
        return (said.strip().splitlines() or [f"status {error.returncode}"])[-1]
    return ""


def _probe(target: str, said: str) -> None:
    host, _, port = target.rpartition("://")[2].rpartition(":")
    if not port.isdigit():
        raise ActorError(f"{said}: expected 'host:port', as `ray start --head` prints it, or 'auto'")
    try:
        socket.create_connection((host, int(port)), REACH_S).close()
    except OSError as error:
        raise ActorError(
            f"{said}: nobody answers there ({error}); start the cluster with `ray start --head --port={port}`, correct "
            "the address, or leave it out to have a cluster started on this machine"
        ) from error
    if "://" not in target and (why := _unwell(target)):
        raise ActorError(f"{said}: no Ray cluster that this process can join: {why}; {_NOT_OURS}")
