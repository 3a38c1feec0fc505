"""What a plugin does to the process while it is imported: put back where it changes learning, named in any case.

An import runs code. Code of one plugin that turns gradients off, changes torch's default dtype or seeds a generator
would change every run of a process that has it installed, so such settings, and the ids that gymnasium knew before, are
put back when the import ends. Filters of warnings, logging, signals, the working directory, ``os.environ`` and
``sys.path`` are compared and named, but left: plugins have good reasons to touch them. Patches of other modules are out
of scope.

Imports that overlap (nested, or in several threads) share one look at what was before: the first takes it, the last
puts it back. What torch keeps for each thread is looked at by each.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from rlkit_core.plugins.guard import Origin, notice

_UNKNOWN: Any = object()


class _Global(NamedTuple):
    """A setting of the process: the module it belongs to, how it is read and written, and what it is at first."""

    name: str
    module: str
    read: Callable[[Any], Any]
    write: Callable[[Any, Any], object]
    at_first: Any = _UNKNOWN


def _attribute(name: str, path: str, at_first: Any = _UNKNOWN) -> _Global:
    *holders, last = path.split(".")

    def holder(module: Any) -> Any:
        for part in holders:
            module = getattr(module, part)
        return module

    return _Global(
        name, "torch", lambda m: getattr(holder(m), last), lambda m, v: setattr(holder(m), last, v), at_first
    )


def _default_device(torch: Any) -> Any:
    return torch.get_default_device() if hasattr(torch, "get_default_device") else None


_OF_THREAD = (
    _Global("torch.set_grad_enabled", "torch", lambda t: t.is_grad_enabled(), lambda t, v: t.set_grad_enabled(v), True),
    _Global(
        "torch.set_default_device",
        "torch",
        lambda t: str(_default_device(t)),
        lambda t, v: t.set_default_device(None if v == "cpu" else v),
        "cpu",
    ),
)

_OF_PROCESS = (
    _Global(
        "torch.set_default_dtype",
        "torch",
        lambda t: str(t.get_default_dtype()),
        lambda t, v: t.set_default_dtype(getattr(t, v.removeprefix("torch."))),
        "torch.float32",
    ),
    _Global(
        "torch.set_float32_matmul_precision",
        "torch",
        lambda t: t.get_float32_matmul_precision(),
        lambda t, v: t.set_float32_matmul_precision(v),
        "highest",
    ),
    _attribute("torch.backends.cudnn.enabled", "backends.cudnn.enabled", True),
    _attribute("torch.backends.cudnn.benchmark", "backends.cudnn.benchmark", False),
    _attribute("torch.backends.cudnn.deterministic", "backends.cudnn.deterministic", False),
    _attribute("torch.backends.cudnn.allow_tf32", "backends.cudnn.allow_tf32", True),
    _Global("torch.set_num_threads", "torch", lambda t: t.get_num_threads(), lambda t, v: t.set_num_threads(v)),
    _Global(
        "torch.use_deterministic_algorithms",
        "torch",
        lambda t: (t.are_deterministic_algorithms_enabled(), t.is_deterministic_algorithms_warn_only_enabled()),
        lambda t, v: t.use_deterministic_algorithms(v[0], warn_only=v[1]),
        (False, False),
    ),
    _Global(
        "torch.autograd.set_detect_anomaly",
        "torch",
        lambda t: t.is_anomaly_enabled(),
        lambda t, v: t.autograd.set_detect_anomaly(v),
        False,
    ),
)

_RANDOM = (
    _Global("the state of random", "random", lambda r: r.getstate(), lambda r, v: r.setstate(v)),
    _Global("the state of numpy.random", "numpy.random", lambda n: _Legacy(n), lambda n, v: n.set_state(v.state)),
    _Global(
        "torch's random state", "torch", lambda t: _State(t.get_rng_state()), lambda t, v: t.set_rng_state(v.state)
    ),
)
"""The generators that a process shares. (rlkit draws from none of them, an env or a module may.)"""


class _Legacy:
    """numpy's global state, comparable."""

    def __init__(self, module: Any) -> None:
        self.state = module.get_state()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Legacy):
            return NotImplemented
        (_, mine, *rest), (_, theirs, *others) = self.state, other.state
        return bool(rest == others and mine.tobytes() == theirs.tobytes())

    __hash__ = None  # type: ignore[assignment]


class _State:
    """A state of torch's, comparable."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def __eq__(self, other: object) -> bool:
        return bool(isinstance(other, _State) and self.state.equal(other.state))

    __hash__ = None  # type: ignore[assignment]


def _loaded(name: str) -> Any:
    """A module that has been imported in full, or None."""
    module = sys.modules.get(name)
    return None if getattr(getattr(module, "__spec__", None), "_initializing", False) else module


def _look(settings: tuple[_Global, ...], *, first: bool) -> dict[str, Any]:
    """The value of each setting; of a module that is not imported yet, what it will be at first (if ``first``)."""
    seen = {}
    for setting in settings:
        module = _loaded(setting.module)
        if module is not None:
            with suppress(Exception):  # a torch without it
                seen[setting.name] = setting.read(module)
        elif first and setting.at_first is not _UNKNOWN:
            seen[setting.name] = setting.at_first
    return seen


def _put_back(settings: tuple[_Global, ...], before: Mapping[str, Any]) -> None:
    """Write what differs from ``before`` again."""
    now = _look(settings, first=False)
    for setting in settings:
        if setting.name in before and setting.name in now and now[setting.name] != before[setting.name]:
            with suppress(Exception):
                setting.write(_loaded(setting.module), before[setting.name])


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(name for name, value in now.items() if name in before and value != before[name])


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Put the global generators of Python, numpy and torch back as they were."""
    before = _look(_RANDOM, first=False)
    try:
        yield
    finally:
        _put_back(_RANDOM, before)


@contextmanager
def learning_kept() -> Iterator[None]:
    """Put back what changes learning, around code that only watches: global generators, torch's settings."""
    kept = _OF_THREAD + _OF_PROCESS + _RANDOM
    before = _look(kept, first=False)
    try:
        yield
    finally:
        _put_back(kept, before)


# ------------------------------------------------------------------------------ what is compared and left


def _logging() -> object:
    root = logging.getLogger()
    return root.level, [id(handler) for handler in root.handlers], logging.root.manager.disable


_SIGNALS = tuple(map(int, signal.valid_signals()))


def _signals() -> object:
    return [signal.getsignal(number) for number in _SIGNALS]


def _cwd() -> object:
    try:
        return os.getcwd()
    except OSError:
        return None


_COMPARED: dict[str, Callable[[], object]] = {
    "warnings.filters": lambda: list(warnings.filters),
    "logging": _logging,
    "signal handlers": _signals,
    "the working directory": _cwd,
    "os.environ": lambda: dict(os.environ),
    "sys.path": lambda: list(sys.path),
}


# ------------------------------------------------------------------------------ the shared look


class Changes(NamedTuple):
    """What a plugin changed while it was imported, by name."""

    put_back: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class _Registry:
    """The ids that gymnasium knows, if it is imported."""

    def __init__(self) -> None:
        registration = _loaded("gymnasium.envs.registration")
        self._registry: dict[str, Any] | None = getattr(registration, "registry", None)
        self._before = dict(self._registry or {})

    def taken(self) -> dict[str, Any]:
        """What the ids of before stand for now, by a text that names them."""
        registry = self._registry or {}
        return {f"gymnasium's {name}": id(registry.get(name)) for name in self._before}

    def put_back(self, *, remove_new: bool) -> None:
        """Let the ids of before stand for what they did; take out those that came, if so asked."""
        if self._registry is None:
            return
        if remove_new:
            for name in self._registry.keys() - self._before.keys():
                del self._registry[name]
        for name, spec in self._before.items():
            if self._registry.get(name) is not spec:
                self._registry[name] = spec


class _Look:
    """The process as it was before the first of the imports that overlap, and as the last of them to end left it."""

    def __init__(self) -> None:
        self.registry = _Registry()
        self.before = _look(_OF_PROCESS, first=True) | _look(_RANDOM, first=False)
        self._latest = self.before | self.registry.taken()
        self._latest_left = self._left()
        self._changed = False

    @staticmethod
    def _left() -> dict[str, Any]:
        return {name: read() for name, read in _COMPARED.items()}

    def changes(self) -> Changes:
        """What changed since the last call; each change is told once."""
        now = _look(_OF_PROCESS + _RANDOM, first=False) | self.registry.taken()
        left = self._left()
        changes = Changes(_differing(self._latest, now), _differing(self._latest_left, left))
        self._latest, self._latest_left = {**self._latest, **now}, left
        self._changed |= bool(changes.put_back)
        return changes

    def put_back(self, *, remove_new: bool) -> _Look | None:
        """Undo what changes learning; the look at what is there then, where nothing had to be undone."""
        if self._changed:
            _put_back(_OF_PROCESS + _RANDOM, self.before)
        self.registry.put_back(remove_new=remove_new)
        if self._changed or remove_new:
            return None
        self.registry, self.before = _Registry(), self._latest
        self._latest = self.before | self.registry.taken()
        return self


class _Shared:
    lock = threading.Lock()
    depth = 0
    look: _Look | None = None
    in_a_row = 0


@contextmanager
def one_after_another() -> Iterator[None]:
    """Around imports of which each may begin with what was seen when the one before it had ended."""
    shared = _Shared
    with shared.lock:
        shared.in_a_row += 1
    try:
        yield
    finally:
        with shared.lock:
            shared.in_a_row -= 1
            if not shared.depth and not shared.in_a_row:
                shared.look = None


class Quarantine:
    """What one import changed; :func:`quarantined` fills it."""

    changes = Changes()


@contextmanager
def quarantined(origin: Origin) -> Iterator[Quarantine]:
    """Around the import of a plugin's code.

    Afterwards ``changes`` of what is yielded says what the plugin did; what was put back is told as a warning, once.
    Where the block raises, env ids that were registered in it go as well.
    """
    quarantine = Quarantine()
    shared = _Shared
    of_thread = _look(_OF_THREAD, first=True)
    with shared.lock:
        if shared.look is None:
            shared.look = _Look()
        shared.depth += 1
        look = shared.look
    failed = True
    try:
        yield quarantine
        failed = False
    finally:
        in_thread = _differing(of_thread, _look(_OF_THREAD, first=False))
        _put_back(_OF_THREAD, of_thread)
        with shared.lock:
            changes = look.changes()
            shared.depth -= 1
            if shared.depth == 0:
                seen = look.put_back(remove_new=failed)
                shared.look = seen if shared.in_a_row else None
        quarantine.changes = changes = changes._replace(put_back=in_thread + changes.put_back)
        if changes.put_back:
            what, who = ", ".join(changes.put_back), f"plugin {origin.distribution} {origin.version}"
            text = f"{who} changed {what} while it was imported; that was put back"
            notice((origin.distribution, *changes.put_back), text)


__all__ = ["Changes", "Quarantine", "learning_kept", "one_after_another", "quarantined", "random_states_kept"]
