"""``rlkit explain``: each component, where it came from, and why."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest
from click.testing import CliRunner
from gymnasium.spaces import Box, Text
from torch import nn

from rlkit_core import Catalog, Component, RLModuleSpec, TorchRLModule, get_algorithm_config
from rlkit_core.cli.explain import _rest, explain
from rlkit_core.cli.explained import explain_run
from rlkit_core.errors import ConfigError, ModuleAPIError
from rlkit_core.testing import MultiAgentCartPole


def run(*args: str):
    return CliRunner().invoke(explain, args)


def test_text() -> None:
    result = run("ac", "CartPole-v1")
    assert result.exit_code == 0, result.output
    lines = [line.strip() for line in result.output.splitlines()]
    assert any(line.startswith("rlkit-core/mlp") and line.endswith("built-in") for line in lines)
    assert "not rlkit-core/cnn: its condition (when) does not hold here" in lines
    assert any("ACModule (fx-actor-critic" in line for line in lines)
    assert {"encoder", "head pi", "head vf", "distribution pi"} <= set(lines)


def test_json_and_settings() -> None:
    setting = "components={'head:vf': 'rlkit-core/mlp'}"
    result = run("ac", "Pendulum-v1", "--json", "--set", "model_config.free_log_std=True", "--set", setting)
    assert result.exit_code == 0, result.output
    module = json.loads(result.stdout)["modules"]["default_policy"]
    found = {(c["kind"], c["slot"]): c for c in module["components"]}
    assert found["head", "pi"]["id"] == "rlkit-core/free-log-std-mlp"
    assert found["head", "vf"]["rule"] == "config"
    assert found["distribution", "pi"]["id"] == "rlkit-core/diag-gaussian"
    assert module["catalog"]["distribution"] == "rlkit-core"
    assert module["parameters"] > 0


def test_unknown_algorithm() -> None:
    result = run("acc", "CartPole-v1")
    assert result.exit_code != 0
    assert "No algorithm 'acc'" in str(result.exception)


def test_it_refuses_what_training_refuses(tmp_path) -> None:
    from rlkit_core.cli.train import train

    setting = ("ac", "CartPole-v1", "--set", "minibatch_size=1000000")
    explained = run(*setting)
    trained = CliRunner().invoke(train, [*setting, "--run-dir", str(tmp_path / "run")])
    assert explained.exit_code != 0
    assert isinstance(explained.exception, ConfigError)
    assert str(explained.exception) == str(trained.exception)
    assert not (tmp_path / "run").exists()


class NotUsed(Catalog):
    """Listed in a config, it has nothing that a vector needs."""

    components: ClassVar[tuple[Component, ...]] = (Component("text", "encoder", "nobody:Text", [Text]),)


class Gives(Catalog):
    """Its encoder comes before the built-in one."""

    components: ClassVar[tuple[Component, ...]] = (
        Component("mine", "encoder", "rlkit_core.models:MLPEncoderConfig", [Box]),
    )


def test_what_is_used_beside_components_is_told() -> None:
    config = get_algorithm_config("ac").environment("CartPole-v1").rl_module(catalogs=[NotUsed, Gives])
    explained = explain_run(config)
    not_used, gives = explained["catalogs"]
    assert not_used["unused"] == "it assembles no module, and none of its components was chosen"
    assert (gives["chosen"], gives["unused"]) == (["local/mine"], None)
    apis = {api["id"]: api for api in explained["modules"]["default_policy"]["apis"]}
    assert apis["rlkit-core/inference_only"]["calls"] == ["on_module_built"]
    assert explained["learner"]["distribution"] == "fx-actor-critic"
    used = {(e["role"], e["id"]) for e in explained["used"]}
    assert {("executor", "rlkit-core/local"), ("writer", "rlkit-core/csv"), ("env", "gymnasium/CartPole-v1")} <= used
    text = "\n".join(_rest(explained))
    assert "catalog       NotUsed (local 0) is not used: it assembles no module" in text
    assert "catalog       Gives (local 0) gives local/mine" in text


def test_agents_are_told_with_their_modules() -> None:
    config = get_algorithm_config("ac").environment(MultiAgentCartPole, env_config={"num_agents": 3})
    config.multi_agent(policies=["even", "odd"], policy_mapping_fn=lambda agent, episode: ("even", "odd")[agent % 2])
    explained = explain_run(config)
    assert explained["agents"] == {"0": "even", "1": "odd", "2": "even"}
    assert "  even          acts for 0, 2" in _rest(explained)


def test_a_module_that_the_learner_cannot_train_is_refused() -> None:
    class NoValues(TorchRLModule):
        def setup(self) -> None:
            self.net = nn.Linear(4, 2)

    config = get_algorithm_config("ac").environment("CartPole-v1").rl_module(rl_module_spec=RLModuleSpec(NoValues))
    with pytest.raises(ModuleAPIError, match="ValueFunctionAPI"):
        explain_run(config)
