"""Trains cells in a process of its own: ``exact_run.py whole | resume FOLDER FIRST LAST CELL ...``.

``whole`` trains LAST iterations and saves after each; ``resume`` goes on from the checkpoint after iteration FIRST.
Both leave results in ``FOLDER/CELL/<name>.json`` and the last checkpoint beside it.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

CLOCKS = ("timers", "config", "episode_duration_sec_mean")


def without_clocks(result: Any) -> Any:
    """A result as JSON data, without seconds and config."""
    if isinstance(result, dict):
        return {str(key): without_clocks(value) for key, value in result.items() if key not in CLOCKS}
    return repr(result)


def soon_recorded() -> None:
    """Let ``compile="auto"`` record in the second iteration."""
    importlib.import_module("rlkit_capture.engine").EAGER_STEPS = 4


def train(algo: Any, last: int, folder: Path | None) -> list[Any]:
    """Results of iterations up to number ``last``, with a checkpoint after each if there is a folder."""
    results = []
    while algo.iteration < last:
        results.append(without_clocks(algo.train()))
        if folder is not None:
            algo.save_to_path(folder / str(algo.iteration))
    return results


def main(mode: str, folder: str, first: int, last: int, *names: str) -> None:
    """See above."""
    import exact_envs  # noqa: F401 -- checkpoints name its classes
    from exact_cells import Cell, make_config

    from rlkit_core import Algorithm

    soon_recorded()
    for name in names:
        home = Path(folder, name)
        if mode == "whole":
            algo = make_config(Cell.named(name)).build_algo()
        else:
            algo = Algorithm.from_checkpoint(home / "whole" / str(first))
        key = mode if mode == "whole" else f"from-{first}"
        with algo:
            results = train(algo, last, home / "whole" if mode == "whole" else None)
            algo.save_to_path(home / key / "end")
        (home / f"{key}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:])
