"""Calling what makes an env with its settings, and with its place among the envs of a run where it asks for that."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from attrs import asdict, frozen

_CONFIG_NAMES = ("config", "env_config", "ctx")


@frozen
class EnvIndex:
    """An env's place: what makes it is told by its name where it has such a parameter.

    Attributes:
        worker_index: of the runner; 0 is the one in the driver.
        vector_index: which of the runner's envs it is.
        num_envs: how many envs it is to step, where it is a vector env.
    """

    worker_index: int = 0
    vector_index: int = 0
    num_envs: int = 1


class EnvContext(dict[str, Any]):
    """``env_config``, for what takes it as one dict, with the attributes ``worker_index`` and ``vector_index``."""

    def __init__(self, settings: Mapping[str, Any], index: EnvIndex) -> None:
        super().__init__(settings)
        self.worker_index, self.vector_index = index.worker_index, index.vector_index


def called(creator: Callable[..., Any], settings: Mapping[str, Any], index: EnvIndex | None = None) -> Any:
    """Call a class or function with settings: see :func:`~rlkit_core.envs.make.make_env`.

    Args:
        creator: what makes an env.
        settings: ``env_config``.
        index: its place; that of the first env unless given.
    """
    index = index or EnvIndex()
    asked = asked_for(creator, settings, index)
    if takes_config_dict(creator, settings):
        return creator(EnvContext(settings, index), **asked)
    return creator(**asked, **settings)


def asked_for(creator: Callable[..., Any], settings: Mapping[str, Any], index: EnvIndex) -> dict[str, int]:
    """What of its place a class or function asks for by name, and settings do not say."""
    parameters = parameters_of(creator)
    return {name: value for name, value in asdict(index).items() if name in parameters and name not in settings}


def takes_config_dict(factory: Callable[..., Any], settings: Mapping[str, Any]) -> bool:
    """Whether ``factory`` wants the whole ``env_config`` as one argument.

    It does where its first parameter is named for that, or where it has exactly one required parameter, unless
    ``settings`` have a value for that very parameter.
    """
    positional = [
        parameter
        for parameter in parameters_of(factory).values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.name not in asdict(EnvIndex())
    ]
    required = [parameter for parameter in positional if parameter.default is parameter.empty]
    if positional and positional[0].name in _CONFIG_NAMES:
        return positional[0].name not in settings
    return len(required) == 1 and required[0].name not in settings


def parameters_of(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Parameters of a class or function by name; none where Python does not know them."""
    try:
        return inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return {}
