"""Metadata of any kind: what is wrong with it is said, nothing is raised, nothing hangs."""

from __future__ import annotations

import contextlib
import os
import sys
import unicodedata
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlkit_core.cli import listing
from rlkit_core.errors import RLKitError
from rlkit_core.plugins import lookup
from rlkit_core.plugins.discovery import GROUPS, Snapshot, scan
from rlkit_core.plugins.host import PluginHost
from rlkit_core.plugins.versions import python_problem, window_problem

ALGO = {"rlkit.algorithms": {"x": "nowhere:Config"}}


def only(site, name="lab-x"):
    (found,) = [d for d in site.scan().distributions if d.name == name]
    return found


def write(site, text, name="lab-x", **kwargs):
    info = site.add(name, groups={}, **kwargs)
    (info / "entry_points.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return info


# ------------------------------------------------------------------ entry_points.txt


@pytest.mark.parametrize(
    ("group", "meant"),
    [
        ("rlkit.plugin", "[rlkit.plugins]"),
        ("rlkit.algorithm", "[rlkit.algorithms]"),
        ("RLKit.Plugins", "[rlkit.plugins]"),
        ("rlkit-catalogs", "[rlkit.catalogs]"),
        ("rlkit_command", "[rlkit.commands]"),
        ("rl_kit.plugins", "[rlkit.plugins]"),
        ("rlkitplugins", "[rlkit.plugins]"),
    ],
)
def test_a_misspelt_group_is_said(site, group, meant):
    write(site, f"[{group}]\nx = lab_x\n")
    info = only(site)
    assert (info.state, info.entry_points) == ("incompatible", ())
    assert info.reason == f"[{group}] is no group of rlkit's: did you mean {meant}?"


def test_a_misspelt_group_beside_a_good_one_is_a_note(site):
    write(site, "[rlkit.algorithms]\nx = lab_x:C\n[rlkit.catalog]\ny = lab_x:D\n[rlkit.mine]\nz = q\n")
    info = only(site)
    assert (info.state, [e.name for e in info.entry_points]) == ("found", ["x"])
    assert info.notes[0] == "[rlkit.catalog] is no group of rlkit's: did you mean [rlkit.catalogs]?"
    assert info.notes[1].startswith("[rlkit.mine] is no group of rlkit's: rlkit reads [rlkit.plugins], ")


def test_groups_of_others_are_theirs(site):
    write(
        site,
        "[rlkitchen.recipes]\na = b\n[flake8.extension]\nRLKIT = q\n[console_scripts]\nrlkit = rlkit_core.cli:main\n",
    )
    assert [d.name for d in site.scan().distributions] == ["rlkit-core"]


@pytest.mark.parametrize("line", ["no equals sign", "= no.name", "noval =", "a: b", "=", "é"])
def test_a_line_that_is_no_entry_is_said(site, line):
    write(site, f"[console_scripts]\nanything goes here\n[rlkit.algorithms]\n{line}\nx = lab_x:C\n")
    info = only(site)
    assert info.state == "incompatible"
    assert f"{line!r} in [rlkit.algorithms], expected 'name = module:attribute'; reinstall it" in info.reason


def test_a_second_entry_of_the_same_name_is_said(site):
    write(site, "[rlkit.algorithms]\nx = lab_x:One\nx = lab_x:Two\nx = lab_x:One\nX = lab_x:Other\n")
    info = only(site)
    assert [(e.name, e.value) for e in info.entry_points] == [("X", "lab_x:Other"), ("x", "lab_x:One")]
    assert info.notes == ("[rlkit.algorithms] names 'x' twice: 'lab_x:One' counts, 'lab_x:Two' does not",)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("[rlkit.plugins]\nx = caf\xe9\n".encode("latin-1"), "no UTF-8 text (byte 0xe9 at 23)"),
        ("[rlkit.plugins]\nx = lab_x\n".encode("utf-16"), "no UTF-8 text"),
        ("[rlkit.plugins]\nx = lab_x\n".encode("utf-16-le"), "NUL bytes"),
    ],
)
def test_an_unreadable_file_is_said(site, data, said):
    write(site, data)
    info = only(site)
    assert info.state == "incompatible"
    assert said in info.reason
    assert info.reason.endswith("reinstall it")


def test_a_byte_order_mark_and_windows_line_ends_are_no_harm(site):
    write(
        site,
        b"\xef\xbb\xbf[rlkit.plugins]\r\nx = lab_x\r\n\r\n# [rlkit.wrong]\r\n; x\r\n[ rlkit.algorithms ]\r\ny=lab_y:C",
    )
    assert [(e.group, e.name, e.value) for e in only(site).entry_points] == [
        ("rlkit.algorithms", "y", "lab_y:C"),
        ("rlkit.plugins", "x", "lab_x"),
    ]


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_said_of_those_that_are_ours(site, kind):
    make = os.mkdir if kind == "folder" else os.mkfifo  # reading a pipe would wait for ever
    for name, requires in {"lab-x": ["rlkit_core>=0.1"], "stranger": ["torch"], "rlkit-x": []}.items():
        info = site.add(name, groups=ALGO, requires=requires)
        (info / "entry_points.txt").unlink()
        make(info / "entry_points.txt")
    assert {d.name for d in site.scan().distributions} == {"lab-x", "rlkit-x", "rlkit-core"}
    assert only(site).state == "incompatible"
    assert "its entry_points.txt cannot be read" in only(site).reason


# ------------------------------------------------------------------ METADATA


def test_another_encoding_in_a_description_is_no_harm(site):
    info = site.add("lab-x", groups=ALGO)
    (info / "METADATA").write_bytes(b"Name: lab-x\nVersion: 1.5\nAuthor: Ren\xe9\nRequires-Dist: rlkit-core>=9\n\n\xff")
    assert (only(site).version, only(site).state) == ("1.5", "incompatible")
    assert "requires rlkit-core>=9" in only(site).reason


@pytest.mark.parametrize(
    ("metadata", "version", "state"),
    [
        (None, "1.0", "incompatible"),
        (b"", "1.0", "found"),
        (b"Version: 2\n", "2", "found"),
        (b"Name: other\n", "1.0", "found"),
    ],
)
def test_headers_that_are_not_there(site, metadata, version, state):
    info = site.add("lab-x", groups=ALGO)
    (info / "METADATA").unlink()
    if metadata is not None:
        (info / "METADATA").write_bytes(metadata)
    found = only(site)  # by the name that importlib.metadata knows it by, too
    assert (found.version, found.state) == (version, state)
    if metadata is None:
        assert found.reason == "its metadata cannot be read (it has no METADATA); reinstall it"


def test_a_folders_name_with_hyphens_is_read_as_its_metadata_says(site):
    folder = site.path / "my-lab-x-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Name: My_Lab.x\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[rlkit.plugins]\nx = m\n")
    assert only(site, "my-lab-x").version == "1.0"


def test_half_removed_distributions_are_left_alone(site):
    info = site.add("lab-x", groups=ALGO)
    info.rename(site.path / "~ab_x-1.0.dist-info")
    assert [d.name for d in site.scan().distributions] == ["rlkit-core"]


def test_archives_and_other_finders_are_read_too(site, monkeypatch):
    archive = site.path / "plugins.zip"
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("lab_zip-2.0.dist-info/METADATA", "Name: lab-zip\nVersion: 2.0\nRequires-Dist: rlkit-core>=9\n")
        out.writestr("lab_zip-2.0.dist-info/entry_points.txt", "[rlkit.algorithms]\nz = lab_zip:C\n")
        out.writestr("lab_zip.py", "class C: ...\n")
    (site.path / "no.zip").write_text("no archive")
    found = {d.name: d for d in scan([str(archive), str(site.path / "no.zip")], env={}).distributions}
    assert (found["lab-zip"].version, found["lab-zip"].state) == ("2.0", "incompatible")
    import importlib_metadata

    class Finder:
        @staticmethod
        def find_spec(*args):
            return None

        @staticmethod
        def find_distributions(context):
            yield object()
            raise RuntimeError("hostile")

    class Odd(Finder):
        @staticmethod
        def find_distributions(context):
            inside = importlib_metadata.DistributionFinder.Context(path=[str(archive)])
            return [object(), *importlib_metadata.MetadataPathFinder().find_distributions(inside)]

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder, Odd])
    monkeypatch.setattr("rlkit_core.plugins.discovery._cached", None)
    assert scan(env={}).distribution("lab-zip").version == "2.0"
    monkeypatch.setattr("rlkit_core.plugins.discovery._cached", None)


def test_odd_things_on_the_path_are_passed_over(site):
    site.add("lab-x", groups=ALGO)
    path = ["", "/nowhere", "/dev/null", "\0", b"bytes", None, 3, str(site.path / "lab_x-1.0.dist-info"), site.path]
    assert scan(path, env={}).distribution("lab-x").state == "found"


# ------------------------------------------------------------------ requirements between plugins, and on Python


@pytest.mark.parametrize(
    ("requirement", "fits"),
    [
        ("lab-base", True),
        ("Lab.Base>=1,<2", True),
        ("lab_base>=9", False),
        ("lab-base==1.5", True),
        ("lab-base!=1.5.0", False),
        ("lab-base[extra]~=1.4", True),
        ("lab-base ~=2.0", False),
        ("lab-base>=9; python_version<'3'", True),
        ("lab-base>=9 ; extra == 'all'", True),
        ("lab-base>=9; extra == 'all' or python_version>'3'", False),
        ("lab-base>=9; nonsense", False),
        ("nobody-has-this>=9", True),
        ("torch>=99", True),
    ],
)
def test_what_a_plugin_requires_of_another_is_checked(site, requirement, fits):
    site.add("lab-base", version="1.5", groups=ALGO)
    site.add("lab-x", requires=["rlkit-core>=0.1", requirement], groups=ALGO)
    info = only(site)
    assert info.state == ("found" if fits else "incompatible")
    if not fits:
        assert requirement in info.reason
    assert info.requires_core == "rlkit-core>=0.1"


def test_a_shadowed_copy_fulfils_nothing(make_site):
    first, second = make_site("a"), make_site("b")
    first.add("lab-base", version="1.0", groups=ALGO)
    second.add("lab-base", version="9.0", groups=ALGO)
    second.add("lab-x", requires=["lab-base>=9"], groups=ALGO)
    found = scan([str(first.path), str(second.path)], env={}).distribution("lab-x")
    assert found.reason.startswith("it requires lab-base>=9, installed is lab-base 1.0; ")


@pytest.mark.parametrize(
    ("specifier", "fits"),
    [
        (">=3.8", True),
        (">=3.99", False),
        ("<4,>=3.10", True),
        ("!=2.*", True),
        ("~=3.8", True),
        ("three", False),
        ("<3", False),
    ],
)
def test_the_python_that_a_plugin_requires(site, specifier, fits):
    info = site.add("lab-x", groups=ALGO)
    text = (info / "METADATA").read_text().replace("\n\n", f"\nRequires-Python: {specifier}\n\n")
    (info / "METADATA").write_text(text)
    found = only(site)
    assert found.state == ("found" if fits else "incompatible")
    if not fits:
        assert specifier in found.reason
    assert (python_problem(specifier) is None) == fits


def test_versions_that_are_none(site):
    assert "no version that could be compared" in window_problem("lab-base~=1.0", "one", "lab-base")
    assert window_problem("lab-base", "one", "lab-base") is None


# ------------------------------------------------------------------ anything at all

word = st.one_of(
    st.sampled_from(["rlkit-ppo", "rlkit-core", "a", "A", "a-b", "a_b", "local", "..", "x y", "../x", "\x1b[31mred"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=12),
)
group = st.one_of(st.sampled_from([*GROUPS, "rlkit.plugin", "rlkit", "console_scripts", "rlkit.x"]), word)
value = st.one_of(st.sampled_from(["m", "m:C", "m.n:C [x]", "json:loads", "::", "a b", "."]), word)
entries = st.lists(st.tuples(group, word, st.sampled_from(["=", " = ", " ", ":", "=="]), value), max_size=4).map(
    lambda rows: "\n".join(f"[{g}]\n{n}{sep}{v}" for g, n, sep, v in rows)
)
version = st.one_of(st.sampled_from(["1.0", "0.1.0", "2.0.dev1", "1!2", "", "no", "9" * 400, "1.0+x"]), word)
requirement = st.one_of(
    st.builds(
        "{}{}{}{}".format,
        word,
        st.sampled_from([">=", "~=", "==", "@", " ", "==="]),
        version,
        st.sampled_from(["", "; extra == 'x'", "; python_version < '4'", ";", "; x"]),
    ),
    word,
)
headers = st.builds(
    lambda name, version, requires, python: "\n".join(
        [
            f"Name: {name}",
            f"Version: {version}",
            *(f"Requires-Dist: {r}" for r in requires),
            f"Requires-Python: {python}",
            "",
            "x",
        ]
    ),
    word,
    version,
    st.lists(requirement, max_size=3),
    st.one_of(st.sampled_from([">=3.8", "", "<3", "x"]), version),
)
encoded = st.sampled_from(["utf-8", "utf-16", "latin-1", "utf-8-sig", "utf-32"])


def as_bytes(texts):
    return st.one_of(
        st.builds(lambda text, encoding: text.encode(encoding, "replace"), texts, encoded), st.binary(max_size=60)
    )


folder_name = st.builds(
    "{}{}{}".format,
    word.map(lambda w: w[:40]),
    st.sampled_from(["-1.0", "-2.0", "", "-x-1", "-1.0-py3"]),
    st.sampled_from([".dist-info", ".egg-info"]),
)
distribution = st.tuples(
    folder_name,
    st.one_of(st.none(), as_bytes(entries)),
    st.one_of(st.none(), as_bytes(headers)),
    st.one_of(st.none(), st.binary(max_size=30), st.just(b'{"url": "file:///x%", "dir_info": {"editable": true}}')),
    st.one_of(st.none(), as_bytes(requirement)),
)
variables = st.fixed_dictionaries(
    {}, optional={"RLKIT_PLUGINS": word, "RLKIT_PLUGINS_DISABLE": word, "RLKIT_PLUGINS_STRICT": word}
)


anything = given(installed=st.lists(distribution, min_size=1, max_size=4), env=variables, asked=word, data=st.data())


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=30, deadline=5_000, suppress_health_check=list(HealthCheck))
@anything
def test_random_metadata_never_ends_in_anything_but_an_answer(tmp_path_factory, installed, env, asked, data):
    check_answers(tmp_path_factory, installed, env, asked, data)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=2_000, deadline=5_000, suppress_health_check=list(HealthCheck))
@anything
def test_much_random_metadata_never_ends_in_anything_but_an_answer(tmp_path_factory, installed, env, asked, data):
    check_answers(tmp_path_factory, installed, env, asked, data)


def check_answers(tmp_path_factory, installed, env, asked, data):
    folder = tmp_path_factory.mktemp("site")
    for name, entry_points, metadata, direct_url, requires in installed:
        info = folder / name.replace("/", "_")
        try:
            info.mkdir(exist_ok=True)
        except (OSError, ValueError):  # a name that this file system does not have
            continue
        files = {"entry_points.txt": entry_points, "direct_url.json": direct_url, "requires.txt": requires}
        for file, content in {**files, "METADATA": metadata, "PKG-INFO": metadata, "RECORD": requires}.items():
            if content is not None:
                (info / file).write_bytes(content)
    (folder / "m.py").write_text("")
    snapshot = scan([str(folder)], env=env)
    assert Snapshot.from_dict(snapshot.to_dict()).distributions == snapshot.distributions
    assert scan([str(folder)], env=env).distributions == snapshot.distributions
    assert all(row["state"] for row in listing.plugin_rows(snapshot))
    for what in ("plugins", "algorithms"):
        shown = listing.as_text(what, snapshot).replace("\n", "")
        assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    names = [e.name for d in snapshot.distributions for e in d.entry_points] + [asked, f"{asked}/{asked}"]
    for entry_group in GROUPS:
        with contextlib.suppress(RLKitError):
            lookup.find(snapshot, entry_group, data.draw(st.sampled_from(names)))
    host = PluginHost(snapshot, env)
    assert all(str(state) for state in host.states)  # nothing is imported for this
    host.origin_of(asked)
