"""Whose stdout is: the report's. What plugins write meanwhile, by whatever means, goes to stderr."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def stdout_for_the_report() -> Iterator[None]:
    """Around what may import plugins: stdout, ``sys.stdout`` and file descriptor 1 alike, goes to stderr.

    A process that is started meanwhile inherits it so. Where there is no descriptor 1, ``sys.stdout`` alone is changed.
    """

    def flush() -> None:
        with contextlib.suppress(AttributeError, OSError, ValueError):  # none, a closed one
            sys.__stdout__.flush()  # type: ignore[union-attr]

    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        with contextlib.suppress(OSError):
            flush()
            kept = os.dup(1)
            stack.callback(os.close, kept)
            os.dup2(2, 1)
            stack.callback(os.dup2, kept, 1)
            stack.callback(flush)
        yield
