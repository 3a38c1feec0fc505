"""What a new plugin is called and says of itself: checked, with everything that follows from it."""

from __future__ import annotations

import datetime
import importlib.util
import keyword
import re
import sys
from collections.abc import Callable
from importlib.metadata import version

from attrs import Attribute, define, field

from rlkit_core.errors import ConfigError
from rlkit_core.frameworks import TORCH
from rlkit_core.plugins import API_VERSION
from rlkit_core.plugins.discovery import CORE, GROUP_ALGORITHMS, RESERVED, canonical, scan
from rlkit_core.plugins.host import PluginHost
from rlkit_core.plugins.known_packages import KNOWN_PACKAGES, known_names

KINDS = ("algorithm", "component", "api", "framework")
"""What a new plugin may add."""
LICENSES = ("Apache-2.0", "MIT", "BSD-3-Clause", "none")
"""SPDX names of the licenses whose text is at hand; ``none``: all rights reserved."""

_LONGEST = 40
_LONGEST_CALLED = 30
_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\Z")
_CALLED = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*\Z")
_TAKEN_FOLDERS = ("build", "dist", "docs", "src", "test", "tests")


def _one_of(allowed: tuple[str, ...]) -> Callable[[object, Attribute[str], str], None]:
    def check(instance: object, attribute: Attribute[str], value: str) -> None:
        if value not in allowed:
            raise ConfigError(f"{attribute.name}={value!r}: expected one of {', '.join(map(repr, allowed))}")

    return check


def _one_line(instance: object, attribute: Attribute[str], value: str) -> None:
    if len(value) > 100 or re.search(r'["\\\x00-\x1f\x7f]', value):
        raise ConfigError(
            f"{attribute.name}={value!r}: expected one line of at most 100 characters, without double quotes and "
            "backslashes: it goes into pyproject.toml and a docstring"
        )


@define(kw_only=True)
class Answers:
    """All that a template is filled in with.

    Args:
        name: of the distribution, as pip shall know it.
        kind: one of :data:`KINDS`.
        called: the name that users write in configs; ``name`` without ``rlkit-`` before it, unless given.
        description: one line.
        author: one line.
        licence: one of :data:`LICENSES`.

    Raises:
        ConfigError: a name that cannot be used, or that somebody has, with one that can; no such kind or license.
    """

    name: str
    kind: str = field(validator=_one_of(KINDS))
    called: str = ""
    description: str = field(default="", validator=_one_line)
    author: str = field(default="", validator=_one_line)
    licence: str = field(default=LICENSES[0], validator=_one_of(LICENSES))

    def __attrs_post_init__(self) -> None:
        self.name = _distribution_name(self.name)
        _check_package(self.package, self.name)
        given = self.called
        self.called = _called(given or self.name.removeprefix("rlkit-"), self.kind, given=bool(given))
        what = {
            "algorithm": "An algorithm",
            "component": "An encoder",
            "api": "An API mixin",
            "framework": "A tensor framework",
        }
        self.description = self.description or f"{what[self.kind]} for rlkit: {self.called}."
        self.author = self.author or f"The {self.name} authors"

    @property
    def package(self) -> str:
        """What is imported."""
        return self.name.replace("-", "_")

    def for_template(self) -> dict[str, str]:
        """Every name that the template knows."""
        core = version(CORE)
        return {
            "name": self.name,
            "kind": self.kind,
            "called": self.called,
            "description": self.description,
            "author": self.author,
            "license": self.licence,
            "year": str(datetime.date.today().year),
            "package": self.package,
            "title": "".join(part.capitalize() for part in re.split("[-_]", self.called)),
            "prefix": self.called.replace("-", "_"),
            "api": ".".join(map(str, API_VERSION)),
            "window": version_window(core),
            "oldest": ".".join((*core.split(".")[:2], "0")),
            # Folders of one kind only: copier leaves out what has no name.
            **{f"folder_of_{kind}": self.package if kind == self.kind else "" for kind in KINDS},
            **{f"tests_of_{kind}": "tests" if kind == self.kind else "" for kind in KINDS},
        }


def version_window(core: str) -> str:
    """The cores that a plugin begun with version ``core`` is for.

    >>> version_window("0.4.2"), version_window("1.3.0")
    ('>=0.4,<0.5', '>=1.3,<2')
    """
    major, minor = (int(part) for part in core.split(".")[:2])
    return f">={major}.{minor},<{f'0.{minor + 1}' if major == 0 else major + 1}"


def _distribution_name(name: str) -> str:
    if not _DISTRIBUTION.match(name) or len(name) > _LONGEST:
        possible = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_LONGEST].strip("-")
        raise ConfigError(
            f"{name!r} is no name of a distribution: expected at most {_LONGEST} letters, digits, '.', '_' and '-', "
            "a letter or digit first and last." + (f" Write {possible!r}." if possible else "")
        )
    folded = canonical(name)
    if folded in (CORE, RESERVED, "rlkit") or folded.startswith(f"{CORE}-") or folded in KNOWN_PACKAGES.values():
        raise ConfigError(
            f"{name!r} is a name of rlkit's own: take another one, such as 'acme-{folded.split('-')[-1]}'"
        )
    return folded


def _check_package(package: str, name: str) -> None:
    if not package.isidentifier() or keyword.iskeyword(package):
        raise ConfigError(
            f"{name!r}: its package would be {package!r}, which Python cannot import: take a name that begins with a "
            "letter and is no word of the language"
        )
    if package in sys.stdlib_module_names or package in _TAKEN_FOLDERS:
        raise ConfigError(f"{name!r}: its package would hide {package!r}: take another name, such as 'acme-{name}'")
    found = importlib.util.find_spec(package)
    if found is not None and found.origin is not None:
        raise ConfigError(
            f"{name!r}: there is a package {package!r} already ({found.origin}), which yours would hide: take another "
            f"name, or remove that one"
        )


def _called(called: str, kind: str, *, given: bool) -> str:
    folded = called if given else called.replace(".", "-")
    if not _CALLED.match(folded) or len(folded) > _LONGEST_CALLED or keyword.iskeyword(folded):
        raise ConfigError(
            f"{called!r}: users cannot write that in a config. Expected lower-case letters and digits, '-' or '_' "
            f"between them, a letter first, at most {_LONGEST_CALLED}: --as gnn, say"
        )
    if canonical(folded) in map(canonical, _names_in_use(kind)):
        noun = {
            "algorithm": "an algorithm",
            "component": "a component of the core",
            "api": "a mixin of the core",
            "framework": "a framework",
        }
        raise ConfigError(f"{called!r} is {noun[kind]} already: say what users write instead, --as my-{folded}")
    return folded


def _names_in_use(kind: str) -> list[str]:
    if kind == "algorithm":
        return [*known_names("algorithm"), *(entry.name for entry in scan().entry_points(GROUP_ALGORITHMS))]
    if kind == "framework":
        return [TORCH, *known_names("framework")]
    only_the_core = {"RLKIT_PLUGINS": ""}
    host = PluginHost(scan(env=only_the_core), only_the_core)
    host.load()
    records = host.registry.components() if kind == "component" else host.module_apis
    return [record.name for record in records]
