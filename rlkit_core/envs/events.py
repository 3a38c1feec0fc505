"""What runners tell of what happened: episodes as arrays, once per sample, and envs as they are made."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from rlkit_core.errors import ConfigError, EnvError
from rlkit_core.execution.foreign_code import dumps
from rlkit_core.plugins.guard import in_use

if TYPE_CHECKING:
    from rlkit_core.data.rollout import Rollout

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Objects = NDArray[np.object_]

NO_NUMBERS, NO_INDICES, NO_OBJECTS = np.empty(0), np.empty(0, np.int64), np.empty(0, object)


@frozen(eq=False)
class EpisodeArrays:
    """Episodes of agents, one row each, in the order in which they ended (or began).

    Attributes:
        env: ``[E]``, which env of its runner.
        agent: ``[E]``, the agent's id; ``"default_agent"`` in a single-agent env.
        module: ``[E]``, id of the module that acted.
        return_: ``[E]`` float64, sum of the rewards; 0 where the episode has only begun.
        length: ``[E]``, the agent's own steps; 0 where the episode has only begun.
        worker_index: ``[E]``, the runner; 0 is the one in the driver.
        info: ``{metric: [E] float64}``, the values in the last ``info`` of the episode, as ``reporting(info_metrics=)``
            names them; NaN where that had none.
    """

    env: Integers = field(default=NO_INDICES)
    agent: Objects = field(default=NO_OBJECTS)
    module: Objects = field(default=NO_OBJECTS)
    return_: Floats = field(default=NO_NUMBERS)
    length: Integers = field(default=NO_INDICES)
    worker_index: Integers = field(default=NO_INDICES)
    info: Mapping[str, Floats] = field(factory=dict)

    @classmethod
    def of_one(
        cls,
        env: Integers,
        *,
        agent: str,
        module: str,
        worker_index: int,
        returns: Floats | None = None,
        lengths: Integers | None = None,
        infos: Sequence[Mapping[str, float]] = (),
    ) -> EpisodeArrays:
        """Episodes of one agent and module of one runner.

        Args:
            env: ``[E]``.
            agent, module, worker_index: the same for all.
            returns, lengths: ``[E]``; 0 unless given.
            infos: the metrics of each; empty where there are none at all.
        """
        count = len(env)
        if not count:
            return NO_EPISODES
        return cls(
            env=env,
            agent=_repeated(agent, count),
            module=_repeated(module, count),
            return_=np.zeros(count) if returns is None else returns,
            length=np.zeros(count, np.int64) if lengths is None else lengths,
            worker_index=_repeated(worker_index, count),
            info=info_arrays(infos) if infos else {},
        )

    @classmethod
    def concat(cls, parts: Sequence[EpisodeArrays]) -> EpisodeArrays:
        """All rows of several, one after the other."""
        parts = [part for part in parts if len(part)]
        if len(parts) < 2:
            return parts[0] if parts else NO_EPISODES
        names = dict.fromkeys(name for part in parts for name in part.info)
        info = {
            name: np.concatenate([part.info.get(name, np.full(len(part), np.nan)) for part in parts]) for name in names
        }
        columns = [one.name for one in attrs.fields(cls) if one.name != "info"]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in columns}, info=info)

    def begun(self) -> EpisodeArrays:
        """The same episodes as they were when they began: without returns, lengths and metrics."""
        if not len(self):
            return self
        return attrs.evolve(self, return_=np.zeros_like(self.return_), length=np.zeros_like(self.length), info={})

    def __len__(self) -> int:
        return len(self.env)

    def __reduce__(self) -> tuple[Any, ...]:
        if not len(self):  # as most samples have it: next to nothing to send
            return _no_episodes, ()
        return EpisodeArrays, tuple(getattr(self, one.name) for one in attrs.fields(type(self)))


@functools.lru_cache(maxsize=256)
def _repeated(value: str | int, count: int) -> NDArray[Any]:
    """``[count]``, not to be written to: rollouts with few episodes ask for the same again and again."""
    array = np.full(count, value, np.int64 if isinstance(value, int) else object)
    array.flags.writeable = False
    return array


NO_EPISODES = EpisodeArrays()


def _no_episodes() -> EpisodeArrays:
    return NO_EPISODES


@frozen(eq=False)
class EpisodeReport:
    """What a runner tells of episodes along with a sample.

    Attributes:
        worker_index: the runner.
        returns, lengths: of the envs' episodes that ended: sums over agents, and env steps.
        ended: the same by agent, in a single-agent env row for row.
        began: the agents' episodes that began.
        cut: numbers of the episodes that were to be played and did not end in time; nothing else is told of them.
        cut_steps: env steps that were taken in them.
        failed: how many of them were cut because their env failed.
        env_restarts: how many envs were made anew since the report before.
    """

    worker_index: int = 0
    returns: list[float] = field(factory=list)
    lengths: list[int] = field(factory=list)
    ended: EpisodeArrays = NO_EPISODES
    began: EpisodeArrays = NO_EPISODES
    cut: Sequence[int] = ()
    cut_steps: int = 0
    env_restarts: int = 0
    failed: int = 0

    def of_whole_episodes(self) -> EpisodeReport:
        """The same where each episode that began has ended too, and what began after it is no one's experience."""
        return attrs.evolve(self, began=self.ended.begun())

    @classmethod
    def concat(cls, worker_index: int, parts: Sequence[EpisodeReport]) -> EpisodeReport:
        """What a runner tells of several samples, as one."""
        if len(parts) < 2:
            return parts[0] if parts else cls(worker_index)
        return cls(
            worker_index,
            [value for part in parts for value in part.returns],
            [value for part in parts for value in part.lengths],
            EpisodeArrays.concat([part.ended for part in parts]),
            EpisodeArrays.concat([part.began for part in parts]),
            [number for part in parts for number in part.cut],
            sum(part.cut_steps for part in parts),
            sum(part.env_restarts for part in parts),
            sum(part.failed for part in parts),
        )


# -- metrics from infos -----------------------------------------------------------------------------------------------


def metrics_in(info: object, names: Sequence[str], env: str) -> dict[str, float]:
    """The metrics that an episode's last ``info`` has; None counts as absent.

    Args:
        info: what the env returned.
        names: the metrics.
        env: what messages call the env.

    Raises:
        EnvError: one is no number.
    """
    found: dict[str, float] = {}
    if isinstance(info, Mapping):
        for name in names:
            value = info.get(name)
            if value is not None:
                found[name] = _as_float(value, name, env)
    return found


def metrics_in_rows(infos: Mapping[str, Any], names: Sequence[str], n: int, env: str) -> dict[str, float]:
    """The same of env n in the infos of gymnasium's vector envs: ``{name: [N], "_name": [N] bool}``."""
    final = infos.get("final_info")
    if final is not None:
        if not isinstance(final, Mapping):  # an array of dicts, as gymnasium had it before 1.0
            return metrics_in(final[n], names, env)
        infos = final
    there = [name for name in names if name in infos and (f"_{name}" not in infos or infos[f"_{name}"][n])]
    return metrics_in({name: infos[name][n] for name in there}, there, env)


def info_arrays(infos: Sequence[Mapping[str, float]]) -> dict[str, Floats]:
    """``{metric: [E]}`` from the metrics of E episodes; NaN where an episode has none."""
    names = dict.fromkeys(name for info in infos for name in info)
    return {name: np.array([info.get(name, np.nan) for info in infos]) for name in names}


def _as_float(value: object, name: str, env: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise EnvError(
            f"{env}: info[{name!r}] at the end of an episode is {value!r}, expected a number; leave it out of "
            "reporting(info_metrics=[...])"
        ) from None


# -- calling what wants to know ---------------------------------------------------------------------------------------


@frozen(eq=False)
class Callback:
    """A function that wants to know of an event, and the plugin that supplies it.

    Attributes:
        event: such as ``"on_environment_created"``.
        function: takes any of the event's keywords.
        distribution: the plugin's; None where a config holds the function itself.
        who: plugin, callbacks and event, as messages name them.
    """

    event: str
    function: Callable[..., object]
    distribution: str | None = None
    who: str = ""

    def __call__(self, kwargs: Mapping[str, object], plugin_seconds: dict[str, float]) -> object:
        """Call it and return what it returns; a plugin's seconds are added, its error says whose it is."""
        if self.distribution is None:
            return call_event(self.event, self.function, kwargs)
        start = time.perf_counter()
        try:
            with in_use(self.who):
                return call_event(self.event, self.function, kwargs)
        finally:
            spent = time.perf_counter() - start
            plugin_seconds[self.distribution] = plugin_seconds.get(self.distribution, 0.0) + spent


@frozen(eq=False)
class EnvCreated:
    """Tells callbacks of ``on_environment_created`` that an env was made; it travels to runners elsewhere.

    Attributes:
        callbacks: what is told.
        plugin_seconds: where the time that plugins take is added, by distribution; a copy in runners elsewhere.
    """

    callbacks: tuple[Callback, ...]
    plugin_seconds: dict[str, float] = field(factory=dict)

    def __call__(self, env: object, env_config: Mapping[str, Any] | None, worker_index: int) -> None:
        """An env was made, in this process."""
        settings = dict(env_config or {})
        kwargs = {"env": env, "env_config": settings, "env_context": settings, "worker_index": worker_index}
        for callback in self.callbacks:
            callback(kwargs, self.plugin_seconds)

    def in_runner(self, env_config: Mapping[str, Any] | None, worker_index: int) -> Callable[[object], None]:
        """A function that takes each env that one runner makes."""
        return lambda env: self(env, env_config, worker_index)

    def check_travels(self) -> None:
        """Make sure that the functions can be sent to runners in other processes.

        Raises:
            ConfigError: one cannot.
        """
        for callback in self.callbacks:
            try:
                dumps(callback)
            except Exception as error:
                raise ConfigError(
                    f"callbacks(on_environment_created={name_of(callback.function)}) cannot be sent to the runners' "
                    f"processes, where envs are made ({error}); let it hold nothing that belongs to this process "
                    "(files, locks, the algorithm), or use num_env_runners=0"
                ) from error


@frozen(eq=False)
class RunnerEvents:
    """What a group of runners tells, and whom; nobody where None.

    Attributes:
        env_created: is told of each env that is made, where it is made.
        sampled: called in the driver with what a runner tells of episodes, the env steps that it took, and its
            rollouts by module (none where episodes are only played); once for each runner's sample.
    """

    env_created: EnvCreated | None = None
    sampled: Callable[[EpisodeReport, int, Mapping[str, Rollout]], None] | None = None


def call_event(event: str, function: Callable[..., object], kwargs: Mapping[str, object]) -> object:
    """Call a callback with those of ``kwargs`` that it takes; what it raises names the event and the function."""
    try:
        return function(**accepted(function, kwargs))
    except Exception as error:
        _add_note(error, f"raised by the callback {event}={name_of(function)}")
        raise


def accepted(function: Callable[..., object], kwargs: Mapping[str, object]) -> dict[str, object]:
    """Those of ``kwargs`` that the function takes; all of them if it cannot be inspected."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return dict(kwargs)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(kwargs)
    names = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return {name: value for name, value in kwargs.items() if name in names}


def name_of(function: object) -> str:
    """What messages call a callback."""
    return getattr(function, "__qualname__", None) or repr(function)


def _add_note(error: BaseException, note: str) -> None:
    """``error.add_note`` where Python has it; the first argument of the message otherwise."""
    if hasattr(error, "add_note"):
        error.add_note(note)
    elif error.args and isinstance(error.args[0], str):
        error.args = (f"{error.args[0]} ({note})", *error.args[1:])
