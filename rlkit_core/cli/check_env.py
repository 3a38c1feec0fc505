"""``rlkit check-env ENV``: what a trainer will trip over in an environment, each with the fix."""

from __future__ import annotations

import json

import click
from attrs import asdict

from rlkit_core.cli.given import apply_setting, apply_wraps, settings_option, wrap_option
from rlkit_core.cli.named import check_given_once, complete_env, own_env
from rlkit_core.cli.output import stdout_for_the_report


@click.command()
@click.argument("env", shell_complete=complete_env)
@click.option("--steps", type=click.IntRange(min=1), default=1000, show_default=True, help="Steps to take.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the first reset.")
@settings_option
@wrap_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check_env(
    ctx: click.Context,
    env: str,
    steps: int,
    seed: int,
    settings: tuple[str, ...],
    wraps: tuple[str, ...],
    as_json: bool,
) -> None:
    """Play ENV (as `rlkit train` takes it) with random actions, and say what a trainer will trip over, with the fix.

    Looked at are what it returns, what it does to its actions and observations, randomness that no seed reaches, state
    that envs share, episodes without end, odd rewards, actions that do nothing, spaces that nothing serves, and its
    speed. Exits with 1 if there are errors.

    \b
    Examples:
      rlkit check-env ./my_env.py:MyEnv
      rlkit check-env CartPole-v1 --steps 200
    """
    env = own_env(env)
    check_given_once(settings, env=env, wrappers=wraps)
    with stdout_for_the_report():
        from rlkit_core.algorithm import AlgorithmConfig
        from rlkit_core.envs.trial.check_env import check_env as check

        config = AlgorithmConfig().environment(env)
        for text in settings:
            apply_setting(config, text)
        apply_wraps(config, wraps)
        report = check(env, config.env_config, config.wrappers, steps=steps, seed=seed, strict=False)
    click.echo(json.dumps(asdict(report), indent=2) if as_json else str(report))
    ctx.exit(1 if report.errors else 0)
