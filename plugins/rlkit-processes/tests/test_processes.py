"""Actors in processes: what the contract cannot say because it is about processes."""

from __future__ import annotations

import functools
import gc
import os
import signal
import subprocess
import time
import traceback
from pathlib import Path

import numpy as np
import pytest

from rlkit_core.errors import ActorError
from rlkit_core.execution.conformance import Probe
from rlkit_processes import ProcessExecutor
from rlkit_processes.segments import InPool


class Mortal:
    """Defined in a test module, which a worker may not be able to import."""

    def __init__(self, sleep_in_stop=0.0):
        self.sleep_in_stop = sleep_in_stop
        self.child = None

    def pid(self):
        return os.getpid()

    def die(self, how):
        if how == "exit":
            os._exit(3)
        if how == "sys.exit":
            raise SystemExit(4)
        if how == "segfault":
            import ctypes

            ctypes.string_at(0)
        os.kill(os.getpid(), signal.SIGKILL)

    def sleep(self, seconds):
        time.sleep(seconds)

    def start_child(self):
        self.child = subprocess.Popen(["sleep", "600"])
        return self.child.pid

    def fork_child(self):
        pid = os.fork()
        if pid == 0:
            time.sleep(600)
            os._exit(0)
        return pid

    def ignore_sigterm(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def variables(self):
        return {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "RLKIT_TEST_EXTRA")}

    def torch_threads(self):
        import torch

        return torch.get_num_threads()

    def unpicklable(self):
        return (k for k in range(3))

    def stop(self):
        time.sleep(self.sleep_in_stop)


@pytest.fixture
def executor():
    with ProcessExecutor() as executor:
        yield executor


def gone(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def eventually(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


# ------------------------------------------------------------------------------------------------------------- deaths


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("exit", "exited with code 3"),
        ("sys.exit", "exited with code 4"),
        ("segfault", "SIGSEGV"),
        ("kill", r"signal 9 \(SIGKILL\)"),
    ],
)
def test_a_dead_worker_completes_all_its_futures_and_restarts(executor, how, text):
    actor = executor.spawn(Mortal)
    pid = actor.call("pid").result(30)
    futures = [actor.call("sleep", 0.1), actor.call("die", how), *(actor.call("pid") for _ in range(10))]
    assert futures[0].result(30) is None
    for future in futures[1:]:
        with pytest.raises(ActorError, match=f"Mortal .process {pid}. died: .*{text}.*'die' ran"):
            future.result(10)
    with pytest.raises(ActorError, match=text):
        actor.call("pid").result(10)
    assert not actor.alive
    anew = executor.restart(actor)
    assert anew.call("pid").result(30) not in (pid, os.getpid())


def test_a_kill_from_outside_is_noticed_at_once_even_while_children_hold_its_socket(executor):
    actor = executor.spawn(Mortal)
    child = actor.call("fork_child").result(30)
    pid, busy = actor.call("pid").result(30), actor.call("sleep", 600)
    start = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ActorError, match="SIGKILL"):
        busy.result(10)
    assert time.monotonic() - start < 2.0
    assert eventually(lambda: gone(child))


def test_other_actors_live_on(executor):
    actors = [executor.spawn(Mortal) for _ in range(2)]
    with pytest.raises(ActorError):
        actors[0].call("die", "kill").result(30)
    assert actors[1].call("pid").result(30) == actors[1].pid


def test_a_worker_that_cannot_start_says_so():
    with ProcessExecutor(env={"PYTHONHOME": "/nowhere"}) as executor:
        actor = executor.spawn(Mortal)
        with pytest.raises(ActorError, match=r"exited with code 1, before it was made"):
            actor.ready.result(30)


def test_an_answer_that_cannot_be_received_hangs_nobody(executor, monkeypatch):
    actor = executor.spawn(Probe)
    actor.ready.result(30)

    def no_more(pool, number, fd, nbytes):
        os.close(fd)
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(InPool, "add", no_more)
    futures = [actor.call("arrays", 20_000, 1.0), actor.call("add")]
    for future in futures:
        with pytest.raises(ActorError, match="Too many open files"):
            future.result(30)
    assert eventually(lambda: gone(actor.pid))


def test_a_fork_of_the_driver_may_not_call(executor):
    actor = executor.spawn(Probe)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, str(actor.call("add").exception(5)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert "make one here" in pipe.read()
    os.waitpid(pid, 0)
    assert actor.call("add").result(30) == 1


# --------------------------------------------------------------------------------------------------------------- stop


def test_stop_ends_what_an_actor_has_started(executor):
    actor = executor.spawn(Mortal)
    child = actor.call("start_child").result(30)
    executor.stop(actor)
    assert eventually(lambda: gone(child))
    assert gone(actor.pid)


def test_a_stop_that_takes_too_long_is_cut_short():
    with ProcessExecutor(stop_timeout=0.2) as executor:
        slow, busy, deaf = (executor.spawn(Mortal, 600.0), executor.spawn(Mortal), executor.spawn(Mortal))
        for actor in (slow, busy):
            actor.ready.result(30)
        deaf.call("ignore_sigterm").result(30)
        futures = [busy.call("sleep", 600), deaf.call("sleep", 600), deaf.call("pid")]
        start = time.monotonic()
        executor.stop()
        assert time.monotonic() - start < 5.0
        for future in futures:
            with pytest.raises(ActorError, match="was stopped"):
                future.result(1)
        assert all(gone(actor.pid) for actor in (slow, busy, deaf))


def test_an_interrupt_does_not_wait_for_actors_that_hang():
    """A second is what they have then, together."""
    executor = ProcessExecutor(stop_timeout=120.0)
    actors = [executor.spawn(Mortal) for _ in range(2)]
    for actor in actors:
        actor.ready.result(60)
    futures = [actor.call("sleep", 600) for actor in actors]
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        start = time.monotonic()
        executor.stop()
    assert time.monotonic() - start < 60.0
    assert all("was stopped" in str(future.exception(1)) for future in futures)
    assert all(gone(actor.pid) for actor in actors)


def test_an_executor_that_is_forgotten_stops_its_actors_but_a_held_handle_keeps_it():
    actor = ProcessExecutor().spawn(Mortal)
    gc.collect()
    pid = actor.call("pid").result(30)
    del actor
    gc.collect()
    assert eventually(lambda: gone(pid))


def test_nothing_is_left_open_here():
    def used():
        return len(os.listdir("/proc/self/fd")), len(Path("/proc/self/maps").read_text().splitlines())

    def cycle():
        with ProcessExecutor() as executor:
            actor = executor.spawn(Probe)
            place = executor.published()
            place.publish(1, {"w": np.ones(100_000)})
            actor.call("doubled", place).result(30)
            actor.call("echo", np.ones(300_000)).result(30)

    cycle()
    before = used()
    for _ in range(3):
        cycle()
    gc.collect()
    after = used()
    assert after[0] <= before[0]
    assert after[1] <= before[1] + 4  # the allocator's own


# ------------------------------------------------------------------------------------------------------------- errors


def test_the_remote_traceback_is_shown(executor):
    actor = executor.spawn(Probe)
    with pytest.raises(ValueError, match="code 7") as caught:
        actor.call("fail").result(30)
    text = "".join(traceback.format_exception(caught.value))
    assert "(in the actor)" in text
    assert 'conformance.py", line' in text
    assert "execution/worker.py" not in text


def test_what_cannot_travel_is_an_error_of_that_call_only(executor):
    actor = executor.spawn(Mortal)
    with pytest.raises(TypeError, match="generator"):
        actor.call("unpicklable").result(30)
    with pytest.raises(TypeError, match="generator"):
        actor.call("sleep", (k for k in range(3))).result(30)
    assert actor.call("pid").result(30) == actor.pid
    with pytest.raises(TypeError, match="generator"):
        executor.spawn(Mortal, (k for k in range(3)))


def test_an_exception_that_cannot_travel_becomes_an_actor_error(executor):
    actor = executor.spawn(Mortal)

    def fail(actor):
        import threading

        class Stubborn(Exception):
            held = threading.Lock()  # so the class cannot travel by value, and nobody can import it

        raise Stubborn("what happened")

    with pytest.raises(ActorError, match=r"Stubborn in an actor: what happened"):
        actor.call(fail).result(30)


def test_a_worker_without_a_plugin_in_use_is_refused_readably():
    from rlkit_core.execution.same_plugins import workers_use
    from rlkit_core.plugins.host import default_host
    from rlkit_core.plugins.used.lock import Lock, Used

    used = Lock([Used.of("algorithm", "ppo", default_host().origin_of("rlkit_ppo"))])
    with ProcessExecutor(env={"RLKIT_PLUGINS_DISABLE": "rlkit-ppo"}) as executor:
        with workers_use(used):
            actor = executor.spawn(Probe)
        for future in (actor.ready, actor.call("add")):
            with pytest.raises(ActorError, match=r"(?s)Probe was not made.*rlkit-ppo .*is not installed here"):
                future.result(30)
        assert executor.spawn(Probe).call("add").result(30) == 1  # which does not use it
    with (
        ProcessExecutor(env={"RLKIT_PLUGINS_DISABLE": "rlkit-ppo"}, check_plugins=False) as executor,
        workers_use(used),
    ):
        assert executor.spawn(Probe).call("add").result(30) == 1


# ------------------------------------------------------------------------------------------------------------ settings


def test_threads_environment_and_setup_concern_workers_only(monkeypatch):
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    here = torch.get_num_threads()

    def setup():
        os.environ["RLKIT_TEST_EXTRA"] += " and set up"

    with ProcessExecutor(env={"RLKIT_TEST_EXTRA": "extra"}, setup=setup, threads=2) as executor:
        actor = executor.spawn(Mortal)
        assert actor.call("variables").result(30) == {
            "OMP_NUM_THREADS": "2",
            "RLKIT_TEST_EXTRA": "extra and set up",
        }
        assert actor.call("torch_threads").result(60) == 2
    assert torch.get_num_threads() == here
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "RLKIT_TEST_EXTRA" not in os.environ


def test_calls_queue_without_blocking_the_caller_and_can_be_cancelled(executor):
    actor = executor.spawn(Probe)
    actor.ready.result(30)
    slow = actor.call("sleep", 0.5)
    start = time.monotonic()
    futures = [actor.call("echo", b"x" * 10_000) for _ in range(200)]
    assert time.monotonic() - start < 0.4
    assert futures[-1].cancel()
    assert slow.result(30) == 0.5
    assert all(len(future.result(30)) == 10_000 for future in futures[:-1])
    assert actor.call("add").result(30) == 1


def test_any_callable_makes_an_actor_and_messages_name_it(executor):
    class Factory:
        def __call__(self):
            return Probe(5)

    made = executor.spawn(functools.partial(Probe, 4)), executor.spawn(Factory())
    assert [actor.call("add").result(30) for actor in made] == [5, 6]
    assert ["ProcessActor Probe," in repr(made[0]), "ProcessActor Factory," in repr(made[1])] == [True, True]


def test_an_actor_may_have_actors_of_its_own(executor):
    def nested(actor):
        with ProcessExecutor() as inner:
            return inner.spawn(Mortal).call("pid").result(30), os.getpid()

    inner, outer = executor.spawn(Mortal).call(nested).result(60)
    assert len({inner, outer, os.getpid()}) == 3
    assert eventually(lambda: gone(inner))
