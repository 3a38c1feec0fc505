from __future__ import annotations

import json
import random

import gymnasium as gym
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Graph, Space, Text, Tuple
from hypothesis import given
from hypothesis import strategies as st

from rlkit_core.errors import (
    AmbiguousComponentError,
    ConfigError,
    NoComponentError,
    PluginError,
    PluginNotFoundError,
)
from rlkit_core.plugins.records import Component, ComponentRequest
from rlkit_core.plugins.registry import (
    CatalogTier,
    ComponentChoices,
    ComponentRegistry,
    Origin,
    Registered,
    choose,
    key_for,
)
from rlkit_core.plugins.states import PluginState

TEXT = Text(3)


def failed(distribution, reason, exception=None):
    return PluginState(distribution, "1.0", "main", "pkg", "failed", reason, exception=exception)


def reg(id, spaces=(Text,), kind="encoder", **kw):
    distribution, name = id.split("/")
    return Registered(Component(name, kind, f"pkg:{name}", spaces, **kw), Origin(distribution, "1.0"))


def ask(space=TEXT, path=(), kind="encoder", slot="encoder"):
    return ComponentRequest(kind, slot, path, space)


def pick(*installed, space=TEXT, choices=None, tiers=(), path=(), kind="encoder", slot="encoder", **kw):
    return choose(
        ask(space, path, kind, slot),
        registry=ComponentRegistry(installed, **kw),
        choices=ComponentChoices.from_config(choices),
        tiers=tiers,
    )


# ------------------------------------------------------------------ the four rules


def test_rule_1_an_id_in_the_config_wins_over_everything_and_its_when_is_not_asked():
    def never(request):
        raise AssertionError("asked")

    choice = pick(
        reg("rlkit-core/t"),
        reg("lab/t", when=never),
        choices={"encoder": "lab/t"},
        tiers=[CatalogTier("mine", (reg("mine/t"),))],
    )
    assert (choice.id, choice.rule) == ("lab/t", "config")


def test_rule_2_catalogs_in_the_order_listed():
    tiers = [
        CatalogTier("empty"),
        CatalogTier("one", [reg("one/t", (Space,))]),
        CatalogTier("two", [reg("two/t")]),
    ]
    choice = pick(reg("rlkit-core/t"), tiers=tiers)
    assert (choice.id, choice.rule) == ("one/t", "catalog one")  # less specific than two/t, but listed first


def test_rule_3_built_ins_before_any_installed_plugin():
    choice = pick(reg("rlkit-core/t", (Space,)), reg("lab/t", priority=99))
    assert (choice.id, choice.rule) == ("rlkit-core/t", "built-in")


def test_rule_4_a_gap_filler_when_one_plugin_claims_the_space():
    choice = pick(reg("rlkit-core/b", (Box,)), reg("lab/t"), reg("other/g", (Graph,)))
    assert (choice.id, choice.rule) == ("lab/t", "gap filler")


def test_two_gap_fillers_are_an_error_that_names_both_and_the_line_whatever_their_rank():
    with pytest.raises(AmbiguousComponentError) as caught:
        pick(reg("lab-b/t", (Space,)), reg("lab-a/t", priority=5), path=("camera", "front"))
    text = str(caught.value)
    assert "'lab-a/t' and 'lab-b/t'" in text
    assert 'components={"encoder:camera.front": "lab-a/t"}' in text
    line = {"encoder:camera.front": "lab-b/t"}
    assert pick(reg("lab-b/t"), reg("lab-a/t"), path=("camera", "front"), choices=line).id == "lab-b/t"


def test_one_plugin_may_fill_a_gap_with_components_of_different_rank():
    assert pick(reg("lab/any", (Space,)), reg("lab/t")).id == "lab/t"


def test_a_component_a_listed_catalog_supplies_is_not_asked_again_as_gap_filler():
    asked = []
    component = reg("lab/t", when=lambda r: asked.append(r))
    with pytest.raises(NoComponentError):
        pick(component, tiers=[CatalogTier("lab", (component,))])
    assert len(asked) == 1


def test_installing_a_plugin_changes_nothing_that_works():
    before = pick(reg("rlkit-core/t", (Space,)), tiers=[CatalogTier("c", (reg("c/g", (Graph,)),))])
    after = pick(
        reg("rlkit-core/t", (Space,)),
        reg("lab/t", priority=99),
        reg("lab/u", when=lambda r: True),
        tiers=[CatalogTier("c", (reg("c/g", (Graph,)),))],
    )
    assert before == after


# ------------------------------------------------------------------ rank inside one rule


class Camera(Box):
    pass


class DepthCamera(Camera):
    pass


@pytest.mark.parametrize(
    ("components", "expected"),
    [
        (
            [
                reg("rlkit-core/far", (Box,), when=lambda r: True, priority=9),
                reg("rlkit-core/near", (Camera,)),
            ],
            "near",
        ),
        (
            [
                reg("rlkit-core/plain", (Box,), priority=9),
                reg("rlkit-core/when", (Box,), when=lambda r: True),
            ],
            "when",
        ),
        ([reg("rlkit-core/low", (Box,)), reg("rlkit-core/high", (Box,), priority=1)], "high"),
        (
            [reg("rlkit-core/a", (Space, Camera)), reg("rlkit-core/b", (Box,))],
            "a",
        ),  # nearest of several classes
    ],
)
def test_space_class_then_condition_then_priority(components, expected):
    for order in (components, components[::-1]):
        choice = pick(*order, space=DepthCamera(0, 1))
        assert choice.component.record.name == expected
        assert len(choice.considered) == 2


def test_equal_rank_is_an_error_naming_both_parties_and_the_line():
    parties = (reg("rlkit-core/a", kind="head"), reg("rlkit-core/b", kind="head"))
    with pytest.raises(AmbiguousComponentError, match="'rlkit-core/a' and 'rlkit-core/b'") as caught:
        pick(*parties, kind="head", slot="pi")
    assert 'components={"head:pi": "rlkit-core/a"}' in str(caught.value)


def test_a_condition_that_raises_loses_only_its_own_component():
    def broken(request):
        return request.space.no_such_attribute

    choice = pick(reg("rlkit-core/broken", when=broken), reg("rlkit-core/t"))
    assert choice.id == "rlkit-core/t"
    assert any(i == "rlkit-core/broken" and "AttributeError" in why for i, why in choice.considered)


@pytest.mark.covers("record:ComponentRequest")
def test_a_condition_gets_the_whole_request():
    seen = []
    request = ComponentRequest("head", "vf", ("a",), TEXT, Discrete(2), {"x": 1}, "ppo")
    choose(
        request,
        registry=ComponentRegistry([reg("rlkit-core/t", kind="head", when=lambda r: seen.append(r) or True)]),
    )
    assert seen == [request]


def test_kinds_and_frameworks_do_not_mix():
    with pytest.raises(NoComponentError, match="is for jax, not torch"):
        pick(reg("rlkit-core/h", kind="head"), reg("rlkit-core/t", framework="jax"))


# ------------------------------------------------------------------ explaining


def test_nothing_serves_lists_nearest_misses_first_failed_plugins_and_the_line():
    gone = failed("lab-x", "ImportError: no torch_geometric")
    with pytest.raises(NoComponentError) as caught:
        pick(reg("rlkit-core/b", (Box,)), reg("rlkit-core/t", when=lambda r: False), unavailable=[gone])
    lines = str(caught.value).splitlines()
    assert "Text" in lines[0]
    assert lines[1].strip() == "rlkit-core/t: its condition (when) does not hold here"
    assert lines[2].strip() == "rlkit-core/b: serves Box, not Text"
    assert "lab-x is failed" in lines[3]
    assert 'components={"encoder": MyClass}' in lines[4]


def test_a_choice_is_json_with_its_whole_trace():
    choice = pick(reg("rlkit-core/b", (Box,)), reg("rlkit-core/any", (Space,)), reg("rlkit-core/t"), path=("a", "0"))
    data = json.loads(json.dumps(choice.to_dict()))
    assert data == {
        "kind": "encoder",
        "slot": "encoder",
        "path": ["a", "0"],
        "id": "rlkit-core/t",
        "distribution": "rlkit-core",
        "version": "1.0",
        "target": "pkg:t",
        "rule": "built-in",
        "considered": [
            ["rlkit-core/b", "serves Box, not Text"],
            ["rlkit-core/any", "fits, but serves a base class of the space compared with rlkit-core/t"],
            ["rlkit-core/t", "chosen: built-in"],
        ],
    }


SPACES = [Space, Box, Camera, DepthCamera]
distributions = st.sampled_from(["rlkit-core", "lab-a", "lab-b"])
conditions = st.sampled_from([None, True, False])
candidates = st.lists(st.tuples(distributions, st.sampled_from(SPACES), conditions, st.integers(0, 1)), max_size=6)


@given(candidates, st.randoms(use_true_random=False))
def test_the_outcome_never_depends_on_the_order_of_registration(specs, rng: random.Random):
    components = [
        reg(f"{d}/c{i}", (s,), when=None if w is None else (lambda r, w=w: w), priority=p)
        for i, (d, s, w, p) in enumerate(specs)
    ]
    shuffled = components[:]
    rng.shuffle(shuffled)

    def outcome(order):
        try:
            return pick(*order, space=Camera(0, 1)).to_dict()
        except (NoComponentError, AmbiguousComponentError) as exc:
            return type(exc), str(exc)

    result = outcome(components)
    assert result == outcome(shuffled)
    # An independent oracle for the winner.
    fits = [
        (c, (Camera.__mro__.index(s), w is None, -p))
        for c, (_, s, w, p) in zip(components, specs, strict=True)
        if issubclass(Camera, s) and w is not False
    ]
    core = [f for f in fits if f[0].origin.distribution == "rlkit-core"]
    group = core or fits
    best = [c for c, rank in group if rank == min(r for _, r in group)] if group else []
    parties = {c.origin.distribution for c, _ in group}
    if len(best) == 1 and (core or len(parties) == 1):
        assert result["id"] == best[0].id
    elif best:
        assert result[0] is AmbiguousComponentError
    else:
        assert result[0] is NoComponentError


# ------------------------------------------------------------------ what a config may write


@pytest.mark.parametrize("value", [3, None, ["rlkit-core/mlp"], object()])
def test_values_that_name_no_component(value):
    with pytest.raises(ConfigError, match="expected an id"):
        ComponentChoices.from_config({"encoder": value})


@pytest.mark.parametrize("key", ["encodr", "encoder:", "", 3, "encoder/x", ":x"])
def test_keys_that_name_no_place(key):
    with pytest.raises(ConfigError, match="use 'encoder'"):
        ComponentChoices.from_config({key: "rlkit-core/mlp"})


def test_components_must_be_a_dict():
    with pytest.raises(ConfigError, match="expected a dict"):
        ComponentChoices.from_config("rlkit-core/mlp")


def test_lookup():
    choices = ComponentChoices.from_config(
        {"encoder": "a", "encoder:camera.front": "b", "head:pi": "c", "head": "d", "distribution:arm": "e"}
    )
    assert choices.lookup("encoder", "encoder", ()) == "a"
    assert choices.lookup("encoder", "encoder", ("camera", "front")) == "b"
    assert choices.lookup("encoder", "encoder", ("camera.front",)) is None  # a key that holds a dot
    assert choices.lookup("encoder", "encoder", ("camera",)) is None  # the root's entry is the root's alone
    assert choices.lookup("head", "pi", ()) == "c"
    assert choices.lookup("head", "vf", ()) == "d"
    assert choices.lookup("distribution", "pi", ("arm",)) == "e"
    assert choices.paths("encoder") == ((), ("camera", "front"))
    assert ComponentChoices.from_config(None).lookup("head", "pi", ()) is None
    assert ComponentChoices.from_config(None).paths("encoder") == ()


def test_head_means_every_head():
    registry = ComponentRegistry([reg("rlkit-core/plain", kind="head"), reg("lab/wide", kind="head")])
    choices = {"head": "lab/wide", "head:vf": "rlkit-core/plain"}
    for slot, expected in (("pi", "lab/wide"), ("af", "lab/wide"), ("vf", "rlkit-core/plain")):
        request = ComponentRequest("head", slot, (), TEXT)
        assert choose(request, registry=registry, choices=ComponentChoices.from_config(choices)).id == expected


@given(
    st.sampled_from(["encoder", "distribution"]),
    st.lists(st.text(st.characters(exclude_characters=".", codec="utf-8"), min_size=1), max_size=4),
)
def test_the_line_an_error_proposes_is_the_line_that_is_read(kind, path):
    choices = ComponentChoices.from_config({key_for(kind, "pi", path): "rlkit-core/x"})
    assert choices.lookup(kind, "pi", tuple(path)) == "rlkit-core/x"


class MyEncoder:
    pass


def test_a_class_or_record_in_the_config_is_local():
    assert pick(choices={"encoder": MyEncoder}).id == "local/MyEncoder"
    assert pick(choices={"encoder": MyEncoder}).to_dict()["target"].endswith(":MyEncoder")
    record = Component("mine", "encoder", MyEncoder, [Text])
    assert pick(choices={"encoder": record}).id == "local/mine"
    with pytest.raises(ConfigError, match="of kind 'encoder', a head is wanted"):
        pick(choices={"head": record}, kind="head", slot="pi")


def test_a_class_of_an_installed_distribution_carries_its_name():
    choice = pick(choices={"encoder": MyEncoder}, origin_of=lambda obj: Origin("my-lab", "3.0"))
    assert (choice.id, choice.component.origin.version) == ("my-lab/MyEncoder", "3.0")


def test_a_class_that_is_registered_keeps_its_id():
    known = Registered(Component("enc", "encoder", MyEncoder, [Text]), Origin("lab", "1.0"))
    assert pick(known, choices={"encoder": MyEncoder}).id == "lab/enc"
    by_name = Registered(Component("dec", "encoder", "json:JSONDecoder", [Text]), Origin("lab", "1.0"))
    assert pick(by_name, choices={"encoder": json.JSONDecoder}).id == "lab/dec"


def test_a_named_component_must_serve_the_space():
    with pytest.raises(NoComponentError, match=r"'lab/t', which serves Text; the space here is Dict"):
        pick(reg("lab/t"), choices={"encoder": "lab/t"}, space=Dict({"a": TEXT}))


def test_components_of_listed_catalogs_can_be_named():
    tiers = [CatalogTier("c", (reg("lab/deep"),))]
    assert pick(tiers=tiers, choices={"encoder:x": "deep"}, path=("x",)).id == "lab/deep"


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("mlp", AmbiguousComponentError, "'lab/mlp' and 'rlkit-core/mlp'"),
        ("mpl", NoComponentError, "Did you mean 'mlp'"),
        ("lab/mpl", NoComponentError, "Did you mean 'mlp'. It has: mlp"),
        ("labb/mlp", PluginNotFoundError, r"supplies 'labb'\. Did you mean 'lab/mlp'\?$"),
        (
            "other/x",
            PluginNotFoundError,
            r"supplies 'other'\. If it .* of the distribution 'other'",
        ),
        ("gone/x", PluginError, r"gone 1.0 \(main\) failed: boom"),
        ("local/x", NoComponentError, "pass its class"),
    ],
)
def test_names_that_do_not_resolve(name, error, message):
    registry = ComponentRegistry(
        [reg("lab/mlp"), reg("rlkit-core/mlp"), reg("lab/head", kind="head")],
        unavailable=[failed("gone", "boom", RuntimeError("boom"))],
    )
    with pytest.raises(error, match=message) as caught:
        registry.get(name, "encoder")
    if name == "gone/x":
        assert isinstance(caught.value.__cause__, RuntimeError)


def test_distribution_names_are_compared_in_normal_form():
    registry = ComponentRegistry([reg("my-lab/mlp")])
    assert registry.get("My_Lab/mlp", "encoder").id == "my-lab/mlp"


def test_a_target_that_cannot_be_imported():
    with pytest.raises(PluginError, match=r"encoder 'lab/t': its target 'pkg:t' cannot be imported") as caught:
        reg("lab/t").load()
    assert isinstance(caught.value.__cause__, ImportError)


# ------------------------------------------------------------------ the core's own components


@pytest.mark.parametrize(
    ("space", "encoder", "distribution"),
    [
        (Box(-1, 1, (3,)), "mlp", "diag-gaussian"),
        (Box(0, 255, (8, 8)), "cnn", "diag-gaussian"),
        (Box(0, 255, (8, 8, 3)), "cnn", "diag-gaussian"),
        (Discrete(3), "one-hot", "categorical"),
        (gym.spaces.MultiDiscrete([2, 3]), "one-hot", "multi-categorical"),
        (gym.spaces.MultiBinary(4), "one-hot", "bernoulli"),
        (Dict(a=Discrete(2)), "multi-stream", "multi"),
        (Tuple([Discrete(2)]), "multi-stream", "multi"),
    ],
)
def test_the_core_serves_its_spaces(site, space, encoder, distribution):
    registry = site.host({"RLKIT_PLUGINS": ""}).registry
    assert choose(ask(space), registry=registry).id == f"rlkit-core/{encoder}"
    assert choose(ask(space, (), "distribution", "pi"), registry=registry).id == f"rlkit-core/{distribution}"
    assert choose(ask(space, (), "head", "vf"), registry=registry).id == "rlkit-core/mlp"


def test_the_free_log_std_head_is_for_policies_that_ask_for_it(site):
    registry = site.host({"RLKIT_PLUGINS": ""}).registry

    def head(space, slot, **model_config):
        return choose(ComponentRequest("head", slot, (), space, space, model_config), registry=registry).id

    box = Box(-1, 1, (2,))
    assert head(box, "pi", free_log_std=True) == "rlkit-core/free-log-std-mlp"
    assert head(box, "pi") == head(box, "vf", free_log_std=True) == "rlkit-core/mlp"
    assert head(Discrete(2), "pi", free_log_std=True) == "rlkit-core/mlp"


@pytest.mark.parametrize("space", [TEXT, Graph(Discrete(2), None)])
def test_spaces_the_core_does_not_serve(site, space):
    with pytest.raises(NoComponentError, match=type(space).__name__):
        choose(ask(space), registry=site.host({"RLKIT_PLUGINS": ""}).registry)


def test_two_installed_plugins_that_claim_one_space(site):
    site.fixture("fx-gap-a")
    graph = Graph(Box(0, 1, (2,)), None)
    assert choose(ask(graph), registry=site.host().registry).id == "fx-gap-a/graph"
    site.fixture("fx-gap-b")
    registry = site.host().registry
    with pytest.raises(AmbiguousComponentError, match="'fx-gap-a/graph' and 'fx-gap-b/graph'"):
        choose(ask(graph), registry=registry)
    named = ComponentChoices.from_config({"encoder": "fx-gap-b/graph"})
    assert choose(ask(graph), registry=registry, choices=named).component.load().__module__ == "fx_gap_b.encoder"
