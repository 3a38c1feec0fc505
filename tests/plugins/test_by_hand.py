"""Plugins that are registered by hand, for a while or anew; and threads that load at the same time."""

from __future__ import annotations

import gc
import sys
import threading
import types
import warnings
import weakref

import pytest
from gymnasium.spaces import Text

from rlkit_core import Component, hookimpl
from rlkit_core.errors import PluginError, PluginNotFoundError
from rlkit_core.plugins import PluginWarning
from rlkit_core.plugins.host import use_host

HEAD = "from rlkit_core import *\nfrom gymnasium.spaces import Text\nrlkit_api = '1.0'\n"
ENCODER = "def rlkit_encoders(): return [Component('text', 'encoder', 'lab:Encoder', spaces=[Text])]\n"


class Mine:
    rlkit_api = "1.0"

    @hookimpl
    def rlkit_encoders(self):
        return [Component("text", "encoder", dict, spaces=[Text])]


def ids(host):
    return [c.id for c in host.registry.components("encoder") if c.origin.distribution != "rlkit-core"]


def test_register_and_unregister(site):
    host = site.host()
    assert host.register(Mine(), name="mine") == "mine"
    assert ids(host) == ["local/text"]
    assert list(host.registered) == ["mine"]
    with pytest.raises(PluginError, match=r"registered as 'mine' already: host\.unregister"):
        host.register(Mine(), name="mine")
    host.unregister("mine")
    assert ids(host) == []
    with pytest.raises(PluginNotFoundError, match="no plugin was registered by hand as 'mine'"):
        host.unregister("mine")


def test_what_is_refused_leaves_nothing(site):
    host = site.host()
    host.register(Mine(), name="mine")
    with pytest.raises(PluginError, match="registered twice"):
        host.register(Mine(), name="again")
    module = types.SimpleNamespace(rlkit_api="1.0", rlkit_encoderz=lambda request: [])
    with pytest.raises(PluginError, match="Did you mean 'rlkit_encoders'"):
        host.register(module)
    assert list(host.registered) == ["mine"]
    assert ids(host) == ["local/text"]


def test_temporary_takes_back_all_and_holds_nothing(site):
    host = site.host()
    plugin = Mine()
    kept = weakref.ref(plugin)
    with host.temporary(plugin):
        host.register(types.SimpleNamespace(rlkit_api="1.0"), name="another")
        assert ids(host) == ["local/text"]
    assert ids(host) == []
    assert not host.registered
    del plugin
    gc.collect()
    assert kept() is None


def test_refresh_finds_what_was_installed_since(site):
    host = site.host()
    assert ids(host) == []
    held = host.registry
    site.add("lab-x", HEAD + ENCODER)
    with scanning(site):
        new = host.refresh()
    assert [(s.distribution, s.state) for s in new] == [("lab-x", "loaded")]
    assert ids(host) == ["lab-x/text"]
    assert all(c.origin.distribution == "rlkit-core" for c in held.components())  # what was handed out stays


def test_refresh_tries_a_failed_plugin_again_and_forgets_one_that_is_gone(site):
    info = site.add("lab-x", "import lab_x_part\n", lab_x_part="1 / 0\n")
    gone = site.add("lab-gone", HEAD + ENCODER)
    host = site.host()
    with pytest.warns(PluginWarning, match="lab-x"):
        host.load()
    (info.parent / "lab_x_part.py").write_text("")
    (info.parent / "lab_x.py").write_text(HEAD + ENCODER + "# mended\n")
    for file in gone.iterdir():
        file.unlink()
    gone.rmdir()
    with scanning(site):
        new = host.refresh()
    assert [(s.distribution, s.state) for s in new] == [("lab-x", "loaded")]
    assert ids(host) == ["lab-x/text"]


def scanning(site):
    """Let a scan of ``sys.path`` see the site alone."""
    patch = pytest.MonkeyPatch()
    patch.setattr("rlkit_core.plugins.host.scan", lambda env=None, refresh=False: site.scan(env))
    return _Undo(patch)


class _Undo:
    def __init__(self, patch):
        self.patch = patch

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.patch.undo()


def test_where_somebody_types_an_error_says_how_to_find_what_was_installed_since(site, monkeypatch):
    host = site.host()
    with pytest.raises(PluginNotFoundError) as caught:
        host.get_catalog("lab-x")
    assert "refresh" not in str(caught.value)
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with pytest.raises(PluginNotFoundError, match=r"since this process began: .*\.refresh\(\)"):
        host.get_catalog("lab-x")


# ------------------------------------------------------------------------------ threads


def run_together(*functions):
    errors = []

    def guarded(function):
        try:
            function()
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=guarded, args=(f,), daemon=True) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads), "a deadlock"
    assert not errors


def test_loading_and_importing_a_plugin_at_the_same_time_do_not_wait_for_each_other(site):
    """One thread loads the host; the other imports the plugin's module, which asks for the host."""
    slow = "import time\ntime.sleep(0.2)\nfrom rlkit_core.plugins.host import default_host\ndefault_host().registry\n"
    site.add("lab-a", HEAD + slow)
    site.add("lab-b", HEAD + ENCODER + slow)
    host = site.host()
    with use_host(host), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_together(host.load, lambda: __import__("lab_b"))
        host.load()
    states = {s.distribution: s for s in host.states}
    assert {name: states[name].state for name in ("lab-a", "lab-b")} == dict.fromkeys(("lab-a", "lab-b"), "loaded"), (
        states["lab-a"].traceback,
        states["lab-b"].traceback,
    )
    assert ids(host) == ["lab-b/text"]


def test_many_threads_load_one_host_once(site):
    for i in range(6):
        site.add(f"lab-{i}", HEAD + ENCODER.replace("'text'", f"'text-{i}'") + "import time\ntime.sleep(0.02)\n")
    host = site.host()
    seen = []
    run_together(*[lambda: seen.append(tuple(ids(host)))] * 8)
    assert seen == [tuple(f"lab-{i}/text-{i}" for i in range(6))] * 8
    assert len([n for n in sys.modules if n.startswith("lab_") and n[4:].isdigit()]) == 6


# ------------------------------------------------------------------------------ files


@pytest.mark.covers("variable:RLKIT_PLUGIN_FILES")
def test_a_file_is_a_plugin(site, tmp_path):
    (tmp_path / "beside_it.py").write_text("NAME = 'text'\n")
    file = tmp_path / "my_lab_plugin.py"
    file.write_text(HEAD + "from beside_it import NAME\n" + ENCODER.replace("'text'", "NAME"))
    host = site.host({"RLKIT_PLUGIN_FILES": str(file)})
    assert ids(host) == ["local/text"]
    assert host.register_file(file) == "my_lab_plugin"  # once
    assert list(host.registered) == ["my_lab_plugin"]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("1 / 0", ZeroDivisionError, "division"),
        ("raise SystemExit(0)", PluginError, "would have ended Python"),
        ("", PluginError, "it declares none"),
        (None, PluginError, "expected a Python file"),
    ],
)
def test_a_file_that_is_no_plugin_is_said_each_time(site, tmp_path, text, error, message):
    file = tmp_path / "my_bad_plugin.py"
    if text is not None:
        file.write_text(text)
    host = site.host({"RLKIT_PLUGIN_FILES": str(file)})
    for _ in range(2):
        with pytest.raises(error, match=message):
            host.load()
    sys.modules.pop("my_bad_plugin", None)


def test_a_file_named_as_a_module_is_refused(site, tmp_path):
    (tmp_path / "json.py").write_text("rlkit_api = '1.0'\n")
    with pytest.raises(PluginError, match="a module 'json' is imported already: rename it"):
        site.host().register_file(tmp_path / "json.py")
