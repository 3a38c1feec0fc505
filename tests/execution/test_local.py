from __future__ import annotations

import pytest

from rlkit_core.execution import ActorHandle, Executor, LocalExecutor


class Counter:
    def __init__(self, start):
        self.value, self.stopped = start, 0

    def add(self, by=1):
        self.value += by
        return self.value

    def fail(self):
        raise ZeroDivisionError("no")

    def stop(self):
        self.stopped += 1


def test_calls_return_futures_with_results_and_errors():
    executor = LocalExecutor()
    assert isinstance(executor, Executor)
    actor = executor.spawn(Counter, 3)
    assert isinstance(actor, ActorHandle)
    assert actor.call("add", by=4).result() == 7
    failed = actor.call("fail")
    with pytest.raises(ZeroDivisionError):
        failed.result()
    done, waiting = executor.wait([failed, actor.call("add")])
    assert len(done) == 2
    assert waiting == []


def test_what_a_constructor_raises_is_raised():
    with pytest.raises(TypeError):
        LocalExecutor().spawn(Counter)


def test_stop_and_restart():
    executor = LocalExecutor()
    first, second = executor.spawn(Counter, 0), executor.spawn(Counter, 10)
    first.call("add")
    again = executor.restart(first)
    assert first.instance.stopped == 1
    assert again.call("add").result() == 1
    executor.stop()
    executor.stop()
    assert (first.instance.stopped, second.instance.stopped, again.instance.stopped) == (1, 1, 1)
