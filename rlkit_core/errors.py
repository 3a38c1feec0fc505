"""Every exception a user of rlkit can meet.

All derive from :class:`RLKitError`, so ``except RLKitError`` catches what rlkit itself raises and nothing
else. Each also derives from the built-in exception a Python programmer would expect (a bad setting is a
``ValueError``, a missing plugin a ``LookupError``), so code written against other libraries keeps working.

Messages name the thing, what was expected, what was seen, and the fix.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "ActorError",
    "AmbiguousComponentError",
    "CheckpointError",
    "CheckpointNotFoundError",
    "ConfigError",
    "EnvError",
    "ModuleAPIError",
    "NoComponentError",
    "NonFiniteError",
    "PluginError",
    "PluginNotFoundError",
    "PluginVersionError",
    "RLKitError",
    "SpecError",
    "StateError",
    "UnknownSettingError",
    "did_you_mean",
]


class RLKitError(Exception):
    """Base class of every error that rlkit raises on purpose."""


class ConfigError(RLKitError, ValueError):
    """A setting has a wrong value, or settings contradict each other."""


class UnknownSettingError(ConfigError, KeyError, AttributeError):
    """A setting of that name does not exist; the message suggests the nearest one."""

    def __str__(self) -> str:  # KeyError would show repr(message)
        return str(self.args[0]) if self.args else ""


class PluginError(RLKitError):
    """A plugin failed to load or broke the plugin contract."""


class PluginNotFoundError(PluginError, LookupError):
    """Nothing installed provides the requested algorithm, catalog, component or command."""


class PluginVersionError(PluginError):
    """A plugin and this rlkit-core do not fit together; ``remedy`` says what to install, where that is known."""

    def __init__(self, message: str = "", *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy


class AmbiguousComponentError(RLKitError, LookupError):
    """Two components claim the same place with equal right; a line in the config must decide."""


class NoComponentError(RLKitError, ValueError):
    """No component serves a space; the message lists the nearest misses."""


class ModuleAPIError(RLKitError, TypeError):
    """An RLModule lacks an API its algorithm needs, or APIs on one module contradict each other."""


class OverrideError(RLKitError, TypeError):
    """A subclass overrides what would never be called; the message says what to override instead."""


class SpecError(RLKitError, ValueError):
    """An ``RLModuleSpec`` or ``MultiRLModuleSpec`` is incomplete or contradictory."""


class EnvError(RLKitError, RuntimeError):
    """An environment could not be made, raised, or returned invalid data."""


class NonFiniteError(RLKitError, FloatingPointError):
    """A loss, gradient, reward or observation is NaN or infinite.

    Attributes:
        module_id: the module it was found in, where one is to blame.
        report_path: the folder that holds the minibatch and a script that replays it, where one was written.
        of_another_learner: the loss was another learner's of the same group; nothing is wrong with this one's data.
        minibatch_index: which minibatch of the update it was, where that was found out when the update was over.
    """

    module_id: str | None = None
    report_path: str | None = None
    of_another_learner: bool = False
    minibatch_index: int | None = None


class CheckpointError(RLKitError, ValueError):
    """A checkpoint is damaged, refused, or does not fit what it is loaded into."""


class StateError(CheckpointError, RuntimeError):
    """A module's state has missing or unexpected names, or an array of another shape."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """There is no checkpoint, or no such part of one, where one was looked for."""

    def __str__(self) -> str:  # FileNotFoundError would show errno and file name
        return str(self.args[0]) if self.args else ""


class MissingColumnError(ConfigError, KeyError):
    """A loss reads a column that its batch does not have."""

    __str__ = Exception.__str__


class ContractError(RLKitError, AssertionError):
    """A plugin, component, module or algorithm breaks its contract; the message says what, each with the fix."""


class ActorError(RLKitError, RuntimeError):
    """An actor (runner or learner) died or could not be reached."""


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest of ``known``, or ``""`` when none is near.

    >>> did_you_mean("lamda", ["lambda_", "gamma"])
    " Did you mean 'lambda_'?"
    """
    import difflib  # costs more than all else here, and most programs end without an error

    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f" Did you mean {near[0]!r}?" if near else ""
