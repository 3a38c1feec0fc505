"""What groups of actors share: spawning, calling all, waiting with patience, restarts with a cap."""

from __future__ import annotations

import time
from concurrent.futures import Future

import pytest

from rlkit_core.errors import ActorError
from rlkit_core.execution import LocalExecutor
from rlkit_core.execution.actor_group import ActorGroup, RestartCap, RestartRefusedError
from rlkit_core.plugins.used.lock import Lock


class Numbered:
    def __init__(self, number, start):
        self.number, self.start = number, start

    def who(self):
        return self.number, self.start


class Group(ActorGroup):
    factory = Numbered

    def spawn(self, number, start):
        return self.executor.spawn(self.factory, number, start)


def group_of(executor, numbers=(1, 2, 3), cap=RestartCap(9, "nine times"), owns_executor=True):
    return Group(executor, numbers, cap=cap, owns_executor=owns_executor)


def results(futures):
    return {number: future.result() for number, future in futures.items()}


def test_all_are_called_by_name_or_with_a_function():
    group = group_of(LocalExecutor())
    assert len(group) == 3
    assert results(group.call("who")) == {1: (1, 0), 2: (2, 0), 3: (3, 0)}
    assert results(group.call(lambda actor, by: actor.number * by, 10)) == {1: 10, 2: 20, 3: 30}


def test_what_making_one_raises_is_raised_and_the_others_are_stopped(monkeypatch):
    stopped = []

    class Picky(Numbered):
        def __init__(self, number, start):
            super().__init__(number, start)
            if number == 3:
                raise ValueError("three")

        def stop(self):
            stopped.append(self.number)

    monkeypatch.setattr(Group, "factory", Picky)
    with pytest.raises(ValueError, match="three"):
        group_of(LocalExecutor())
    assert stopped == [1, 2]


def test_restarts_are_counted_and_capped_all_or_none():
    executor = LocalExecutor()
    group = group_of(executor, cap=RestartCap(2, "setting=2 says so"))
    for number in (1, 3):
        executor.stop(group.members[number])
    assert group.dead == [1, 3]
    group.restart([1, 3])
    assert group.dead == []
    assert list(group.members) == [1, 2, 3]
    assert results(group.call("who")) == {1: (1, 1), 2: (2, 0), 3: (3, 1)}
    with pytest.raises(RestartRefusedError, match="setting=2 says so"):
        group.restart([2])
    assert group.num_restarts == 2
    group.give_up(2)
    assert list(group.members) == [1, 3]


def test_deaths_without_an_answer_in_between_are_futile():
    group = group_of(LocalExecutor(), cap=RestartCap(99, "", futile=3))
    for _ in range(2):
        group.restart([1])
    group.answered(1)
    for _ in range(2):
        group.restart([1])
    with pytest.raises(RestartRefusedError, match="3 times in a row"):
        group.restart([1])


class Slow(LocalExecutor):
    """Calls whose futures the test completes; waiting returns what is done, or nothing when time is up."""

    def wait(self, futures, *, timeout=None):
        deadline = time.monotonic() + (60 if timeout is None else timeout)
        while time.monotonic() < deadline:
            if any(future.done() for future in futures):
                break
            time.sleep(0.01)
        return [f for f in futures if f.done()], [f for f in futures if not f.done()]


def test_after_a_failure_the_others_have_some_time_and_are_ended_then():
    group = group_of(Slow())
    futures = {number: Future() for number in group.members}
    futures[1].set_result(None)
    futures[2].set_exception(KeyError())
    told = []
    group.wait(futures, on_failure=lambda: told.append(futures[3].done()), patience=0.05)
    assert told == [False]
    assert group.dead == [3]
    assert isinstance(group.call("who")[3].exception(), ActorError)


def test_the_executor_is_stopped_only_by_who_owns_it():
    executor = LocalExecutor()
    other = executor.spawn(Numbered, 0, 0)
    group = group_of(executor, [1], owns_executor=False)
    group.stop()
    assert group.dead == [1]
    assert other.alive


class Elsewhere(LocalExecutor):
    in_process = False


@pytest.mark.parametrize(("executor", "times"), [(LocalExecutor, 0), (Elsewhere, 3)])
def test_what_actors_use_is_asked_before_each_that_is_made_in_another_process(executor, times):
    asked = []

    def used():
        asked.append(True)
        return Lock()

    Group(executor(), (1, 2, 3), cap=RestartCap(0, "never"), owns_executor=True, used=used)
    assert len(asked) == times
