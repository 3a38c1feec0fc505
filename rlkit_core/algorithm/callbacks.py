"""Calling what wants to know: the user's callbacks, and the observers of plugins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from rlkit_core.algorithm.config.config import AlgorithmConfig
from rlkit_core.algorithm.config.events import CALLBACK_EVENTS, object_problem
from rlkit_core.algorithm.results import ResultDict
from rlkit_core.algorithm.run_view import RunView, read_only
from rlkit_core.data.rollout import Rollout
from rlkit_core.envs.events import Callback, EnvCreated, EpisodeReport, RunnerEvents, name_of
from rlkit_core.errors import PluginError
from rlkit_core.plugins.guard import Origin, in_use
from rlkit_core.plugins.host import PluginHost, default_host
from rlkit_core.result_keys import TIMERS

if TYPE_CHECKING:
    from rlkit_core.envs import EnvRunnerGroup

PLUGINS = "plugins"
"""Where the timers of a result hold the seconds that plugins took, by distribution."""

_EPISODE_EVENTS = ("on_episode_created", "on_episode_start", "on_episode_end")


class Algorithm(Protocol):
    """An ``Algorithm``, as it is known here: what it was built from, how many times ``train()`` has returned."""

    config: AlgorithmConfig
    iteration: int


class RLlibCallback:
    """Base of callback objects, for those who write them as RLlib's; any class with such methods will do.

    Define any of the events of ``config.callbacks(...)`` (``on_train_result``, ``on_episode_end``, ...) as methods that
    take any of the event's arguments by name, and give the class or an object of it to ``config.callbacks(...)``.
    A method that returns False ends training.
    """


DefaultCallbacks = RLlibCallback
"""The older name of :class:`RLlibCallback`."""


class Callbacks:
    """Calls the functions, objects and plugins that ``config.callbacks(...)`` names, and the observer hooks of plugins.

    A function is called with the keyword arguments that it takes. What it raises propagates as the type it has, with a
    note that names the event and the function, and the plugin if a name brought it. What a plugin's observer raises is
    logged by the host and never ends a run; observers see a :class:`RunView` and a result that they cannot change.

    Args:
        config: an ``AlgorithmConfig``.
        host: the plugin host, whose observers are told; None tells nobody.

    Attributes:
        plugin_seconds: what plugins that watch or are called back have taken since the last result, by distribution.

    Raises:
        PluginNotFoundError: nothing installed supplies callbacks of a name.
        PluginError: what supplies them cannot be imported, made or called.
    """

    def __init__(self, config: AlgorithmConfig, host: PluginHost | None = None) -> None:
        self._host = host
        self.plugin_seconds: dict[str, float] = {}
        objects = [item() if isinstance(item, type) else item for item in config.callbacks_class]
        named = [(name, _of_plugin(name, host or default_host())) for name in config.plugins]
        objects += [item for _, (item, _) in named]
        suppliers = {id(item): (name, origin) for name, (item, origin) in named}
        self._callbacks: dict[str, list[Callback]] = {
            event: [_method(item, event, suppliers.get(id(item))) for item in objects if hasattr(item, event)]
            + [Callback(event, function) for function in config[event]]
            for event in CALLBACK_EVENTS
        }
        self._stopped_by: str | None = None

    # -- ending training ----------------------------------------------------------------------------------------------

    @property
    def stopped_by(self) -> str | None:
        """The callback that has asked to end training by returning False (``"on_train_result=name"``), or None."""
        return self._stopped_by

    def take_stop(self) -> str | None:
        """:attr:`stopped_by`, and forget it: who goes on training does so."""
        asked, self._stopped_by = self._stopped_by, None
        return asked

    # -- events -------------------------------------------------------------------------------------------------------

    def on_algorithm_init(self, algorithm: Algorithm) -> None:
        """The algorithm is built."""
        self._call("on_algorithm_init", algorithm=algorithm)
        self._notify("rlkit_algorithm_built", algorithm)

    def on_train_result(self, algorithm: Algorithm, result: ResultDict) -> None:
        """One ``train()`` has ended; functions may add to ``result``, plugins get to see it."""
        self._call("on_train_result", algorithm=algorithm, result=result)
        asked = self.take_stop()
        if asked is not None:
            result["stopped_by"] = asked
        self._notify("rlkit_train_result", algorithm, result=result)
        if self.plugin_seconds:
            cast(dict[str, Any], result).setdefault(TIMERS, {})[PLUGINS] = dict(self.plugin_seconds)
            self.plugin_seconds.clear()

    def on_evaluate_start(self, algorithm: Algorithm) -> None:
        """An evaluation begins."""
        self._call("on_evaluate_start", algorithm=algorithm)

    def on_evaluate_end(self, algorithm: Algorithm, evaluation_metrics: Mapping[str, Any]) -> None:
        """An evaluation has ended."""
        self._call("on_evaluate_end", algorithm=algorithm, evaluation_metrics=evaluation_metrics)

    def on_env_runners_recreated(
        self, algorithm: Algorithm, group: EnvRunnerGroup, *, is_evaluation: bool = False
    ) -> None:
        """Some runners of a group may have died and been started again since the last call."""
        indices = group.take_started_again()
        if indices:
            self._call(
                "on_env_runners_recreated",
                algorithm=algorithm,
                env_runner_group=group,
                env_runner_indices=indices,
                is_evaluation=is_evaluation,
            )

    def on_checkpoint_saved(self, algorithm: Algorithm, path: str | Path) -> None:
        """A checkpoint was written."""
        self._call("on_checkpoint_saved", algorithm=algorithm, path=Path(path))
        self._notify("rlkit_checkpoint_saved", algorithm, path=Path(path))

    def on_checkpoint_loaded(self, algorithm: Algorithm, path: str | Path) -> None:
        """The algorithm was restored."""
        self._call("on_checkpoint_loaded", algorithm=algorithm, path=Path(path))

    def of_runners(
        self, algorithm: Algorithm, group: Callable[[], EnvRunnerGroup | None], *, is_evaluation: bool
    ) -> RunnerEvents:
        """What a group of runners is to tell: nothing that no one wants to know.

        Args:
            algorithm: whose they are.
            group: gives the group, or None while it is being made.
            is_evaluation: whether they evaluate.
        """
        created = tuple(self._callbacks["on_environment_created"])
        wanted = any(self._callbacks[event] for event in (*_EPISODE_EVENTS, "on_sample_end"))

        def sampled(report: EpisodeReport, steps: int, rollouts: Mapping[str, Rollout]) -> None:
            common = {"algorithm": algorithm, "env_runner_group": group(), "is_evaluation": is_evaluation}
            if len(report.began):
                self._call("on_episode_created", episodes=report.began, **common)
                self._call("on_episode_start", episodes=report.began, **common)
            if len(report.ended):
                self._call("on_episode_end", episodes=report.ended, **common)
            self._call(
                "on_sample_end",
                worker_index=report.worker_index,
                num_env_steps=steps,
                num_episodes=len(report.returns),
                samples=rollouts,
                **common,
            )

        return RunnerEvents(EnvCreated(created, self.plugin_seconds) if created else None, sampled if wanted else None)

    def tell(self, callback: Callback, kwargs: Mapping[str, object]) -> object:
        """Call one of them and return what it returns."""
        return callback(kwargs, self.plugin_seconds)

    def _call(self, event: str, **kwargs: object) -> None:
        for callback in self._callbacks[event]:
            returned = self.tell(callback, kwargs)
            if isinstance(returned, bool | np.bool_) and not returned and self._stopped_by is None:
                self._stopped_by = f"{event}={name_of(callback.function)}"

    def _notify(self, hook: str, algorithm: Algorithm, **kwargs: object) -> None:
        if self._host is not None and self._host.is_heard(hook):
            shown = {name: read_only(value) for name, value in kwargs.items()}
            with self._host.watchers.counting(self.plugin_seconds):
                self._host.notify(hook, view=RunView(algorithm), **shown)


def _method(item: object, event: str, supplier: tuple[str, Origin] | None) -> Callback:
    """A method of an object of callbacks, and the plugin that supplies the object by name."""
    function: Callable[..., object] = getattr(item, event)
    if supplier is None:
        return Callback(event, function)
    name, origin = supplier
    who = f"plugin {origin.distribution} {origin.version}, callbacks {name!r}, {event}()"
    return Callback(event, function, origin.distribution, who)


def _of_plugin(name: str, host: PluginHost) -> tuple[object, Origin]:
    """The callbacks that a plugin supplies by that name, made if they are a class, and whose they are."""
    record = host.find_service("callbacks", name)
    target, origin = record.load(), record.origin
    problem = object_problem(target)
    if problem:
        raise PluginError(f"callbacks {name!r}: {problem}")
    with in_use(f"plugin {origin.distribution} {origin.version}, callbacks {name!r}, when they were made"):
        return (target() if isinstance(target, type) else target), origin
