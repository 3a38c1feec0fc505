"""Do a plugin and this core fit? The two checks: ``Requires-Dist`` before import, ``rlkit_api`` after."""

from __future__ import annotations

import functools
import operator
import re
import sys

from rlkit_core.errors import PluginVersionError

_PLAIN = re.compile(
    r"[A-Za-z0-9._-]+\s*(?:\[[\w\s,.-]*\])?\s*"
    r"\(?\s*((?:(?:>=|<=|==|!=|<|>)\s*\d+(?:\.\d+)*\s*(?:,\s*|(?=\)|;|\Z)))*)\)?\s*\Z"
)
_CLAUSE = re.compile(r"(>=|<=|==|!=|<|>)\s*(\d+(?:\.\d+)*)")
_OF_AN_EXTRA = re.compile(r";\s*extra\s*==\s*(['\"])[^'\"]+\1\s*\Z")
_NUMERIC = re.compile(r"\d+(?:\.\d+)*\Z")
_HOLDS = {
    ">=": operator.ge,
    "<=": operator.le,
    "<": operator.lt,
    ">": operator.gt,
    "==": operator.eq,
    "!=": operator.ne,
}


@functools.lru_cache(maxsize=1024)  # plugins require much the same
def window_problem(requirement: str, version: str, name: str = "rlkit-core") -> str | None:
    """Say why ``requirement`` (a ``Requires-Dist`` on ``name``) excludes the installed ``version``, or return None.

    Requirements of extras, and those whose marker does not hold here, exclude nothing. Plain ranges of plain versions
    (nearly all there are) are compared here; anything else goes to ``packaging``, whose import would double the time of
    a listing.
    """
    if _OF_AN_EXTRA.search(requirement):
        return None
    plain = _PLAIN.match(requirement)
    if plain and (not plain.group(1) or _NUMERIC.match(version)):
        fits: bool | None = _fits(plain.group(1), version)
    else:
        from packaging.requirements import InvalidRequirement, Requirement

        try:
            parsed = Requirement(requirement)
        except InvalidRequirement as exc:
            return f"its requirement {requirement!r} cannot be read: {str(exc).splitlines()[0]}"
        try:
            if parsed.marker is not None and not parsed.marker.evaluate({"extra": ""}):
                return None
        except Exception as exc:  # a marker that compares what cannot be compared
            return f"its requirement {requirement!r} cannot be evaluated: {type(exc).__name__}"
        fits = not str(parsed.specifier) or _contains(str(parsed.specifier), version)
    if fits:
        return None
    what = "this is" if name == "rlkit-core" else "installed is"
    unread = "" if fits is False else ", which is no version that could be compared"
    return (
        f"it requires {requirement}, {what} {name} {version}{unread}; "
        "install versions that fit together (pip install --upgrade both)"
    )


@functools.lru_cache(maxsize=1024)
def python_problem(requires_python: str) -> str | None:
    """Say why a ``Requires-Python`` excludes this Python, or return None."""
    this = ".".join(map(str, sys.version_info[:3]))
    plain = _PLAIN.match(f"python {requires_python}")
    fits = _fits(plain.group(1), this) if plain else _contains(requires_python, this)
    if fits:
        return None
    if fits is None:
        return f"its Requires-Python {requires_python!r} cannot be read; reinstall it"
    return f"it requires Python {requires_python}, this is {this}; install a version of it for this Python"


def _fits(clauses: str, version: str) -> bool:
    if not clauses:
        return True
    release = _release(version)
    return all(_HOLDS[op](release, _release(bound)) for op, bound in _CLAUSE.findall(clauses))


def _contains(specifier: str, version: str) -> bool | None:
    """Return whether a specifier contains a version; None where one of the two is none."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        return SpecifierSet(specifier).contains(Version(version), prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return None


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
