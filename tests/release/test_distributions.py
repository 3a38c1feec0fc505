"""What `make release` reads from wheels, and what it makes of it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement


@pytest.fixture
def release(monkeypatch):
    """The module; it belongs to a script, so its folder is on the path for the moment only."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import distributions

    return distributions


def write_wheel(folder: Path, name: str, *requires: str) -> None:
    package = name.replace("-", "_")
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 0.1.0", *(f"Requires-Dist: {r}" for r in requires)]
    with zipfile.ZipFile(folder / f"{package}-0.1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{package}-0.1.0.dist-info/METADATA", "\n".join(lines) + "\n")


@pytest.fixture
def wheels(release, tmp_path):
    numpy = "numpy>=1.24; python_version < '3.13'", "numpy>=2.1; python_version >= '3.13'"
    write_wheel(tmp_path, "rlkit-core", "torch>=2.6", *numpy, "furo>=1; extra == 'docs'", "pluggy>=1.5,<2")
    write_wheel(tmp_path, "rlkit-ppo", "rlkit-core>=0.1,<0.2", "Torch>=2.7")
    return release.wheels_in(tmp_path)


def test_the_lowest_versions_are_the_highest_lower_bounds_of_that_python(release, wheels):
    assert list(wheels) == ["rlkit-core", "rlkit-ppo"]
    assert release.lowest(release.third_party(wheels, "3.10")) == ["numpy==1.24", "pluggy==1.5", "torch==2.7"]
    assert release.lowest(release.third_party(wheels, "3.13"))[0] == "numpy==2.1"


def test_our_own_are_never_asked_for_elsewhere(release, wheels):
    assert {r.name.lower() for r in release.third_party(wheels, "3.10")} == {"numpy", "pluggy", "torch"}


@pytest.mark.parametrize("text", ["attrs", "attrs<25"])
def test_a_requirement_has_a_lower_bound(release, text):
    with pytest.raises(ValueError, match=r"attrs.*one lower bound"):
        release.lowest([Requirement(text)])
