"""Everything that the reference of the plugin API has to describe, read from the code; and what tests and pages say."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from rlkit_core import contracts, errors, protocols
from rlkit_core.plugins import discovery, records, states
from rlkit_core.plugins.hookspecs import RLKitSpecs
from rlkit_core.rl_module.apis.driver_contract import EVENTS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
SOURCES = [ROOT / "rlkit_core", *sorted(path.parent for path in ROOT.glob("plugins/*/*/__init__.py"))]
TESTS = [ROOT / "tests", *sorted(ROOT.glob("plugins/*/tests"))]
DIRECTIVE = re.compile(
    r"^\.\. (currentmodule|autoclass|autofunction):: ([\w.]+)(?:\([^\n]*)?\n((?: +:[\w-]+:[^\n]*\n)*)", re.MULTILINE
)
RECORDS = ("Component", "ComponentRequest", "ModuleAPI", "Service")
OF_THIS = "test_plugin_reference.py"  # plants marks
VARIABLE = re.compile(r"""["'](RLKIT_[A-Z_]*[A-Z])["']""")


@frozen
class Entry:
    """One thing of the plugin API.

    Attributes:
        group: ``"hook"``, ``"driver"``, ``"record"``, ``"service"``, ``"group"`` (of entry points), ``"variable"``,
            ``"state"`` or ``"error"``.
        name: its name.
        page: the page of the reference that has its text.
        arguments: what it is called with, where that is fixed.
        documented: the object whose docstring is its text, and the class that a page lists it by; None: a table has it.
    """

    group: str
    name: str
    page: str
    arguments: tuple[str, ...] | None = None
    documented: tuple[object, Any] | None = None

    @property
    def id(self) -> str:
        """What a test's mark names: ``covers("driver:on_build")``."""
        return f"{self.group}:{self.name}"


def parameters(function: Any) -> tuple[str, ...]:
    """Names of the arguments of a function, without self."""
    return tuple(name for name in inspect.signature(function).parameters if name != "self")


@functools.cache
def entries() -> tuple[Entry, ...]:
    """All of them."""
    found = [
        Entry("hook", name, "hooks", parameters(hook), (hook, RLKitSpecs))
        for name, hook in vars(RLKitSpecs).items()
        if name.startswith("rlkit_")
    ]
    found += [Entry("driver", name, "drivers", EVENTS[name], driver_method(name)) for name in EVENTS]
    for name in RECORDS:
        record = getattr(records, name)
        found.append(Entry("record", name, "hooks", parameters(record), (record, record)))
    for kind in records.SERVICE_KINDS:
        call, _ = contracts._SERVICES.get(kind, (None, None))
        found.append(Entry("service", kind, "hooks", None if call is None else call.positional))
    found += [Entry("group", name, "entry-points") for name in groups()]
    found += [Entry("variable", name, "environment") for name in sorted(variables())]
    before = (discovery.FOUND, discovery.DISABLED, discovery.INCOMPATIBLE, discovery.SHADOWED)
    found += [Entry("state", name, "entry-points") for name in (*before, states.LOADED, states.FAILED)]
    found += [Entry("error", error.__name__, "errors", None, (error, error)) for error in public_errors()]
    return tuple(found)


def driver_method(name: str) -> tuple[object, Any]:
    """The Protocol's method of that name, and the Protocol."""
    for listed in protocols.__all__:
        protocol = getattr(protocols, listed)
        if protocol.__module__ == "rlkit_core.learner.driver_protocols" and name in vars(protocol):
            return vars(protocol)[name], protocol
    raise AssertionError(f"no Protocol has a driver's {name}()")


def groups() -> list[str]:
    """Entry-point groups: those that the core reads, and those that it is in itself."""
    own = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    return list(dict.fromkeys([*discovery.GROUPS, *own]))


def variables() -> set[str]:
    """Names of environment variables in the code."""
    return {name for text in sources().values() for name in VARIABLE.findall(text)}


def public_errors() -> list[type]:
    """Classes that derive from RLKitError, those with an underscore and the tests' own aside; the base first."""
    names: set[str] = set()
    for module, text in sources().items():
        defined = re.findall(r"^class ([A-Za-z]\w*Error)\(", text, re.MULTILINE)
        if defined:
            importlib.import_module(module)
            names.update(defined)

    def below(base: type) -> Iterator[type]:
        yield base
        for child in base.__subclasses__():
            yield from below(child)

    own = tuple(folder.name for folder in SOURCES)
    found = dict.fromkeys(cls for cls in below(errors.RLKitError) if cls.__module__.partition(".")[0] in own)
    return [cls for cls in found if cls.__name__ in names]


@functools.cache
def sources() -> dict[str, str]:
    """The code of core and plugins, by module."""
    return {
        ".".join(file.relative_to(folder.parent).with_suffix("").parts): file.read_text(encoding="utf-8")
        for folder in SOURCES
        for file in sorted(folder.rglob("*.py"))
    }


# -- what pages say ---------------------------------------------------------------------------------------------------


def read(page: str) -> str:
    """The text of a page of the reference."""
    return (REFERENCE / f"{page}.md").read_text(encoding="utf-8")


def listed(text: str) -> dict[object, str]:
    """What a page takes from docstrings: each class or function, with the options of its directive."""
    found: dict[object, str] = {}
    module = ""
    for directive, name, options in DIRECTIVE.findall(text):
        if directive == "currentmodule":
            module = name
            continue
        home, _, attribute = (name if name.startswith("rlkit") else f"{module}.{name}").rpartition(".")
        found[getattr(importlib.import_module(home), attribute)] = options
    return found


def row_of(text: str, name: str) -> list[str] | None:
    """The cells behind that of ``name`` in the row that begins with it; None where no row does."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) > 1 and f"`{name}`" in cells[0].split(", "):
            return cells[1:]
    return None


def first_cells(text: str, like: re.Pattern[str]) -> set[str]:
    """Names of a pattern in the first cells of a page's tables."""
    cells = (line.strip().strip("|").split("|")[0] for line in text.splitlines() if "|" in line)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell) if like.fullmatch(name)}


def problems(entry: Entry, text: str) -> Iterator[str]:
    """What a page's text does not say of an entry, or says otherwise."""
    if entry.documented is not None:
        thing, owner = entry.documented
        options = listed(text).get(owner)
        if options is None:
            yield f"{entry.id}: {entry.page}.md does not list {owner.__name__}"
        elif thing is not owner and not re.search(rf":members:( *\n|.*\b{entry.name}\b)", options):
            yield f"{entry.id}: {entry.page}.md lists {owner.__name__} without it"
        if len((getattr(thing, "__func__", thing).__doc__ or "").split()) < 3:
            yield f"{entry.id}: no docstring"
        return
    cells = row_of(text, entry.name)
    if cells is None or not all(len(cell) > 2 for cell in cells):
        yield f"{entry.id}: {entry.page}.md has no row for it, or an empty one"
    elif entry.arguments and f"`({', '.join(entry.arguments)})`" not in " ".join(cells):
        yield f"{entry.id}: its row in {entry.page}.md does not say that it is made as ({', '.join(entry.arguments)})"


def mentioned(entry: Entry, text: str) -> Iterator[str]:
    """Arguments that a text writes in a call of a hook or driver method, and that it does not have."""
    known = {"self", "kwargs", *(entry.arguments or ())}
    for written in re.findall(rf"\b{entry.name}\(([^()]*)\)", text):
        names = [re.split("[:=]", part)[0].strip().lstrip("*") for part in written.split(",")]
        unknown = [name for name in names if name.isidentifier() and name not in known]
        if unknown:
            yield f"{entry.id}: {entry.name}({written}) names {', '.join(unknown)}"


# -- what tests cover -------------------------------------------------------------------------------------------------


@frozen
class Covered:
    """What tests are about.

    Attributes:
        names: of test functions.
        marks: what ``@pytest.mark.covers`` names.
        raised: errors that tests expect.
    """

    names: tuple[str, ...]
    marks: frozenset[str]
    raised: frozenset[str]

    def has(self, entry: Entry) -> bool:
        """Whether a test's name or mark says that it is about the entry; of an error, that it expects it."""
        plain = entry.group in ("hook", "variable")  # names that mean nothing else
        named = plain and any(entry.name.lower() in name for name in self.names)
        return named or entry.id in self.marks or (entry.group == "error" and entry.name in self.raised)


def covered(texts: Iterable[str]) -> Covered:
    """What these test files cover."""
    names: list[str] = []
    marks: set[str] = set()
    raised: set[str] = set()
    for text in texts:
        names += re.findall(r"^ *def (test_\w+)", text, re.MULTILINE)
        for mark in re.findall(r"mark\.covers\(([^)]*)\)", text):
            marks.update(re.findall(r'"([^"]+)"', mark))
        for expected in re.findall(r"raises\(\s*\(?((?:\w+(?:, ?)?)+)", text):
            raised.update(re.findall(r"\w+", expected))
    return Covered(tuple(names), frozenset(marks), frozenset(raised))


@functools.cache
def all_tests() -> Covered:
    """What the tests of core and plugins cover."""
    files = (file for folder in TESTS for file in sorted(folder.rglob("test_*.py")) if file.name != OF_THIS)
    return covered(file.read_text(encoding="utf-8") for file in files)
