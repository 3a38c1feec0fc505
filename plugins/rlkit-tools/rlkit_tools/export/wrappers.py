"""What stands between the env and what a policy sees: what a graph can hold of it, and what whoever acts owes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional as F

Fold = Callable[[Any], Any]
"""What a wrapper does to observations, on tensors ``(B, ...)`` in their structure."""

#: gymnasium's wrappers that leave observations and actions alone.
NOTHING_OWED = {"OrderEnforcing", "PassiveEnvChecker", "TimeLimit", "RecordEpisodeStatistics", "Autoreset"}


class Tap(gym.Wrapper[Any, Any, Any, Any]):
    """Remembers the observation that was seen here last."""

    seen: Any = None

    def reset(self, **kwargs: Any) -> Any:
        """Begin an episode."""
        self.seen, info = self.env.reset(**kwargs)
        return self.seen, info

    def step(self, action: Any) -> Any:
        """Take a step."""
        self.seen, *rest = self.env.step(action)
        return self.seen, *rest


def fold(env: gym.Env[Any, Any]) -> tuple[Tap | None, list[Fold]]:
    """The outermost wrappers whose observation is a simple function of one observation, as functions, innermost first.

    Args:
        env: is changed: a :class:`Tap` comes below the innermost of those wrappers.

    Returns:
        The tap, whose env gives what the first function takes; None where no wrapper is of that kind.
    """
    found: list[Fold] = []
    innermost, outer = None, env
    while isinstance(outer, gym.Wrapper):
        make = _FOLDED.get(type(outer).__name__) if type(outer).__module__.startswith("gymnasium.") else None
        function = None if make is None else make(outer.env.observation_space, outer.observation_space)
        if function is not None:
            found.insert(0, function)
            innermost = outer
        elif not _is_idle(outer):
            break
        outer = outer.env
    if innermost is None:
        return None, []
    tap = innermost.env = Tap(innermost.env)
    return tap, found


def wrappers_owed(env: gym.Env[Any, Any]) -> list[dict[str, Any]]:
    """The wrappers, innermost first, between the bare env and this one: whoever acts applies them."""
    spec = getattr(env, "spec", None)  # of an env of several agents there may be none
    settings: Mapping[str, Any] = {}
    if spec is not None:
        settings = {one.name: one.kwargs for one in spec.additional_wrappers}
    found = []
    while isinstance(env, gym.Wrapper):
        name, module = type(env).__name__, type(env).__module__
        if not _is_idle(env):
            kwargs = {key: _readable(value) for key, value in (settings.get(name) or {}).items()}
            found.append({"wrapper": f"{module}:{type(env).__qualname__}", "settings": kwargs})
        env = env.env
    return found[::-1]


def _is_idle(env: gym.Env[Any, Any]) -> bool:
    return type(env).__name__ in NOTHING_OWED and type(env).__module__.startswith("gymnasium.")


def _readable(value: object) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str | list) else repr(value)


def _flatten(space: spaces.Space[Any], flat: spaces.Space[Any]) -> Fold | None:
    if not _flattens(space) or flat.dtype is None:
        return None
    return lambda obs: torch.cat(_parts(space, obs), -1).to(_torch(flat.dtype))


def _flattens(space: spaces.Space[Any]) -> bool:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return all(map(_flattens, space.values() if isinstance(space, spaces.Dict) else space))
    return isinstance(space, spaces.Box | spaces.MultiBinary | spaces.Discrete)


def _parts(space: Any, obs: Any) -> list[Tensor]:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        inside = space.items() if isinstance(space, spaces.Dict) else enumerate(space)
        return [part for key, one in inside for part in _parts(one, obs[key])]
    if isinstance(space, spaces.Discrete):
        return [F.one_hot(obs.long() - int(space.start), int(space.n)).double()]
    return [obs.flatten(1).double()]


def _grayscale(space: spaces.Space[Any], gray: spaces.Space[Any]) -> Fold | None:
    keep = gray.shape is not None and len(gray.shape) == 3

    def function(obs: Tensor) -> Tensor:
        red, green, blue = obs.double().unbind(-1)
        seen = (red * 0.2125 + green * 0.7154 + blue * 0.0721).to(torch.uint8)
        return seen[..., None] if keep else seen

    return function


def _rescale(space: Any, scaled: Any) -> Fold | None:
    if not (space.is_bounded() and scaled.is_bounded()):
        return None
    low, high = scaled.low.astype(np.float64), scaled.high.astype(np.float64)
    factor = torch.from_numpy((high - low) / (space.high.astype(np.float64) - space.low))
    shift = torch.from_numpy(low) - factor * torch.from_numpy(space.low.astype(np.float64))
    return lambda obs: (obs.double() * factor + shift).to(_torch(scaled.dtype))


def _reshape(space: spaces.Space[Any], reshaped: Any) -> Fold | None:
    return lambda obs: obs.reshape(-1, *reshaped.shape)


def _dtype(space: spaces.Space[Any], cast: Any) -> Fold | None:
    return lambda obs: obs.to(_torch(cast.dtype))


def _torch(dtype: Any) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype)).dtype


_FOLDED: dict[str, Callable[[Any, Any], Fold | None]] = {
    "DtypeObservation": _dtype,
    "FlattenObservation": _flatten,
    "GrayscaleObservation": _grayscale,
    "RescaleObservation": _rescale,
    "ReshapeObservation": _reshape,
}
