"""Any JSON in place of any entry of a checkpoint: it loads, or an error of rlkit's own says what is wrong."""

from __future__ import annotations

import copy
import hashlib
import json
import time
import warnings
from pathlib import Path

import gymnasium as gym
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlkit_core import ActorCriticTorchRLModule, RLModule
from rlkit_core.errors import RLKitError

FILES = ("metadata.json", "class_and_ctor_args.json", "module_state.json")
ODD = ["numpy:ndarray", "os:system", "rlkit_core:RLModule", "builtins:eval", "../..", "/etc/passwd", "state", "\0"]
MARKS = ["$dict", "$class", "$array", "$tensor", "$tuple", "$space", "$attrs", "class", "dtype", "shape"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(ODD),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(MARKS) | st.text(max_size=6), inner, max_size=3)
        | st.lists(st.lists(inner, max_size=1), max_size=1)
    ),
    max_leaves=6,
)


def places(document: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """The path to every entry of nested dicts and lists."""
    entries = (
        document.items() if isinstance(document, dict) else enumerate(document if isinstance(document, list) else ())
    )
    found = [path] if path else []
    for key, value in entries:
        found += places(value, (*path, key))
    return found


def replaced(document: object, path: tuple[object, ...], value: object, gone: bool) -> object:
    changed = copy.deepcopy(document)
    holder = changed
    for key in path[:-1]:
        holder = holder[key]  # type: ignore[index]
    if gone:
        del holder[path[-1]]  # type: ignore[attr-defined]
    else:
        holder[path[-1]] = value  # type: ignore[index]
    return changed


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    module = ActorCriticTorchRLModule(
        observation_space=gym.spaces.Dict({"a": gym.spaces.Box(-1, 1, (3,)), "b": gym.spaces.Discrete(2)}),
        action_space=gym.spaces.Discrete(2),
        model_config={"fcnet_hiddens": [4]},
    )
    path = Path(module.save_to_path(tmp_path_factory.mktemp("fuzz") / "module"))
    return path, {name: (path / name).read_bytes() for name in FILES}


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_changed_entry_loads_or_is_named(saved, data) -> None:
    path, contents = saved
    name = data.draw(st.sampled_from(FILES))
    document = json.loads(contents[name])
    place = data.draw(st.sampled_from(places(document)))
    content = json.dumps(replaced(document, place, data.draw(json_values), data.draw(st.booleans()))).encode()
    metadata = json.loads(contents["metadata.json"])
    try:
        (path / name).write_bytes(content)
        if name != "metadata.json":  # as somebody would who knows the format
            metadata["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            (path / "metadata.json").write_text(json.dumps(metadata))
        begun = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                loaded = RLModule.from_checkpoint(path)
            except RLKitError:  # a CheckpointError, or what the config of a module or a plugin says of its own
                pass
            else:
                assert type(loaded) is ActorCriticTorchRLModule
        assert time.process_time() - begun < 5
    finally:
        for file, before in contents.items():
            (path / file).write_bytes(before)
