"""``rlkit check DISTRIBUTION``: what users of a plugin would trip over, each with the fix."""

from __future__ import annotations

import json

import click
from attrs import asdict

from rlkit_core.cli.output import stdout_for_the_report


@click.command()
@click.argument("distribution")
@click.option("--fast", is_flag=True, help="Train nothing, and start no worker processes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check(ctx: click.Context, distribution: str, fast: bool, as_json: bool) -> None:
    """Hold an installed plugin against its contract: say what its users would trip over, each with the fix.

    DISTRIBUTION is the name that pip knows, such as `acme-graph`. Looked at are its metadata and API version, what
    importing it costs and does, its entry points and hooks, and what its records name, built and tried out on small
    examples: encoders, heads, distributions, mixins, services, catalogs, algorithms. Exits with 1 if there are errors.

    \b
    Examples:
      rlkit check acme-graph --fast

    \b
    In a test of the plugin itself:
        from rlkit_core.testing import check_plugin
        def test_it_keeps_its_contract():
            check_plugin("acme-graph")
    """
    with stdout_for_the_report():
        from rlkit_core.testing.kit.plugin import check_plugin

        report = check_plugin(distribution, fast=fast, strict=False)
    click.echo(json.dumps(asdict(report), indent=2) if as_json else str(report))
    ctx.exit(1 if report.errors else 0)
