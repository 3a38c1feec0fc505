from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlkit_core.errors import ConfigError
from rlkit_core.learner import Scheduler
from rlkit_core.learner.metrics import Metrics


@given(
    points=st.lists(
        st.tuples(st.integers(1, 1000), st.floats(-10, 10)), min_size=1, max_size=5, unique_by=lambda p: p[0]
    ),
    first=st.floats(-10, 10),
    t=st.integers(0, 2000),
)
def test_piecewise_linear_as_numpy_interpolates(points, first, t):
    points = [(0, first), *sorted(points)]
    scheduler = Scheduler([list(p) for p in points])
    expected = np.interp(t, [p[0] for p in points], [p[1] for p in points])
    assert scheduler.update(t) == pytest.approx(expected, abs=1e-9)
    assert float(scheduler.value) == pytest.approx(expected, abs=1e-5)


def test_a_constant_stays():
    scheduler = Scheduler(0.5)
    assert scheduler.is_constant
    assert scheduler.update(10**9) == scheduler.get_current_value() == 0.5


def test_the_tensor_is_updated_in_place():
    scheduler = Scheduler([[0, 1.0], [10, 0.0]])
    tensor = scheduler.value
    scheduler.update(5)
    assert float(tensor) == 0.5


@pytest.mark.parametrize("bad", ["x", [[0, 1]], [[1, 1], [2, 2]], [[0, 1], [0, 2]], [[0, 1, 2], [1, 2, 3]], True, None])
def test_malformed_schedules(bad):
    with pytest.raises(ConfigError, match="schedule"):
        Scheduler(bad)


def test_reductions_and_nested_keys():
    metrics = Metrics()
    for value in (1.0, 2.0, 6.0):
        metrics.log_value(("p0", "mean"), torch.tensor(value, requires_grad=True) * 1.0)
        for how in ("sum", "min", "max", "last"):
            metrics.log_value(("p0", how), value, reduce=how)
        metrics.log_value("seen", 1, reduce="lifetime_sum")
    metrics.log_dict({"a": torch.tensor(3, dtype=torch.int64)}, key="p1")
    assert metrics.peek(("p0", "mean")) == 3.0
    assert metrics.reduce() == {
        "p0": {"mean": 3.0, "sum": 9.0, "min": 1.0, "max": 6.0, "last": 6.0},
        "seen": 3.0,
        "p1": {"a": 3.0},
    }
    assert metrics.reduce() == {"seen": 3.0}
    with pytest.raises(KeyError, match="no metric"):
        metrics.peek("nothing")


def test_lifetime_sums_survive_a_checkpoint_and_a_module_can_be_dropped():
    metrics = Metrics()
    metrics.log_value(("p0", "n"), 5, reduce="lifetime_sum")
    metrics.log_value(("p1", "n"), 7, reduce="lifetime_sum")
    metrics.reduce()
    other = Metrics()
    other.set_state(metrics.get_state())
    other.drop("p1")
    other.log_value(("p0", "n"), 1, reduce="lifetime_sum")
    assert other.reduce() == {"p0": {"n": 6.0}}
