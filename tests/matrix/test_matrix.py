"""Every algorithm with every model, one agent and several, masked or not, here and in processes."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "lab"))
sys.path.insert(0, str(Path(__file__).parent))
from cells import ALGORITHMS, EXTRAS, MODELS, all_cells, make_config, some_cells
from matrix_page import PAGE, page

from rlkit_core import Algorithm
from rlkit_core.learner.step import Eager
from rlkit_core.plugins.discovery import scan
from rlkit_core.plugins.host import PluginHost, use_host

FAST = some_cells()
SLOW = [cell for cell in all_cells() if cell.is_declared and cell not in FAST]


def check(cell, tmp_path, *, capture=False):
    with make_config(cell).build_algo() as algo:
        before = weights(algo)
        results = [algo.train() for _ in range(2)]
        after = weights(algo)
        assert set(before) == ({"a", "b"} if cell.multi_agent else {"default_policy"})
        for module_id in before:
            assert not all(np.array_equal(before[module_id][k], after[module_id][k]) for k in before[module_id])
            learned = results[-1]["learners"][module_id]
            assert np.isfinite(learned["total_loss"])
            assert ("penalty" in learned) is (cell.extra == "loss")
            trace = str(algo.get_module(module_id).component_trace())
            assert ("fx-lab" in trace) is (cell.extra == "encoder")
        if not cell.processes:
            assert not isinstance(algo.learner_group.learner.engine, Eager)
        path = algo.save_to_path(tmp_path / "checkpoint")
        saved = algo.get_state()
        if cell.processes:
            algo.train()
            algo.restore_from_path(path)
            assert_equal(weights(algo), after)
            assert_equal(algo.get_state()["learner_group"], saved["learner_group"])
        else:
            with Algorithm.from_checkpoint(path) as restored:
                assert_equal(restored.get_state(), saved)
                assert_equal(weights(restored), after)
        evaluated = algo.evaluate()["env_runners"]
        assert evaluated["num_episodes"] == 2
        assert np.isfinite(evaluated["episode_return_mean"])
    if not cell.processes:
        with make_config(cell, compile=None).build_algo() as eager:
            for _ in range(2):
                eager.train()
            assert_equal(weights(eager), after)
    if capture and not cell.processes:
        assert_capture_is_close(cell, after)


def assert_capture_is_close(cell, eager):
    """Asked for by name, a recording equals the eager step to a tolerance."""
    with make_config(cell, compile="capture").build_algo() as algo:
        algo.train()
        algo.train()
        for module_id, state in weights(algo).items():
            for name, value in state.items():
                np.testing.assert_allclose(value, eager[module_id][name], rtol=1e-3, atol=1e-4, err_msg=name)


def weights(algo):
    return algo.learner_group.get_weights(inference_only=False).state


def assert_equal(one, other, where=""):
    """Nested values are the same, to the last bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for k, (mine, its) in enumerate(zip(one, other, strict=True)):
            assert_equal(mine, its, f"{where}/{k}")
    elif isinstance(one, (np.ndarray, torch.Tensor)):
        assert np.array_equal(np.asarray(one), np.asarray(other)), where
    else:
        assert one == other or (one != one and other != other), where


@pytest.fixture(autouse=True)
def _lab():
    """A third party's distribution is installed."""
    with use_host(PluginHost(scan(refresh=True))):  # another test may have looked before the lab was there
        yield


@pytest.mark.parametrize("cell", FAST, ids=str)
def test_a_cell(cell, tmp_path):
    assert cell.is_declared
    check(cell, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("cell", SLOW, ids=str)
def test_every_other_cell(cell, tmp_path):
    check(cell, tmp_path, capture=True)


def test_every_two_values_meet_in_the_cells_that_always_run():
    axes = {
        "algorithm": ALGORITHMS,
        "model": MODELS,
        "multi_agent": (False, True),
        "masked": (False, True),
        "processes": (False, True),
        "extra": EXTRAS,
    }
    assert len(FAST) == 16
    for one, two in itertools.combinations(axes, 2):
        met = {(getattr(cell, one), getattr(cell, two)) for cell in FAST}
        assert met == set(itertools.product(axes[one], axes[two])), (one, two)


def test_the_page_of_the_docs_is_what_the_matrix_says():
    assert PAGE.read_text(encoding="utf-8") == page()
