"""What an algorithm tells: metrics of its own, beside those of its parts, and the config that it has by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rlkit_core.from_rllib import SaysInstead
from rlkit_core.learner.metrics import Metrics
from rlkit_core.plugins.discovery import GROUP_ALGORITHMS
from rlkit_core.plugins.host import default_host

if TYPE_CHECKING:
    from rlkit_core.learner import LearnerGroup


class AlgorithmMetrics(Metrics):
    """Metrics that ``training_step()`` and callbacks log, for an iteration's result; and a look at the last one.

    ``algo.metrics.log_value(("my", "ratio"), 0.5)`` is ``result["my"]["ratio"]``.
    """

    last: Mapping[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self.last = {}

    def peek(self, key: str | tuple[str, ...], default: object = None) -> Any:
        """What is logged under ``key`` as of now, else what the last result has there.

        Raises:
            KeyError: nothing is, and no default is given.
        """
        found: Any = self.last
        for name in (key,) if isinstance(key, str) else key:
            found = found.get(name) if isinstance(found, Mapping) else None
        return super().peek(key, default=default if found is None else found)


class Reporting(SaysInstead):
    """The part of an ``Algorithm`` that this module is about.

    Attributes:
        metrics: of its own, and of the last result: ``algo.metrics.peek(("env_runners", "episode_return_mean"))``.
        iteration: how many iterations there were.
    """

    metrics: AlgorithmMetrics
    learner_group: LearnerGroup
    iteration: int

    @classmethod
    def get_default_config(cls) -> Any:
        """A fresh config of this class, with its defaults.

        Raises:
            NotImplementedError: no config class that is known names it as its ``algo_class``.
        """
        for kind in cls.__mro__:
            if Reporting in kind.__bases__:  # Algorithm itself: configs of any kind may name it
                break
            config_class = _config_class(kind)
            if config_class is not None:
                return config_class() if kind is cls else config_class(algo_class=cls)
        raise NotImplementedError(
            f"no config class names {cls.__name__} as its algo_class; override {cls.__name__}.get_default_config()"
        )

    @property
    def training_iteration(self) -> int:
        """The same as :attr:`iteration`."""
        return self.iteration

    def learner_results(self) -> dict[str, Any]:
        """``learners`` of an iteration's result: :attr:`last_learner_results`, unless overridden."""
        return self.last_learner_results

    @property
    def last_learner_results(self) -> dict[str, Any]:
        """What the last update of :attr:`learner_group` returned that returned something; ``{}`` before the first."""
        return self.learner_group.last_results

    @last_learner_results.setter
    def last_learner_results(self, results: dict[str, Any]) -> None:
        self.learner_group.last_results = results

    def extra_results(self) -> dict[str, Any]:
        """Results of an iteration that only this kind of algorithm has (``replay_buffer``, ...), by top-level key."""
        return {}

    def add_to_result(self, result: dict[str, Any]) -> None:
        """Put :meth:`extra_results` and what was logged into an iteration's result, which can be peeked at then."""
        result.update(self.extra_results())
        _put(result, self.metrics.reduce())
        self.metrics.last = result


def _put(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            _put(into[name], value)
        else:
            into[name] = value


def _config_class(kind: type) -> Any:
    """The config class that has an algorithm's class as its own; None if there is none."""
    names = {f"{kind.__module__}:{kind.__qualname__}", kind}
    found = next((one for one in _config_classes() if one.default_algo_class in names), None)
    if found is None:  # its config may not be imported yet
        host, package = default_host(), kind.__module__.partition(".")[0]
        for entry in host.snapshot.entry_points(GROUP_ALGORITHMS):
            if entry.value.partition(".")[0].partition(":")[0] == package:
                host.load_entry_point(entry)
        found = next((one for one in _config_classes() if one.default_algo_class in names), None)
    return found


def _config_classes() -> list[Any]:
    from rlkit_core.algorithm.config.config import AlgorithmConfig

    found: list[Any] = [AlgorithmConfig]
    for one in found:
        found += one.__subclasses__()
    return [one for one in found if "default_algo_class" in vars(one)]
