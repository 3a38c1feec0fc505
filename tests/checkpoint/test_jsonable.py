"""Constructor arguments as JSON, and which classes a checkpoint may name."""

import collections
import functools
import json
import pathlib
import sys
import types

import attrs
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from rlkit_core.checkpoint import (
    Checkpointable,
    PassAtLoad,
    class_ref,
    from_jsonable,
    register_json_type,
    resolve_class,
    to_jsonable,
    trust,
)
from rlkit_core.errors import CheckpointError, RLKitError


def round_trip(value, **kwargs):
    return from_jsonable(json.loads(json.dumps(to_jsonable(value), allow_nan=False)), **kwargs)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda x: st.one_of(
            st.lists(x, max_size=3),
            st.dictionaries(st.text(max_size=3) | st.integers(), x, max_size=3),
            st.tuples(x, x),
            st.frozensets(st.integers(), max_size=3),
        ),
        max_leaves=8,
    )
)
def test_plain_data_is_exact(value):
    again = round_trip(value)
    assert again == value
    assert repr(type(again)) == repr(type(value))


def test_richer_values():
    value = {
        "space": spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Discrete(3, start=1)),
        "class": RLKitError,
        "types": [int, np.float32, torch.nn.ReLU],
        "dtype": np.dtype("uint16"),
        "torch": torch.bfloat16,
        "set": {"p0", "p1"},
        "path": pathlib.Path("a/b"),
        "scalar": np.float64(0.1),
        "nan": float("nan"),
    }
    again = round_trip(value)
    assert again.pop("nan") != value.pop("nan")
    assert again == value
    assert type(again["scalar"]) is np.float64
    array = round_trip(np.arange(6, dtype=">i2").reshape(2, 3))
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_registered_types_nest():
    @attrs.define
    class Spec:
        module_class: type
        space: object
        inner: object = None

    register_json_type(Spec, "test-spec", lambda s: [s.module_class, s.space, s.inner], lambda data: Spec(*data))
    value = [Spec(RLKitError, spaces.Discrete(2), Spec(CheckpointError, None))]
    assert round_trip(value) == value
    with pytest.raises(ValueError, match="test-spec"):
        register_json_type(int, "test-spec", int, int)
    data = to_jsonable(value)
    data[0]["$object"][1] = [1]
    with pytest.raises(CheckpointError, match="test-spec"):
        from_jsonable(data)
    with pytest.raises(CheckpointError, match="unknown type"):
        from_jsonable({"$object": ["no-such-type", 1]})


class Callable:
    def __call__(self):
        return 1

    def method(self):
        return 2


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (json.dumps, "json:dumps"),
        (functools.partial(json.dumps, indent=1), "json:dumps"),
        (lambda: 0, "<lambda>"),
        (Callable(), "Callable"),
        (Callable().method, "Callable.method"),
        (len, "builtins:len"),
        (np.tanh, "tanh"),
    ],
)
def test_functions_are_notes_that_complain_when_needed(function, name):
    note = round_trip({"config": {"mapping_fn": function}})["config"]["mapping_fn"]
    assert isinstance(note, PassAtLoad)
    assert name in note.ref
    with pytest.raises(CheckpointError, match=r"\['config'\]\['mapping_fn'\].*pass it again"):
        note("agent_0")
    assert round_trip(note) == note  # a checkpoint of a restored object says the same


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (torch.nn.Linear(2, 2), "live nn.Module"),
        (np.array([object()]), "dtype object"),
        (collections.Counter.__dict__, "mappingproxy"),
        (object(), "register_json_type"),
        (b"bytes", "bytes"),
    ],
    ids=["module", "objects", "proxy", "object", "bytes"],
)
def test_what_cannot_be_written_is_refused_by_its_keys(value, text):
    with pytest.raises(CheckpointError, match=r"\['model_config'\]\[0\]") as caught:
        to_jsonable({"model_config": [value]})
    assert text in str(caught.value)


# -- trust -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ref",
    [
        "os:system",
        "builtins:eval",
        "subprocess:Popen",
        "rlkit_core.checkpoint.files:os.system",
        "rlkit_core.checkpoint.files:Path",
        "rlkit_core.checkpoint.checkpointable:Any",
        "rlkit_core.checkpoint.saved_component:read_snapshot",
        "rlkit_core.no_such_module:X",
        "rlkit_core.errors:NoSuch",
        "rlkit_core.cli.__main__:X",
        "this_module_is_not_there:X",
        "antigravity:X",
        "torch:nn.Linear",
        "../../evil:X",
        "a b:c",
        ":X",
        "x:",
        "os",
        None,
        5,
        ["os:system"],
    ],
    ids=str,
)
def test_untrusted_references_are_refused_without_an_import(ref):
    before = set(sys.modules)
    with pytest.raises(CheckpointError):
        resolve_class(ref)
    new = {name for name in set(sys.modules) - before if not name.startswith("rlkit_core")}
    assert not new & {"antigravity", "this_module_is_not_there"}


def test_a_module_that_is_on_the_path_but_no_plugin_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "lurking_module.py").write_text("raise SystemExit('imported')\nclass X: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CheckpointError, match="import its module first"):
        resolve_class("lurking_module:X")


def test_packages_of_plugins_are_trusted_and_missing_ones_are_named(tmp_path, monkeypatch):
    package = tmp_path / "rlkit_toyplugin"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text("class Part: pass\n")
    (package / "broken.py").write_text("raise SystemExit('no')\n")
    monkeypatch.syspath_prepend(tmp_path)
    ref = "rlkit_toyplugin.parts:Part"
    lock = [{"name": "rlkit-toyplugin", "version": "1.2.3", "packages": ["rlkit_toyplugin"]}]
    with pytest.raises(CheckpointError, match=r"pip install rlkit-toyplugin==1\.2\.3"):
        resolve_class(ref, plugins=lock)
    monkeypatch.setattr(trust, "plugin_packages", lambda: {"rlkit_toyplugin": ("rlkit-toyplugin", "1.2.0")})
    assert class_ref(resolve_class(ref, plugins=lock)) == ref
    with pytest.raises(CheckpointError, match=r"cannot be imported: SystemExit.*==1\.2\.3"):
        resolve_class("rlkit_toyplugin.broken:X", plugins=lock)
    with pytest.raises(CheckpointError, match=r"does not define.*==1\.2\.3"):
        resolve_class("rlkit_toyplugin.parts:Gone", plugins=lock)


def test_the_installed_plugins_are_known():
    packages = trust.plugin_packages()
    assert packages["rlkit_core"][0] == "rlkit-core"
    assert not set(packages) & set(sys.stdlib_module_names)


def test_classes_of_scripts_and_of_the_caller(monkeypatch):
    script = types.ModuleType("__main__")
    exec("class Mine: pass", script.__dict__)
    with pytest.raises(CheckpointError, match="classes=\\[Mine\\]"):
        resolve_class("__main__:Mine")
    elsewhere = type("Mine", (), {"__module__": "project.train"})
    assert resolve_class("__main__:Mine", classes=[elsewhere]) is elsewhere
    monkeypatch.setitem(sys.modules, "__main__", script)
    assert resolve_class("__main__:Mine") is script.Mine
    with pytest.raises(CheckpointError, match="not a subclass"):
        resolve_class("__main__:Mine", base=Checkpointable)


def test_the_newest_of_redefined_classes_is_taken(toys):
    def define():
        class Local(toys.Leaf):
            pass

        return Local

    first, second = define(), define()
    assert class_ref(first) == class_ref(second)
    assert resolve_class(class_ref(first), base=Checkpointable) is second
