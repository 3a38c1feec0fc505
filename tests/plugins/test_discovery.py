from __future__ import annotations

import itertools
import random
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

import rlkit_core
from rlkit_core.errors import PluginVersionError
from rlkit_core.plugins import PluginWarning, discovery
from rlkit_core.plugins.discovery import Snapshot, scan
from rlkit_core.plugins.versions import check_api, window_problem

ALGO = {"rlkit.algorithms": {"x": "nowhere:Config"}}


def by_name(snapshot):
    return {d.name: d for d in snapshot.distributions}


@pytest.mark.covers("group:rlkit.plugins", "state:found")
def test_metadata_is_read_without_importing(site):
    site.add("my-lab", "raise AssertionError('imported')")
    info = by_name(site.scan())["my-lab"]
    assert (info.version, info.state, info.requires_core) == ("1.0", "found", "rlkit-core>=0.1,<0.2")
    assert [(e.group, e.name, e.value) for e in info.entry_points] == [("rlkit.plugins", "my-lab", "my_lab")]


def test_core_is_there_even_when_it_runs_from_a_source_tree(site):
    core = by_name(site.scan())["rlkit-core"]
    assert core.version == rlkit_core.__version__
    assert core.entry_points[0].value == "rlkit_core.plugins.builtin"


def test_the_first_copy_on_the_path_wins_and_the_other_is_reported(make_site):
    first, second = make_site("first"), make_site("second")
    first.add("my-lab", version="2.0", groups=ALGO)
    second.add("My_Lab", version="1.0", groups=ALGO)
    snapshot = scan([str(first.path), str(second.path)], env={})
    states = [(d.version, d.state) for d in snapshot.distributions if d.name == "my-lab"]
    assert states == [("2.0", "found"), ("1.0", "shadowed")]
    shadowed = next(d for d in snapshot.distributions if d.state == "shadowed")
    assert str(first.path) in shadowed.reason
    assert [e.version for e in snapshot.entry_points("rlkit.algorithms")] == ["2.0"]


def test_a_newer_copy_without_entry_points_still_hides_an_older_one(make_site):
    first, second = make_site("first"), make_site("second")
    first.add("my-lab", version="2.0", groups={"console_scripts": {"x": "y:z"}})
    second.add("my-lab", version="1.0", groups=ALGO)
    snapshot = scan([str(first.path), str(second.path)], env={})
    assert by_name(snapshot)["my-lab"].state == "shadowed"
    assert snapshot.entry_points("rlkit.algorithms") == ()


def test_a_folder_that_is_on_the_path_twice_is_one_installation(site):
    site.add("my-lab", groups=ALGO)
    snapshot = scan([str(site.path), str(site.path) + "/."], env={})
    assert [d.state for d in snapshot.distributions if d.name == "my-lab"] == ["found"]


def test_order_of_installation_and_of_the_path_does_not_matter(make_site):
    sites = [make_site(f"s{i}") for i in range(3)]
    names = [f"lab-{i}" for i in range(9)]
    random.Random(1).shuffle(names)
    for i, name in enumerate(names):
        sites[i % 3].add(name, groups={"rlkit.algorithms": {"b": "m:B", "a": "m:A"}})
    snapshots = [scan([str(s.path) for s in order], env={}) for order in itertools.permutations(sites)]
    assert len({str(s.usable()) for s in snapshots}) == 1
    assert len({s.distributions for s in snapshots}) == 1
    entries = snapshots[0].entry_points("rlkit.algorithms")
    assert [(e.distribution, e.name) for e in entries] == [(n, a) for n in sorted(names) for a in "ab"]


# ------------------------------------------------------------------ broken metadata


def test_malformed_entry_points_cost_only_their_distribution(site):
    info = site.add("bad-lab", groups=ALGO)
    (info / "entry_points.txt").write_text("[rlkit.algorithms]\nthis line has no equals sign\n")
    site.add("good-lab", groups=ALGO)
    found = by_name(site.scan())
    assert found["good-lab"].state == "found"
    assert found["bad-lab"].state == "incompatible"
    assert "reinstall" in found["bad-lab"].reason


def test_a_leftover_without_metadata_is_ignored(site):
    (site.path / "~orphan-1.0.dist-info").mkdir()
    site.add("good-lab", groups=ALGO)
    assert by_name(site.scan())["good-lab"].state == "found"


def test_egg_info_is_read_too(site):
    egg = site.path / "old_lab.egg-info"
    egg.mkdir()
    (egg / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: old-lab\nVersion: 3.1\n")
    (egg / "requires.txt").write_text("rlkit-core>=99\n")
    (egg / "entry_points.txt").write_text("[rlkit.algorithms]\nx = m:X\n")
    info = by_name(site.scan())["old-lab"]
    assert (info.version, info.state) == ("3.1", "incompatible")


def test_local_is_reserved(site):
    site.add("local", groups=ALGO)
    info = by_name(site.scan())["local"]
    assert info.state == "incompatible"
    assert "reserved" in info.reason


# ------------------------------------------------------------------ the version window


@pytest.mark.parametrize(
    ("requirement", "fits"),
    [
        ("rlkit-core", True),
        ("rlkit_core >=0.1,<0.2", True),
        ("rlkit-core (>=0.1)", True),
        ("rlkit-core~=0.1.0", True),
        ("rlkit-core>=0.2", False),
        ("rlkit-core<0.1", False),
        ("rlkit-core!=0.1.0", False),
        ("rlkit-core[plots]>=7", False),
        ("rlkit-core>=7; python_version < '3'", True),
        ("rlkit-core>=7; extra == 'x'", True),
        ("rlkit-core @ https://example.org/rlkit.whl", True),
    ],
)
def test_window(requirement, fits):
    problem = window_problem(requirement, "0.1.0")
    assert (problem is None) == fits
    if problem:
        assert requirement in problem
        assert "0.1.0" in problem


def test_a_requirement_that_cannot_be_read_is_a_problem_not_a_crash():
    assert "cannot be read" in window_problem("rlkit-core >>> 3", "0.1.0")


release = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(lambda p: ".".join(map(str, p)))
clause = st.tuples(st.sampled_from(["<", "<=", ">", ">="]), release).map("".join)


@given(version=release, clauses=st.lists(clause, max_size=3))
def test_plain_ranges_agree_with_packaging(version, clauses):
    specifier = ",".join(clauses)
    assert (window_problem(f"rlkit-core{specifier}", version) is None) == (
        SpecifierSet(specifier).contains(version, prereleases=True)
    )


@pytest.mark.parametrize(
    ("declared", "reason", "remedy"),
    [
        ("1.0", None, None),
        ("1.2", None, None),
        ("1.3", "needs plugin API 1.3", "rlkit-core"),
        ("2.0", "needs plugin API 2.0", "rlkit-core"),
        ("0.9", "written for plugin API 0.9", "--upgrade lab-x"),
        (None, "declares none", "rlkit_api"),
        ("one", "'one'", "rlkit_api"),
        (1.0, "1.0", "rlkit_api"),
    ],
)
def test_api_window(declared, reason, remedy):
    if reason is None:
        check_api(declared, (1, 2), "lab-x")
        return
    with pytest.raises(PluginVersionError, match=reason) as caught:
        check_api(declared, (1, 2), "lab-x")
    assert remedy in caught.value.remedy


# ------------------------------------------------------------------ RLKIT_PLUGINS, RLKIT_PLUGINS_DISABLE


@pytest.fixture
def three(site):
    site.add("lab-a", groups={"rlkit.algorithms": {"alpha": "m:A"}, "rlkit.catalogs": {"tools": "m:T"}})
    site.add("lab-b", groups={"rlkit.algorithms": {"beta": "m:B"}})
    site.add("lab-c", groups={"rlkit.commands": {"gamma": "m:C"}}, requires=["rlkit-core>=9"])
    return site


@pytest.mark.covers("variable:RLKIT_PLUGINS", "variable:RLKIT_PLUGINS_DISABLE")
@pytest.mark.parametrize(
    ("env", "usable"),
    [
        ({}, {"core", "alpha", "tools", "beta"}),
        ({"RLKIT_PLUGINS": ""}, {"core"}),
        ({"RLKIT_PLUGINS": "lab_a"}, {"core", "alpha", "tools"}),
        ({"RLKIT_PLUGINS": "alpha, Lab-B"}, {"core", "alpha", "beta"}),
        ({"RLKIT_PLUGINS_DISABLE": "lab-a"}, {"core", "beta"}),
        ({"RLKIT_PLUGINS_DISABLE": "tools"}, {"core", "alpha", "beta"}),
        ({"RLKIT_PLUGINS": "lab-a", "RLKIT_PLUGINS_DISABLE": "alpha"}, {"core", "tools"}),
        ({"RLKIT_PLUGINS_DISABLE": "rlkit-core core"}, {"core", "alpha", "tools", "beta"}),
    ],
)
def test_variables_select_over_all_groups(three, env, usable):
    snapshot = three.scan(env)
    assert {name for _, _, _, name, _ in snapshot.usable()} == usable


@pytest.mark.covers("state:disabled")
def test_a_disabled_distribution_says_which_variable_hides_it(three):
    infos = by_name(three.scan({"RLKIT_PLUGINS": "lab-b"}))
    assert infos["lab-a"].state == "disabled"
    assert "RLKIT_PLUGINS" in infos["lab-a"].reason
    assert by_name(three.scan())["lab-c"].state == "incompatible"
    assert by_name(three.scan({"RLKIT_PLUGINS_DISABLE": "lab-c"}))["lab-c"].state == "disabled"
    part = by_name(three.scan({"RLKIT_PLUGINS_DISABLE": "tools"}))["lab-a"]
    assert part.state == "found"
    assert "tools" in part.reason


def test_an_unknown_name_in_a_variable_warns_once(three):
    with pytest.warns(PluginWarning, match=r"'lab-aa'.*Did you mean 'lab-a'"):
        three.scan({"RLKIT_PLUGINS": "lab-aa"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        three.scan({"RLKIT_PLUGINS": "lab-aa"})


# ------------------------------------------------------------------ snapshots


def test_a_snapshot_travels_as_json(make_site):
    one, two = make_site("one"), make_site("two")
    for site, version in ((one, "1.0"), (two, "1.1")):
        site.add("lab-a", groups=ALGO)
        site.add("lab-b", version=version, groups=ALGO)
    two.add("lab-c", groups=ALGO)
    a, b = one.scan(), two.scan()
    assert Snapshot.from_dict(a.to_dict()).distributions == a.distributions
    assert a.usable() != b.usable()


def test_where_things_lie_does_not_matter(make_site):
    one, two = make_site("one"), make_site("two")
    for site in (one, two):
        site.add("lab-a", groups=ALGO)
    assert one.scan().usable() == two.scan().usable()


def test_one_scan_per_process(monkeypatch, site):
    calls = []
    real = discovery.read_path
    monkeypatch.setattr(discovery, "read_path", lambda path: calls.append(1) or real(path))
    monkeypatch.setattr(discovery, "_cached", None)
    scan()
    scan(env={"RLKIT_PLUGINS": ""})
    assert len(calls) == 1
    assert "late-lab" not in by_name(scan())
    site.add("late-lab", groups=ALGO)
    assert "late-lab" not in by_name(scan())
    assert "late-lab" in by_name(scan(refresh=True))
    monkeypatch.setattr(discovery, "_cached", None)
