"""Signals that end a run: the first one after the iteration in progress, a second one, or some seconds, at once."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

logger = logging.getLogger(__name__)

GRACE_S = 20.0
"""Seconds that the iteration in progress may still take."""


class Interrupted(KeyboardInterrupt):
    """A signal ended the run at once; its number is the argument."""


class Signals:
    """Takes SIGINT, SIGTERM and SIGHUP inside a ``with`` block of the main thread; elsewhere it takes none.

    The first one is remembered in :attr:`number`. A second one, or :data:`GRACE_S` seconds after the first, raises
    :class:`Interrupted` in the main thread, whatever that waits for. SIGHUP stays ignored where it is (``nohup``).

    Args:
        say: shows a line to people.
        grace_s: see above.

    Attributes:
        number: the first signal that came, or None.
    """

    def __init__(self, say: Callable[[str], object], grace_s: float = GRACE_S) -> None:
        self.number: int | None = None
        self._say, self._grace_s = say, grace_s
        self._before: dict[int, Any] = {}
        self._timer_before: tuple[float, float] | None = None
        self._at_once, self._held, self._waiting = False, False, 0

    @property
    def name(self) -> str:
        """The name of the signal that came: ``"SIGTERM"``."""
        return "no signal" if self.number is None else signal.Signals(self.number).name

    def __enter__(self) -> Signals:
        self.number, self._waiting = None, 0
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                self._take_over(getattr(signal, name, None), self._taken)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.in_time()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _take_over(self, number: int | None, handler: Callable[[int, FrameType | None], None]) -> None:
        before = None if number is None else signal.getsignal(number)
        ignored = number == getattr(signal, "SIGHUP", None) and before is signal.SIG_IGN
        if number is None or before is None or ignored:  # not here, or somebody's whom Python does not know
            return
        self._before[number] = before
        signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Around what may be left at any moment: already the first signal raises.

        Raises:
            Interrupted: a signal came inside, or had come before.
        """
        if self.number is not None:
            raise Interrupted(self.number)
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Around what should be brought to its end: a second signal counts when the block ends, a third one at once.

        Raises:
            Interrupted: see above.
        """
        self._held, self._waiting = True, 0
        try:
            yield
        finally:
            self._held = False
        if self._waiting:
            self._stop()

    def in_time(self) -> None:
        """The run ends in time: no timer raises any more."""
        if self._timer_before is not None:
            signal.setitimer(signal.ITIMER_REAL, *self._timer_before)
            self._timer_before = None

    def _taken(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            self._again()
            return
        self.number = number
        self._start_timer()
        if self._at_once:
            self._stop()
        with suppress(Exception):  # the stream may be in the middle of a write
            self._say(f"stopping after this iteration, in {self._grace_s:g} s at the latest (once more: at once)")

    def _late(self, number: int, frame: FrameType | None) -> None:
        self._again()

    def _again(self) -> None:
        self._waiting += 1
        if not self._held or self._waiting > 1:
            self._stop()

    def _stop(self) -> None:
        raise Interrupted(self.number)

    def _start_timer(self) -> None:
        if hasattr(signal, "setitimer"):
            self._take_over(signal.SIGALRM, self._late)
            # Repeated: one that is raised in a destructor is lost.
            self._timer_before = signal.setitimer(signal.ITIMER_REAL, self._grace_s, self._grace_s)
