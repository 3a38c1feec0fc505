"""Whose a module is: namespace packages, shared packages, and what no plugin supplies."""

from __future__ import annotations

import importlib
import sys
import time
import types

import pytest

from rlkit_core.checkpoint import trust
from rlkit_core.errors import CheckpointError
from rlkit_core.plugins import discovery
from rlkit_core.plugins.host import PluginHost
from rlkit_core.plugins.installed import modules
from rlkit_core.plugins.records import LOCAL, Origin


@pytest.fixture
def found(monkeypatch):
    """Make what a site holds the installation of this process."""

    def use(site):
        monkeypatch.setattr(discovery, "_cached", site.scan())
        return site.host()

    modules.forget()
    yield use
    modules.forget()


def write(site, **sources):
    for dotted, text in sources.items():
        file = site.path.joinpath(*dotted.split("__")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture
def namespace(site):
    """``acme`` is a namespace package that two plugins and a library share."""
    write(
        site,
        acme__graph__init="",
        acme__graph__nets="class Net: ...\n",
        acme__sets__nets="class Net: ...\n",
        acme__web__views="class View: ...\n",
        acme__sets__plugin="",
    )
    for package in ("graph", "sets", "web"):
        (site.path / "acme" / package / "__init__.py").write_text("")
    site.add("acme-graph", version="1.1", groups={"rlkit.catalogs": {"g": "acme.graph.plugin:C"}})
    site.add("acme-sets", version="2.2", groups={"rlkit.catalogs": {"s": "acme.sets.plugin:C"}})
    return site


def test_what_lies_below_a_namespace_is_told_apart(namespace, found):
    host = found(namespace)
    net = importlib.import_module("acme.graph.nets").Net
    assert host.origin_of(net) == Origin("acme-graph", "1.1")
    assert host.origin_of("acme.sets.nets:Net") == Origin("acme-sets", "2.2")
    assert host.origin_of("acme.web.views:View") == LOCAL
    assert host.origin_of("acme") == LOCAL
    assert host.origin_of("acme.gone.nets") == LOCAL
    assert trust.distribution_of(net) == ("acme-graph", "1.1")
    assert trust.distribution_of(importlib.import_module("acme.web.views").View) is None
    packages = trust.plugin_packages()
    assert (packages["acme.graph"], packages["acme.sets"]) == (("acme-graph", "1.1"), ("acme-sets", "2.2"))
    assert "acme" not in packages


def test_a_checkpoint_imports_only_the_plugins_part_of_a_namespace(namespace, found):
    found(namespace)
    (namespace.path / "acme" / "web" / "evil.py").write_text("raise AssertionError('a checkpoint imported this')")
    assert trust.resolve_class("acme.sets.nets:Net").__module__ == "acme.sets.nets"
    with pytest.raises(CheckpointError, match="neither part of rlkit_core nor of an installed"):
        trust.resolve_class("acme.web.evil:X")
    with pytest.raises(CheckpointError, match=r"installed acme\.sets does not define"):
        trust.resolve_class("acme.sets.nets:Gone")
    saved = [{"name": "acme-web", "version": "3.0", "packages": ["acme.web"]}, {"name": "x", "packages": "acme"}]
    with pytest.raises(CheckpointError, match=r"It was saved with acme-web 3\.0"):
        trust.resolve_class("acme.web.evil:X", plugins=saved)


def test_two_distributions_in_one_package(site, found):
    write(site, shared__a="class A: ...\n", shared__b__deep="class B: ...\n", shared__common="class C: ...\n")
    (site.path / "shared" / "__init__.py").write_text("")
    (site.path / "shared" / "b" / "__init__.py").write_text("")
    info = site.add("lab-a", groups={"rlkit.catalogs": {"a": "shared.a:A"}})
    site.add("lab-b", version="2.0", groups={"rlkit.catalogs": {"b": "shared.b:B"}})
    host = found(site)
    for name, owner in {"shared.a": ("lab-a", "1.0"), "shared.b.deep": ("lab-b", "2.0")}.items():
        assert host.origin_of(name) == Origin(*owner)
        assert trust.distribution_of(type("X", (), {"__module__": name})) == owner
    assert set(trust.plugin_packages().values()) >= {("lab-a", "1.0"), ("lab-b", "2.0")}
    # A RECORD knows better than names of modules do.
    (info.parent / "lab_b-2.0.dist-info" / "RECORD").write_text("shared/common.py,sha256=x,1\n")
    modules.forget()
    assert site.host().origin_of("shared.common") == Origin("lab-b", "2.0")


@pytest.fixture
def broken(site):
    """A folder of distributions that have nothing to do with rlkit and are broken each in its way."""
    for i, metadata in enumerate(
        [b"Metadata-Version: 2.1\nName: caf\xe9\nVersion: 1\n", None, b"Version: 1\n\n", b"\0"]
    ):
        folder = site.path / f"broken{i}-1.0.dist-info"
        folder.mkdir()
        if metadata is not None:
            (folder / "METADATA").write_bytes(metadata)
    (site.path / "empty.dist-info").mkdir()
    (site.path / "file-1.0.dist-info").write_text("no folder")
    (site.path / "loop-1.0.dist-info").symlink_to("loop-1.0.dist-info")
    return site


def test_broken_metadata_of_others_does_not_matter(broken, found):
    host = found(broken)
    write(broken, mymod="class Cfg: ...\n", owned="class Net: ...\n")
    own = broken.path / "owned_dist-3.1.dist-info"
    own.mkdir()
    (own / "METADATA").write_bytes(b"Name: Owned.Dist\nVersion: 3.1\nAuthor: caf\xe9\n")
    (own / "RECORD").write_text("owned.py,sha256=x,3\nowned_dist-3.1.dist-info/RECORD,,\n")
    mine = importlib.import_module("mymod").Cfg
    start = time.perf_counter()
    assert host.origin_of(mine) == LOCAL
    assert host.origin_of(importlib.import_module("owned").Net) == Origin("owned-dist", "3.1")
    assert time.perf_counter() - start < 0.35, "the whole installation was read"
    assert {d.name for d in broken.scan().distributions} == {"rlkit-core"}


@pytest.mark.parametrize("metadata", [None, b"Version: 9\n", b"Name: \xff\nVersion: 9\n", b""])
def test_an_installers_own_metadata_may_be_broken(site, found, metadata):
    host = found(site)
    write(site, owned="class Net: ...\n")
    own = site.path / "owned-3.1.dist-info"
    own.mkdir()
    if metadata is not None:
        (own / "METADATA").write_bytes(metadata)
    (own / "RECORD").write_text("owned.py,,\n")
    assert host.origin_of("owned").distribution in ("owned", "�")
    assert host.origin_of("owned").version in ("3.1", "9")


def test_an_editable_installation_owns_its_source(site, tmp_path, found, monkeypatch):
    source = tmp_path / "sources with space" / "lib"
    source.mkdir(parents=True)
    (source / "edited.py").write_text("class Net: ...\n")
    monkeypatch.syspath_prepend(str(source))
    info = site.path / "edited-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: edited\nVersion: 0.3\n")
    url = (tmp_path / "sources with space").as_uri()
    (info / "direct_url.json").write_text(f'{{"url": "{url}", "dir_info": {{"editable": true}}}}')
    assert found(site).origin_of(importlib.import_module("edited").Net) == Origin("edited", "0.3")


def test_odd_objects_have_an_origin_too(monkeypatch):
    host = PluginHost()

    class Odd:
        __module__ = 3

    class Hostile(types.ModuleType):
        def __getattr__(self, name):
            raise RuntimeError("hands off")

    monkeypatch.setitem(sys.modules, "hostile_module", Hostile("hostile_module"))
    for obj in (Odd, Odd(), None, "", "..", "a..b", "hostile_module.x", "no such module", "\0", 3.5, len):
        assert host.origin_of(obj).distribution == "local"
