"""Whether an exported policy acts as the checkpoint does, on what the env shows."""

from __future__ import annotations

import itertools
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch
from attrs import frozen
from torch import nn

from rlkit_core.errors import RLKitError
from rlkit_core.run.policy.policy import Policy
from rlkit_core.spaces import leaves, nested_map
from rlkit_tools.export.wrappers import Tap

TOLERANCE = 1e-5
"""Largest difference of a continuous action, absolute, or relative where it is above 1."""


class ExportError(RLKitError):
    """What cannot be exported, and why."""


@frozen
class Verified:
    """What was compared.

    Attributes:
        observations: how many.
        ties: how many of them the checkpoint itself answers so or so, by a rounding of its weights.
        difference: the largest one of a continuous action.
    """

    observations: int
    ties: int
    difference: float


def verify(
    policy: Policy, exported: Any, env: gym.Env[Any, Any], observations: int, tap: Tap | None = None
) -> Verified:
    """Play an env and compare; the actions that it is given are sampled, so that more of it is seen.

    Args:
        policy: of the checkpoint, which does not explore.
        exported: as the class in ``policy_file.py``.
        env: as the policy takes it.
        observations: how many.
        tap: where the graph takes the observations; from the env itself unless given.

    Raises:
        ExportError: an action differs.
    """
    driver = policy.another(explore=True)
    exact, difference, ties, seen = policy.another(explore=False), 0.0, 0, 0
    for episode in itertools.count():
        observation, _ = env.reset(seed=episode)
        reward, over = 0.0, False
        for one in (driver, exact, exported):
            one.reset()
        while not over:
            before = exact.get_state()
            below = observation if tap is None else tap.seen
            expected, got = exact(observation, reward=reward), exported(below, reward)
            gap = _difference(expected, got)
            if gap <= TOLERANCE:
                difference = max(difference, gap)
            elif _is_tie(exact, before, got, observation, reward):
                ties += 1
                exported.reset()
                exact.reset()
            else:
                raise ExportError(
                    f"the graph acts otherwise than the checkpoint: at observation {seen} of the env the action is "
                    f"{_short(got)}, expected {_short(expected)}; nothing was written"
                )
            seen += 1
            if seen == observations:
                return Verified(seen, ties, difference)
            observation, last, terminated, truncated, _ = env.step(driver(observation, reward=reward))
            reward, over = float(last), terminated or truncated
    raise AssertionError("unreachable")


def _difference(expected: Any, got: Any) -> float:
    """The largest difference; infinite where a choice, a shape or a dtype differs."""

    def of(a: object, b: object) -> float:
        x, y = np.asarray(a), np.asarray(b)
        if x.shape != y.shape or x.dtype != y.dtype:
            return np.inf
        if x.dtype.kind != "f":
            return 0.0 if np.array_equal(x, y) else np.inf
        return float(np.max(np.abs(x - y) / np.maximum(1.0, np.abs(x)), initial=0.0))

    return float(max(leaves(nested_map(of, expected, got))))


def _is_tie(policy: Policy, before: Any, got: Any, observation: object, reward: float) -> bool:
    """Whether the checkpoint would act so, too, were its weights rounded otherwise."""
    generator, module = torch.Generator().manual_seed(0), cast(nn.Module, policy.module)
    weights = [weight.detach() for weight in module.parameters()]
    kept = [weight.clone() for weight in weights]
    try:
        for _ in range(8):
            for weight, was in zip(weights, kept, strict=True):
                weight.copy_(was * (1.0 + 1e-6 * torch.randn(was.shape, generator=generator)))
            nudged = policy.another()
            nudged.set_state(before)
            if _difference(nudged(observation, reward=reward), got) <= TOLERANCE:
                return True
    finally:
        for weight, was in zip(weights, kept, strict=True):
            weight.copy_(was)
    return False


def _short(action: object) -> str:
    return str(nested_map(lambda x: np.asarray(x).tolist(), action))[:200]
