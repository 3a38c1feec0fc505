"""Names are checked before anything is written."""

from __future__ import annotations

import re

import pytest

from rlkit_core.errors import ConfigError
from rlkit_scaffold import Answers
from rlkit_scaffold.answers import version_window


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"name": "my lab!"}, "'my lab!' is no name of a distribution.* Write 'my-lab'"),
        ({"name": "-lab"}, "Write 'lab'"),
        ({"name": "ünique"}, "letters, digits"),
        ({"name": "x" * 41}, "at most 40"),
        ({"name": "rlkit-core"}, "name of rlkit's own"),
        ({"name": "RLKIT_ppo"}, "name of rlkit's own: take another one, such as 'acme-ppo'"),
        ({"name": "local"}, "name of rlkit's own"),
        ({"name": "3d-nets"}, "'3d_nets', which Python cannot import"),
        ({"name": "class"}, "which Python cannot import"),
        ({"name": "json"}, "would hide 'json'"),
        ({"name": "tests"}, "would hide 'tests'"),
        ({"name": "torch"}, "a package 'torch' already"),
        ({"name": "acme", "called": "GNN"}, "'GNN': users cannot write that"),
        ({"name": "acme", "called": "lambda"}, "'lambda': users cannot write that"),
        ({"name": "acme", "called": "mlp"}, "'mlp' is a component of the core already.*--as my-mlp"),
        ({"name": "rlkit-lstm"}, None),
        ({"name": "acme", "called": "ppo", "kind": "algorithm"}, "'ppo' is an algorithm already"),
        ({"name": "acme", "called": "value_function", "kind": "api"}, "'value_function' is a mixin of the core"),
        ({"name": "acme", "called": "tf2", "kind": "framework"}, "'tf2' is a framework already"),
        ({"name": "acme", "kind": "wrapper"}, "expected one of 'algorithm', 'component', 'api', 'framework'"),
        ({"name": "acme", "licence": "GPL"}, "expected one of 'Apache-2.0'"),
        ({"name": "acme", "description": 'says "so"'}, "expected one line"),
        ({"name": "acme", "author": "A\nB"}, "expected one line"),
    ],
)
def test_what_cannot_be_used_is_refused(said, message):
    if message is None:
        assert Answers(**{"kind": "component", **said}).called == said["name"].removeprefix("rlkit-")
        return
    with pytest.raises(ConfigError) as error:
        Answers(**{"kind": "component", **said})
    assert re.search(message, str(error.value)), error.value


def test_what_follows_from_a_name():
    answers = Answers(name="Acme_Graph.Nets", kind="component")
    known = answers.for_template()
    names = ("name", "package", "called", "title", "prefix")
    assert [known[name] for name in names] == [
        "acme-graph-nets",
        "acme_graph_nets",
        "acme-graph-nets",
        "AcmeGraphNets",
        "acme_graph_nets",
    ]
    assert known["folder_of_component"] == "acme_graph_nets"
    assert known["folder_of_api"] == known["tests_of_algorithm"] == ""


@pytest.mark.parametrize(
    ("core", "window"), [("0.1.0", ">=0.1,<0.2"), ("0.12.3", ">=0.12,<0.13"), ("2.5.1", ">=2.5,<3")]
)
def test_the_window_of_versions(core, window):
    assert version_window(core) == window
