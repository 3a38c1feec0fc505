"""The schedules that a learner owns, found wherever it keeps them, so that a restored one has them where they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from rlkit_core.learner.optim.schedule import BeginningAt, Scheduler

if TYPE_CHECKING:
    from rlkit_core.learner.optim.optimizer_set import OptimizerSet
    from rlkit_core.rl_module import MultiRLModule

_DEPTH = 6
_MANY = 1000
#: Attributes of a learner that lead to parts which are walked on their own, or hold no schedule.
_ASIDE = frozenset(
    {"_given_module", "config", "members", "optimizers", "seeds", "rng", "engine", "peers", "metrics", "schedules"}
)
_LEAVES = (str, bytes, int, float, complex, bool, type(None), type, Tensor)
_LIBRARIES = ("torch", "numpy", "gymnasium", "builtins", "collections")


class OwnedSchedules:
    """All :class:`Scheduler` objects of one learner: its own, its optimizers', its drivers' and its modules'.

    They are found by attribute when the learner is saved and restored, so whoever keeps one need not know of this.

    Args:
        learner: whose they are.
        optimizers: its optimizers.
        modules: gives its modules, by id.
        libraries: packages, beside torch's and the like, whose objects hold no schedule.

    Attributes:
        timestep: the lifetime env steps of the last update, where schedules are between updates.
    """

    def __init__(
        self,
        learner: object,
        optimizers: OptimizerSet,
        modules: Callable[[], MultiRLModule],
        libraries: tuple[str, ...] = (),
    ) -> None:
        self._learner, self._optimizers, self._modules = learner, optimizers, modules
        self._libraries = (*_LIBRARIES, *libraries)
        self.timestep = 0

    def moved(self, timesteps: Mapping[str, int]) -> None:
        """An update with these counts has ended."""
        self.timestep = timesteps.get("num_env_steps_sampled_lifetime", self.timestep)

    def here(self) -> BeginningAt:
        """Let schedules that are made meanwhile begin where the others are."""
        return BeginningAt(self.timestep)

    def named(self) -> dict[str, Scheduler]:
        """Those that change, by the path of attributes and keys to each; one that is held twice has its first path."""
        seen = {id(self._learner)}
        found: dict[str, Scheduler] = {}
        roots: list[tuple[str, object]] = [(k, v) for k, v in vars(self._learner).items() if k not in _ASIDE]
        roots += [(f"optimizers/{registered.name}", registered.schedule) for registered in self._optimizers]
        for module_id, module in self._modules().items():
            parts = module.named_modules() if isinstance(module, nn.Module) else [("", module)]
            roots += [(f"module/{module_id}/{name}", vars(part)) for name, part in parts]
        for name, value in roots:
            for path, scheduler in _walk(value, name, seen, self._libraries):
                if not scheduler.is_constant:
                    found[path] = scheduler
        return found

    def get_state(self) -> dict[str, Any]:
        """``{"timestep", "at": {path: its timestep}}``."""
        return {"timestep": self.timestep, "at": {name: s.timestep for name, s in self.named().items()}}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Move all schedules to where they were; those that the state does not name, to where the learner was."""
        self.timestep = state["timestep"]
        at = state["at"]
        for name, scheduler in self.named().items():
            scheduler.update(at.get(name, self.timestep))
        for registered in self._optimizers:
            registered.follow_schedule()


def _walk(
    value: object, path: str, seen: set[int], libraries: tuple[str, ...], depth: int = 0
) -> Iterator[tuple[str, Scheduler]]:
    if isinstance(value, _LEAVES) or id(value) in seen or depth > _DEPTH:
        return
    seen.add(id(value))
    if isinstance(value, Scheduler):
        yield path, value
        return
    for key, part in _parts(value, libraries):
        yield from _walk(part, f"{path}/{key}", seen, libraries, depth + 1)


def _parts(value: object, libraries: tuple[str, ...]) -> Iterator[tuple[object, object]]:
    """What a container or an object holds, by key or attribute; nothing of what belongs to a library."""
    if isinstance(value, Mapping):
        yield from list(value.items())[:_MANY]
    elif isinstance(value, Sequence):
        yield from enumerate(list(value[:_MANY]))
    elif isinstance(value, (nn.Module, FunctionType, MethodType)):  # the learner's modules are walked from the top
        return
    elif type(value).__module__.partition(".")[0] not in libraries:
        yield from list(getattr(value, "__dict__", {}).items())
        for kind in type(value).__mro__:
            for name in vars(kind).get("__slots__", ()):
                if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                    yield name, getattr(value, name)
