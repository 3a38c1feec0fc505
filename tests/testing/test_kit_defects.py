"""The kit passes a good plugin, and rejects it with each of these defects, by a message that names the thing."""

from __future__ import annotations

import kit_defects
import kit_lab
import pytest

from rlkit_core.errors import PluginNotFoundError

#: Those that train longest, or begin another process that does much; the others of their kinds are run every time.
SLOW = {
    "algorithm",
    "catalog",
    "chance-of-its-own",
    "driver-forgets",
    "generator-of-its-own",
    "head-too-wide",
    "imports-torch",
    "learns-nothing",
    "loss-is-not-finite",
    "state-that-cannot-be-saved",
    "wrapper-does-not-close",
}


def marked(name, value):
    return pytest.param(value, id=name, marks=[pytest.mark.slow] if name in SLOW else [])


def told(report):
    return "\n".join(map(str, report.findings))


@pytest.mark.parametrize("part", [marked(part, part) for part in kit_lab.GOOD])
def test_a_good_plugin_passes(checked, part):
    report = checked(**kit_lab.GOOD[part].written())
    assert [one for one in report.findings if one.level != "note"] == [], told(report)


@pytest.mark.parametrize("defect", [marked(defect.name, defect) for defect in kit_defects.DEFECTS])
def test_it_is_rejected(checked, defect):
    report = checked(**defect.written())
    words = " ".join(told_errors(report).split())
    assert report.errors, f"nothing was found; {told(report)}"
    assert all(word in words for word in defect.words), words


def told_errors(report):
    return "\n".join(map(str, report.errors))


def test_there_are_many_defects_each_of_its_own():
    names = [defect.name for defect in kit_defects.DEFECTS]
    assert len(set(names)) == len(names) >= 30
    assert set(names) | set(kit_lab.GOOD) >= SLOW


def test_what_an_import_does_beside_its_purpose_is_advised_against(checked):
    code = "import gymnasium, os; print('hello'); os.environ['LAB'] = '1'; gymnasium.register('Lab-v0', 'lab:Env')\n"
    report = checked(source=code + kit_lab.ENCODER_PLUGIN, lab_parts=kit_lab.ENCODER_PARTS, isolated=True)
    assert report.errors == (), told(report)
    said = " ".join(one.what for one in report.warnings)
    for words in ("prints 'hello' to stdout", "changes os.environ", "registers Lab-v0 with gymnasium"):
        assert words in said


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "import random; random.seed(3)",
            ["error: importing lab changes the state of random", "none of rlkit's entry"],
        ),
        pytest.param("import lab_nowhere", ["importing lab ended Python", "lab_nowhere"], marks=pytest.mark.slow),
    ],
)
def test_what_registers_nothing_is_imported_all_the_same(checked, code, words):
    report = checked(source=code, groups={}, isolated=True)
    assert all(word in " ".join(told(report).split()) for word in words), told(report)


@pytest.mark.parametrize(
    ("requires", "words"),
    [(("rlkit-core>=7",), "lab is incompatible"), (("rlkit-core",), "a later core that it does not fit")],
)
def test_what_registers_nothing_says_which_cores_it_is_for(checked, requires, words):
    assert words in told(checked(groups={}, requires=requires))


def test_what_has_nothing_to_do_with_rlkit_is_no_plugin(checked):
    with pytest.raises(PluginNotFoundError, match="no distribution 'lab' with rlkit's entry points"):
        checked(groups={}, requires=())
