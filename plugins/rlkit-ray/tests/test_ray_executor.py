"""The executor of Ray keeps the contract of all executors."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest

ray = pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

from rlkit_core.errors import ActorError  # noqa: E402
from rlkit_core.execution import make_executor  # noqa: E402
from rlkit_core.execution.conformance import ExecutorContract, Probe  # noqa: E402
from rlkit_ray import RayExecutor  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(num_cpus=2, object_store_memory=200_000_000, include_dashboard=False)
    yield
    ray.shutdown()


class TestRay(ExecutorContract):
    def make_executor(self):
        return RayExecutor()


def test_it_is_found_by_its_name():
    with make_executor("ray") as executor:
        assert executor.spawn(complex, 1, 2).call("conjugate").result(60) == 1 - 2j


def test_a_connection_of_somebody_else_is_left():
    with RayExecutor() as executor:
        executor.spawn(Probe).ready.result(60)
    assert ray.is_initialized()


def test_an_actor_that_is_killed_fails_all_its_calls():
    with RayExecutor() as executor:
        actor = executor.spawn(Probe)
        pid = actor.call(lambda _: os.getpid()).result(60)
        futures = [actor.call("sleep", 100), actor.call("add")]
        os.kill(pid, signal.SIGKILL)
        for future in futures:
            assert isinstance(future.exception(60), ActorError)
        assert not actor.alive
        assert f"process {pid}" in str(actor.call("add").exception())
        assert executor.restart(actor).call("add").result(60) == 1


def test_large_arrays_are_used_where_ray_has_put_them():
    with RayExecutor() as executor:
        actor = executor.spawn(Probe)
        place = executor.published()
        place.publish(1, {"w": np.ones(1_000_000)})
        back = actor.call("echo", np.ones(1_000_000)).result(60)
        for array in (back, place.read()[1]["w"]):
            base = array
            while isinstance(base, np.ndarray):
                base = base.base
            assert type(base).__name__ == "_InPlace"
        back += 1
        assert back.sum() == 2_000_000

        def change(probe, array):
            array *= 3
            return float(array.sum())

        assert actor.call(change, back).result(60) == 6_000_000
        assert back.sum() == 2_000_000


def test_without_room_it_says_what_is_wanted_and_what_is_there():
    with RayExecutor(runner_options={"num_cpus": 64}, start_timeout=1.0) as executor:
        began = time.monotonic()
        actor = executor.spawn(Probe)
        text = str(actor.ready.exception(60))
        assert time.monotonic() - began < 30
        assert "{'num_cpus': 64}" in text
        assert "'CPU': 2" in text
        assert not actor.alive
