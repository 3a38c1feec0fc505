"""``rlkit envs [FILTER]``: environments that can be named, and packages that would add some."""

from __future__ import annotations

import json

import click
from attrs import asdict

from rlkit_core.cli.output import stdout_for_the_report


@click.command()
@click.argument("text", metavar="[FILTER]", default="")
@click.option("--all", "all_versions", is_flag=True, help="List older versions too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def envs(text: str, all_versions: bool, as_json: bool) -> None:
    """List environments whose id or package has FILTER in it (or matches it: Hopper-v? and the like).

    With FILTER, installed packages that are known to have environments are imported, and theirs are listed too.

    \b
    Examples:
      rlkit envs
      rlkit envs Hopper
      rlkit envs minigrid --all
    """
    with stdout_for_the_report():
        from rlkit_core.envs.naming.listing import installed_packages, list_envs

        found = list_envs(text, all_versions=all_versions)
        unlooked = [] if text else installed_packages()
    if as_json:
        click.echo(json.dumps({**asdict(found), "installed": [asdict(one) for one in unlooked]}, indent=2))
        return
    width = max(map(len, found.envs), default=0)
    for env, made_by in found.envs.items():
        click.echo(f"{env.ljust(width)}  {made_by}")
    if not found.envs and not found.absent:
        click.echo(f"no environment has {text!r} in its name or its package's; rlkit envs lists what there is")
    for package in unlooked:
        click.echo(f"installed: {package.module} ({', '.join(package.ids)}); rlkit envs {package.module} lists its own")
    for package in found.absent:
        click.echo(f"not installed: {', '.join(package.ids)}: python -m pip install '{package.install}'")
    for name, why in found.broken.items():
        click.echo(f"cannot be looked into: {name}: {why}", err=True)
