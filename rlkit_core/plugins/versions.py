"""Do a plugin and this core fit? The two checks: ``Requires-Dist`` before import, ``rlkit_api`` after."""

from __future__ import annotations

import operator
import re

from rlkit_core.errors import PluginVersionError

_PLAIN = re.compile(r"[A-Za-z0-9._-]+\s*\(?\s*((?:(?:>=|<=|<|>)\s*\d+(?:\.\d+)*\s*,?\s*)*)\)?\s*\Z")
_CLAUSE = re.compile(r"(>=|<=|<|>)\s*(\d+(?:\.\d+)*)")
_NUMERIC = re.compile(r"\d+(?:\.\d+)*\Z")
_HOLDS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


def window_problem(requirement: str, core_version: str) -> str | None:
    """Say why ``requirement`` (a ``Requires-Dist`` on rlkit-core) excludes ``core_version``, or return None.

    Plain ranges of plain versions (nearly all there are) are compared here; anything else goes to
    ``packaging``, whose import would double the time of a listing.
    """
    plain = _PLAIN.match(requirement)
    if plain and _NUMERIC.match(core_version):
        version = _release(core_version)
        fits = all(_HOLDS[op](version, _release(bound)) for op, bound in _CLAUSE.findall(plain.group(1)))
    else:
        from packaging.requirements import InvalidRequirement, Requirement

        try:
            parsed = Requirement(requirement)
        except InvalidRequirement as exc:
            return f"its requirement {requirement!r} cannot be read: {str(exc).splitlines()[0]}"
        if parsed.marker is not None and not parsed.marker.evaluate({"extra": ""}):
            return None
        fits = parsed.specifier.contains(core_version, prereleases=True)
    if fits:
        return None
    return (
        f"it requires {requirement}, this is rlkit-core {core_version}; "
        "install versions that fit together (pip install --upgrade both)"
    )


def _release(version: str) -> tuple[int, ...]:
    parts = [int(p) for p in version.split(".")]
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def check_api(declared: object, core_api: tuple[int, int], distribution: str) -> None:
    """Check the ``rlkit_api`` of a plugin: its major number is the core's, its minor at most the core's.

    Raises:
        PluginVersionError: it is missing, malformed, of another major version, or newer; with its remedy.
    """
    core = f"{core_api[0]}.{core_api[1]}"
    match = re.match(r"(\d+)\.(\d+)\Z", declared) if isinstance(declared, str) else None
    if match is None:
        seen = "it declares none" if declared is None else f"it declares {declared!r}"
        remedy = f'its author must add: rlkit_api = "{core}"'
        raise PluginVersionError(f'expected rlkit_api = "MAJOR.MINOR", {seen}', remedy=remedy)
    major, minor = int(match[1]), int(match[2])
    if (major, minor) > core_api:
        reason = f"it needs plugin API {declared}, this core has {core}"
        raise PluginVersionError(reason, remedy="pip install --upgrade rlkit-core")
    if major < core_api[0]:
        reason = f"it was written for plugin API {declared}, this core has {core}"
        raise PluginVersionError(reason, remedy=f"pip install --upgrade {distribution}")
