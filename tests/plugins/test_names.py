"""Names that cannot be stolen: spelling makes no second name, and nothing invented is to be installed."""

from __future__ import annotations

import itertools
import warnings

import pytest
from gymnasium import Space

from rlkit_core.errors import AmbiguousComponentError, NoComponentError, PluginError, PluginNotFoundError
from rlkit_core.plugins import PluginWarning, lookup
from rlkit_core.plugins.discovery import scan
from rlkit_core.plugins.known_packages import KNOWN_PACKAGES
from rlkit_core.plugins.records import SERVICE_KINDS, Component, Origin, Registered, Service

GROUPS = ["rlkit.algorithms", "rlkit.catalogs", "rlkit.commands"]


def record(record_id, kind="encoder"):
    distribution, _, name = record_id.partition("/")
    made = Component(name, kind, "m:C", [Space]) if kind == "encoder" else Service(kind, name, "m:C")
    return Registered(made, Origin(distribution, "1.0"))


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("names", [("ppo", "PPO"), ("my-algo", "my_algo"), ("my.algo", "My--Algo")])
def test_two_spellings_of_a_name_are_one_name_with_two_owners(site, group, names):
    site.add("rlkit-ppo", groups={group: {names[0]: "a:A"}})
    site.add("evil", groups={group: {names[1]: "b:B"}})
    snapshot = site.scan()
    for asked in (*names, names[0].upper().replace("-", ".")):
        with pytest.raises(AmbiguousComponentError) as caught:
            lookup.find(snapshot, group, asked)
        assert f"'evil/{names[1]}' and 'rlkit-ppo/{names[0]}'" in str(caught.value)
    assert lookup.find(snapshot, group, f"evil/{names[1]}").value == "b:B"
    assert lookup.find(snapshot, group, f"rlkit_PPO/{names[1]}").value == "a:A"
    alone = site.scan({"RLKIT_PLUGINS_DISABLE": "evil"})
    assert lookup.find(alone, group, names[1]).value == "a:A"


def test_spellings_of_one_owner_are_told_apart_where_they_are_exact(site):
    site.add("lab", groups={"rlkit.algorithms": {"algo": "m:A", "ALGO": "m:B"}})
    snapshot = site.scan()
    for asked, value in {"algo": "m:A", "ALGO": "m:B", "lab/ALGO": "m:B"}.items():
        assert lookup.find(snapshot, "rlkit.algorithms", asked).value == value
    for asked in ("Algo", "lab/aLGO"):
        with pytest.raises(AmbiguousComponentError, match="one plugin, several times: write 'lab/ALGO' and 'lab/algo'"):
            lookup.find(snapshot, "rlkit.algorithms", asked)


def test_records_are_found_by_folded_names_too():
    records = [record("lab/My_Net"), record("other/deep"), record("third/DEEP")]
    assert lookup.find_record(records, "encoder", "my-net", {}).id == "lab/My_Net"
    assert lookup.find_record(records, "encoder", "LAB/MY.NET", {}).id == "lab/My_Net"
    for name in ("deep", "DEEP", "Deep"):
        with pytest.raises(AmbiguousComponentError, match="'other/deep' and 'third/DEEP'"):
            lookup.find_record(records, "encoder", name, {})
    assert lookup.find_record(records, "encoder", "third/DEEP", {}).id == "third/DEEP"
    twins = [record("lab/net"), record("lab/NET")]
    assert lookup.find_record(twins, "encoder", "lab/NET", {}).id == "lab/NET"
    assert lookup.find_record(twins, "encoder", "net", {}).id == "lab/net"
    with pytest.raises(AmbiguousComponentError, match="'lab/NET' and 'lab/net'"):
        lookup.find_record(twins, "encoder", "lab/Net", {})


def test_the_cores_services_keep_their_short_names_in_any_spelling():
    records = [record("rlkit-core/local", "executor"), record("evil/LOCAL", "executor")]
    for name in ("local", "LOCAL", "Local"):
        assert lookup.find_record(records, "executor", name, {}).id == "rlkit-core/local"
    assert lookup.find_record(records, "executor", "evil/LOCAL", {}).id == "evil/LOCAL"


# ------------------------------------------------------------------ what to install


@pytest.mark.parametrize("kind", ["algorithm", "command", "catalog"])
@pytest.mark.parametrize("name", ["zzgo", "acme/zzgo", "rlkit-zzgo/x", "PIP; rm"])
def test_no_command_is_made_up(site, kind, name):
    with pytest.raises(PluginNotFoundError) as caught:
        lookup.find(site.scan(), f"rlkit.{kind}s", name)
    assert "pip install" not in str(caught.value)
    assert "its author says" in str(caught.value)
    assert ("the distribution " in str(caught.value)) == ("/" in name)


@pytest.mark.parametrize("kind", ["executor", "step_engine", "writer", "framework", "callbacks"])
@pytest.mark.parametrize("name", ["zzgo", "acme/zzgo"])
def test_no_command_is_made_up_for_services(kind, name):
    with pytest.raises(PluginNotFoundError) as caught:
        lookup.find_record([], kind, name, {})
    assert "pip install" not in str(caught.value)
    assert "its author says" in str(caught.value)


def test_what_rlkit_knows_has_its_line(site):
    nothing = site.scan()
    for (kind, name), package in KNOWN_PACKAGES.items():
        for asked in (name, f"{package}/{name}", f"{name}x"):
            with pytest.raises(PluginNotFoundError, match=f"pip install {package}"):
                _ = (
                    lookup.find_record([], kind, asked, {})
                    if kind in SERVICE_KINDS
                    else lookup.find(nothing, f"rlkit.{kind}s", asked)
                )


# ------------------------------------------------------------------ whose fault it is


@pytest.fixture
def remedy(site, monkeypatch):
    """The remedy of a plugin ``lab-a`` with that source, beside others."""
    monkeypatch.setattr("rlkit_core.plugins.discovery._cached", None)
    monkeypatch.delenv("RLKIT_PLUGINS", raising=False)

    def of(source, **beside):
        for name, text in beside.items():
            site.add(name.replace("_", "-"), text)
        site.add("lab-a", source)
        scan(refresh=True)
        host = site.host()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PluginWarning)
            host.load()
        return next(s for s in host.states if s.distribution == "lab-a").remedy

    yield of
    monkeypatch.setattr("rlkit_core.plugins.discovery._cached", None)


def test_a_part_that_a_package_lacks_is_no_package_to_install(remedy):
    text = remedy("import json.not_there")
    assert text.startswith(
        "install versions that fit together: it imports 'json.not_there', which 'json' does not have"
    )
    assert "install 'json'" not in text


def test_a_missing_package_is_to_be_installed(remedy):
    assert remedy("import nobody_has.this").startswith("install 'nobody_has', which it imports")


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("raise RuntimeError('no licence')", "mend plugin zlab-b first"),
        ("raise SystemExit", "mend plugin zlab-b first"),
        ("def f(:", "mend plugin zlab-b first"),
        ("import nobody_has_this", "install 'nobody_has_this', which plugin zlab-b imports"),
        ("from json import not_there", "mend plugin zlab-b first"),
    ],
)
def test_who_imports_a_broken_plugin_is_not_to_blame(remedy, broken, said):
    assert remedy("import zlab_b", zlab_b=broken).startswith(said)


def test_a_broken_module_that_is_no_plugin_is_named(remedy, site):
    (site.path / "some_library.py").write_text("raise ValueError('bad build')")
    assert remedy("import some_library").startswith("mend 'some_library' first")


def test_misuse_of_another_is_ones_own_fault(remedy):
    text = remedy("import zlab_b\nzlab_b.f()", zlab_b="rlkit_api = '1.0'\ndef f(): raise ValueError('misused')")
    assert text.startswith("update it")


def test_unknown_ids_of_a_known_plugin_are_its_own():
    with pytest.raises(NoComponentError, match="It has: net"):
        lookup.find_record([record("lab/net")], "encoder", "lab/other", {})
    with pytest.raises(PluginError, match="'lob'"):
        lookup.find_record([record("lab/net")], "encoder", "lob/zzz", {})


def test_order_of_installation_changes_nothing(make_site):
    names = ["aa", "bb", "cc"]
    said = set()
    for i, order in enumerate(itertools.permutations(names)):
        site = make_site(f"s{i}")
        for name in order:
            site.add(name, groups={"rlkit.algorithms": {name[0].upper() if name == "bb" else "B": "m:C"}})
        with pytest.raises(AmbiguousComponentError) as caught:
            lookup.find(site.scan(), "rlkit.algorithms", "b")
        said.add(str(caught.value))
    assert len(said) == 1
