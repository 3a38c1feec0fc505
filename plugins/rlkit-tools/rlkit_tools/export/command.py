"""``rlkit export RUN policy.onnx``."""

from __future__ import annotations

from pathlib import Path

import click

from rlkit_core.cli.output import stdout_for_the_report
from rlkit_tools.output_file import OutputFile
from rlkit_tools.policy_options import policy_options, read_policy


@click.command()
@policy_options
@click.argument("target", type=OutputFile(".onnx", ".pt2"))
@click.option(
    "--observations",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="How many observations of the environment to verify on.",
)
def export(
    run: Path, which: str | None, module_id: str | None, env: str | None, target: Path, observations: int
) -> None:
    """Write the policy of RUN (a run folder or a checkpoint) to TARGET, policy.onnx or policy.pt2.

    The graph goes from an observation, as the environment gives it, to the action in the environment's units:
    preprocessing, normalisation, masks, scaling and simple wrappers are inside; memory goes in and comes out. Beside it
    lie policy.json, which describes both, and policy.py, which acts with it and needs no rlkit:

    \b
        from policy import Policy
        policy = Policy()
        action = policy(observation)

    It plays the environment first, and writes nothing unless the graph acts as the checkpoint does.

    \b
    Examples:
      rlkit export runs/mine policy.onnx
      rlkit export runs/mine/checkpoints/000040 exported/policy.pt2 --observations 1000
    """
    with stdout_for_the_report():
        from rlkit_tools.export.write import export_policy

        policy, checkpoint = read_policy(run, which, module_id, env)
        about = export_policy(policy, target, checkpoint=checkpoint, observations=observations)
    found = about["verified"]
    same = f"{found['observations']} observations" + (f", {found['ties']} of them ties" if found["ties"] else "")
    click.echo(f"{target}: acts as {checkpoint} does ({same}; largest difference {found['difference']:.1g})")
    if about["wrappers_owed"]:
        names = ", ".join(one["wrapper"] for one in about["wrappers_owed"])
        click.echo(f"Not inside, so whoever acts applies them, innermost first: {names}")
