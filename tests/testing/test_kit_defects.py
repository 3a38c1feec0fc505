"""The kit passes a good plugin, and rejects it with each of these defects, by a message that names the thing."""

from __future__ import annotations

import kit_lab
import pytest


def told(report):
    return "\n".join(map(str, report.findings))


@pytest.mark.parametrize("part", kit_lab.GOOD)
def test_a_good_plugin_passes(checked, part):
    lab = kit_lab.GOOD[part]
    report = checked(source=lab.plugin, lab_parts=lab.parts)
    assert report.findings == (), told(report)


@pytest.mark.parametrize("defect", kit_lab.DEFECTS, ids=lambda defect: defect.name)
def test_it_is_rejected(checked, defect):
    report = checked(**defect.written())
    words = " ".join(told_errors(report).split())
    assert report.errors, f"nothing was found; {told(report)}"
    assert all(word in words for word in defect.words), words


def told_errors(report):
    return "\n".join(map(str, report.errors))
