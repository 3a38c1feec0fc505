"""Plugins that watch change nothing, whatever they do: observers, their view of a run, and those that check configs."""

from __future__ import annotations

import random
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch

from actor_critic import ACConfig
from rlkit_core import RLModuleSpec
from rlkit_core.algorithm.run_view import RunView, in_run_folder, read_only
from rlkit_core.errors import ConfigError, PluginError
from rlkit_core.plugins.host import PluginHost, use_host

HEAD = 'from rlkit_core import hookimpl\nrlkit_api = "1.0"\n'


def small() -> Any:
    config = ACConfig().environment("CartPole-v1").debugging(seed=3).rl_module(model_config={"fcnet_hiddens": [4]})
    return config.training(train_batch_size=32, minibatch_size=32, num_epochs=1)


@pytest.fixture
def host():
    with use_host(None), use_host(PluginHost()) as host:
        yield host


class Plugin:
    rlkit_api = "1.0"


def learned(config: Any, path: Path) -> tuple[Any, list[Any]]:
    with config.build_algo() as algo:
        results = [algo.train(), algo.train()]
        algo.save_to_path(path)
        return algo.learner_group.get_weights(inference_only=False).state["default_policy"], results


class Vandal(Plugin):
    """Tries to change all that it is given, and the process."""

    heard: list[str]

    def __init__(self) -> None:
        self.heard, self.kept = [], []

    def _spoil(self, name: str, view: RunView) -> None:
        self.heard.append(name)
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        for weights in view.get_weights().values():
            for array in weights.values():
                array[...] = 7
        view.config._model_config["fcnet_hiddens"].append(9)
        with pytest.raises(AttributeError):
            view.config.lr = 1.0

    def rlkit_algorithm_built(self, view: RunView) -> None:
        self._spoil("built", view)
        raise KeyboardInterruptLike

    def rlkit_train_result(self, view: RunView, result: Any) -> bool:
        self._spoil("result", view)
        self.kept.append((view, result))
        for change in (lambda: result.clear(), lambda: result.update(x=1), lambda: result["env_runners"].update(x=1)):
            with pytest.raises(AttributeError):
                change()
        with pytest.raises(TypeError):
            result["config"]["lr"] = 3
        return False

    def rlkit_checkpoint_saved(self, view: RunView, path: Path) -> None:
        self._spoil("saved", view)
        raise SystemExit(0)


class KeyboardInterruptLike(BaseException):
    def __str__(self) -> str:
        raise SystemExit(1)


@pytest.mark.covers("hook:rlkit_algorithm_built", "hook:rlkit_train_result", "hook:rlkit_checkpoint_saved")
def test_an_observer_changes_nothing(host: PluginHost, tmp_path: Path) -> None:
    plain, _ = learned(small(), tmp_path / "plain")
    vandal = Vandal()
    states = (random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state())
    with host.temporary(vandal):
        watched, results = learned(small(), tmp_path / "watched")
    assert vandal.heard == ["built", "result", "result", "saved"]
    assert all(np.array_equal(plain[name], watched[name]) for name in plain)
    assert all("stopped_by" not in result and result["env_runners"] for result in results)
    assert (torch.is_grad_enabled(), torch.get_default_dtype()) == (True, torch.float32)
    assert states[0] == random.getstate()
    assert (states[1] == np.random.get_state()[1]).all()
    assert states[2].equal(torch.get_rng_state())
    assert host.watchers.errors == {("local", "rlkit_algorithm_built"): 1, ("local", "rlkit_checkpoint_saved"): 1}
    view, seen = vandal.kept[0]
    assert (view.iteration, view.run_dir, type(view.config), view.config.is_frozen) == (1, None, ACConfig, True)
    assert seen["training_iteration"] == 1


def test_what_observers_take_is_in_the_timers_of_that_iteration(host: PluginHost) -> None:
    class Slow(Plugin):
        def rlkit_train_result(self, view: Any) -> None:
            torch.zeros(200_000).sort()

    with small().build_algo() as algo:
        assert "plugins" not in algo.train()["timers"]
        with host.temporary(Slow()):
            first, second = (algo.train()["timers"]["plugins"] for _ in range(2))
        assert set(first) == set(second) == {"local"}
        assert 0 < second["local"] < 1
        assert "plugins" not in algo.train()["timers"]


@pytest.mark.parametrize("times", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_no_hook_is_called_in_an_update_or_a_sample(host: PluginHost, times: int) -> None:
    class All(Plugin):
        def rlkit_algorithm_built(self) -> None: ...
        def rlkit_train_result(self) -> None: ...
        def rlkit_checkpoint_saved(self) -> None: ...
        def rlkit_check_config(self) -> None: ...

    calls: list[str] = []
    manager = host._loader.manager
    manager.add_hookcall_monitoring(lambda hook, impls, kwargs: calls.append(hook), lambda *args: None)
    config = small().env_runners(rollout_fragment_length=1).training(train_batch_size=1, minibatch_size=1)
    with host.temporary(All()), config.build_algo() as algo:
        assert calls == ["rlkit_check_config", "rlkit_algorithm_built"]
        learner, rollouts = algo.learner_group.learner, algo.env_runner_group.sample()
        for _ in range(times):
            learner.update(rollouts=rollouts, timesteps=algo.timesteps)
            algo.env_runner_group.sample()
        assert len(calls) == 2
        algo.train()
        assert calls[2:] == ["rlkit_train_result"]


def test_keyboard_interrupt_is_the_users(host: PluginHost) -> None:
    class Stops(Plugin):
        def rlkit_train_result(self) -> None:
            raise KeyboardInterrupt

    with small().build_algo() as algo, host.temporary(Stops()), pytest.raises(KeyboardInterrupt):
        algo.train()


def test_a_result_is_read_only_at_every_depth() -> None:
    array = np.zeros(3)
    shown = read_only({"a": [{"b": array}], "c": torch.zeros(2), "d": {1}, "e": (1, [2])})
    assert isinstance(shown, MappingProxyType)
    assert isinstance(shown["a"][0], MappingProxyType)
    inner = shown["a"][0]["b"]
    with pytest.raises(ValueError, match="read-only"):
        inner[0] = 1
    inner.flags.writeable = True
    inner[0] = 1
    shown["c"][0] = 1
    assert array.sum() == 0
    assert shown["e"] == (1, (2,))


def test_the_folder_of_a_run_is_known_from_the_start(tmp_path: Path) -> None:
    with in_run_folder(tmp_path):
        view = RunView(None)
    assert view.run_dir == tmp_path
    assert RunView(None).run_dir is None


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def rlkit_train_result(algorithm, result): ...", "argument 'algorithm' is no more: take view: a RunView"),
        ("def rlkit_algorithm_built(algorithm): ...", "argument 'algorithm' is no more: take view: a RunView"),
        ("def rlkit_result_writers(run_dir, config): ...", "is no more: writers are services: return Service('writer'"),
        ("def rlkit_train_result(veiw): ...", "unknown argument 'veiw'. Did you mean 'view'"),
    ],
)
def test_an_older_signature_is_told_what_to_write(site, source: str, says: str) -> None:
    site.add("lab-x", HEAD + source)
    host = site.host()
    with pytest.warns(match="lab-x"):
        host.load()
    assert says in str(host.states)


# -- checking configs -------------------------------------------------------------------------------------------------


@pytest.fixture
def installed(site, monkeypatch):
    """Install a plugin whose check has this body, beside all others, and use it."""
    import importlib
    import sys

    from rlkit_core.plugins.discovery import scan

    hosts = []

    def install(body: str, name: str = "acme", more: str = "") -> Any:
        source = HEAD + f"asked = []\n{more}\ndef rlkit_check_config(config):\n    asked.append(config)\n    {body}\n"
        site.add(name, source, groups={"rlkit.plugins": {name: name}, "rlkit.catalogs": {name: f"{name}:Cat"}})
        importlib.invalidate_caches()
        host = use_host(PluginHost(scan([str(site.path), *sys.path], env={}), {}))
        hosts.append(host)
        host.__enter__()
        return importlib.import_module(name)

    yield install
    for host in reversed(hosts):
        host.__exit__(None, None, None)


MORE = """
from rlkit_core import Component, Catalog
from rlkit_core.plugins.records import Service
from rlkit_core.models import MLPEncoderConfig as Mlp
from gymnasium.spaces import Box
from rlkit_core.run.writers import CSVWriter
from actor_critic import ACModule, ACLearner, ACConfig
class Cat(Catalog): components = (Component("c", "encoder", Mlp, [Box]),)
class Encoder(Mlp): pass
class Module(ACModule): pass
class Learner(ACLearner): pass
class Config(ACConfig): pass
class Watcher:
    def on_train_result(self): pass
def rlkit_encoders(): return [Component("mlp", "encoder", Encoder, [Box])]
def rlkit_services(): return [Service("writer", "w", CSVWriter), Service("callbacks", "c", Watcher)]
"""

USES = {
    "catalog by name": lambda lab: small().rl_module(catalogs=["acme"]),
    "catalog class": lambda lab: small().rl_module(catalogs=[lab.Cat]),
    "component": lambda lab: small().rl_module(components={"encoder": "acme/mlp"}),
    "component's class": lambda lab: small().rl_module(components={"encoder": lab.Encoder}),
    "module class": lambda lab: small().rl_module(rl_module_spec=RLModuleSpec(module_class=lab.Module)),
    "module's base": lambda lab: small().rl_module(
        rl_module_spec=RLModuleSpec(module_class=type("Mine", (lab.Module,), {}))
    ),
    "learner": lambda lab: small().learners(learner_class=lab.Learner),
    "algorithm": lambda lab: lab.Config().environment("CartPole-v1"),
    "writer": lambda lab: small().reporting(writers=["csv", "acme/w"]),
    "callbacks": lambda lab: small().callbacks(plugins=["c"]),
}


@pytest.mark.covers("hook:rlkit_check_config")
@pytest.mark.parametrize("use", USES)
def test_plugins_that_a_config_uses_are_asked(installed, use: str) -> None:
    lab = installed("return ['too odd']", more=MORE)
    small().validate()
    assert lab.asked == []
    with pytest.raises(ConfigError, match=r"too odd \(said by acme\)"):
        USES[use](lab).validate()


@pytest.mark.parametrize("body", ["raise KeyError('x')", "raise SystemExit(0)", "return True", "config.lr = 3"])
def test_one_that_is_not_used_stops_nothing(installed, body: str) -> None:
    lab = installed(body)
    small().validate()
    assert lab.asked == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise KeyError('x')", "raised KeyError"),
        ("raise SystemExit(0)", "raised SystemExit"),
        ("yield 'a'; raise KeyError('x')", "raised KeyError"),
        ("config.lr = 3.0", "raised AttributeError: .* is frozen"),
        ("return True", "returned True, expected sentences"),
        ("return [3]", "returned 3, expected sentences"),
        ("return {'a': 'b'}", "returned .*expected sentences"),
    ],
)
def test_what_it_does_wrong_is_its_own_error_where_it_is_used(installed, body: str, says: str) -> None:
    lab = installed(body, more=MORE)
    with pytest.raises(PluginError, match=f"rlkit_check_config of plugin acme 1.0 {says}"):
        USES["module class"](lab).validate()


def test_it_sees_a_frozen_copy_of_the_configs_own_class(installed) -> None:
    lab = installed("config._model_config['fcnet_hiddens'].append(1)", more=MORE)
    config = USES["algorithm"](lab).rl_module(model_config={"fcnet_hiddens": [4]})
    config.validate()
    (seen,) = lab.asked
    assert (type(seen), seen.is_frozen, seen is config) == (lab.Config, True, False)
    assert config.model_config["fcnet_hiddens"] == [4]
