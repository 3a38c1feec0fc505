"""The model of throughput: what it says of simple cases, and beside the points that were measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
RECORDED = json.loads((BENCHMARKS / "results" / "throughput-ray.json").read_text())
WITHIN = 0.1


@pytest.fixture
def model(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import throughput

    return throughput


def test_times_add_up_where_one_waits_for_the_other(model):
    costs = model.Costs(step=0.01, learn=0.0025, call=0.0, byte=1e-6)
    setup = model.Setup(4, batch=1000, rollout=250, row_bytes=2500)
    assert model.limits(costs, setup) == pytest.approx({"runners": 400.0, "carrying": 400.0, "learners": 400.0})
    assert model.steps_per_second(costs, setup, waits=True) == pytest.approx(400 / 3)
    assert model.steps_per_second(costs, setup, waits=False) == pytest.approx(400)


@pytest.mark.parametrize(
    ("change", "part", "factor"),
    [
        ({"runners": 8}, "runners", 2.0),
        ({"cores": 1.0}, "runners", 0.5),  # one core is busy for half of what four runners do
        ({"learners": 2}, "learners", 2.0),
        ({"learners": 2, "exchanges": 500}, "learners", 1.0),  # what an exchange takes eats up the second one
        ({"row_bytes": 5000.0}, "carrying", 0.5),
    ],
)
def test_a_setting_moves_the_limit_of_its_part(model, change, part, factor):
    costs = model.Costs(step=0.01, cpu=0.005, learn=0.002, exchange=0.002, call=0.0, byte=1e-6)
    before = model.Setup(4, batch=1000, rollout=250.0, row_bytes=2500.0)
    ratio = model.limits(costs, evolve(before, **change))[part] / model.limits(costs, before)[part]
    assert ratio == pytest.approx(factor, rel=0.01)


def test_longer_rollouts_need_fewer_calls(model):
    costs = model.Costs(step=0.01, learn=0.002, call=0.25, byte=0.0)
    short, long = (model.Setup(1, batch=1_000_000, rollout=rollout) for rollout in (50.0, 100.0))
    assert model.limits(costs, short)["carrying"] == pytest.approx(200.0, rel=0.01)
    assert model.limits(costs, long)["carrying"] == pytest.approx(400.0, rel=0.01)


def test_it_is_close_to_what_was_measured(model):
    costs = {name: model.Costs(**one) for name, one in RECORDED["costs"].items()}
    assert {(row["algorithm"], row["runners"]) for row in RECORDED["points"]} >= {("ppo", 8), ("impala", 8)}
    for row in RECORDED["points"]:
        says = model.predicted(costs[row["algorithm"]], row["algorithm"], row["runners"], row["learners"])
        assert says == pytest.approx(row["steps_per_s"], rel=WITHIN), row
