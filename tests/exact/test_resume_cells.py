"""A run that is saved, ends and goes on in a new process equals the uninterrupted one, bit for bit, cell by cell."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

sys.path.insert(0, str(Path(__file__).parent))
from exact_cells import ALGORITHMS, CELLS_ELSEWHERE, Cell, every_cell, make_config, pairs, some_cells
from exact_run import without_clocks

from rlkit_core import Algorithm
from rlkit_core.checkpoint.compare import differences_of_trees
from rlkit_core.checkpoint.tree import encode_tree

HERE = Path(__file__).parent
LAST, FIRST = 5, 2
BUFFERS = "replay_buffers/"
pytestmark = pytest.mark.timeout(1800)  # all cells are trained in the first test's time
FAST = some_cells()
SLOW = [*(cell for cell in every_cell() if cell not in FAST), *CELLS_ELSEWHERE]


def run(mode, folder, first, cells):
    command = [sys.executable, str(HERE / "exact_run.py"), mode, str(folder), str(first), str(LAST), *map(str, cells)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert not done.returncode, done.stderr


def differences(one, other):
    """What two checkpoints do not have in common: names of arrays, and of documents."""
    names = [{p.relative_to(root) for p in root.rglob("*") if p.is_file()} for root in (one, other)]
    found = [f"only in one of them: {name}" for name in sorted(names[0] ^ names[1], key=str)]
    for name in sorted(names[0] & names[1], key=str):
        if name.name == "metadata.json" or (one / name).read_bytes() == (other / name).read_bytes():
            continue
        if name.suffix != ".safetensors":
            found.append(
                f"{name}: {first_difference(*(json.loads((root / name).read_text()) for root in (one, other)))}"
            )
            continue
        arrays = [load_file(root / name) for root in (one, other)]
        keys = sorted(arrays[0].keys() | arrays[1].keys())
        found += [f"{name}: {key}" for key in keys if not equal(arrays[0].get(key), arrays[1].get(key))]
    return found


def equal(one, other):
    return one is not None and other is not None and one.dtype == other.dtype and one.tobytes() == other.tobytes()


def first_difference(one, other, where=""):
    """Where two documents differ first, and how."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return next((d for k in one if (d := first_difference(one[k], other[k], f"{where}/{k}"))), "")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs_of = enumerate(zip(one, other, strict=True))
        return next((d for k, (a, b) in pairs_of if (d := first_difference(a, b, f"{where}/{k}"))), "")
    return "" if one == other else f"{where}: {str(one)[:200]} != {str(other)[:200]}"


def assert_equal(folder, cell, first):
    home = folder / str(cell)
    whole, resumed = (json.loads((home / f"{name}.json").read_text()) for name in ("whole", f"from-{first}"))
    for k, (expected, found) in enumerate(zip(whole[first:], resumed, strict=True), first + 1):
        assert not first_difference(expected, found), f"{cell}, iteration {k}: {first_difference(expected, found)}"
    ends = [home / name / "end" for name in ("whole", f"from-{first}")]
    found = differences(*ends)
    if any(BUFFERS in text for text in found):  # which rows are in which file is a matter of when there were saves
        found = [text for text in found if BUFFERS not in text] + differences_of_buffers(cell, *ends)
    assert not found, str(cell)


def differences_of_buffers(cell, one, other):
    """What replay buffers do not have in common that two checkpoints are loaded into."""
    here = Cell(cell.algorithm, cell.recurrent, cell.multi_agent)
    trees = []
    for end in (one, other):
        with make_config(here).build_algo() as algo:
            algo.restore_from_path(end, component="replay_buffers")
            trees.append(encode_tree(algo.get_component("replay_buffers").get_state()))
    assert max(array.numel() for array in trees[0].tensors.values()) > 50
    return list(differences_of_trees(*trees, "replay_buffers"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """All cells that always run, trained with saves after every iteration, and resumed: two processes for all."""
    folder = tmp_path_factory.mktemp("cells")
    run("whole", folder, 0, FAST)
    run("resume", folder, FIRST, FAST)
    return folder


@pytest.mark.parametrize("cell", FAST, ids=str)
def test_a_resumed_run_equals_the_uninterrupted_one(trained, cell):
    assert_equal(trained, cell, FIRST)


@pytest.mark.parametrize("cell", [cell for cell in FAST if not cell.processes], ids=str)
def test_saves_change_nothing(trained, cell, monkeypatch):
    """The saved run is the one that never is."""
    monkeypatch.setattr("rlkit_capture.engine.EAGER_STEPS", 4)
    with make_config(cell).build_algo() as algo:
        results = [without_clocks(algo.train()) for _ in range(LAST)]
    expected = json.loads((trained / str(cell) / "whole.json").read_text())
    assert not first_difference(expected, json.loads(json.dumps(results)))


@pytest.mark.parametrize("cell", ["sac-mlp-single", "sac-mlp-agents"])
def test_a_run_that_was_still_warming_up(tmp_path, cell):
    """Modules act at random then, and not by the numbers that others would have drawn for them."""
    with make_config(Cell.named(cell)).build_algo() as algo:
        algo.train()
        path = algo.save_to_path(tmp_path / "checkpoint")
        expected = [without_clocks(algo.train()) for _ in range(2)]
    with Algorithm.from_checkpoint(path) as algo:
        assert not first_difference(expected, [without_clocks(algo.train()) for _ in range(2)])


@pytest.fixture(scope="module")
def trained_when_asked(tmp_path_factory):
    """A function that gives the folder with all other cells of an algorithm, trained and resumed twice."""

    @functools.cache
    def folder_of(algorithm):
        folder = tmp_path_factory.mktemp(algorithm)
        cells = [cell for cell in SLOW if cell.algorithm == algorithm]
        run("whole", folder, 0, cells)
        for first in (1, 3):
            run("resume", folder, first, cells)
        return folder

    return folder_of


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("cell", SLOW, ids=str)
def test_every_other_cell(trained_when_asked, cell):
    for first in (1, 3):
        assert_equal(trained_when_asked(cell.algorithm), cell, first)


def test_every_two_values_meet_in_the_cells_that_always_run():
    assert {cell.algorithm for cell in FAST} == set(ALGORITHMS)
    seen = set().union(*(pairs(cell) for cell in FAST))
    assert all(pairs(cell) <= seen for cell in every_cell())


def test_a_difference_is_found(tmp_path):
    """So that the tests above can fail."""
    from rlkit_core.checkpoint.tree import save_tree

    for name, value in (("one", 1.0), ("other", np.nextafter(1.0, 2.0))):
        (tmp_path / name).mkdir()
        save_tree({"a": np.array([value]), "b": value}, tmp_path / name)
    found = differences(tmp_path / "one", tmp_path / "other")
    assert found[0].startswith("state.json: /b: ")
    assert found[1:] == ["state.safetensors: a"]
