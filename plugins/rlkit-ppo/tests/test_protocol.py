"""The protocol of learning tests, on runs of seconds: judged at each budget, recorded, gone on with, interrupted."""

from __future__ import annotations

import json
import threading
import time

import learning
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def reach(levels, folder, **further):
    options = ("--set", "evaluation_interval=1", "--set", "evaluation_duration=2")
    return learning.reaches("ppo", "CartPole-v1", levels, folder=folder, seeds=(1,), options=options, **further)


def test_a_run_is_judged_at_each_budget_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv(learning.RESULTS_VARIABLE, str(tmp_path / "results"))
    monkeypatch.setenv(learning.RUNS_VARIABLE, str(tmp_path / "runs"))
    monkeypatch.setattr(learning, "STANDARD_ERROR", 0.03)
    result = reach({2048: 10.0, 4000: 15.0}, tmp_path, sampled=True)
    assert json.loads((tmp_path / "results" / "learn-ppo-CartPole-v1.json").read_text()) == result
    first, second = (row["seeds"][0] for row in result["levels"])
    assert (first["steps"], second["steps"]) == (2048, 4096)
    assert first["first_reached"] == 1024
    assert first["stderr_sampled"] < 0.03 * max(10.0, first["return_sampled"])
    assert first["episodes_sampled"] > 100
    assert first["return"] != first["return_sampled"]
    assert [steps for steps, _ in result["curves"]["1"]] == [1024, 2048, 3072, 4096]
    assert 0 < first["cpu_seconds"] < second["cpu_seconds"]
    monkeypatch.setattr(learning, "rlkit", None)  # begun once more, it neither trains nor judges
    assert reach({2048: 10.0, 4000: 15.0}, tmp_path, sampled=True) == result


def test_a_missed_level_is_recorded_and_raised(tmp_path, monkeypatch):
    monkeypatch.setenv(learning.RESULTS_VARIABLE, str(tmp_path / "results"))
    with pytest.raises(AssertionError, match=r"1,024 steps: the mean over seeds is \d+"):
        reach({1024: 499.0}, tmp_path)
    recorded = json.loads((tmp_path / "results" / "learn-ppo-CartPole-v1.json").read_text())
    assert recorded["levels"][0]["missed"]


def test_a_run_that_was_interrupted_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv(learning.RUNS_VARIABLE, str(tmp_path / "runs"))
    monkeypatch.setattr(learning, "STANDARD_ERROR", 1.0)
    log = tmp_path / "runs" / "ppo-CartPole-v1-seed1" / "results.jsonl"

    def interrupt():
        while not log.exists() or len(log.read_text().splitlines()) < 2:
            time.sleep(0.1)
        monkeypatch.setenv(learning.UNTIL_VARIABLE, str(time.time()))

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(pytest.fail.Exception, match="not finished in time: seed 1 at"):
        reach({1_000_000: 10.0}, tmp_path)
    run = log.parent
    at = len(log.read_text().splitlines())
    assert at >= 2
    monkeypatch.delenv(learning.UNTIL_VARIABLE)
    record = json.loads((run / "run.json").read_text())  # a shorter budget, for the test's sake
    (run / "run.json").write_text(json.dumps({**record, "stop": {**record["stop"], "steps": (at + 1) * 1024}}))
    result = reach({(at + 1) * 1024: 10.0}, tmp_path)
    assert result["levels"][0]["seeds"][0]["steps"] == (at + 1) * 1024
    assert result["levels"][0]["seeds"][0]["cpu_seconds"] > 1


def test_a_run_that_has_not_begun_in_time_begins_anew(tmp_path, monkeypatch):
    monkeypatch.setenv(learning.RUNS_VARIABLE, str(tmp_path / "runs"))
    monkeypatch.setattr(learning, "STANDARD_ERROR", 1.0)
    monkeypatch.setenv(learning.UNTIL_VARIABLE, str(time.time() - 1))
    with pytest.raises(pytest.fail.Exception, match="not finished in time"):
        reach({1024: 10.0}, tmp_path)
    monkeypatch.delenv(learning.UNTIL_VARIABLE)
    assert reach({1024: 10.0}, tmp_path)["levels"][0]["seeds"][0]["steps"] == 1024
