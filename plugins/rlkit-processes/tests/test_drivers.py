"""Whole programs: what a script, a pipe or a notebook defines travels, and nothing outlives a run, however it ends."""

from __future__ import annotations

import os
import signal
import sys

import pytest

SCRIPT = """
    import sys
    from dataclasses import dataclass

    import numpy as np
    from rlkit_processes import ProcessExecutor

    print("imported", flush=True)
    OFFSET = 100

    class OwnError(Exception):
        pass

    @dataclass
    class Point:
        x: int
        a: np.ndarray

    class Base:
        count = 0

        def plus(self, k):
            return self.value + k + OFFSET

    class Actor(Base):
        def __init__(self, value, change):
            super().__init__()
            self.value = change(value)

        def point(self):
            Actor.count += 1
            return Point(Actor.count, np.full(20_000, self.value))

        def fail(self):
            raise OwnError("mine")

    executor = ProcessExecutor()
    actor = executor.spawn(Actor, 4, lambda v: 10 * v)
    plus = Actor.plus
    assert actor.call("plus", 1).result() == 141
    assert actor.call(lambda a, k: a.plus(k) + OFFSET, 2).result() == 242
    first, second = actor.call("point").result(), actor.call("point").result()
    assert type(first) is Point and (first.x, second.x) == (1, 2)
    assert Actor.count == 0 and Actor.plus is plus, "the class here is untouched"
    assert actor.call(lambda a, p: p.x, first).result() == 1
    assert float(first.a.sum()) == 800_000
    try:
        actor.call("fail").result()
    except OwnError as error:
        print("caught", type(error).__name__, error)
"""


def test_a_script_without_a_guard(driver):
    out = driver.run(SCRIPT)
    assert out.count("imported") == 1  # no worker runs the script again
    assert "caught OwnError mine" in out


def test_a_script_from_standard_input(driver):
    out = driver.run(SCRIPT, stdin=True)
    assert out.count("imported") == 1
    assert "caught OwnError mine" in out


def test_an_interactive_session(driver):
    lines = """
        import code
        console = code.InteractiveConsole({"__name__": "__main__", "__builtins__": __builtins__})
        for line in [
            "from rlkit_processes import ProcessExecutor",
            "class Actor:",
            "    def add(self, a, b): return a + b + K",
            "",
            "K = 1000",
            "executor = ProcessExecutor()",
            "actor = executor.spawn(Actor)",
            "print('sum', actor.call('add', 1, 2).result())",
        ]:
            console.push(line)
    """
    assert "sum 1003" in driver.run(lines)


def test_modules_beside_the_script_and_modules_from_nowhere(driver, tmp_path):
    (tmp_path / "helper.py").write_text("class Helped:\n    def name(self): return __name__\n")
    out = driver.run("""
        import sys, types
        import helper
        from rlkit_processes import ProcessExecutor

        made = types.ModuleType("made_up")
        sys.modules["made_up"] = made
        exec("class Made:\\n    def name(self): return __name__", made.__dict__)
        with ProcessExecutor() as executor:
            print([executor.spawn(cls).call("name").result() for cls in (helper.Helped, made.Made)])
    """)
    assert "['helper', 'made_up']" in out


def test_a_package_that_is_hidden_by_another_copy_since(driver, tmp_path):
    """A checkout put in front of what is installed, say; the driver has imported what is installed."""
    for folder, where in (("first", "where it was"), ("second", "another copy")):
        package = tmp_path / folder / "moved"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "parts.py").write_text(
            "import contextvars, moved.more\n"
            f"VARIABLE, WHERE = contextvars.ContextVar('variable'), {where!r}\n"
            "class Part:\n"
            "    def where(self, other): return WHERE, moved.more.WHERE, VARIABLE.get('unset'), type(other) is Part\n"
        )
        (package / "more.py").write_text(f"WHERE = {where!r}\n")
    for own in ("rlkit_core", "rlkit_processes"):
        (tmp_path / "second" / own).mkdir()
        (tmp_path / "second" / own / "__init__.py").write_text("raise ImportError('the wrong copy')\n")
    out = driver.run("""
        import sys
        sys.path.insert(0, "first")
        import moved.parts
        from rlkit_processes import ProcessExecutor

        sys.path.insert(0, "second")
        with ProcessExecutor() as executor:
            print(executor.spawn(moved.parts.Part).call("where", moved.parts.Part()).result())
    """)
    assert "('where it was', 'where it was', 'unset', True)" in out


BUSY = """
    import subprocess, sys, time
    import numpy as np
    from rlkit_processes import ProcessExecutor

    class Actor:
        def child(self):
            self.process = subprocess.Popen(["sleep", "600"])
        def work(self, array):
            time.sleep(600)
        def stop(self):
            print("stopped politely", file=sys.stderr, flush=True)

    executor = ProcessExecutor(stop_timeout=0.5)
    place = executor.published()
    place.publish(1, np.ones(1_000_000))
    idle, busy = executor.spawn(Actor), executor.spawn(Actor)
    for actor in (idle, busy):
        actor.call("child").result()
    future = busy.call("work", np.ones(1_000_000))
    print("ready", flush=True)
"""
WAIT = "    future.result()\n"


@pytest.mark.parametrize(
    ("number", "group"),
    [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGKILL, False)],
    ids=["Ctrl-C, which reaches the group", "SIGTERM", "SIGKILL"],
)
def test_a_signal_to_the_driver_leaves_nothing(driver, number, group):
    process = driver.start(BUSY + WAIT)
    assert process.stdout.readline() == "ready\n"
    (os.killpg if group else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=60)
    driver.left_nothing()
    assert process.returncode == -number
    assert err.count("stopped politely") == 1  # the idle one; the busy one was cut short
    if number == signal.SIGINT:
        assert "KeyboardInterrupt" in err


@pytest.mark.parametrize("end", ["", "raise ValueError('boom')", "import os; os._exit(5)"])
def test_a_driver_that_ends_without_stopping_leaves_nothing(driver, end):
    out = driver.run(BUSY + f"    {end}\n", code=None)
    assert "stopped politely" in out


def test_workers_notice_the_end_of_a_driver_whose_forked_child_holds_their_socket(driver):
    fork = "    import os\n    os.fork() or time.sleep(600)\n"
    ready = '    print("ready", flush=True)\n'
    process = driver.start(BUSY.replace(ready, fork + ready) + WAIT)
    assert process.stdout.readline() == "ready\n"
    process.kill()
    assert driver.eventually(lambda: len(driver.processes()) == 1), driver.processes()
    os.killpg(process.pid, signal.SIGKILL)
    driver.left_nothing()


def test_a_system_with_neither_memory_files_nor_process_descriptors_is_served_too(driver, tmp_path):
    lacking = "import os\nfor name in ('memfd_create', 'pidfd_open'):\n    hasattr(os, name) and delattr(os, name)\n"
    (tmp_path / "sitecustomize.py").write_text(lacking)
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    check = "    import os\n    has = lambda a: hasattr(os, 'pidfd_open')\n    print(has(0), idle.call(has).result())\n"
    assert "False False" in driver.run(BUSY + check, PYTHONPATH=paths)
    process = driver.start(BUSY + WAIT, PYTHONPATH=paths)
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.communicate(timeout=60)
    driver.left_nothing()


CYCLES = """
    import gc, os, signal, sys
    import numpy as np
    from rlkit_core.errors import ActorError
    from rlkit_processes import ProcessExecutor

    class Actor:
        def work(self, array):
            return array * 2
        def die(self):
            os._exit(1)

    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    def cycle(k):
        kind = k % 6
        executor = ProcessExecutor(threads=None)
        actor = executor.spawn(Actor)
        place = executor.published()
        place.publish(k, np.ones(50_000))
        assert actor.call("work", np.ones(200_000)).result()[-1] == 2
        if kind in (0, 2):
            executor.stop()
        elif kind == 1:
            os.kill(actor.pid, signal.SIGKILL)
        elif kind == 3:
            try:
                with executor:
                    raise ZeroDivisionError
            except ZeroDivisionError:
                pass
        elif kind == 4:
            pass  # forgotten
        elif kind == 5:
            assert isinstance(actor.call("die").exception(), ActorError)

    cycle(0)
    gc.collect()
    before = descriptors()
    for k in range(int(sys.argv[1]) if len(sys.argv) > 1 else int(os.environ["CYCLES"])):
        cycle(k)
    gc.collect()
    import time
    deadline = time.monotonic() + 10
    while descriptors() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    print("descriptors", descriptors() - before)
"""


@pytest.mark.parametrize("cycles", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_starts_and_stops_leave_nothing(driver, cycles):
    out = driver.run(CYCLES, CYCLES=str(cycles))
    assert "descriptors 0" in out


@pytest.mark.slow
def test_many_killed_drivers_leave_nothing(driver):
    for _ in range(10):
        process = driver.start(BUSY + WAIT)
        assert process.stdout.readline() == "ready\n"
        process.kill()
        process.communicate(timeout=60)
    driver.left_nothing()


def test_the_check_would_see_a_worker(driver):
    process = driver.start(BUSY + WAIT)
    assert process.stdout.readline() == "ready\n"
    lines = driver.processes()
    assert sum("rlkit-actor" in line for line in lines) == 2
    assert sum(line.startswith("sleep") for line in lines) == 2
    assert sys.executable in " ".join(lines)
