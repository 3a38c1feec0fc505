"""``rlkit export RUN policy.onnx``."""

from __future__ import annotations

from pathlib import Path

import click

from rlkit_core.cli.named import own_env
from rlkit_core.cli.output import stdout_for_the_report


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--which",
    type=click.Choice(["best", "last"]),
    help="Checkpoint of a run folder.  [default: best, where the run has one]",
)
@click.option("--module", "module_id", metavar="ID", help="Which of several modules.")
@click.option("--env", help="To verify in: an id, or module.path:name or ./file.py:name.  [default: the run's]")
@click.option(
    "--observations",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="How many observations of the environment to verify on.",
)
def export(
    run: Path, target: Path, which: str | None, module_id: str | None, env: str | None, observations: int
) -> None:
    """Write the policy of RUN (a run folder or a checkpoint) to TARGET, policy.onnx or policy.pt2.

    The graph goes from an observation, as the wrapped environment gives it, to the action in the environment's units:
    preprocessing, normalisation, masks and scaling are inside; memory goes in and comes out. Beside it lie policy.json,
    which describes both, and policy.py, which acts with it and needs no rlkit:

    \b
        from policy import Policy
        policy = Policy()
        action = policy(observation)

    It plays the environment first, and writes nothing unless the graph acts as the checkpoint does.
    """
    with stdout_for_the_report():
        from rlkit_core import load_policy
        from rlkit_core.checkpoint.locate import is_run, locate, read_index
        from rlkit_tools.export.write import export_policy

        if which is None:
            which = "best" if is_run(run) and read_index(run).best is not None else "last"
        checkpoint = locate(run, "best" if which == "best" else "last")
        policy = load_policy(checkpoint, module_id=module_id, env=None if env is None else own_env(env))
        about = export_policy(policy, target, checkpoint=checkpoint, observations=observations)
    found = about["verified"]
    same = f"{found['observations']} observations" + (f", {found['ties']} of them ties" if found["ties"] else "")
    click.echo(f"{target}: acts as {checkpoint} does ({same}; largest difference {found['difference']:.1g})")
    if about["wrappers_owed"]:
        names = ", ".join(one["wrapper"] for one in about["wrappers_owed"])
        click.echo(f"Not inside, so whoever acts applies them, innermost first: {names}")
