"""``RLKIT_PLUGINS``, ``RLKIT_PLUGINS_DISABLE`` and switches."""

from __future__ import annotations

import warnings

import pytest

from rlkit_core.errors import PluginError
from rlkit_core.plugins import PluginWarning
from rlkit_core.plugins.discovery import scan
from rlkit_core.plugins.installed.variables import PluginList, is_on


@pytest.fixture
def labs(site):
    site.add("acme-a", groups={"rlkit.algorithms": {"one": "m:A", "Two_x": "m:B"}})
    site.add("acme-b", groups={"rlkit.catalogs": {"one": "m:C"}})
    site.add("other", groups={"rlkit.commands": {"run": "m:D"}})
    return site


@pytest.mark.parametrize("value", ["0", "false", "False", "no", "NO", "off", " off ", ""])
def test_what_means_off_is_off(site, value):
    assert not is_on({"X": value}, "X")
    site.add("lab-x", "raise RuntimeError('broken')")
    host = site.host({"RLKIT_PLUGINS_STRICT": value})
    with pytest.warns(PluginWarning, match="broken"):
        host.load()


@pytest.mark.parametrize("value", ["1", "true", "yes", "on", "anything"])
def test_all_else_is_on(site, value):
    assert is_on({"X": value}, "X")
    assert not is_on({}, "X")
    site.add("lab-x", "raise RuntimeError('broken')")
    with pytest.raises(PluginError, match="broken"):
        site.host({"RLKIT_PLUGINS_STRICT": value}).load()


@pytest.mark.parametrize(
    ("env", "usable"),
    [
        ({"RLKIT_PLUGINS": "acme-*"}, {"acme-a/one", "acme-a/Two_x", "acme-b/one"}),
        ({"RLKIT_PLUGINS": "ACME_?"}, {"acme-a/one", "acme-a/Two_x", "acme-b/one"}),
        ({"RLKIT_PLUGINS": "acme-[!a]"}, {"acme-b/one"}),
        ({"RLKIT_PLUGINS": "acme-a/one"}, {"acme-a/one"}),
        ({"RLKIT_PLUGINS": "one"}, {"acme-a/one", "acme-b/one"}),
        ({"RLKIT_PLUGINS": "*"}, {"acme-a/one", "acme-a/Two_x", "acme-b/one", "other/run"}),
        ({"RLKIT_PLUGINS_DISABLE": "acme.a/two-X"}, {"acme-a/one", "acme-b/one", "other/run"}),
        ({"RLKIT_PLUGINS_DISABLE": "*/one"}, {"acme-a/Two_x", "other/run"}),
        ({"RLKIT_PLUGINS": "acme-*", "RLKIT_PLUGINS_DISABLE": "acme-a/*"}, {"acme-b/one"}),
        ({"RLKIT_PLUGINS_DISABLE": "*"}, set()),
    ],
)
def test_globs_and_ids_select(labs, env, usable, recwarn):
    assert {f"{d}/{name}" for d, _, _, name, _ in labs.scan(env).usable()} - {"rlkit-core/core"} == usable
    assert not [w for w in recwarn if issubclass(w.category, PluginWarning)]


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("acne-*", r"RLKIT_PLUGINS_DISABLE names 'acne-\*': it matches nothing that is installed\."),
        ("acme-a/three", r"'acme-a/three': no such entry point is installed\."),
        ("acme-a/onee", r"'acme-a/onee': no such entry point is installed\. Did you mean 'acme-a/one'\?"),
        ("othr", r"'othr': no such plugin is installed\. Did you mean 'other'\?"),
    ],
)
def test_an_item_that_matches_nothing_is_said_once(labs, item, said):
    env = {"RLKIT_PLUGINS_DISABLE": f"{item}, other"}
    with pytest.warns(PluginWarning, match=said):
        assert "run" not in str(labs.scan(env).usable())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labs.scan(env)


def test_where_warnings_are_errors_a_scan_goes_on(labs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scan([str(labs.path)], env={"RLKIT_PLUGINS_DISABLE": "nobody-*"}).distribution("other")


def test_a_list_is_read_whatever_is_in_it():
    names = PluginList("a;b,c\n d / /x y/ [ *[")
    assert names.names("a", None)
    assert names.names("y", "anything")
    assert names.names("whoever", "x")
    assert not names.names("whoever", "z")
