"""The events that ``config.callbacks(...)`` takes functions for: their names, what each gives, and who fits them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, Final

from attrs import frozen

from rlkit_core.errors import did_you_mean
from rlkit_core.settings import setting


@frozen
class Event:
    """One event.

    Attributes:
        keywords: the arguments that a function may take, by name.
        when: when it is called.
    """

    keywords: tuple[str, ...]
    when: str

    @property
    def help(self) -> str:
        """One line for people."""
        return f"Called with {', '.join(f'{name}=' for name in self.keywords)} {self.when}."


_EPISODES = ("algorithm", "episodes", "env_runner_group", "is_evaluation")
_SAMPLE = "algorithm env_runner_group worker_index num_env_steps num_episodes samples is_evaluation"

CALLBACK_EVENTS: Final[dict[str, Event]] = {
    "on_algorithm_init": Event(("algorithm",), "once it is built"),
    "on_train_result": Event(("algorithm", "result"), "after each train()"),
    "on_evaluate_start": Event(("algorithm",), "before each evaluation"),
    "on_evaluate_end": Event(("algorithm", "evaluation_metrics"), "after each evaluation"),
    "on_env_runners_recreated": Event(
        ("algorithm", "env_runner_group", "env_runner_indices", "is_evaluation"),
        "after runners that had died were started again",
    ),
    "on_checkpoint_saved": Event(("algorithm", "path"), "after each save"),
    "on_checkpoint_loaded": Event(("algorithm", "path"), "after each restore"),
    "on_environment_created": Event(
        ("env", "env_config", "env_context", "worker_index"), "for each env that is made, in the process that makes it"
    ),
    "on_episode_created": Event(_EPISODES, "before on_episode_start, with the same"),
    "on_episode_start": Event(_EPISODES, "with the episodes that began in a sample, as arrays"),
    "on_episode_end": Event(_EPISODES, "with the episodes that ended in a sample, as arrays"),
    "on_sample_end": Event(tuple(_SAMPLE.split()), "after each sample of a runner"),
}
"""Events of ``config.callbacks(...)``: at most once for each sample of a runner."""

PER_STEP: Final = (
    "on_episode_step is never called, since nothing of rlkit's is called at each step: wrap the env instead "
    "(a gymnasium.Wrapper sees every step), and let it leave what is of interest in info for "
    "reporting(info_metrics=[...])"
)

_OF_RLLIB: Final = {
    "episode": "episodes come as arrays, many at once: take episodes=",
    "metrics_logger": "add to result= in on_train_result, or name numbers in info by reporting(info_metrics=[...])",
    "env_runner": "functions are called in the driver: take worker_index= or env_runner_group=",
    "env_index": "take episodes= and read episodes.env",
    "rl_module": "take algorithm= and call algorithm.get_module(module_id)",
}


def function_problem(event: str, function: Callable[..., object]) -> str | None:
    """Say why a function cannot be called for an event: it needs an argument that is never given. None if it can."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    known = CALLBACK_EVENTS[event].keywords
    for one in parameters:
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) or one.default is not one.empty:
            continue
        if one.name not in known or one.kind is one.POSITIONAL_ONLY:
            name = getattr(function, "__qualname__", None) or repr(function)
            hint = _OF_RLLIB.get(one.name) or f"it may take {', '.join(known)}, by name"
            return f"{event}={name} needs an argument {one.name!r}, which is never given; {hint}"
    return None


def functions_for(event: str) -> Callable[[Any], list[Callable[..., Any]]]:
    """A converter to a list of functions, each of which fits ``event``."""

    def convert(value: Callable[..., Any] | Sequence[Callable[..., Any]] | None) -> list[Callable[..., Any]]:
        if value is None:
            return []
        items: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
        for item in items:
            if not callable(item):
                raise ValueError(f"expected a function, got {type(item).__name__}")
            problem = function_problem(event, item)
            if problem:
                raise ValueError(problem)
        return items

    return convert


def of_event(name: str) -> Any:
    """Declare the setting that holds the functions for an event."""
    return setting([], section="callbacks", help=CALLBACK_EVENTS[name].help, converter=functions_for(name))


def callbacks_classes(value: object) -> list[Any]:
    """A class or instance (or several) with ``on_...`` methods; methods of events that do not exist are refused."""
    if value is None:
        return []
    items = list(value) if isinstance(value, list | tuple) else [value]
    for item in items:
        problem = object_problem(item)
        if problem:
            raise ValueError(problem)
    return items


def object_problem(item: object) -> str | None:
    """Say why an object or class cannot hear of events: it has methods for others, or none. None if it can."""
    events = [name for name in dir(item) if name.startswith("on_")]
    if "on_episode_step" in events:
        return PER_STEP
    for event in events:
        if event not in CALLBACK_EVENTS:
            near = did_you_mean(event, CALLBACK_EVENTS)
            return f"{event} is never called.{near} There are {', '.join(CALLBACK_EVENTS)}"
    if not events:
        return f"{item!r} has none of {', '.join(CALLBACK_EVENTS)}"
    for event in events:
        method = inspect.getattr_static(item, event) if isinstance(item, type) else getattr(item, event)
        if isinstance(item, type) and isinstance(method, FunctionType):
            method = method.__get__(item)  # as an instance has it, without its first argument
        elif isinstance(item, type):
            method = getattr(item, event)
        problem = function_problem(event, method) if callable(method) else f"{event} of {item!r} is no function"
        if problem:
            return problem
    return None
