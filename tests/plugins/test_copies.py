"""Two copies of one thing: what Python imports is what is recorded, and the other is named."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys

import pytest

from rlkit_core._version import __version__
from rlkit_core.plugins import discovery
from rlkit_core.plugins.discovery import scan
from rlkit_core.plugins.host import PluginHost
from rlkit_core.plugins.installed import modules

GROUPS = {"rlkit.algorithms": {"x": "lab_x:Config"}}


@pytest.fixture(autouse=True)
def fresh():
    modules.forget()
    yield
    modules.forget()


def rows(*sites, name="lab-x"):
    modules.forget()  # folders were written to since
    snapshot = scan([str(s.path) for s in sites], env={})
    return [d for d in snapshot.distributions if d.name == name]


# ------------------------------------------------------------------ one folder


@pytest.mark.parametrize("versions", list(itertools.permutations(["1.9", "1.10", "2.0.dev1", "none"]))[::5])
def test_the_newest_of_several_in_one_folder_counts(site, versions, monkeypatch):
    for version in versions:
        site.add("lab-x", version=version, groups=GROUPS)
    listed = os.listdir
    for order in (sorted, lambda names: sorted(names, reverse=True)):
        monkeypatch.setattr(os, "listdir", lambda path, order=order: order(listed(path)))
        found = rows(site)
        assert (found[0].version, found[0].state) == ("2.0.dev1", "found")
        assert sorted(d.version for d in found if d.state == "shadowed") == ["1.10", "1.9", "none"]
        assert all("2.0.dev1 in the same folder is newer" in d.reason for d in found[1:])
        assert len({d.location for d in found}) == 4  # the leftovers' own folders, to be removed


def test_a_newer_one_without_entry_points_hides_an_older_one(site):
    site.add("lab-x", version="1.0", groups=GROUPS)
    site.add("lab-x", version="2.0", groups={"console_scripts": {"x": "y:z"}})
    (only,) = rows(site)
    assert (only.version, only.state) == ("1.0", "shadowed")


# ------------------------------------------------------------------ several folders


def test_where_the_module_is_decides_whichever_comes_first(make_site):
    leftover, real = make_site("a"), make_site("b")
    leftover.add("lab-x", version="3.0", groups=GROUPS)
    real.add("lab-x", version="1.0", groups=GROUPS, lab_x="class Config: ...\n")
    for order in itertools.permutations([leftover, real]):
        used, other = rows(*order)
        assert (used.version, used.state, used.location) == ("1.0", "found", str(real.path))
        assert (other.version, other.state) == ("3.0", "shadowed")
        assert str(real.path) in other.reason


def test_with_two_modules_the_first_on_the_path_counts(make_site):
    sites = make_site("a"), make_site("b")
    for site, version in zip(sites, ("1.0", "2.0"), strict=True):
        site.add("lab-x", version=version, groups=GROUPS, lab_x=f"VERSION = {version!r}\n")
    for order in itertools.permutations(sites):
        used, other = rows(*order)
        assert used.location == str(order[0].path)
        assert f"the copy in {order[0].path} comes first on sys.path; uninstall one of the two" == other.reason


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({"lab_x/__init__.py": "__version__ = '2.0.dev1'\n"}, "2.0.dev1"),
        ({"lab_x/__init__.py": "", "lab_x/_version.py": '__version__: str = "2.0.dev1"\n'}, "2.0.dev1"),
        ({"lab_x.py": "__version__ = '2.0.dev1'  # as an import would say\n"}, "2.0.dev1"),
        ({"lab_x/__init__.py": "raise AssertionError('imported')\n"}, "0+unknown"),
    ],
)
def test_a_checkout_before_a_wheel_is_what_is_recorded(make_site, tmp_path, files, version):
    wheel = make_site("wheel")
    wheel.add("lab-x", version="1.0", groups=GROUPS, lab_x="class Config: ...\n")
    checkout = make_site("checkout")
    for name, text in files.items():
        file = checkout.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    (used,) = rows(checkout, wheel)
    assert (used.version, used.state, used.location) == (version, "found", str(checkout.path))
    assert [e.version for e in used.entry_points] == [version]
    (note,) = used.notes
    assert note.startswith(f"Python imports lab_x from {checkout.path}, and not 1.0 in {wheel.path}")
    (used,) = rows(wheel, checkout)
    assert (used.version, used.location, used.notes) == ("1.0", str(wheel.path), ())


def test_a_folder_of_that_name_that_is_no_package_is_nothing(make_site):
    wheel, project = make_site("wheel"), make_site("project")
    wheel.add("lab-x", version="1.0", groups=GROUPS)
    (wheel.path / "lab_x").mkdir()
    (wheel.path / "lab_x" / "__init__.py").write_text("")
    (project.path / "lab_x").mkdir()  # results of a run, say
    (used,) = rows(project, wheel)
    assert (used.version, used.location, used.notes) == ("1.0", str(wheel.path), ())


def editable(make_site, *, egg=None):
    """An editable installation: metadata in site-packages, code (and perhaps an egg-info) in its source."""
    packages, source = make_site("packages"), make_site("my source")
    info = packages.add("lab-x", version="1.0", groups=GROUPS)
    url = {"url": source.path.as_uri(), "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(url))
    (source.path / "lab_x.py").write_text("class Config: ...\n")
    if egg:
        folder = source.path / "lab_x.egg-info"
        folder.mkdir()
        (folder / "PKG-INFO").write_text(f"Name: lab-x\nVersion: {egg}\n")
        (folder / "entry_points.txt").write_text("[rlkit.algorithms]\nx = lab_x:Config\n")
    return packages, source


def test_an_editable_installation_is_in_order(make_site):
    packages, source = editable(make_site)
    for order in itertools.permutations([packages, source]):
        (used,) = rows(*order)
        assert (used.version, used.state, used.notes) == ("1.0", "found", ())


def test_the_egg_info_in_its_source_is_the_same_thing_unless_it_is_stale(make_site, tmp_path):
    packages, source = editable(make_site, egg="1.0")
    (used,) = rows(packages, source)
    assert (used.version, used.notes) == ("1.0", ())
    (source.path / "lab_x.egg-info" / "PKG-INFO").write_text("Name: lab-x\nVersion: 0.9\n")
    used, other = rows(packages, source)
    assert (used.version, other.version, other.state) == ("1.0", "0.9", "shadowed")


def test_another_checkout_before_an_editable_installation_is_named(make_site):
    packages, source = editable(make_site)
    other = make_site("other")
    (other.path / "lab_x.py").write_text("__version__ = '7.0'\n")
    (used,) = rows(other, packages, source)
    assert (used.version, used.location) == ("7.0", str(other.path))
    assert "Python imports lab_x from" in used.notes[0]


def test_a_checkout_on_pythonpath_is_what_the_command_lists(make_site):
    wheel, checkout = make_site("wheel"), make_site("checkout")
    wheel.add("lab-x", version="1.0", groups=GROUPS, lab_x="class Config: ...\n")
    (checkout.path / "lab_x.py").write_text("__version__ = '2.0.dev1'\nraise AssertionError('imported')\n")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(checkout.path), str(wheel.path)]), "RLKIT_PLUGINS": "lab-*"}
    code = "from rlkit_core.cli import main; main(['plugins', '--json'])"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    (row,) = [p for p in json.loads(done.stdout)["plugins"] if p["name"] == "lab-x"]
    assert (row["version"], row["location"]) == ("2.0.dev1", str(checkout.path))
    assert str(wheel.path) in row["notes"][0]


def test_an_origin_has_the_version_that_runs(make_site, monkeypatch):
    wheel = make_site("wheel")
    wheel.add("lab-x", version="1.0", groups=GROUPS, lab_x="class Config: ...\n")
    checkout = make_site("checkout")
    (checkout.path / "lab_x.py").write_text("__version__ = '2.0.dev1'\nclass Config: ...\n")
    modules.forget()
    host = PluginHost(scan([str(checkout.path), str(wheel.path)], env={}), {})
    cls = host.get_algorithm_config_class("x")
    assert cls.__module__ == "lab_x"
    assert host.origin_of(cls).version == "2.0.dev1"


# ------------------------------------------------------------------ the core


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("source", ["", "raise AssertionError('imported')\n"])
def test_another_core_on_the_path_changes_nothing(make_site, first, source):
    fake, lab = make_site("fake"), make_site("lab")
    lab.add("lab-x", groups=GROUPS)
    fake.add("rlkit_core", version="9.9", groups={"rlkit.plugins": {"core": "evil", "more": "evil"}})
    if source:
        (fake.path / "evil.py").write_text(source)
    order = (fake, lab) if first else (lab, fake)
    core, other = rows(*order, name="rlkit-core")
    assert (core.version, core.state) == (__version__, "found")
    assert [(e.name, e.value) for e in core.entry_points] == [("core", "rlkit_core.plugins.builtin")]
    assert (other.version, other.state, other.location) == ("9.9", "shadowed", str(fake.path))
    assert f"what runs is rlkit-core {__version__}" in other.reason
    assert rows(*order)[0].state == "found"  # it requires rlkit-core<0.2
    host = PluginHost(scan([str(s.path) for s in order], env={}), {})
    assert host.registry.get("rlkit-core/mlp", "encoder").origin.version == __version__


def test_the_installed_core_is_listed_once():
    cores = [d for d in discovery.scan(env={}).distributions if d.name == "rlkit-core"]
    assert [(d.version, d.state, d.notes) for d in cores] == [(__version__, "found", ())]
