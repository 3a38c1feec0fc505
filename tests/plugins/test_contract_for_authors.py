"""What authors are told of their hooks: annotations that are not so, and what a later plugin API will not have."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import pytest

from rlkit_core import Component
from rlkit_core.algorithm import AlgorithmConfig
from rlkit_core.plugins import PluginDeprecationWarning, PluginWarning, guard
from rlkit_core.plugins.contract.hooks import hook_problems
from rlkit_core.plugins.hookspecs import RLKitSpecs, deprecated, hookspec
from rlkit_core.plugins.manager import HookManager

# ------------------------------------------------------------------ annotations


def encoders(returns: Any) -> Any:
    def rlkit_encoders():
        return []

    rlkit_encoders.__annotations__ = {"return": returns}
    return rlkit_encoders


@pytest.mark.parametrize(
    "returns",
    [
        list[Component],
        Iterable[Component],
        "Iterable[Component]",
        Iterator[Component],
        tuple[Component, ...],
        tuple[Component, Component],
        Sequence["Component"],
        list[Any],
        list,
        Any,
        "list[OnlyForTypeCheckers]",
        "not even python",
        Optional[list[Component]],  # noqa: UP045 - as people write it
        list[Component] | None,
        type("Mine", (list,), {}),
    ],
)
def test_annotations_that_are_so(returns):
    assert list(hook_problems("rlkit_encoders", encoders(returns))) == []


@pytest.mark.parametrize(
    "returns", [None, Component, str, int, list[str], "list[int]", tuple[Component, int], dict[str, Component], bool]
)
def test_results_that_are_not_so(returns):
    (problem,) = hook_problems("rlkit_encoders", encoders(returns))
    assert problem.startswith("rlkit_encoders is annotated to return ")
    assert "expected collections.abc.Iterable[rlkit_core.plugins.records.Component]" in problem


def check_config(config) -> Any:
    def rlkit_check_config(config):
        return []

    rlkit_check_config.__annotations__ = {"config": config}
    return rlkit_check_config


@pytest.mark.parametrize(
    "config", [Any, object, AlgorithmConfig, "AlgorithmConfig", "PPOConfig", AlgorithmConfig | None]
)
def test_arguments_that_are_so(config):
    assert list(hook_problems("rlkit_check_config", check_config(config))) == []


@pytest.mark.parametrize("config", [int, str, dict[str, Any], list, Path, None, int | str])
def test_arguments_that_are_not_so(config):
    (problem,) = hook_problems("rlkit_check_config", check_config(config))
    assert "its argument 'config' is annotated" in problem


def test_paths_and_results_of_runs():
    def rlkit_checkpoint_saved(path: str) -> bool:
        return True

    def rlkit_train_result(result: dict[str, Any]) -> None:
        return None

    def fine(path: Path | str) -> None:
        return None

    assert len(list(hook_problems("rlkit_checkpoint_saved", rlkit_checkpoint_saved))) == 2
    assert list(hook_problems("rlkit_checkpoint_saved", fine)) == []
    (problem,) = hook_problems("rlkit_train_result", rlkit_train_result)
    assert "is annotated dict[str, Any], and is given collections.abc.Mapping[str, Any]" in problem

    async def waits(result: Mapping[str, Any]) -> None:
        return None

    assert list(hook_problems("rlkit_train_result", waits)) == [
        "rlkit_train_result is 'async def', and nothing awaits it: use 'def'"
    ]


def test_doctor_tells_annotations(site, rlkit):
    site.add("lab", "rlkit_api = '1.0'\ndef rlkit_check_config(config: int) -> str:\n    return []\n")
    code, out, _ = rlkit("doctor", "--json")
    check = next(c for c in json.loads(out)["checks"] if c["distribution"] == "lab")
    assert (code, check["state"]) == (1, "failed")
    assert check["reason"].splitlines() == [
        "rlkit_check_config: its argument 'config' is annotated int, and is given Config",
        "rlkit_check_config is annotated to return str, expected collections.abc.Iterable[str]",
    ]


# ------------------------------------------------------------------ deprecation


class Later(RLKitSpecs):
    """The hooks of an imagined later API."""

    @hookspec(
        warn_on_impl=deprecated("hook rlkit_old", since="1.3", removed_in="2.0", instead="implement rlkit_new_one")
    )
    def rlkit_old(self, config: object) -> None:
        """It will go."""

    @hookspec(
        warn_on_impl_args={
            "where": deprecated("argument 'where' of rlkit_moved", since="1.3", removed_in="2.0", instead="take path")
        }
    )
    def rlkit_moved(self, path: Path, where: str) -> None:
        """One argument will go."""


def plugin(*names: str) -> Any:
    class Plugin:
        def rlkit_old(self):
            return None

        def rlkit_moved(self, where):
            return None

    class Modern:
        def rlkit_moved(self, path):
            return None

    return Plugin() if "old" in names else Modern()


def test_what_will_go_is_said_once_and_works(monkeypatch):
    monkeypatch.setattr(guard, "_noticed", set())
    manager = HookManager(specs=Later)
    with pytest.warns(PluginDeprecationWarning) as caught:
        manager.add(manager.read(plugin("old"), "acme:acme"))
    texts = [str(warning.message) for warning in caught]
    assert texts == [
        "plugin acme:acme: argument 'where' of rlkit_moved is deprecated since plugin API 1.3 and will be gone in 2.0: "
        "take path",
        "plugin acme:acme: hook rlkit_old is deprecated since plugin API 1.3 and will be gone in 2.0: implement "
        "rlkit_new_one",
    ]
    assert issubclass(PluginDeprecationWarning, PluginWarning)
    assert manager.implementers("rlkit_old") == ["acme:acme"]
    again = HookManager(specs=Later)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again.add(again.read(plugin("old"), "acme:acme"))
        again.add(again.read(plugin(), "modern:modern"))
    assert again.deprecations(again.implemented("modern:modern")) == []
    assert len(again.deprecations(again.implemented("acme:acme"))) == 2


def test_it_stops_nobody_where_warnings_are_errors(monkeypatch):
    monkeypatch.setattr(guard, "_noticed", set())
    manager = HookManager(specs=Later)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        manager.add(manager.read(plugin("old"), "acme:acme"))
    assert manager.implementers("rlkit_moved") == ["acme:acme"]


def test_nothing_is_deprecated_today():
    manager = HookManager()
    assert manager.deprecations({name: getattr(RLKitSpecs, name) for name in dir(RLKitSpecs) if "rlkit_" in name}) == []


# ------------------------------------------------------------------ Protocols

SAMPLE = """
from collections.abc import Mapping
from typing import Any

import torch

from rlkit_core import Learner
from rlkit_core.protocols import AfterUpdate, EngineMaker, Executor, ExtraLoss, OnModuleBuilt, ResultWriter


class API:
    def surprise(self) -> torch.Tensor:
        return torch.zeros(())


class Right(ExtraLoss[API], AfterUpdate[API], OnModuleBuilt[API]):
    def extra_loss(
        self,
        *,
        learner: Learner,
        module_id: str,
        module: API,
        config: Any,
        batch: Mapping[str, Any],
        fwd_out: Mapping[str, Any],
    ) -> torch.Tensor:
        return module.surprise()

    def after_update(self, *, learner: Learner, module_id: str, module: API, timesteps: Mapping[str, int]) -> None:
        learner.metrics.log_value("seen", 1.0)

    @staticmethod
    def on_module_built(module: API) -> None:
        module.surprise()


class Wrong(AfterUpdate[API]):
    def after_update(
        self, *, learner: Learner, module_id: str, module: API, timesteps: int  # wrong: a mapping is given
    ) -> None:
        return None


class Misspelt(ExtraLoss[API]):
    def extra_los(self) -> None:
        return None


class Parts:
    def write(self, result: int) -> None:
        return None

    def step(self) -> None:
        return None


Right()
Misspelt()  # wrong: no extra_loss
writer: ResultWriter = Parts()  # wrong: no close
executor: type[Executor] = Parts  # wrong: nothing of it


def make(learner: object) -> Parts:
    return Parts()


maker: EngineMaker = make  # wrong: no engine
"""


def test_the_protocols_of_drivers_are_what_is_checked_at_run_time():
    from rlkit_core import protocols
    from rlkit_core.plugins.contract.signatures import Call, public_names
    from rlkit_core.rl_module.apis.driver_contract import EVENTS

    declared = {}
    for name in protocols.__all__:
        protocol = getattr(protocols, name)
        if getattr(protocol, "__module__", "").endswith("driver_protocols"):
            for method in public_names(protocol):
                call = Call.of(inspect.getattr_static(protocol, method))
                declared[method] = (*call.positional, *call.named)
    assert declared == EVENTS


@pytest.mark.slow
def test_mypy_finds_what_keeps_no_protocol(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "sample.py").write_text(SAMPLE)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(tmp_path), "sample.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=500)
    errors = [line for line in done.stdout.splitlines() if line.startswith("sample.py:") and " error: " in line]
    found = {int(line.split(":")[1]) for line in errors}
    lines = SAMPLE.splitlines()
    assert found == {number for number, line in enumerate(lines, 1) if "# wrong" in line}, done.stdout
