"""Processes that have an env each: asked together, waited for up to a limit, ended and begun one by one."""

from __future__ import annotations

import contextlib
import multiprocessing
import select
import signal
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from gymnasium.vector.utils import CloudpickleWrapper, clear_mpi_env_vars

from rlkit_core.envs.faults.elsewhere import Failure
from rlkit_core.envs.gym_vectors import worker
from rlkit_core.envs.gym_vectors.worker import Envs

GRACE = 5.0
"""Seconds that envs have to close."""
_open: weakref.WeakSet[Connection] = weakref.WeakSet()  # this process's ends, of all vector envs


class EnvProcesses:
    """N processes, each with an env.

    Args:
        factories: N functions that make an env; not called before :data:`worker.MAKE` is asked for.
        envs: what all envs have in common.
        limit: seconds that an answer may take; None: for ever.
    """

    def __init__(self, factories: Sequence[Callable[[], Any]], envs: Envs, limit: float | None) -> None:
        self._factories = [CloudpickleWrapper(factory) for factory in factories]
        self._envs, self._limit = envs, limit
        self._processes: list[BaseProcess | None] = [None] * len(factories)
        self._pipes: list[Connection | None] = [None] * len(factories)
        self._ends: dict[int, str] = {}  # how those ended that are no more
        self._waiting = _Waiting()
        for n in range(len(factories)):
            self.begin(n)

    def begin(self, n: int) -> None:
        """Begin process n, which is not there."""
        context = multiprocessing.get_context()
        ours, theirs = context.Pipe()
        # A forked process has copies of all of them; as long as one is open, the other end never sees an end.
        forked = list(_open) if context.get_start_method() == "fork" else []
        process = context.Process(
            target=worker.run,
            name=f"env-{n}",
            args=(theirs, [ours, *forked], self._factories[n], n, self._envs),
            daemon=True,
        )
        with clear_mpi_env_vars():
            process.start()
        theirs.close()
        self._processes[n], self._pipes[n] = process, ours
        _open.add(ours)
        self._ends.pop(n, None)
        self._waiting.add(n, ours, process.sentinel)

    @property
    def pids(self) -> list[int | None]:
        """Numbers of the processes; None of one that is no more."""
        return [None if process is None else process.pid for process in self._processes]

    def is_there(self, n: int) -> bool:
        """Whether process n can be asked, as far as it is known."""
        return self._pipes[n] is not None

    def ask_all(self, what: str, contents: Sequence[object]) -> list[Any]:
        """Ask all processes; see :meth:`ask`."""
        answers = self.ask(what, dict(enumerate(contents)))
        return [answers[n] for n in range(len(contents))]

    def ask(self, what: str, contents: Mapping[int, object], *, times: float = 1.0) -> dict[int, Any]:
        """Ask some processes together.

        Args:
            what: one of the words of :mod:`.worker`.
            contents: by process, what else it needs.
            times: how often the limit they have.

        Returns:
            The answer of each; a ChildProcessError of one that is no more, and a TimeoutError of one that took too long
            and was killed.
        """
        answers: dict[int, Any] = {}
        try:
            self._ask(what, contents, times, answers)
        except BaseException:  # an interrupt; their answers must not be taken for those of the next question
            for n in contents.keys() - answers.keys():
                self.end(n, "killed, since nobody waited for its answer any more")
            raise
        return answers

    def _ask(self, what: str, contents: Mapping[int, object], times: float, answers: dict[int, Any]) -> None:
        for n, content in contents.items():
            pipe = self._pipes[n]
            if pipe is None:
                answers[n] = self._gone(n)
                continue
            try:
                pipe.send((what, content))
            except OSError:
                answers[n] = self._lost(n)
        end = None if self._limit is None else time.monotonic() + self._limit * times
        while len(answers) < len(contents):
            ready = self._waiting.ready(None if end is None else max(0.0, end - time.monotonic()))
            if not ready:
                for n in contents.keys() - answers.keys():
                    self.end(n, f"killed, after {self._limit:g} seconds without an answer")
                    answers[n] = TimeoutError(f"no answer in {self._limit:g} seconds")
                break
            for n, has_sent in ready:
                if n in answers or n not in contents:  # there is nothing to come from it but its end
                    self._lost(n)
                else:
                    answers[n] = self._receive(n, has_sent)

    def _receive(self, n: int, has_sent: bool) -> Any:
        """The answer of a process that has sent something, or ended; it may have done both."""
        pipe = self._pipes[n]
        if pipe is None:
            return self._gone(n)
        try:
            if has_sent or pipe.poll():
                return pipe.recv()
        except (EOFError, OSError):
            pass
        except Exception as error:  # it cannot be understood here
            return Failure.of(error, misfit=False, skipped=__file__)
        return self._lost(n)

    def _lost(self, n: int) -> ChildProcessError:
        """Process n has ended by itself, or is about to."""
        process = self._processes[n]
        if process is not None:
            process.join(1.0)
        code = None if process is None else process.exitcode
        self.end(n, _how(code))
        return self._gone(n)

    def _gone(self, n: int) -> ChildProcessError:
        return ChildProcessError(f"its process is no more: {self._ends[n]}")

    def end(self, n: int, how: str = "killed") -> None:
        """Kill process n, if it is there."""
        process, pipe = self._processes[n], self._pipes[n]
        self._processes[n] = self._pipes[n] = None
        self._ends.setdefault(n, how)
        self._waiting.remove(n)
        if pipe is not None:
            _open.discard(pipe)
            pipe.close()
        if process is not None:
            process.kill()
            process.join(GRACE)

    def close(self) -> None:
        """Let all envs be closed, and end those that do not end."""
        for pipe in self._pipes:
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.send((worker.CLOSE, None))
        end = time.monotonic() + GRACE
        for n, process in enumerate(self._processes):
            if process is not None:
                process.join(max(0.0, end - time.monotonic()))
                self.end(n, "closed")


class _Waiting:
    """Waits for several processes at once: for a message, or an end."""

    def __init__(self) -> None:
        self._numbers: dict[int, tuple[int, bool]] = {}  # by file descriptor: whose it is, and whether the pipe's
        self._poll = select.poll() if hasattr(select, "poll") else None
        self._objects: dict[int, list[Any]] = {}

    def add(self, n: int, pipe: Connection, sentinel: int) -> None:
        self._objects[n] = [pipe, sentinel]
        if self._poll is not None:
            for descriptor, is_pipe in ((pipe.fileno(), True), (sentinel, False)):
                self._numbers[descriptor] = n, is_pipe
                self._poll.register(descriptor, select.POLLIN)

    def remove(self, n: int) -> None:
        """Before they are closed."""
        if self._poll is not None and n in self._objects:
            for descriptor in [d for d, (number, _) in self._numbers.items() if number == n]:
                del self._numbers[descriptor]
                self._poll.unregister(descriptor)
        self._objects.pop(n, None)

    def ready(self, seconds: float | None) -> list[tuple[int, bool]]:
        """Those of which something has come within so many seconds: a message (True), or their end (False), or both."""
        if self._poll is not None:
            events = self._poll.poll(None if seconds is None else 1000 * seconds)
            numbers = self._numbers
            return [numbers[descriptor] for descriptor, _ in events]
        owners = {id(one): (n, one is both[0]) for n, both in self._objects.items() for one in both}
        return [owners[id(one)] for one in wait([x for both in self._objects.values() for x in both], seconds)]


def _how(code: int | None) -> str:
    if code is None:
        return "it does not answer"
    if code >= 0:
        return f"it ended with code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else "unknown"
    return f"it was ended by signal {-code} ({name})"
