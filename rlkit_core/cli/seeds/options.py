"""The options of runs over several seeds, and what tells their folder; imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

import click

SEED_RUNS = "seed_runs.json"

seeds_option = click.option(
    "--seeds",
    type=click.IntRange(min=1),
    metavar="N",
    help="Train N runs, in processes of their own, with the seeds 1 to N (or --seed and the next ones).",
)
jobs_option = click.option(
    "--jobs", type=click.IntRange(min=1), help="With --seeds: how many runs at a time.  [default: one a core]"
)


def is_of_seeds(folder: Path) -> bool:
    """Whether a folder is one of ``train --seeds``."""
    return (folder / SEED_RUNS).is_file()
