"""Services of every kind: registered, listed, found by short name and id; two plugins that claim one name."""

from __future__ import annotations

import json

import pytest

from rlkit_core.errors import AmbiguousComponentError, NoComponentError, PluginError, PluginNotFoundError
from rlkit_core.plugins import PluginWarning
from rlkit_core.plugins.records import SERVICE_KINDS

SERVICES = """
from rlkit_core.plugins.records import Service

rlkit_api = "1.0"


def rlkit_services():
    return [Service(kind, "shared", "{target}") for kind in {kinds}]
"""


def add(site, name, target, kinds=SERVICE_KINDS):
    site.add(name, SERVICES.format(target=target, kinds=repr(tuple(kinds))))


@pytest.mark.covers("hook:rlkit_services", "record:Service", "service:framework")
@pytest.mark.parametrize("kind", SERVICE_KINDS)
def test_one_of_each_kind_is_found_by_name_and_by_id(site, kind):
    add(site, "lab-a", "json:JSONDecoder")
    host = site.host()
    assert [s.id for s in host.services(kind) if s.origin.distribution == "lab-a"] == ["lab-a/shared"]
    for name in ("shared", "lab-a/shared", "LAB_A/shared"):
        assert host.get_service(kind, name).__name__ == "JSONDecoder"


@pytest.mark.parametrize("kind", SERVICE_KINDS)
def test_two_plugins_that_claim_a_name_are_told_apart_by_id(make_site, kind):
    site = make_site()
    add(site, "lab-a", "json:JSONDecoder")
    add(site, "lab-b", "json:JSONEncoder")
    host = site.host()
    with pytest.raises(AmbiguousComponentError, match=r"'lab-a/shared' and 'lab-b/shared'.*write the full id"):
        host.get_service(kind, "shared")
    assert host.get_service(kind, "lab-a/shared").__name__ == "JSONDecoder"
    assert host.get_service(kind, "lab-b/shared").__name__ == "JSONEncoder"
    hidden = site.host({"RLKIT_PLUGINS_DISABLE": "lab-b"})
    assert hidden.get_service(kind, "shared").__name__ == "JSONDecoder"
    with pytest.raises(PluginError, match="lab-b"):
        hidden.get_service(kind, "lab-b/shared")


@pytest.mark.parametrize("kind", SERVICE_KINDS)
def test_a_name_that_nobody_has_is_an_error_that_lists_what_there_is(site, kind):
    add(site, "lab-a", "json:JSONDecoder")
    host = site.host()
    with pytest.raises(PluginNotFoundError, match="Did you mean 'shared'"):
        host.get_service(kind, "shard")
    with pytest.raises(NoComponentError, match=r"lab-a has no such .* It has: shared"):
        host.get_service(kind, "lab-a/other")


def test_one_name_may_be_of_every_kind_once_in_a_distribution(site):
    add(site, "lab-a", "json:JSONDecoder", ["writer", "writer"])
    add(site, "lab-b", "json:JSONDecoder")
    host = site.host()
    with pytest.warns(PluginWarning, match="registered twice"):
        host.load()
    states = {s.distribution: s for s in host.states}
    assert states["lab-a"].state == "failed"
    assert "writer 'shared' is registered twice by lab-a" in states["lab-a"].reason
    assert states["lab-b"].state == "loaded"
    assert [s.id for s in host.services("writer") if "shared" in s.id] == ["lab-b/shared"]


def test_the_cores_own_names_mean_the_core_whatever_is_installed(site):
    site.add("lab-a", SERVICES.format(target="json:JSONDecoder", kinds="('writer',)").replace("shared", "csv"))
    host = site.host()
    assert host.get_service("writer", "csv").__name__ == "CSVWriter"
    assert host.get_service("writer", "lab-a/csv").__name__ == "JSONDecoder"


def test_doctor_lists_services_of_every_kind(site, rlkit):
    add(site, "lab-a", "json:JSONDecoder")
    checks = json.loads(rlkit("doctor", "--json")[1])["checks"]
    found = {c["what"]: c["state"] for c in checks if c["distribution"] == "lab-a" and c["name"] == "shared"}
    assert set(found) == {kind.replace("_", " ") for kind in SERVICE_KINDS}
    # What a decoder lacks is said of the kinds that have a contract; nothing is asked of a framework yet.
    assert {what for what, state in found.items() if state == "failed"} == {
        "executor", "learner group", "step engine", "writer", "callbacks", "env wrapper"
    }  # fmt: skip


def test_two_plugins_may_share_a_namespace_package(site):
    for name in ("one", "two"):
        folder = site.path / "shared_lab" / name
        folder.mkdir(parents=True)
        source = SERVICES.format(target="json:JSONDecoder", kinds=("writer",)).replace('"shared"', f'"{name}"')
        (folder / "__init__.py").write_text(f"{source}\n\nclass Encoder:\n    pass\n")
        site.add(f"lab-{name}", groups={"rlkit.plugins": {name: f"shared_lab.{name}"}})
    host = site.host()
    assert [s.id for s in host.services("writer") if "lab-" in s.id] == ["lab-one/one", "lab-two/two"]
    assert host.origin_of("shared_lab.one:Encoder").distribution == "lab-one"
    assert host.origin_of("shared_lab.two.deep.module").distribution == "lab-two"
    assert not any(name.startswith("lab-") for name in host.registry.unavailable)
