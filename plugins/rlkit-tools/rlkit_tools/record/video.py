"""Playing episodes into a video file."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rlkit_core.envs.naming.kinds import check_single
from rlkit_core.errors import EnvError, RLKitError
from rlkit_core.run.policy.policy import Policy

KIND = ".mp4"
MOST_STEPS = 10_000
"""After so many steps an episode is cut: an env need not have an end."""

Frame = NDArray[np.uint8]


class RecordError(RLKitError):
    """What cannot be recorded, and why."""


def rendering(make: Callable[..., gym.Env[Any, Any]]) -> gym.Env[Any, Any]:
    """An env that gives pictures; one was seen.

    Args:
        make: makes it, with ``render_mode="rgb_array"``.

    Raises:
        RecordError: it gives none, or has several agents.
    """
    try:
        env = make(render_mode="rgb_array")
        check_single(env, "a video shows")
    except EnvError as error:
        raise RecordError(f"the env cannot be recorded with render_mode='rgb_array': {error}") from error
    try:
        env.reset(seed=0)
        frame_of(env)
    except BaseException:
        env.close()
        raise
    return env


def frame_of(env: gym.Env[Any, Any]) -> Frame:
    """What an env shows, ``(height, width, 3)`` of uint8, both even, as codecs want it.

    Raises:
        RecordError: it shows no such picture; the message has the render modes that it names.
    """
    try:
        seen: Any = env.render()
    except Exception as error:  # whatever an env without a screen raises
        raise RecordError(f"the env cannot be recorded: its render() raised {type(error).__name__}: {error}") from error
    if not (isinstance(seen, np.ndarray) and seen.ndim == 3 and seen.shape[-1] == 3 and seen.dtype == np.uint8):
        what = f"{seen.dtype} {seen.shape}" if isinstance(seen, np.ndarray) else type(seen).__name__
        modes = env.metadata.get("render_modes") or "none"
        raise RecordError(
            f"the env cannot be recorded: its render() gives {what}, expected an array (height, width, 3) of uint8; "
            f"its render modes are {modes}, and 'rgb_array' is needed"
        )
    return np.ascontiguousarray(seen[: seen.shape[0] // 2 * 2, : seen.shape[1] // 2 * 2])


def record(policy: Policy, env: gym.Env[Any, Any], path: Path, *, episodes: int = 1, seed: int = 0) -> list[float]:
    """Play episodes into a video; a file of that name is replaced once the new one is whole.

    Args:
        policy: acts.
        env: of :func:`rendering`.
        path: ends in ``.mp4``.
        episodes: how many, one after the other.
        seed: of the first episode; the next ones have the numbers after it.

    Returns:
        The return of each; NaN where it was cut after :data:`MOST_STEPS`.

    Raises:
        RecordError: the name ends otherwise, imageio-ffmpeg is missing, or pictures fail.
    """
    check_recorder()
    import imageio_ffmpeg

    if path.suffix != KIND:
        raise RecordError(f"{path}: the name has to end in {KIND}")
    returns: list[float] = []
    frames = _frames(policy, env, range(seed, seed + episodes), returns)
    first = next(frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    part, pace = path.with_name(f".{os.getpid()}-{path.name}"), float(env.metadata.get("render_fps") or 30)
    size = (first.shape[1], first.shape[0])
    writer = imageio_ffmpeg.write_frames(str(part), size, fps=pace, macro_block_size=2, ffmpeg_log_level="error")
    try:
        with contextlib.closing(writer):
            writer.send(None)
            for frame in itertools.chain([first], frames):
                writer.send(frame)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return returns


def check_recorder() -> None:
    """Refuse where nothing writes videos.

    Raises:
        RecordError: imageio-ffmpeg is not installed.
    """
    try:
        import imageio_ffmpeg  # noqa: F401
    except ImportError as error:
        raise RecordError("videos need imageio-ffmpeg: pip install 'rlkit-tools[video]'") from error


def _frames(policy: Policy, env: gym.Env[Any, Any], seeds: Iterable[int], returns: list[float]) -> Iterator[Frame]:
    """What an env shows of one episode after the other; their returns are added."""
    for seed in seeds:
        observation, _ = env.reset(seed=seed)
        policy.reset()
        yield frame_of(env)
        returns.append(0.0)
        reward, over = 0.0, False
        for _ in range(MOST_STEPS):
            observation, last, terminated, truncated, _ = env.step(policy(observation, reward=reward))
            reward, over = float(last), terminated or truncated
            returns[-1] += reward
            yield frame_of(env)
            if over:
                break
        if not over:
            returns[-1] = math.nan  # cut
