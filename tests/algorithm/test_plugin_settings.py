"""Settings that plugins declare for themselves: set in a config, checked, kept wherever a config is."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Any

import pytest

from actor_critic import ACConfig
from rlkit_core.algorithm import Algorithm, AlgorithmConfig
from rlkit_core.algorithm.config.used import used_by_config
from rlkit_core.cli.explained import explain_run
from rlkit_core.cli.given import apply_setting
from rlkit_core.errors import ConfigError, PluginError, PluginNotFoundError, UnknownSettingError
from rlkit_core.plugins.discovery import scan
from rlkit_core.plugins.host import PluginHost, use_host
from rlkit_core.settings import integer, setting, settings_class

PLUGIN = """
from rlkit_core.settings import integer, number, setting
rlkit_api = "1.0"
rlkit_settings = {
    "bonus": setting(0.5, help="How much curiosity is worth.", converter=number(ge=0)),
    "hiddens": setting([8], help="Layers."),
}
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install plugins ``acme-rnd`` and others, and use them."""
    monkeypatch.syspath_prepend(str(tmp_path))
    hosts = []

    def add(source: str = PLUGIN, name: str = "acme-rnd") -> Any:
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-2.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n")
        (info / "entry_points.txt").write_text(f"[rlkit.plugins]\n{name} = {module}\n")
        importlib.invalidate_caches()
        hosts.append(use_host(PluginHost(scan(sys.path, env={}), {})))
        return hosts[-1].__enter__()

    yield add
    for host in reversed(hosts):
        host.__exit__(None, None, None)
    for name in [n for n in sys.modules if n.startswith(("acme", "lab_"))]:
        del sys.modules[name]


def test_they_are_set_checked_and_read(install) -> None:
    install()
    config = AlgorithmConfig().plugin("acme-rnd", bonus=1).plugin("ACME_RND", hiddens=[3])
    assert config.plugin_config == {"acme-rnd": {"bonus": 1.0, "hiddens": [3]}}
    assert AlgorithmConfig().plugin("acme-rnd").plugin_config == {"acme-rnd": {}}
    assert AlgorithmConfig().plugin(plugin_config=config.plugin_config) == config
    assert config.plugin_settings("acme-rnd").bonus == 1.0
    assert AlgorithmConfig().plugin_settings("acme-rnd").bonus == 0.5
    config.plugin_settings("acme-rnd").hiddens.append(9)
    assert config.plugin_settings("acme-rnd").hiddens == [3]
    assert AlgorithmConfig().plugin_settings("acme-rnd").hiddens == [8]


@pytest.mark.parametrize(
    ("settings", "kind", "says"),
    [
        ({"bonsu": 1}, UnknownSettingError, r"plugin 'acme-rnd' has no setting 'bonsu'\. Did you mean 'bonus'"),
        ({"bonus": -1}, ConfigError, r"bonus=-1\): expected a number >= 0"),
        ({"bonus": "x"}, ConfigError, "expected a number"),
    ],
)
def test_what_does_not_fit_is_refused(install, settings: dict[str, Any], kind: type[Exception], says: str) -> None:
    install()
    config = AlgorithmConfig()
    with pytest.raises(kind, match=says):
        config.plugin("acme-rnd", **settings)
    assert config.plugin_config == {}


def test_a_plugin_that_is_not_there(install) -> None:
    install()
    with pytest.raises(PluginNotFoundError, match=r"no such plugin is installed\. Did you mean 'acme-rnd'"):
        AlgorithmConfig().plugin("acme-rdn", bonus=1)
    with pytest.raises(PluginNotFoundError, match="no such plugin is installed"):
        AlgorithmConfig().plugin_settings("quite-other")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ('rlkit_api = "1.0"\n', "it declares none"),
        ('rlkit_api = "1.0"\nrlkit_settings = 3\n', "its rlkit_settings cannot be used"),
        ('rlkit_api = "1.0"\nrlkit_settings = {"bonus": 0.5}\n', "'bonus': expected rlkit_core.settings.setting"),
        (PLUGIN + 'rlkit_settings["copy"] = setting(1, help="x")', "'copy' cannot be the name"),
        (PLUGIN + 'rlkit_settings["x"] = setting(-1, help="x", converter=number(ge=0))', "a default does not fit"),
        ("raise SystemExit(0)", "SystemExit"),
    ],
)
def test_declarations_that_cannot_be_used_are_the_plugins_fault(install, source: str, says: str) -> None:
    install(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        AlgorithmConfig().validate()
    with pytest.raises(PluginError, match=says):
        AlgorithmConfig().plugin("acme-rnd")


def test_they_travel_with_the_config(install) -> None:
    host = install()
    config = AlgorithmConfig().plugin("acme-rnd", bonus=2)
    assert config.to_dict()["plugin_config"] == {"acme-rnd": {"bonus": 2.0}}
    back = AlgorithmConfig.from_json(config.to_json())
    assert back == config
    assert back.set_by_user() == {"plugin_config"}
    assert config.copy().plugin_settings("acme-rnd").bonus == 2.0
    assert AlgorithmConfig.from_dict(config.to_dict()).plugin_settings("acme-rnd").bonus == 2.0
    assert [used.role for used in used_by_config(config, host).entries if used.distribution == "acme-rnd"] == [
        "settings"
    ]
    assert all(used.distribution != "acme-rnd" for used in used_by_config(AlgorithmConfig(), host).entries)
    text = config.to_json()
    with use_host(PluginHost(scan(sys.path, env={"RLKIT_PLUGINS_DISABLE": "acme-rnd"}), {})):
        AlgorithmConfig().validate()
        with pytest.raises(PluginError, match=r"acme-rnd.*disabled"):
            AlgorithmConfig.from_json(text)


def test_a_checkpoint_keeps_them(install, tmp_path) -> None:
    install()
    config = ACConfig().environment("CartPole-v1").training(train_batch_size=16, minibatch_size=16, num_epochs=1)
    with config.plugin("acme-rnd", bonus=2).build_algo() as algo:
        saved = algo.save_to_path(tmp_path / "checkpoint")
    with Algorithm.from_checkpoint(saved) as again:
        assert again.config.plugin_settings("acme-rnd").bonus == 2.0


def test_they_are_set_from_the_command_line(install) -> None:
    install()
    config = AlgorithmConfig()
    apply_setting(config, "plugin.acme-rnd.bonus=0.25")
    apply_setting(config, "plugin.acme-rnd.hiddens=[1,2]")
    assert config.plugin_config == {"acme-rnd": {"bonus": 0.25, "hiddens": [1, 2]}}
    with pytest.raises(UnknownSettingError, match="Did you mean 'bonus'"):
        apply_setting(config, "plugin.acme-rnd.bonu=0.25")


def test_a_check_is_asked_of_the_plugin_whose_settings_are_set(install) -> None:
    install(
        PLUGIN + "def rlkit_check_config(config): return ['no'] if config.plugin_settings('acme-rnd').bonus else []\n"
    )
    AlgorithmConfig().validate()
    AlgorithmConfig().plugin("acme-rnd", bonus=0).validate()
    with pytest.raises(ConfigError, match="said by acme-rnd"):
        AlgorithmConfig().plugin("acme-rnd").validate()


def test_a_class_of_settings_is_made_of_a_dict() -> None:
    made = settings_class("mine", {"n": setting(1, help="A number.", converter=integer(ge=1)), "x": setting(help="x")})
    assert (made(n=3).n, made().x) == (3, None)
    with pytest.raises(ConfigError, match=r"mine\(n=0\): expected a whole number >= 1"):
        made(n=0)


EXECUTOR = """
from rlkit_core import Service, hookimpl
from rlkit_core.execution import LocalExecutor
from rlkit_core.settings import integer, setting
rlkit_api = "1.0"
rlkit_settings = {
    "seats": setting(2, help="How many fit.", converter=integer(ge=1)),
    "color": setting("red", help="Not the executor's."),
}

class Tables(LocalExecutor):
    made = []

    def __init__(self, *, role, seats):
        super().__init__()
        self.made.append((role, seats))

@hookimpl
def rlkit_services():
    return [Service("executor", "tables", Tables, settings={"seats": rlkit_settings["seats"]})]
"""


def test_an_executor_has_settings_of_its_own(install) -> None:
    install(EXECUTOR, "acme-tables")
    config = ACConfig().environment("CartPole-v1").execution(executor="tables", seats=3)
    assert (config.executor, config.plugin_config) == ("tables", {"acme-tables": {"seats": 3}})
    assert config.execution(seats=4).plugin_config == {"acme-tables": {"seats": 4}}
    assert ACConfig.from_dict(config.to_dict()) == config
    assert explain_run(config)["plugin_config"] == {"acme-tables": {"seats": 4}}
    with pytest.raises(UnknownSettingError, match=r"'acme-tables' has no setting 'seat'. Did you mean 'seats'"):
        ACConfig().execution(executor="tables", seat=3)
    with pytest.raises(ConfigError, match=r"'acme-tables'\(seats=0\): expected a whole number >= 1"):
        config.execution(seats=0)
    with pytest.raises(UnknownSettingError, match=r"execution\(\) has no setting 'seats'"):
        ACConfig().execution(executor="local", seats=3)


def test_an_executor_learns_whose_actors_it_makes(install) -> None:
    install(EXECUTOR, "acme-tables")
    config = ACConfig().environment("CartPole-v1").execution(executor="tables", seats=3)
    config.env_runners(num_env_runners=1).evaluation(evaluation_num_env_runners=1, evaluation_duration=1)
    algo = config.training(train_batch_size=8, minibatch_size=8).build()
    try:
        made = sys.modules["acme_tables"].Tables.made
        assert made == [("runner", 3)]
        algo.evaluate()
        assert made == [("runner", 3), ("evaluation", 3)]
    finally:
        algo.stop()
