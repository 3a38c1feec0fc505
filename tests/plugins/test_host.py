from __future__ import annotations

import itertools
import json
import logging
import sys
import warnings

import pytest
from gymnasium import spaces

from rlkit_core.errors import (
    AmbiguousComponentError,
    PluginError,
    PluginNotFoundError,
    PluginVersionError,
)
from rlkit_core.execution import same_plugins
from rlkit_core.plugins import PluginWarning, discovery
from rlkit_core.plugins import host as host_module
from rlkit_core.plugins.hookspecs import RLKitSpecs
from rlkit_core.plugins.host import PluginHost, default_host, use_host
from rlkit_core.plugins.records import ComponentRequest
from rlkit_core.plugins.registry import Origin, choose
from rlkit_core.plugins.used.lock import Lock, Used

HEAD = """
from gymnasium.spaces import Box, Text
from rlkit_core import Component, ModuleAPI, hookimpl
from rlkit_core.plugins.records import Service
rlkit_api = "1.0"
def text(name="text", **kw):
    kw = {"kind": "encoder", "target": "nowhere:Nothing", "spaces": [Text], **kw}
    return Component(name, **kw)
"""
GOOD = HEAD + "@hookimpl\ndef rlkit_encoders():\n    return [text()]\n"


def state_of(host, distribution):
    return next(s for s in host.states if s.distribution == distribution)


def ghosts(host, distribution):
    """Everything of a distribution that is still registered anywhere."""
    impls = [
        impl.plugin_name
        for hook in vars(RLKitSpecs)
        if hook.startswith("rlkit_")
        for impl in getattr(host._loader.manager.hook, hook).get_hookimpls()
    ]
    found = [
        n
        for n in [*impls, *(n for n, _ in host._loader.manager.list_name_plugin())]
        if n.startswith(distribution + ":")
    ]
    found += [c.id for c in host.registry.components() if c.origin.distribution == distribution]
    found += [a.id for a in (*host.module_apis, *host.services()) if a.origin.distribution == distribution]
    return found


def load(site, **env):
    host = site.host(env)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        host.load()
    return host


# ------------------------------------------------------------------ faults

FAULTS = {
    "import": ("import nobody_has_this", "ModuleNotFoundError", "nobody_has_this"),
    "syntax": ("def f(:", "SyntaxError", "update"),
    "exit": ("raise SystemExit(3)", "SystemExit: 3", "end Python"),
    "base": ("class Odd(BaseException): pass\nraise Odd('odd')", "Odd: odd", "update"),
    "no-api": ("x = 1", "declares none", 'rlkit_api = "1.0"'),
    "newer": ('rlkit_api = "1.9"', "needs plugin API 1.9", "--upgrade rlkit-core"),
    "older": ('rlkit_api = "0.3"', "written for plugin API 0.3", "--upgrade lab-older"),
    "unknown-hook": (
        GOOD + "@hookimpl\ndef rlkit_headz(): return []\n",
        "Did you mean 'rlkit_heads'",
        "update",
    ),
    "unmarked-unknown": (GOOD + "def rlkit_encoder(): return []\n", "unknown hook 'rlkit_encoder'", "update"),
    "unknown-argument": (
        GOOD + "@hookimpl\ndef rlkit_check_config(confg): ...\n",
        "Did you mean 'config'",
        "update",
    ),
    "extra-argument": (GOOD + "@hookimpl\ndef rlkit_heads(config): return []\n", "no arguments", "update"),
    "default": (GOOD + "@hookimpl\ndef rlkit_check_config(config=None): ...\n", "has a default", "update"),
    "keyword-only": (GOOD + "@hookimpl\ndef rlkit_check_config(*, config): ...\n", "never passed", "update"),
    "kwargs": (GOOD + "@hookimpl\ndef rlkit_check_config(**kw): ...\n", "never passed", "update"),
    "old-wrapper": (
        GOOD + "@hookimpl(hookwrapper=True)\ndef rlkit_heads():\n    yield\n",
        "wrapper",
        "update",
    ),
    "wrapper": (
        GOOD + "@hookimpl(wrapper=True)\ndef rlkit_heads():\n    return (yield)\n",
        "wrapper",
        "update",
    ),
    "lost-name": (GOOD + "@hookimpl\ndef my_encoders(): return []\n", "begin with rlkit_", "update"),
    "no-function": (GOOD + "rlkit_heads = [1]\n", "expected a function", "update"),
    "raises": (GOOD + "@hookimpl\ndef rlkit_heads(): raise KeyError('late')\n", "KeyError: 'late'", "update"),
    "exits-late": (GOOD + "@hookimpl\ndef rlkit_heads(): raise SystemExit\n", "SystemExit", "update"),
    "no-list": (
        GOOD + "@hookimpl\ndef rlkit_heads(): return text(kind='head')\n",
        "expected a list",
        "update",
    ),
    "no-record": (GOOD + "@hookimpl\ndef rlkit_heads(): return ['mlp']\n", "expected Component", "update"),
    "wrong-kind": (GOOD + "@hookimpl\ndef rlkit_heads(): return [text('x')]\n", "kind 'encoder'", "update"),
    "duplicate": (GOOD.replace("[text()]", "[text(), text()]"), "registered twice", "update"),
    "spaces": (GOOD.replace("text()", "text(spaces=[Text(3)])"), "space classes", "update"),
    "no-spaces": (GOOD.replace("text()", "text(spaces=[])"), "space classes", "update"),
    "target": (GOOD.replace("text()", "text(target='nowhere')"), "package.module:Class", "update"),
    "target-object": (GOOD.replace("text()", "text(target=3)"), "package.module:Class", "update"),
    "when": (GOOD.replace("text()", "text(when=True)"), "when True", "update"),
    "priority": (GOOD.replace("text()", "text(priority='high')"), "priority 'high'", "update"),
    "name": (GOOD.replace("text()", "text('a/b')"), "name 'a/b'", "update"),
    "protocol": (
        GOOD + "import typing\nclass P(typing.Protocol): ...\n"
        "@hookimpl\ndef rlkit_module_apis(): return [ModuleAPI('p', P)]\n",
        "Protocol",
        "update",
    ),
    "mixin-init": (
        GOOD + "class Base:\n    def __init__(self): ...\nclass M(Base): ...\n"
        "@hookimpl\ndef rlkit_module_apis(): return [ModuleAPI('m', M)]\n",
        "must not have an __init__",
        "update",
    ),
    "service-target": (
        GOOD + "@hookimpl\ndef rlkit_services(): return [Service('executor', 'e', 3)]\n",
        "target 3",
        "update",
    ),
    "service-kind": (
        GOOD + "@hookimpl\ndef rlkit_services(): return [Service('executer', 'e', 'a:B')]\n",
        "Did you mean 'executor'",
        "update",
    ),
    "service-twice": (
        GOOD + "@hookimpl\ndef rlkit_services(): return [Service('step_engine', 'e', 'a:B')] * 2\n",
        "step engine 'e' is registered twice",
        "update",
    ),
    "no-service": (
        GOOD + "@hookimpl\ndef rlkit_services(): return [ModuleAPI('e', 'a:B')]\n",
        "expected Service records",
        "update",
    ),
}


@pytest.mark.covers("state:failed")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_only_its_plugin_and_leaves_nothing_behind(site, fault):
    source, reason, remedy = FAULTS[fault]
    site.add("aaa-good", GOOD)
    site.add(f"lab-{fault}", source)
    site.add("zzz-good", GOOD)
    host = site.host()
    with pytest.warns(PluginWarning) as caught:
        host.load()
    assert len(caught) == 1
    state = state_of(host, f"lab-{fault}")
    assert state.state == "failed"
    assert reason in state.reason
    assert remedy in state.remedy
    assert f"RLKIT_PLUGINS_DISABLE=lab-{fault}" in state.remedy
    assert state.traceback.startswith("Traceback")
    assert state.reason in str(caught[0].message)
    assert ghosts(host, f"lab-{fault}") == []
    texts = [c.id for c in host.registry.components("encoder") if c.name == "text"]
    assert texts == ["aaa-good/text", "zzz-good/text"]


@pytest.mark.parametrize("value", ["lab_x:missing", "lab_x.sub", "lab_x:NOTHING", "lab_x:Class", "lab_x:TEXT", "???"])
def test_an_entry_point_that_names_nothing_usable(site, value):
    source = 'rlkit_api = "1.0"\nNOTHING = None\nTEXT = "hooks"\nclass Class:\n    rlkit_api = "1.0"\n'
    site.add("lab-x", source, groups={"rlkit.plugins": {"x": value}})
    # Python 3.10's importlib-metadata refuses "???" while it is read, newer ones when it is loaded.
    refused = ("failed", "incompatible") if value == "???" else ("failed",)
    assert state_of(load(site), "lab-x").state in refused


@pytest.mark.covers("state:loaded")
def test_two_entry_points_of_one_distribution_fail_apart(site):
    groups = {"rlkit.plugins": {"one": "lab_x", "two": "lab_y"}}
    site.add("lab-x", GOOD, groups=groups, lab_y=GOOD)
    host = load(site)
    assert [s.state for s in host.states if s.distribution == "lab-x"] == ["loaded", "failed"]
    assert [c.id for c in host.registry.components("encoder") if c.origin.distribution == "lab-x"] == ["lab-x/text"]


def test_a_failure_inside_pluggy_is_rolled_back_too(site, monkeypatch):
    site.add("lab-x", GOOD)
    host = site.host()
    add = type(host._loader.manager.hook.rlkit_encoders)._add_hookimpl

    def add_then_fail(self, impl):
        add(self, impl)
        if impl.plugin_name.startswith("lab-x"):
            raise RuntimeError("half registered")

    monkeypatch.setattr(type(host._loader.manager.hook.rlkit_encoders), "_add_hookimpl", add_then_fail)
    with pytest.warns(PluginWarning, match="half registered"):
        host.load()
    assert ghosts(host, "lab-x") == []


def test_ctrl_c_during_an_import_is_not_swallowed(site):
    site.add("lab-x", "raise KeyboardInterrupt")
    host = site.host()
    with pytest.raises(KeyboardInterrupt):
        host.load()
    (site.path / "lab_x.py").write_text(GOOD + "# repaired\n")
    host.load()
    assert state_of(host, "lab-x").state == "loaded"


# ------------------------------------------------------------------ good plugins


def test_the_core_is_its_own_first_plugin(site):
    host = load(site, RLKIT_PLUGINS="")
    assert {c.origin.distribution for c in host.registry.components()} == {"rlkit-core"}
    assert [s.distribution for s in host.states] == ["rlkit-core"]
    assert host.get_service("executor", "local").__name__ == "LocalExecutor"


def test_lazy_names_of_a_plugin_module_are_not_touched(site):
    source = GOOD + (
        "def __dir__(): return [*globals(), 'Heavy', 'torch_stuff']\n"
        "def __getattr__(name): raise AssertionError('read ' + name) if name != 'rlkit_x' else None\n"
    )
    site.add("lab-x", source)
    assert state_of(load(site), "lab-x").state == "loaded"


def test_an_object_with_hook_methods_is_a_plugin(site):
    source = HEAD + (
        "class Plugin:\n    rlkit_api = '1.0'\n    def __init__(self): self.n = 'from-object'\n"
        "    def rlkit_encoders(self): return (text(n) for n in [self.n])\n"
        "plugin = Plugin()\n"
    )
    site.add("lab-x", source, groups={"rlkit.plugins": {"x": "lab_x:plugin"}})
    assert load(site).registry.get("from-object", "encoder").id == "lab-x/from-object"


def test_imported_packages_called_rlkit_something_are_no_hooks(site):
    site.add(
        "lab-x",
        GOOD + "import rlkit_core\nrlkit_version = '3'\n@hookimpl(optionalhook=True)\ndef rlkit_later(): ...",
    )
    assert state_of(load(site), "lab-x").state == "loaded"


def test_order_of_installation_does_not_change_the_registry_or_a_choice(make_site):
    names = ["lab-c", "lab-a", "lab-b"]
    results = set()
    for i, order in enumerate(itertools.permutations(names)):
        site = make_site(f"s{i}")
        for name in order:
            spaces_served = "[Text]" if name == "lab-b" else "[Box]"
            site.add(name, HEAD + f"def rlkit_encoders(): return [text('{name}', spaces={spaces_served})]\n")
        host = load(site)
        chosen = choose(ComponentRequest("encoder", "encoder", (), spaces.Text(3)), registry=host.registry)
        results.add((tuple(c.id for c in host.registry.components()), tuple(map(str, host.states)), chosen.id))
        for name in names:
            sys.modules.pop(name.replace("-", "_"), None)
    assert len(results) == 1
    assert next(iter(results))[2] == "lab-b/lab-b"


def test_loading_twice_loads_once(site):
    site.add("lab-x", GOOD + "import builtins\nbuiltins.lab_x_loads = getattr(builtins, 'lab_x_loads', 0) + 1\n")
    host = load(site)
    host.load()
    import builtins

    assert builtins.lab_x_loads == 1
    del builtins.lab_x_loads
    assert len([c for c in host.registry.components() if c.id == "lab-x/text"]) == 1


def test_a_plugin_may_ask_for_the_host_while_it_is_loaded(site):
    site.add("lab-x", GOOD + "from rlkit_core.plugins.host import default_host\nseen = default_host().registry\n")
    host = site.host()
    with use_host(host):
        host.load()
    assert state_of(host, "lab-x").state == "loaded"
    assert host.registry.get("lab-x/text", "encoder")


# ------------------------------------------------------------------ reporting


def test_a_failure_is_reported_once_per_process(site):
    site.add("lab-x", "import nobody_has_this")
    with pytest.warns(PluginWarning, match="rlkit doctor"):
        site.host().load()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        site.host().load()


@pytest.mark.covers("state:incompatible")
def test_incompatible_plugins_are_reported_and_not_imported(site):
    site.fixture("fx-incompatible")
    host = site.host()
    with pytest.warns(PluginWarning, match="requires rlkit-core>=7"):
        host.load()
    assert "fx_incompatible" not in sys.modules
    with pytest.raises(PluginVersionError, match="requires rlkit-core>=7"):
        host.get_algorithm_config_class("old")


def test_disabled_plugins_are_not_imported_and_not_reported(site):
    site.fixture("fx-import-error")
    host = site.host({"RLKIT_PLUGINS_DISABLE": "fx-import-error"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        host.load()
    assert state_of(host, "fx-import-error").state == "disabled"
    with pytest.raises(PluginError, match="RLKIT_PLUGINS_DISABLE names it"):
        host.get_algorithm_config_class("needs-missing")


@pytest.mark.covers("variable:RLKIT_PLUGINS_STRICT")
def test_strict_raises_chained_from_the_plugins_own_exception(site):
    site.add("lab-x", "import nobody_has_this")
    with pytest.raises(PluginError, match="lab-x") as caught:
        site.host({"RLKIT_PLUGINS_STRICT": "1"}).load()
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


@pytest.mark.covers("variable:RLKIT_TRACE_PLUGINS")
def test_trace(site, capsys):
    site.add("lab-x", GOOD)
    host = load(site, RLKIT_TRACE_PLUGINS="1")
    host.notify("rlkit_train_result", view=None, result={})
    err = capsys.readouterr().err
    assert "load lab-x:lab-x = lab_x: loaded" in err
    assert "rlkit_encoders of lab-x:lab-x: done" in err
    assert "lab-x:lab-x: done" not in err.partition("rlkit_train_result")[2]  # it has no such hook


def test_a_traced_hook_that_raises_says_so(site, capsys):
    site.add("lab-x", HEAD + "def rlkit_check_config(config): raise KeyError('no')\n")
    with pytest.raises(PluginError, match="KeyError"):
        load(site, RLKIT_TRACE_PLUGINS="1").ask("rlkit_check_config", {"lab-x", "lab-a"}, lambda: {"config": None})
    assert "rlkit_check_config of lab-x:lab-x: raised" in capsys.readouterr().err


def test_an_object_that_cannot_be_hashed_is_a_plugin(site):
    source = HEAD + (
        "class Plugin:\n    rlkit_api = '1.0'\n    def __eq__(self, other): return True\n"
        "    def rlkit_encoders(self): return [text()]\nplugin = Plugin()\n"
    )
    for name in ("lab-a", "lab-b"):
        site.add(name, source, groups={"rlkit.plugins": {"main": name.replace("-", "_") + ":plugin"}})
    host = load(site)
    assert [c.id for c in host.registry.components("encoder") if c.name == "text"] == ["lab-a/text", "lab-b/text"]


# ------------------------------------------------------------------ asking for something


def test_asking_for_a_failed_plugin_raises_its_error_again(site):
    site.fixture("fx-import-error")
    host = load(site)
    for ask in (
        lambda: host.get_algorithm_config_class("needs-missing"),
        lambda: host.registry.get("fx-import-error/anything", "encoder"),
    ):
        with pytest.raises(PluginError, match="fx_module_that_nobody_has") as caught:
            ask()
        assert isinstance(caught.value.__cause__, ModuleNotFoundError)


@pytest.mark.covers("group:rlkit.algorithms")
def test_asking_for_an_algorithm_loads_its_plugin_and_nobody_elses(site):
    site.add("lab-other", "raise AssertionError('not asked for')")
    config = "class Config: pass\n"
    site.add(
        "lab-x",
        GOOD,
        lab_x_algo=config,
        groups={"rlkit.plugins": {"x": "lab_x"}, "rlkit.algorithms": {"algo": "lab_x_algo:Config"}},
    )
    host = site.host()
    assert [entry.name for entry in host.snapshot.entry_points("rlkit.algorithms")] == ["algo"]
    assert "lab_x" not in sys.modules
    assert host.get_algorithm_config_class("algo").__name__ == "Config"
    assert host.get_algorithm_config_class("lab-x/ALGO").__name__ == "Config"
    assert "lab_x" in sys.modules
    assert "lab_other" not in sys.modules


@pytest.mark.parametrize(
    ("installed", "asked", "said"),
    [
        ([], "ppo", "No algorithm 'ppo'. No algorithm is installed. If it is a plugin"),
        (["dqn"], "ppo", "No algorithm 'ppo'. Installed: dqn. If it is a plugin"),
        (["appo", "dqn"], "ppo", "No algorithm 'ppo'. Did you mean 'appo'?"),
        (["appo", "dqn", "ppo"], "pppo", "No algorithm 'pppo'. Did you mean 'ppo' or 'appo'?"),
        (["dqn", "ppo"], "lab/ppo", "No algorithm 'lab/ppo'. Did you mean 'ppo'?"),
    ],
)
def test_an_algorithm_that_is_not_installed(site, installed, asked, said):
    for name in installed:
        site.add(f"rlkit-{name}", groups={"rlkit.algorithms": {name: "nowhere:Config"}})
    with pytest.raises(PluginNotFoundError) as caught:
        site.host().get_algorithm_config_class(asked)
    if "Did you mean" in said:  # a misspelt name is nothing to install
        assert str(caught.value) == said
    else:
        assert str(caught.value).startswith(said)
        assert f"pip install rlkit-{asked}" in str(caught.value)


def test_one_name_registered_by_two_distributions_needs_the_full_name(site):
    for name in ("lab-a", "lab-b"):
        package = name.replace("-", "_")
        site.add(name, "class C: pass\n", groups={"rlkit.catalogs": {"tools": f"{package}:C"}})
    host = site.host()
    with pytest.raises(AmbiguousComponentError, match="'lab-a/tools' and 'lab-b/tools'"):
        host.get_catalog("tools")
    assert host.get_catalog("lab-b/tools").__module__ == "lab_b"


@pytest.mark.parametrize(("value", "message"), [("lab_x:thing", "not a class"), ("lab_x:gone", "AttributeError")])
def test_a_catalog_that_is_no_class(site, value, message):
    site.add("lab-x", "thing = 3\n", groups={"rlkit.catalogs": {"tools": value}})
    with pytest.raises(PluginError, match=message):
        site.host().get_catalog("tools")


def test_services(site):
    source = (
        HEAD + "def rlkit_services():\n"
        "    return [Service('executor', '{0}', 'json:JSONDecoder'), Service('executor', 'local', 'json:X'),\n"
        "            Service('writer', '{0}', 'json:JSONEncoder', settings={'indent': 2})]\n"
    )
    site.add("lab-a", source.replace("{0}", "shared"))
    site.add("lab-b", source.replace("{0}", "shared"))
    host = load(site)
    assert host.get_service("executor", "local").__module__.startswith("rlkit_core")  # lab-a's changes nothing
    assert host.get_service("executor", "lab-a/shared").__name__ == "JSONDecoder"
    assert host.get_service("writer", "lab-a/shared").__name__ == "JSONEncoder"
    assert [s.id for s in host.services("executor") if s.origin.distribution == "lab-b"] == [
        "lab-b/local",
        "lab-b/shared",
    ]
    assert {s.kind for s in host.services()} == {"executor", "writer"}
    assert host.services("framework") == []
    with pytest.raises(AmbiguousComponentError, match="'lab-a/shared' and 'lab-b/shared'"):
        host.get_service("executor", "shared")
    with pytest.raises(PluginNotFoundError, match=r"Did you mean 'local'\? Installed: ") as caught:
        host.get_service("executor", "lokal")
    assert "pip install" not in str(caught.value)
    with pytest.raises(PluginNotFoundError, match=r"Installed: .*pip install rlkit-ray"):
        host.get_service("executor", "ray")
    with pytest.raises(PluginNotFoundError, match=r"Did you mean 'process'\?.*pip install rlkit-processes"):
        host.get_service("executor", "proces")
    with pytest.raises(PluginNotFoundError, match=r"no step engine named 'inductor'\..*pip install rlkit-capture"):
        host.get_service("step_engine", "inductor")
    with pytest.raises(PluginNotFoundError, match=r"supplies 'lab-c'.*one of the distribution 'lab-c'") as caught:
        host.get_service("step_engine", "lab-c/fast")
    assert "pip install" not in str(caught.value)  # anybody could register that name
    with pytest.raises(PluginError, match="json:X"):
        host.get_service("executor", "lab-a/local")
    with pytest.raises(ValueError, match=r"no kind of service 'engine'.*step_engine"):
        host.services("engine")


def test_a_service_of_a_broken_plugin_says_why(site):
    site.add("lab-a", HEAD + "raise RuntimeError('no licence')\n")
    host = load(site)
    with pytest.raises(PluginError, match=r"executor 'lab-a/fast' cannot be used: .*no licence") as caught:
        host.get_service("executor", "lab-a/fast")
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(PluginNotFoundError, match=r"(?s)Plugins that may supply it:.*lab-a 1.0 .*no licence"):
        host.get_service("executor", "quick")


def test_module_apis_carry_mixin_and_driver(site):
    site.fixture("fx-api")
    site.add(
        "lab-x",
        HEAD + "def rlkit_module_apis(): return [ModuleAPI('late', 'typing:Protocol'), ModuleAPI('gone', 'a:B')]\n",
    )
    apis = {a.id: a for a in load(site).module_apis}
    assert apis["fx-api/counting"].load("mixin").__name__ == "CountingAPI"
    assert apis["fx-api/counting"].load("driver").__name__ == "CountingDriver"
    assert apis["fx-api/counting"].origin == Origin("fx-api", "1.0", "api")
    with pytest.raises(PluginError, match="Protocol"):
        apis["lab-x/late"].load("mixin")
    with pytest.raises(PluginError, match="cannot be imported"):
        apis["lab-x/gone"].load("mixin")


# ------------------------------------------------------------------ calling hooks


def test_observers_that_raise_are_logged_once_counted_and_stop_nobody(site, caplog):
    site.fixture("fx-observer")
    site.add("zz-last", HEAD + "seen = []\ndef rlkit_train_result(result): seen.append(result)\n")
    host = load(site)
    with caplog.at_level(logging.WARNING, "rlkit.plugins"):
        for i in range(3):
            host.notify("rlkit_train_result", view=None, result=i)
        host.notify("rlkit_checkpoint_saved", view=None, path="x")
    assert sys.modules["zz_last"].seen == [0, 1, 2]
    assert host.watchers.errors == {
        ("fx-observer", "rlkit_train_result"): 3,
        ("fx-observer", "rlkit_checkpoint_saved"): 1,
    }
    assert len(caplog.records) == 2
    assert "fx-observer cannot cope" in caplog.text
    strict = site.host({"RLKIT_PLUGINS_STRICT": "1"})
    with pytest.raises(PluginError, match="fx-observer"):
        strict.notify("rlkit_train_result", view=None, result=0)


def test_asking_flattens_and_names_who_answered(site):
    site.add("lab-a", HEAD + "def rlkit_check_config(config): return 'one sentence'\n")
    site.add("lab-b", HEAD + "def rlkit_check_config(): return ('x', 'y')\n")
    site.add("lab-c", HEAD + "def rlkit_check_config(): return None\n")
    site.add("lab-d", HEAD + "@hookimpl(tryfirst=True)\ndef rlkit_check_config(): yield 'first'\n")
    answers = load(site).ask("rlkit_check_config", {"lab-a", "lab-b", "lab-c", "lab-d"}, lambda: {"config": {}})
    assert [(o.distribution, a) for o, a in answers] == [
        ("lab-d", "first"),
        ("lab-a", "one sentence"),
        ("lab-b", "x"),
        ("lab-b", "y"),
    ]


@pytest.mark.parametrize("body", ["raise KeyError('k')", "yield 'a'; raise KeyError('k')"])
def test_asking_names_the_plugin_that_raised(site, body):
    site.add("lab-a", HEAD + f"def rlkit_check_config(): {body}\n")
    with pytest.raises(PluginError, match=r"rlkit_check_config of plugin lab-a 1\.0 raised KeyError") as caught:
        load(site).ask("rlkit_check_config", {"lab-x", "lab-a"}, lambda: {"config": None})
    assert isinstance(caught.value.__cause__, KeyError)


def test_only_the_owner_migrates_a_component(site):
    for name in ("lab-a", "lab-b"):
        site.add(
            name,
            HEAD + "def rlkit_checkpoint_migrate(component, part, state, from_version):\n"
            f"    return None if state == 'keep' else ('{name}', component, part, state, from_version)\n",
        )
    host = load(site)
    assert host.migrate("lab-b/gcn", "module", "old", "0.9") == ("lab-b", "lab-b/gcn", "module", "old", "0.9")
    assert host.migrate("lab-b/gcn", "driver", "keep", "0.9") == "keep"
    assert host.migrate("local/x", "module", "old", "0.9") == "old"


def test_an_unknown_hook_name_in_the_core_is_a_bug_and_says_so(site):
    with pytest.raises(ValueError, match="Did you mean 'rlkit_train_result'"):
        load(site).notify("rlkit_train_results")


# ------------------------------------------------------------------ origins, workers, default


def test_origin_of(site):
    site.add("lab-a", groups={"rlkit.catalogs": {"a": "lab_shared.a:C"}})
    site.add("lab-b", version="2.0", groups={"rlkit.catalogs": {"b": "lab_shared.b:C"}})
    host = site.host()
    import click

    assert host.origin_of(PluginHost).distribution == "rlkit-core"
    assert host.origin_of(PluginHost.load).distribution == "rlkit-core"
    assert host.origin_of("lab_shared.b.deep:C") == Origin("lab-b", "2.0")
    assert host.origin_of("lab_shared.a") == Origin("lab-a", "1.0")
    assert host.origin_of(click.Group("g")).distribution == "click"
    assert host.origin_of(click).distribution == "click"
    assert host.origin_of(type("Mine", (), {"__module__": "__main__"})) == Origin("local", "0")
    assert host.origin_of(3) == Origin("local", "0")


def test_a_worker_adopts_what_its_driver_knows_and_refuses_another_version_of_what_is_used(make_site, monkeypatch):
    driver, worker = make_site("driver"), make_site("worker")
    for name in ("lab-a", "lab-b"):
        driver.add(name, version="1.0", groups={"rlkit.catalogs": {name: "m:C"}})
    worker.add("lab-a", version="1.0", groups={"rlkit.catalogs": {"lab-a": "m:C"}})
    worker.add("lab-b", version="2.0", groups={"rlkit.catalogs": {"lab-b": "m:C"}})
    worker.add("lab-new", groups={"rlkit.catalogs": {"new": "m:C"}})

    def sent(*names):
        used = Lock(Used("catalog", f"{name}/{name}", name, "1.0") for name in names)
        with use_host(driver.host()), same_plugins.workers_use(used):
            return json.loads(json.dumps(same_plugins.for_worker()))

    monkeypatch.setattr(same_plugins, "scan", worker.scan)
    with use_host(worker.host()):
        with pytest.raises(PluginVersionError, match=r"lab-b 1\.0, used for catalog 'lab-b/lab-b', is 2\.0 here"):
            same_plugins.adopt(sent("lab-a", "lab-b"))
        try:
            same_plugins.adopt(sent("lab-a"))  # the other one is not used
            names = {info.name for info in default_host().snapshot.distributions}
        finally:
            same_plugins._ADOPTED.close()
    assert "lab-a" in names
    assert not {"lab-b", "lab-new"} & names


def test_the_default_host_is_one_per_process_and_can_be_replaced(site, monkeypatch):
    monkeypatch.setattr(host_module, "_default", None)
    monkeypatch.setattr(discovery, "_cached", site.scan())
    assert default_host() is default_host()
    other = site.host()
    with use_host(other):
        assert default_host() is other
    assert default_host() is not other
