"""``rlkit record RUN``."""

from __future__ import annotations

import math
from pathlib import Path

import click

from rlkit_core.cli.named import own_env
from rlkit_core.cli.output import stdout_for_the_report


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), default=Path("video.mp4"), show_default=True
)
@click.option("--episodes", type=click.IntRange(min=1), default=1, show_default=True, help="How many to play.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the first episode.")
@click.option("--sampled", is_flag=True, help="Sample actions as in training.")
@click.option(
    "--which",
    type=click.Choice(["best", "last"]),
    help="Checkpoint of a run folder.  [default: best, where the run has one]",
)
@click.option("--module", "module_id", metavar="ID", help="Which of several modules.")
@click.option("--env", help="To play in: an id, or module.path:name or ./file.py:name.  [default: the run's]")
def record(
    run: Path,
    output: Path,
    episodes: int,
    seed: int,
    sampled: bool,
    which: str | None,
    module_id: str | None,
    env: str | None,
) -> None:
    """Play episodes with the policy of RUN (a run folder or a checkpoint) and write a video of them.

    The environment is wrapped as in evaluation, and has to give pictures with render_mode="rgb_array".
    """
    with stdout_for_the_report():
        from rlkit_core import load_policy
        from rlkit_tools.record import video

        video.check_recorder()
        chosen = None if which is None else ("best" if which == "best" else "last")
        own = None if env is None else own_env(env)
        policy = load_policy(run, chosen, module_id=module_id, explore=sampled, env=own)  # type: ignore[arg-type]
        played = video.rendering(policy.make_env)
        try:
            returns = video.record(policy, played, output, episodes=episodes, seed=seed)
        finally:
            played.close()
    text = ", ".join(f"cut after {video.MOST_STEPS} steps" if math.isnan(one) else f"{one:.4g}" for one in returns)
    click.echo(f"{output}: return {text}")
