"""What a pass over an env says of it as a whole: its ends, rewards, numbers and speed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit_core.envs.trial.playing import Trace
from rlkit_core.findings import Finding

SLOW_STEP = 0.01
"""Seconds that a step may take on the mean."""
LARGE_REWARD, TINY_REWARD, LARGE_NUMBER = 1000.0, 1e-3, 100.0


def judged(trace: Trace, env: gym.Env[Any, Any], actions: gym.Space[Any]) -> Iterator[Finding]:
    """What there is to say of a pass that went to its end."""
    yield from _of_ends(trace, env)
    yield from _of_rewards(trace)
    yield from _of_speed(trace)
    if trace.largest > LARGE_NUMBER:
        yield Finding(
            "scale",
            "note",
            f"observations have numbers up to {trace.largest:.3g}",
            "model_config={'normalize_observations': True}, or divide them in the env",
        )
    unbounded = isinstance(actions, gym.spaces.Box) and not actions.is_bounded()
    if unbounded:
        yield Finding(
            "action bounds",
            "note",
            f"the actions {actions} have no finite bounds, so that they are not scaled: policies begin with numbers "
            "around -1 to 1",
            "declare the bounds that make sense; actions are then scaled to them",
        )


def _of_ends(trace: Trace, env: gym.Env[Any, Any]) -> Iterator[Finding]:
    fix = "gymnasium.wrappers.TimeLimit(env, 1000), or register(..., max_episode_steps=1000)"
    if time_limit(env) is None and not trace.truncated:
        if not trace.lengths:
            what = f"no episode ended in {len(trace.rewards)} steps, and no time limit is known"
            yield Finding("time limit", "warning", what, fix)
        else:
            what = "there is no time limit: an episode lasts as long as the policy keeps it from ending"
            yield Finding("time limit", "note", what, fix)
    if len(trace.lengths) >= 3 and len(set(trace.lengths)) == 1 and trace.lengths[0] > 1 and not trace.truncated:
        yield Finding(
            "truncation",
            "warning",
            f"all {len(trace.lengths)} episodes were terminated after {trace.lengths[0]} steps, whatever was done: "
            "that looks like a limit of time",
            "return truncated=True for a limit of time: what would have come after it then counts",
        )


def _of_rewards(trace: Trace) -> Iterator[Finding]:
    rewards, larger = np.abs(trace.rewards), "multiply them in the env, or gymnasium.wrappers.NormalizeReward(env)"
    if not len(rewards) or not np.isfinite(rewards).all():
        return
    largest = float(rewards.max())
    if largest == 0.0:
        what = f"every reward was 0 in {len(rewards)} steps of random actions"
        fix = "see that step() returns it; exploration may not find it: reward progress, or begin nearer to the goal"
        yield Finding("rewards", "warning", what, fix)
    elif largest > LARGE_REWARD:
        what = f"rewards are as large as {largest:.3g}: values and their losses grow with them"
        yield Finding("rewards", "warning", what, "divide them in the env, or gymnasium.wrappers.NormalizeReward(env)")
    elif largest < TINY_REWARD:
        what = f"no reward was larger than {largest:.3g}: beside the entropy they hardly count"
        yield Finding("rewards", "warning", what, larger)
    elif len(trace.lengths) >= 3 and len(set(trace.rewards)) == 1 and len(set(trace.lengths)) == 1:
        what = "every reward and every episode's length was the same, whatever was done: there is nothing to learn"
        yield Finding("rewards", "warning", what, "let rewards depend on what is done")


def _of_speed(trace: Trace) -> Iterator[Finding]:
    steps = len(trace.rewards)
    mean = trace.step_seconds / max(1, steps)
    if mean > SLOW_STEP:
        what = f"a step takes {mean * 1000:.3g} ms on the mean: a million steps take {mean * 1e6 / 3600:.1f} hours"
        fix = "profile step() (no rendering, logging or files in it); num_env_runners=N or "
        yield Finding("speed", "warning", what, fix + "gym_env_vectorize_mode='async' step several at once")
    if trace.resets and trace.reset_seconds > max(1.0, trace.step_seconds):
        each = trace.reset_seconds / trace.resets
        what = f"resets take more time than steps do, {each * 1000:.3g} ms each"
        yield Finding("speed", "warning", what, "debugging(seed_resets=False), if it is seeding that is slow")


def time_limit(env: object) -> int | None:
    """Steps after which an env, or a wrapper of it, truncates its episodes; None where none is known."""
    spec = getattr(env, "spec", None)
    limit = getattr(spec, "max_episode_steps", None)
    while limit is None and isinstance(env, gym.Wrapper):
        limit = getattr(env, "_max_episode_steps", None) if isinstance(env, gym.wrappers.TimeLimit) else None
        env = env.env
    return limit
