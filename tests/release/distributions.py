"""What a release consists of: the distributions in a folder, what they need, and the lowest versions of that."""

from __future__ import annotations

import email
import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


def wheels_in(folder: Path) -> dict[str, Path]:
    """Distribution name to wheel."""
    return {canonicalize_name(wheel.name.split("-")[0]): wheel for wheel in sorted(folder.glob("*.whl"))}


def requirements_of(wheel: Path) -> list[Requirement]:
    """What a wheel's metadata asks for, extras included."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    return [Requirement(text) for text in metadata.get_all("Requires-Dist") or []]


def third_party(wheels: dict[str, Path], python: str) -> list[Requirement]:
    """What the wheels need from others on this Python ("3.10"), without extras."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    return [
        requirement
        for wheel in wheels.values()
        for requirement in requirements_of(wheel)
        if canonicalize_name(requirement.name) not in wheels
        and (requirement.marker is None or requirement.marker.evaluate(environment))
    ]


def lowest(requirements: list[Requirement]) -> list[str]:
    """A pin for each requirement: the lower bound that is written, the highest of several.

    Raises:
        ValueError: a requirement has no lower bound.
    """
    bounds: dict[str, Version] = {}
    for requirement in requirements:
        written = [Version(each.version) for each in requirement.specifier if each.operator == ">="]
        if len(written) != 1:
            raise ValueError(f"{requirement}: a published requirement has one lower bound, as in 'name>=1.2'")
        name = canonicalize_name(requirement.name)
        bounds[name] = max(written[0], bounds.get(name, written[0]))
    return [f"{name}=={version}" for name, version in sorted(bounds.items())]
