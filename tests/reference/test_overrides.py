"""Methods that RLlib's documents name: overrides are called, or refused with what to override instead."""

from __future__ import annotations

import importlib

import pytest
from rllib_names import DOCUMENTS, NAMES, Name, chosen, has_called_methods

import rlkit_core
from rlkit_core.errors import OverrideError, PluginNotFoundError
from rlkit_core.from_rllib import CHECKPOINTS, CONFIGS, LEARNERS, MULTI_MODULES, NOT_HERE, PARTS_OF_CHECKPOINTS
from rlkit_core.plugins.host import PluginHost, use_host

MEMBERS = ("method", "attribute")


@pytest.mark.parametrize("name", chosen(kinds=("method",), status="honoured"))
def test_rlkit_calls_what_a_subclass_has_in_its_place(name, calls):
    assert callable(name.find())
    assert "rlkit" in calls.by[name.name]


@pytest.mark.parametrize("name", chosen(kinds=("method",), status="caller"))
def test_what_is_for_callers_is_a_subclasss(name, calls):
    assert callable(name.find())
    assert calls.by[name.name] == {"caller"}


@pytest.mark.parametrize("name", chosen(kinds=("class",), status="honoured", only=has_called_methods))
def test_a_subclass_takes_the_place(name, calls):
    name.find()
    assert [method for method, callers in calls.by.items() if method.startswith(f"{name.name}.") and "rlkit" in callers]


# -- what is refused --------------------------------------------------------------------------------------------------


def is_a_member(name: Name) -> bool:
    """Whether it is a member of a class that is here."""
    return name.owner not in NOT_HERE


@pytest.mark.parametrize("name", chosen(kinds=MEMBERS, status="refused", only=is_a_member))
def test_an_override_is_refused_with_what_to_override_instead(name):
    home = importlib.import_module(name.where.partition(":")[0])
    owner, member = getattr(home, name.owner), name.name.partition(".")[2]
    text = rf"Own overrides {member}.* of \w+, and nothing would come of it: "
    with pytest.raises(OverrideError, match=text) as refused:
        type("Own", (owner,), {member: lambda *args, **kwargs: None if name.kind == "method" else "own"})
    assert says(str(refused.value), name.instead)


class Loud:
    def save_to_path(self, path):
        """Of a mixin."""


def test_a_mixins_override_is_refused_too():
    with pytest.raises(OverrideError, match="Noisy overrides save_to_path"):
        type("Noisy", (Loud, rlkit_core.TorchRLModule), {})
    assert issubclass(type("Base", (rlkit_core.TorchRLModule,), {}), rlkit_core.TorchRLModule)
    assert issubclass(type("Whole", (Loud, rlkit_core.Algorithm), {}), rlkit_core.Algorithm)  # a whole may


@pytest.mark.parametrize("name", chosen(kinds=("class",), status="refused"))
def test_a_class_that_is_not_here_says_what_is(name):
    module, _, attribute = name.where.partition(":")
    with pytest.raises(ImportError, match=f"{attribute} is RLlib's and no part of rlkit: ") as refused:
        exec(f"from {module} import {attribute}", {})
    assert says(str(refused.value), name.instead)


@pytest.mark.parametrize("name", chosen(kinds=MEMBERS, status="refused", only=lambda name: not is_a_member(name)))
def test_methods_of_a_class_that_is_not_here_are_in_its_message(name):
    text = NOT_HERE[name.owner]
    assert says(text, name.name.partition(".")[2])
    assert says(text, name.instead)


@pytest.fixture
def core_alone():
    with use_host(PluginHost(env={"RLKIT_PLUGINS": ""})):
        yield


@pytest.mark.parametrize("name", chosen(kinds=("class", "module"), status="plugin"))
def test_what_a_plugin_brings_is_asked_for_in_vain_without_it(name, core_alone):
    with pytest.raises(PluginNotFoundError, match=f"pip install {name.instead}"):
        name.find()


def test_a_framework_that_is_not_installed_names_its_plugin(core_alone):
    with pytest.raises(PluginNotFoundError, match=r"'tf2'.*pip install rlkit-tensorflow"):
        rlkit_core.AlgorithmConfig().framework("tf2")


def says(text: str, what: str) -> bool:
    """Whether a message names what takes a place."""
    return what.removesuffix("()") in text


# -- the list itself --------------------------------------------------------------------------------------------------


def test_every_name_is_on_the_list_once_and_is_checked():
    names = [name.name for name in NAMES]
    assert len(names) == len(set(names))
    assert {name.status for name in NAMES} == {"honoured", "caller", "plugin", "refused"}
    for name in NAMES:
        assert set(name.documents) <= set(range(len(DOCUMENTS))) != set(), name.name
        assert (name.instead is not None) is (name.status in ("plugin", "refused")), name.name
        assert name.owner in names, f"{name.name}: its class is not on the list"
    unchecked = [n.name for n in NAMES if n.kind in ("attribute", "setting") and n.status == "caller"]
    assert unchecked == []


def test_what_the_code_refuses_is_on_the_list():
    listed = {name.name.partition(".")[2] or name.name for name in NAMES if name.status == "refused"}
    elsewhere = {"TorchCompileConfig"}  # of RLlib's, and in none of the four documents
    for table in (CHECKPOINTS, PARTS_OF_CHECKPOINTS, MULTI_MODULES, LEARNERS, CONFIGS, NOT_HERE):
        assert set(table) <= listed | elsewhere
