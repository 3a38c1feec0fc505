"""PPO on HalfCheetah-v5 and on ALE/Pong-v5, side by side: rlkit and Stable-Baselines3 on the same work.

8 envs in one process. HalfCheetah: 2,048 steps, 10 epochs of minibatches of 64, observations and rewards normalised;
Pong: RL Zoo's preprocessing and settings. See ``side_by_side.py`` for the how.

    make bench-envs                                             five rounds of each
    make bench-envs ARGS="--env HalfCheetah-v5 --json out.json"
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from side_by_side import ROOT, describe_machine, print_report, report_of, rounds_of, run_script

HERE = Path(__file__).resolve().parent
SCRIPTS = {name: HERE / "peers" / f"{name}_ppo_envs.py" for name in ("ours", "sb3")}
STEPS = {"HalfCheetah-v5": 40_960, "ALE/Pong-v5": 8_192}


@click.command()
@click.option("--env", "envs", multiple=True, type=click.Choice(list(STEPS)), help="Only this one; repeatable.")
@click.option("--steps", type=click.IntRange(1), help="Environment steps of each training.", show_default="by env")
@click.option("--rounds", default=5, show_default=True, help="How often each worker runs.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="torch threads.")
@click.option("--seed", default=1, show_default=True, help="Seed of the first round.")
@click.option("--sb3-python", default=str(ROOT / ".bench-venv/bin/python"), help="Python that has SB3 and both envs.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write every figure there.")
def main(
    envs: tuple[str, ...],
    steps: int | None,
    rounds: int,
    threads: int,
    seed: int,
    sb3_python: str,
    json_path: Path | None,
) -> None:
    """Measure steps per second and peak memory of PPO on envs that cost something."""
    pythons = {"ours": Path(sys.executable), "sb3": Path(sb3_python)}
    machine, reports = describe_machine(), {}
    for env in envs or STEPS:

        def run_worker(name: str, interpreter: Path, *, env: str = env, **work: Any) -> dict[str, Any]:
            return run_script(SCRIPTS[name], name, interpreter, arguments=["--env", env], **work)

        work = {"steps": steps or STEPS[env], "threads": threads}
        results = rounds_of(run_worker, pythons, rounds=rounds, seed=seed, **work)
        reports[env] = report_of(results, machine, rounds=rounds, **work)
        print_report(reports[env], f"PPO, {env}")
    if json_path is not None:
        json_path.write_text(json.dumps(reports, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
