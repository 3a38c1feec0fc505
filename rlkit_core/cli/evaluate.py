"""``rlkit evaluate CHECKPOINT``: play deterministic episodes with a saved algorithm."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rlkit_core.cli.carry_out import warnings_as_notes
from rlkit_core.cli.given import apply_wraps, wrap_option
from rlkit_core.cli.named import complete_env, own_env
from rlkit_core.cli.output import stdout_for_the_report

SHOWN = ("episode_return_mean", "episode_return_min", "episode_return_max", "episode_len_mean", "num_episodes")
NOT_ENDED = ("num_episodes_cut", "num_episodes_failed")
COUNTS = ("num_episodes", *NOT_ENDED)


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--episodes", type=click.IntRange(min=1), default=100, show_default=True, help="How many to play.")
@click.option("--seed", type=click.IntRange(min=0), help="Root of the episodes' seeds.  [default: the run's]")
@click.option(
    "--env",
    shell_complete=complete_env,
    help="Play in another environment with the same spaces: an id, or a class or function by module.path:name or "
    "./file.py:name.",
)
@wrap_option
@click.option(
    "--which",
    type=click.Choice(["last", "best"]),
    default="last",
    show_default=True,
    help="Of a run folder, the newest checkpoint or that of the best evaluation.",
)
@click.option(
    "--sampled", is_flag=True, help="Sample actions as in training, where the deterministic ones are not what counts."
)
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
def evaluate(
    checkpoint: Path,
    episodes: int,
    seed: int | None,
    env: str | None,
    wraps: tuple[str, ...],
    which: str,
    sampled: bool,
    as_json: bool,
) -> None:
    """Play deterministic episodes with the algorithm saved in CHECKPOINT (or in the run folder of that name).

    The environment is wrapped as in training, without what is for training only; --wrap names other wrappers, or the
    same again where they are neither gymnasium's nor a plugin's.

    \b
    Examples:
      rlkit evaluate runs/mine
      rlkit evaluate runs/mine --which best --episodes 20 --sampled
    """
    with stdout_for_the_report(), warnings_as_notes():
        from rlkit_core.algorithm import Algorithm
        from rlkit_core.checkpoint.locate import locate
        from rlkit_core.run.resuming.going_on import env_argument
        from rlkit_core.run.run_folder import stored_config
        from rlkit_core.run.writers import to_json_value

        env = None if env is None else own_env(env)
        path = locate(checkpoint, "best" if which == "best" else "last")
        stored = stored_config(path)
        if env is None:
            env_argument(stored, None, path)  # is not there where it was a function, which is said
        config = stored.copy(copy_frozen=False)
        apply_wraps(config, wraps)
        config = config.prepared_to_evaluate(env, sampled=sampled)
        algorithm = Algorithm.from_checkpoint(path, config=config)
        try:
            result = algorithm.evaluate(episodes, seed=seed)["env_runners"]
            env_name = algorithm.config.env
        finally:
            algorithm.stop()
    if as_json:
        click.echo(json.dumps(to_json_value({"checkpoint": str(path), "env": str(env_name), **result}), indent=1))
        return
    click.echo(f"{env_name}, {episodes} {'sampled' if sampled else 'deterministic'} episodes with {path}")
    stderr = result.get("episode_return_stderr")
    error = {} if stderr is None else {"episode_return_mean": f" ± {stderr:.1f}"}
    for name in (*SHOWN, *(name for name in NOT_ENDED if result.get(name))):
        if name in result:
            click.echo(f"{name:<20} {result[name]:.{0 if name in COUNTS else 1}f}{error.get(name, '')}")
