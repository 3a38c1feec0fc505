"""Results, their writers, and the callbacks that see them."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlkit_core.algorithm import AlgorithmConfig
from rlkit_core.algorithm.callbacks import Callbacks
from rlkit_core.algorithm.results import (
    Timers,
    assemble_result,
    flatten_result,
    look_up,
    return_mean,
    total_loss,
)
from rlkit_core.errors import ConfigError
from rlkit_core.plugins.guard import Watchers
from rlkit_core.run.writers import (
    CSVWriter,
    JSONLWriter,
    ResultWriter,
    TensorBoardWriter,
    to_json_value,
)


def result(steps: int = 8, **env_runners: Any) -> dict[str, Any]:
    return assemble_result(
        env_runners={"num_env_steps_sampled_lifetime": steps, **env_runners},
        learners={"p0": {"total_loss": torch.tensor(1.5)}, "p1": {"total_loss": 2.0}, "__all_modules__": {}},
        timers={"sample": 0.1},
        training_iteration=3,
        num_training_step_calls=1,
        config=AlgorithmConfig().to_dict(),
    )


def test_assembled_result_has_the_documented_keys() -> None:
    found = result(episode_return_mean=9.0)
    assert found["training_iteration"] == 3
    assert found["num_env_steps_sampled_lifetime"] == 8
    assert found["num_training_step_calls_per_iteration"] == 1
    assert found["config"]["gamma"] == 0.99
    assert "evaluation" not in found
    assert return_mean(found) == 9.0
    assert total_loss(found) == 3.5
    assert math.isnan(look_up(found, "env_runners", "nothing", "deeper"))


def test_flatten_takes_numbers_only() -> None:
    flat = flatten_result(
        {
            "a": {
                "b": np.float32(1.5),
                "c": torch.tensor([2]),
                "d": "text",
                "e": [1, 2],
                "f": None,
                "g": True,
            },
            "config": {"lr": 1},
            "nan": math.nan,
        }
    )
    assert math.isnan(flat.pop("nan"))
    assert flat == {"a/b": 1.5, "a/c": 2, "a/g": 1}


def test_timers_give_the_interval_and_the_total() -> None:
    timers = Timers()
    timers.add("sample", 1.0)
    timers.add("sample", 2.0)
    assert timers.result() == {"sample": 3.0, "sample_total": 3.0}
    timers.add("learn", 4.0)
    assert timers.result() == {"sample": 0.0, "sample_total": 3.0, "learn": 4.0, "learn_total": 4.0}
    with timers.time("sample"):
        pass
    assert timers.result()["sample_total"] > 3.0


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_columns_keep_their_place_and_may_grow(tmp_path: Path) -> None:
    path = tmp_path / "progress.csv"
    writer = CSVWriter(tmp_path)
    assert isinstance(writer, ResultWriter)
    writer.write({"a": 1, "b": {"c": 0.1}})
    writer.write({"b": {"c": math.nan}, "new,column": 7})
    writer.write({"a": 3})
    writer.close()
    assert path.read_text().splitlines()[0] == 'a,b/c,"new,column"'
    assert read(path) == [
        {"a": "1", "b/c": "0.1", "new,column": ""},
        {"a": "", "b/c": "nan", "new,column": "7"},
        {"a": "3", "b/c": "", "new,column": ""},
    ]
    resumed = CSVWriter(tmp_path)
    resumed.write({"b": {"c": 2}, "z": 1})
    resumed.close()
    assert path.read_text().splitlines()[0] == 'a,b/c,"new,column",z'
    assert read(path)[-1] == {"a": "", "b/c": "2", "new,column": "", "z": "1"}
    assert float(read(path)[0]["b/c"]) == 0.1


def test_jsonl_is_strict_json_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    writer = JSONLWriter(tmp_path)
    writer.write(result(episode_return_mean=math.nan, per_agent={"a": np.arange(2)}, odd=object))
    writer.write(result(16))
    writer.close()
    lines = [json.loads(line, parse_constant=lambda word: pytest.fail(word)) for line in path.read_text().splitlines()]
    assert [line["num_env_steps_sampled_lifetime"] for line in lines] == [8, 16]
    assert lines[0]["env_runners"]["episode_return_mean"] is None
    assert lines[0]["env_runners"]["per_agent"] == {"a": [0, 1]}
    assert lines[0]["learners"]["p0"]["total_loss"] == 1.5
    assert "config" not in lines[0]


def test_to_json_value_never_fails() -> None:
    assert to_json_value({1: (math.inf, np.bool_(True), {2})}) == {"1": [None, True, [2]]}
    assert to_json_value(torch.zeros(2, 1)) == [[0.0], [0.0]]


def test_tensorboard_events_hold_the_finite_numbers(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    writer = TensorBoardWriter(tmp_path)
    writer.write(result(8, episode_return_mean=math.nan))
    writer.write(result(16, episode_return_mean=5.0))
    writer.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    points = events.Scalars("env_runners/episode_return_mean")
    assert [(point.step, point.value) for point in points] == [(16, 5.0)]
    assert [point.step for point in events.Scalars("training_iteration")] == [8, 16]


class Host:
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.watchers = Watchers()

    def is_heard(self, hook: str) -> bool:
        return True

    def notify(self, hook: str, **kwargs: Any) -> None:
        self.heard.append(hook)


def test_callbacks_get_what_they_take_in_order() -> None:
    seen: list[Any] = []

    class Mine:
        def on_train_result(self, *, algorithm: Any, result: Any, **kwargs: Any) -> None:
            seen.append(("class", algorithm))

        def on_evaluate_end(self, evaluation_metrics: Any) -> None:
            seen.append(("eval", evaluation_metrics))

    config = AlgorithmConfig().callbacks(
        Mine,
        on_train_result=[
            lambda result: seen.append(result),
            lambda algorithm, **rest: seen.append(sorted(rest)),
        ],
        on_checkpoint_saved=lambda path: seen.append(path),
        on_algorithm_init=lambda: seen.append("init"),
    )
    host = Host()
    callbacks = Callbacks(config, host)
    callbacks.on_algorithm_init("algo")
    callbacks.on_train_result("algo", {"x": 1})
    callbacks.on_evaluate_start("algo")
    callbacks.on_evaluate_end("algo", {"y": 2})
    callbacks.on_checkpoint_saved("algo", "some/path")
    callbacks.on_checkpoint_loaded("algo", "some/path")
    assert seen == ["init", ("class", "algo"), {"x": 1}, ["result"], ("eval", {"y": 2}), Path("some/path")]
    assert host.heard == ["rlkit_algorithm_built", "rlkit_train_result", "rlkit_checkpoint_saved"]


def test_a_callbacks_error_keeps_its_type_and_names_the_callback() -> None:
    def my_callback(result: Any) -> None:
        raise ZeroDivisionError("oops")

    callbacks = Callbacks(AlgorithmConfig().callbacks(on_train_result=my_callback))
    with pytest.raises(ZeroDivisionError) as caught:
        callbacks.on_train_result("algo", {})
    said = [*getattr(caught.value, "__notes__", []), str(caught.value)]
    assert any("on_train_result=" in text and "my_callback" in text for text in said)


def test_callbacks_for_events_that_do_not_exist_are_refused() -> None:
    class PerStep:
        def on_episode_step(self) -> None: ...

    with pytest.raises(ConfigError, match="on_episode_step is never called"):
        AlgorithmConfig().callbacks(PerStep)
    with pytest.raises(ConfigError, match="has none of"):
        AlgorithmConfig().callbacks(callbacks_class=dict)
