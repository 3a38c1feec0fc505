"""How rlkit calls a plugin's code: what it raises carries its name, and nothing it does ends a run without a word.

Code that a config *uses* runs inside :func:`in_use`: its error goes on, with a note that says whose it is. Code that
only *watches* (observers, writers) is called by :class:`Watchers`: its error is said once, counted, and stops nobody.
KeyboardInterrupt alone is the user's and always passes.
"""

from __future__ import annotations

import logging
import time
import traceback
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import frozen

from rlkit_core.errors import PluginError
from rlkit_core.plugins import PluginWarning

_log = logging.getLogger("rlkit.plugins")
_noticed: set[tuple[object, ...]] = set()

MOST_TEXT = 2_000
"""Characters of a text of a plugin's that a message shows."""


@frozen
class Origin:
    """Who supplies something: a distribution with its version, and the entry point it came through."""

    distribution: str
    version: str
    entry_point: str | None = None


LOCAL = Origin("local", "0")
"""The origin of what no installed distribution supplies: a script's own classes."""


def safe_text(value: object, limit: int = MOST_TEXT) -> str:
    """Return ``str(value)`` as a message can show it.

    It never raises, whatever ``__str__`` does; it is cut at ``limit`` characters, and control characters other than
    line breaks and tabs (a terminal obeys them) are left out.
    """
    try:
        text = value if type(value) is str else str.__str__(str(value))
    except KeyboardInterrupt:
        raise
    except BaseException as exc:
        text = f"<{type(value).__name__} whose text cannot be shown: its __str__ raised {type(exc).__name__}>"
    more = len(text) - limit
    text = "".join(c for c in text[:limit] if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs"))
    return f"{text}... ({more:,} characters more)" if more > 0 else text


def describe(exc: BaseException) -> str:
    """Return an exception in a few words: rlkit's own errors speak for themselves, others give their type first."""
    text = safe_text(exc)
    return text if isinstance(exc, PluginError) else f"{type(exc).__name__}: {text}".rstrip(": ")


def safe_traceback(exc: BaseException) -> str:
    """Return the traceback of an exception as text, as :func:`safe_text` does."""
    try:
        lines = traceback.format_exception(exc)
    except KeyboardInterrupt:
        raise
    except BaseException:  # showing the exception, or a variable's name near it, ran code that raised
        lines = [*traceback.format_tb(exc.__traceback__), describe(exc)]
    return "".join(safe_text(line) for line in lines)


def notice(key: tuple[object, ...], text: str, category: type[PluginWarning] = PluginWarning) -> None:
    """Warn of something about a plugin, once per process and key; where warnings are errors, log it instead."""
    if key in _noticed:
        return
    _noticed.add(key)
    try:
        warnings.warn(text, category, stacklevel=4)
    except PluginWarning:  # a notice about one plugin stops nobody else
        _log.warning("%s", text)


def add_note(error: BaseException, note: str) -> None:
    """Add a line to what an error says: a note where Python has them (3.11), the end of its message otherwise."""
    try:
        if hasattr(error, "add_note"):
            error.add_note(note)
        else:
            error.args = (f"{safe_text(error)}\n{note}", *error.args[1:])
    except KeyboardInterrupt:
        raise
    except BaseException:  # an exception class of the plugin's own may refuse either
        _log.warning("%s", note)


class in_use:  # noqa: N801
    """Around a plugin's code that a config uses: whatever it raises says whose it is.

    Args:
        who: plugin, component and method: ``"plugin acme 1.0, encoder 'acme/gcn', from_space()"``.

    Raises:
        PluginError: the code raised SystemExit or another exception that is no ``Exception``; chained from it.
    """

    __slots__ = ("_who",)

    def __init__(self, who: str) -> None:
        self._who = who

    def __enter__(self) -> None:
        """Nothing is done until something is raised."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None or isinstance(error, KeyboardInterrupt):
            return
        if not isinstance(error, Exception):
            raise PluginError(f"{self._who} raised {describe(error)}, which would have ended Python") from error
        note = f"raised by {self._who}"
        if note not in getattr(error, "__notes__", ()):
            add_note(error, note)


class Watchers:
    """Calls the code of plugins that only watches.

    Attributes:
        errors: how often what a plugin was asked has raised, by ``(distribution, what)``.
        seconds: time spent in it, by distribution.

    Args:
        strict: whether an error is raised (``RLKIT_PLUGINS_STRICT``) instead of kept away.
    """

    def __init__(self, strict: Callable[[], bool] = lambda: False) -> None:
        self._strict = strict
        self.errors: Counter[tuple[str, str]] = Counter()
        self.seconds: dict[str, float] = {}

    def call(self, origin: Origin, what: str, function: Callable[..., object], *args: object, **kwargs: object) -> bool:
        """Call ``function`` and return whether it came back without raising.

        Args:
            origin: whose code it is.
            what: of it, as a message names it: ``"rlkit_train_result"``, ``"writer 'csv', write()"``.
            function: is called with the rest.

        Raises:
            PluginError: it raised and errors are to be raised.
        """
        start = time.perf_counter()
        try:
            function(*args, **kwargs)
            return True
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            who = f"{what} of plugin {origin.distribution} {origin.version}"
            if self._strict():
                raise PluginError(f"{who} raised {describe(exc)}") from exc
            self.errors[origin.distribution, what] += 1
            if self.errors[origin.distribution, what] == 1:
                _say(who, exc)
            return False
        finally:
            spent = time.perf_counter() - start
            self.seconds[origin.distribution] = self.seconds.get(origin.distribution, 0.0) + spent

    @contextmanager
    def counting(self, into: dict[str, float]) -> Iterator[None]:
        """Add to ``into`` the seconds that plugins take in a block, by distribution."""
        before = dict(self.seconds)
        try:
            yield
        finally:
            for name, seconds in self.seconds.items():
                if seconds > before.get(name, 0.0):
                    into[name] = into.get(name, 0.0) + seconds - before.get(name, 0.0)


def _say(who: str, exc: BaseException) -> None:
    text = "%s raised %s; the run goes on, its further errors are only counted\n%s"
    _log.warning(text, who, describe(exc), safe_traceback(exc))


__all__ = ["MOST_TEXT", "Watchers", "add_note", "describe", "in_use", "notice", "safe_text", "safe_traceback"]
