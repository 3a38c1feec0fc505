"""The executor of processes keeps the contract of all executors, and is found by its name."""

from __future__ import annotations

from rlkit_core.execution import make_executor
from rlkit_core.execution.conformance import ExecutorContract
from rlkit_core.plugins.host import default_host
from rlkit_processes import ProcessExecutor


class TestProcess(ExecutorContract):
    def make_executor(self):
        return ProcessExecutor()


def test_it_is_registered_as_any_plugins_is():
    assert default_host().get_service("executor", "rlkit-processes/process") is ProcessExecutor
    for name in ("process", "auto"):
        with make_executor(name) as executor:
            assert executor.spawn(complex, 1, 2).call("conjugate").result(60) == 1 - 2j


def test_what_it_can_do():
    executor = ProcessExecutor()
    assert (executor.in_process, executor.concurrent, executor.threads) == (False, True, 1)


def test_threads_may_be_set_until_an_actor_is_spawned():
    executor = ProcessExecutor()
    executor.threads = 3
    with executor:
        actor = executor.spawn(dict)
        assert actor.call(lambda _: __import__("os").environ["OMP_NUM_THREADS"]).result(60) == "3"
