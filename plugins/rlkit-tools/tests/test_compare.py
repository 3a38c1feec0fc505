"""``rlkit compare``: against scipy's trimmed mean, an exact bootstrap and folders whose figures are known."""

from __future__ import annotations

import csv
import itertools
import math

import numpy as np
import pytest
from click.testing import CliRunner

from rlkit_core.errors import CheckpointError
from rlkit_tools.compare.comparison import compare, compare_groups, curve_of
from rlkit_tools.compare.folder import groups_of, read_run, read_runs
from rlkit_tools.compare.statistics import interquartile_mean, interval


@pytest.mark.parametrize("count", range(1, 13))
def test_the_interquartile_mean_is_the_trimmed_mean_of_scipy(count):
    stats = pytest.importorskip("scipy.stats")
    scores = np.random.default_rng(count).normal(size=(5, count))
    np.testing.assert_allclose(interquartile_mean(scores), stats.trim_mean(scores, 0.25, axis=-1))


def test_the_interval_is_that_of_all_resamples():
    scores = np.random.default_rng(0).normal(size=6)
    everything = interquartile_mean(np.array(list(itertools.product(scores, repeat=6))))
    low, high = np.percentile(everything, [2.5, 97.5])
    assert interval(list(scores)) == pytest.approx((low, high), abs=0.1 * scores.std())
    assert all(map(math.isnan, interval([1.0])))


def test_runs_that_differ_in_their_seed_alone_are_a_group(tmp_path, write_run):
    for seed, final in enumerate((1.0, 2.0, 3.0, 10.0)):
        write_run(tmp_path / f"a{seed}", seed=seed, final=final)
    write_run(tmp_path / "b", lr=2e-3, encoder="acme/conv", curve=((100, 5.0), (200, 7.0)))
    groups = groups_of(read_runs([tmp_path]))
    a, b = compare_groups(groups)
    assert (a.group, a.runs, a.iqm, a.target, a.reached, a.steps_to_target) == ("A", 4, 2.5, 3.0, 4, 200.0)
    assert 1.0 <= a.low < a.iqm < a.high <= 10.0
    assert (b.iqm, b.reached, b.steps_to_target) == (7.0, 1, 100.0)  # of training: there was no evaluation
    assert compare_groups(groups, target=6.0)[0].steps_to_target == math.inf
    steps, middle, *_ = curve_of([run.training for run in groups[0]])
    assert (steps[0], middle[0], steps[-1], middle[-1]) == (100, 1.0, 200, 3.0)


def test_the_command_says_what_differs_and_writes_files(tmp_path, write_run):
    one, other = write_run(tmp_path / "one"), write_run(tmp_path / "other", lr=2e-3, encoder="acme/conv")
    table, picture = tmp_path / "t.csv", tmp_path / "p.png"
    pytest.importorskip("matplotlib")
    done = CliRunner().invoke(compare, [str(one), str(other), "--csv", str(table), "--png", str(picture)])
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.output.splitlines()]
    assert ["lr", "0.001", "0.002"] in lines
    assert ["component", "encoder", "encoder", "rlkit-core/mlp", "1", "acme/conv", "1"] in lines
    assert "seed" not in done.output
    with table.open(newline="") as file:
        assert [row["iqm"] for row in csv.DictReader(file)] == ["3.0", "3.0"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is no run folder, and has none in it"):
        read_runs([tmp_path])
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="holds no settings"):
        read_run(tmp_path)
