"""Programs on a cluster that they start themselves: whatever happens, nothing of them is left."""

from __future__ import annotations

import signal

import pytest

ray = pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SCRIPT = """
    import os, sys, time
    from rlkit_ray import RayExecutor

    class Counter:
        shared = []

        def __init__(self, start):
            self.value = start

        def add(self, by):
            Counter.shared.append(by)
            self.value += by
            return self

    executor = RayExecutor()
    actor = executor.spawn(Counter, 3)
    returned = actor.call("add", 4).result(100)
    assert type(returned) is Counter and returned.value == 7
    returned.add(1)
    assert Counter.shared == [1]
"""


def test_a_script_without_a_guard(driver):
    driver.run(SCRIPT + "    executor.stop()\n    import ray; assert not ray.is_initialized()")


def test_nobody_stops_the_executor(driver):
    driver.run(SCRIPT)


def test_an_exception(driver):
    assert "ZeroDivisionError" in driver.run(SCRIPT + "    1 / 0", code=1)


@pytest.fixture(autouse=True)
def its_own_cluster(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "local")  # and not one that happens to run on this machine


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_signal(driver, number):
    waiting = "    print('up', flush=True)\n    actor.call(lambda _: time.sleep(1000)).result()"
    process = driver.start(SCRIPT + waiting)
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    # After a kill, helpers of Ray wait for what is gone for about a minute.
    assert driver.eventually(lambda: not driver.processes(), 180.0), driver.processes()
    driver.left_nothing()
