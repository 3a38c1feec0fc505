"""``rlkit record RUN``."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import click

from rlkit_core.cli.output import stdout_for_the_report
from rlkit_tools.output_file import OutputFile
from rlkit_tools.policy_options import policy_options, read_policy

OUTPUT = OutputFile(".mp4")


@click.command()
@policy_options
@click.option("-o", "--output", type=OUTPUT, default=Path("video.mp4"), show_default=True, help="The video.")
@click.option("--episodes", type=click.IntRange(min=1), default=1, show_default=True, help="How many to play.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the first episode.")
@click.option("--sampled", is_flag=True, help="Sample actions as in training.")
def record(
    run: Path,
    which: str | None,
    module_id: str | None,
    env: str | None,
    output: Path,
    episodes: int,
    seed: int,
    sampled: bool,
) -> None:
    """Play episodes with the policy of RUN (a run folder or a checkpoint) and write a video of them.

    The environment is wrapped as in evaluation, and has to give pictures with render_mode="rgb_array".

    \b
    Examples:
      rlkit record runs/mine
      rlkit record runs/mine -o videos/best.mp4 --episodes 3 --which best
    """
    with stdout_for_the_report():
        from rlkit_tools.record import video

        video.check_recorder()
        policy, _ = read_policy(run, which, module_id, env, explore=sampled)
        with contextlib.closing(video.rendering(policy.make_env)) as played:
            returns = video.record(policy, played, output, episodes=episodes, seed=seed)
    text = ", ".join(f"cut after {video.MOST_STEPS} steps" if math.isnan(one) else f"{one:.4g}" for one in returns)
    click.echo(f"{output}: return {text}")
