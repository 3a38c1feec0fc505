"""What every executor must keep, as tests that anybody's executor can be run through.

Subclass :class:`ExecutorContract` in a test module and say how an executor is made; pytest collects the rest::

    class TestMyExecutor(ExecutorContract):
        def make_executor(self):
            return MyExecutor()

Needs numpy and torch, and no pytest.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import Future
from typing import Any

import numpy as np

from rlkit_core.errors import ActorError
from rlkit_core.execution.protocol import ActorHandle, Executor, Published


class PickyError(ValueError):
    """Takes other arguments than it keeps, as exceptions of real libraries do."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class Probe:
    """An actor that does what the contract is about."""

    def __init__(self, start: int = 0, *, log: str | None = None) -> None:
        if start < 0:
            raise PickyError(code=start)
        self.value = start
        self.log = log
        self.seen: list[Any] = []

    def add(self, by: int = 1) -> int:
        """Add, and return the sum."""
        self.value += by
        return self.value

    def echo(self, content: object) -> Any:
        """Return what was passed."""
        return content

    def keep(self, content: object) -> None:
        """Hold what was passed."""
        self.seen.append(content)

    def kept_sum(self) -> list[float]:
        """Sums of the arrays that are held."""
        return [float(np.sum(array)) for array in self.seen]

    def arrays(self, count: int, fill: float) -> Any:
        """A structure with an array of ``count`` elements."""
        return {"a": np.full(count, fill, np.float32), "nested": [(np.arange(3),)]}

    def doubled(self, place: Published[Any]) -> tuple[int, Any]:
        """Read published arrays."""
        found = place.read()
        assert found is not None
        version, content = found
        return version, {name: 2 * value for name, value in content.items()}

    def unchanged(self, place: Published[Any], known: int) -> bool:
        """Whether ``known`` is the latest version."""
        return place.read(known) is None

    def fail(self) -> None:
        """Raise an exception of this module's own."""
        raise PickyError(code=7)

    def sleep(self, seconds: float) -> float:
        """Take some time."""
        time.sleep(seconds)
        return seconds

    def stop(self) -> None:
        """Write to the log that the end has come."""
        if self.log is not None:
            with open(self.log, "a", encoding="utf-8") as file:
                file.write("stopped\n")


def make_probe(start: int) -> Probe:
    """A factory that is no class."""
    return Probe(start)


class ExecutorContract:
    """The contract; see the module."""

    timeout = 60.0
    """Seconds within which an answer must come."""

    def make_executor(self) -> Executor:
        """Make the executor that is tested."""
        raise NotImplementedError

    def _get(self, future: Future[Any]) -> Any:
        return future.result(self.timeout)

    def _error(self, future: Future[Any]) -> BaseException | None:
        return future.exception(self.timeout)

    def test_it_has_the_methods_of_the_protocol(self) -> None:
        """Handles, executors and places for arrays are what the protocols say."""
        with self.make_executor() as executor:
            assert isinstance(executor, Executor)
            assert isinstance(executor.published(), Published)
            actor = executor.spawn(Probe)
            assert isinstance(actor, ActorHandle)
            assert self._get(actor.ready) is None
            assert actor.alive

    def test_calls_run_in_order_and_return_futures(self) -> None:
        """Results come in futures; state stays with its actor; many calls may be open at once."""
        with self.make_executor() as executor:
            one, two = executor.spawn(Probe, 3), executor.spawn(make_probe, start=10)
            futures = [one.call("add", by=2) for _ in range(50)]
            assert all(isinstance(future, Future) for future in futures)
            assert [self._get(future) for future in futures] == list(range(5, 105, 2))
            assert self._get(two.call("add", 1)) == 11

    def test_a_function_is_called_with_the_actor(self) -> None:
        """A lambda, a closure, and a class that was defined in a function, all travel."""
        with self.make_executor() as executor:
            actor = executor.spawn(lambda: Probe(4))
            offset = 100

            class Local:
                def __init__(self, value: int) -> None:
                    self.value = value

                def plus(self) -> int:
                    return self.value + offset

            assert self._get(actor.call(lambda probe, more: probe.value + offset + more, 6)) == 110
            returned = self._get(actor.call(lambda probe: Local(probe.value)))
            assert type(returned) is Local
            assert returned.plus() == 104

    def test_errors_keep_their_type_and_the_actor_goes_on(self) -> None:
        """What a call raises is in its future, and only there."""
        with self.make_executor() as executor:
            actor = executor.spawn(Probe)
            error = self._error(actor.call("fail"))
            assert type(error) is PickyError
            assert error.code == 7
            assert str(error) == "code 7"
            assert isinstance(self._error(actor.call("no_such_method")), AttributeError)
            assert isinstance(self._error(actor.call("add", 1, 2, 3)), TypeError)
            assert self._get(actor.call("add")) == 1

    def test_an_error_in_a_constructor_reaches_the_caller(self) -> None:
        """By ``spawn`` itself, or by ``ready`` and every call."""
        with self.make_executor() as executor:
            try:
                actor = executor.spawn(Probe, -1)
            except PickyError:
                return
            assert isinstance(self._error(actor.ready), PickyError)
            assert isinstance(self._error(actor.call("add")), PickyError)

    def test_arrays_of_every_kind_come_back_equal(self) -> None:
        """Numpy and torch, nested, large and empty, in any layout."""
        import torch

        rng = np.random.default_rng(0)
        big = rng.standard_normal((300, 200))
        structured = np.zeros(3, np.dtype([("x", "<f4"), ("y", ">i2", (2,))]))
        structured["x"] = [1, 2, 3]
        content = {
            "big": big,
            "again": big,
            "transposed": big.T,
            "strided": big[::3, ::-2],
            "column": big[:, 0],
            "scalar": np.array(2.5),
            "empty": np.empty((0, 4), np.int16),
            "bools": rng.random(5) < 0.5,
            "bytes": np.array([b"ab", b"c"]),
            "text": np.array(["äö", "u"]),
            "times": np.array(["2024-01-02"], "datetime64[D]"),
            "big endian": np.arange(5, dtype=">u4"),
            "objects": np.array([1, "two", None], dtype=object),
            "structured": structured,
            "numbers": (1, 2.5, np.float32(3), "text", None, b"raw"),
        }
        tensors = {
            "float": torch.randn(70, 130),
            "bfloat16": torch.randn(5, 3).to(torch.bfloat16),
            "large bfloat16": torch.randn(40_000).to(torch.bfloat16),
            "half": torch.randn(4).half(),
            "complex": torch.randn(4, dtype=torch.complex64).conj(),
            "scalar": torch.tensor(3),
            "empty": torch.empty(0, 2, dtype=torch.bool),
            "transposed": torch.randn(6, 5).T,
            "parameter": torch.nn.Parameter(torch.ones(2)),
        }
        with self.make_executor() as executor:
            actor = executor.spawn(Probe)
            back, back_tensors = self._get(actor.call("echo", [content, tensors]))
            for name, value in content.items():
                if isinstance(value, np.ndarray):
                    assert back[name].dtype == value.dtype, name
                    assert back[name].shape == value.shape, name
                    assert np.array_equal(back[name], value), name
            assert back["numbers"] == content["numbers"]
            assert back["big"] is back["again"]
            for name, tensor in tensors.items():
                assert type(back_tensors[name]) is type(tensor), name
                assert back_tensors[name].dtype == tensor.dtype, name
                assert torch.equal(back_tensors[name], tensor), name
                assert back_tensors[name].requires_grad == tensor.requires_grad, name

    def test_results_may_be_kept_and_changed(self) -> None:
        """No later call writes into an array that the caller still holds, nor the caller into the actor's."""
        with self.make_executor() as executor:
            actor = executor.spawn(Probe)
            held = [self._get(actor.call("arrays", 20_000, float(k)))["a"] for k in range(40)]
            held[0] += 1
            assert [float(array[0]) for array in held] == [1.0, *map(float, range(1, 40))]
            assert all(float(array.min()) == float(array.max()) for array in held)

    def test_arguments_may_be_kept_by_the_actor(self) -> None:
        """No later call writes into an array that the actor still holds."""
        with self.make_executor() as executor:
            actor = executor.spawn(Probe)
            for k in range(40):
                self._get(actor.call("keep", np.full(20_000, float(k), np.float32)))
            assert self._get(actor.call("kept_sum")) == [20_000.0 * k for k in range(40)]

    def test_published_arrays_reach_every_actor(self) -> None:
        """By version, also when they grow and change their structure; a snapshot, not the publisher's own arrays."""
        with self.make_executor() as executor:
            place = executor.published()
            assert place.version is None
            assert place.read() is None
            actors = [executor.spawn(Probe) for _ in range(2)]
            for version, content in enumerate([{"w": np.ones(3)}, {"w": np.ones(50_000), "b": np.ones(2)}], 5):
                place.publish(version, content)
                expected = {name: 2 * value.copy() for name, value in content.items()}
                content["w"] += 1
                for future in [actor.call("doubled", place) for actor in actors]:
                    got_version, got = self._get(future)
                    assert got_version == version == place.version
                    assert got.keys() == expected.keys()
                    assert all(np.array_equal(got[name], expected[name]) for name in got)
            assert self._get(actors[0].call("unchanged", place, 6))
            assert not self._get(actors[0].call("unchanged", place, 5))

    def test_waiting(self) -> None:
        """For any future, in order; a timeout is not an error."""
        with self.make_executor() as executor:
            slow, quick = executor.spawn(Probe), executor.spawn(Probe)
            self._get(slow.ready), self._get(quick.ready)
            futures = [slow.call("sleep", 0.4), quick.call("add")]
            done, waiting = executor.wait(futures, timeout=self.timeout)
            assert futures[1] in done
            assert done == [future for future in futures if future in done]
            assert waiting == [future for future in futures if future not in done]
            done, waiting = executor.wait(futures[:1], timeout=0.0)
            assert len(done) + len(waiting) == 1
            assert self._get(futures[0]) == 0.4
            assert executor.wait(futures) == (futures, [])
            assert executor.wait([]) == ([], [])

    def test_restart_makes_the_actor_anew(self) -> None:
        """With its original arguments."""
        with self.make_executor() as executor:
            first = executor.spawn(Probe, 5)
            assert self._get(first.call("add")) == 6
            second = executor.restart(first)
            assert self._get(second.call("add")) == 6
            assert not first.alive
            assert isinstance(self._error(first.call("add")), ActorError)

    def test_stop_calls_stop_once_and_ends_the_actor(self) -> None:
        """Of one actor or of all; stopping twice does no harm; a call afterwards says so."""
        import tempfile

        with tempfile.TemporaryDirectory() as folder, self.make_executor() as executor:
            log = os.path.join(folder, "log")
            actors = [executor.spawn(Probe, log=log) for _ in range(3)]
            for actor in actors:
                self._get(actor.ready)
            executor.stop(actors[0])
            executor.stop(actors[0])
            assert not actors[0].alive
            assert isinstance(self._error(actors[0].call("add")), ActorError)
            assert self._get(actors[1].call("add")) == 1
            executor.stop()
            executor.stop()
            assert not any(actor.alive for actor in actors)
            with open(log, encoding="utf-8") as file:
                assert file.read() == 3 * "stopped\n"
