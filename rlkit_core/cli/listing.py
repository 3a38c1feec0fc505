"""``rlkit plugins`` and ``rlkit algorithms``: what metadata tells, without importing any plugin."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rlkit_core._version import __version__
from rlkit_core.plugins import API_VERSION
from rlkit_core.plugins.discovery import GROUP_ALGORITHMS, Snapshot, scan


def show(what: str, *, as_json: bool = False) -> None:
    """Print the listing ``"plugins"`` or ``"algorithms"``, as JSON or as aligned text."""
    snapshot = scan()
    if not as_json:
        print(as_text(what, snapshot))
        return
    import json

    core = {"version": __version__, "api": ".".join(map(str, API_VERSION))}
    rows = plugin_rows(snapshot) if what == "plugins" else algorithm_rows(snapshot)
    # A line each: indented throughout, json would be written by its slow encoder.
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    print(f'{{"core": {json.dumps(core)}, "{what}": [\n{lines}\n]}}')


def as_text(what: str, snapshot: Snapshot) -> str:
    """Return the listing as aligned text that standard output can show."""
    if what == "plugins":
        rows = plugin_rows(snapshot)
        cells = [(r["name"], r["version"], r["state"], _provides(r)) for r in rows]
        return _table(("PLUGIN", "VERSION", "STATE", "PROVIDES"), cells, rows)
    rows = algorithm_rows(snapshot)
    if not rows:
        return "No algorithm is installed. Install one, for instance: pip install rlkit-ppo"
    return _table(
        ("ALGORITHM", "PLUGIN", "VERSION", "STATE"),
        [(r["algorithm"], r["distribution"], r["version"], r["state"]) for r in rows],
        rows,
    )


def plugin_rows(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Return one row per distribution, its entry points in it."""
    rows = []
    for d in snapshot.distributions:
        entry_points = [{"group": e.group, "name": e.name, "value": e.value, "state": e.state} for e in d.entry_points]
        of_all = ("name", "version", "state", "reason", "requires_core", "location")
        own = {key: getattr(d, key) for key in of_all}
        rows.append({**own, "notes": list(d.notes), "entry_points": entry_points})
    return rows


def algorithm_rows(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Return one row per algorithm, whatever its state, sorted by (algorithm, distribution)."""
    rows = [
        {
            "algorithm": e.name,
            "distribution": d.name,
            "version": d.version,
            "value": e.value,
            "state": e.state,
            "reason": None if e.state == "found" else d.reason,
            "notes": list(d.notes),
        }
        for d in snapshot.distributions
        for e in d.entry_points
        if e.group == GROUP_ALGORITHMS
    ]
    return sorted(rows, key=lambda r: (r["algorithm"], r["distribution"], r["state"]))


def _provides(row: dict[str, Any]) -> str:
    groups: dict[str, list[str]] = {}
    for entry in row["entry_points"]:
        groups.setdefault(entry["group"].removeprefix("rlkit."), []).append(entry["name"])
    return "; ".join(f"{group}: {', '.join(names)}" for group, names in groups.items())


def _table(head: tuple[str, ...], cells: Sequence[tuple[str, ...]], rows: list[dict[str, Any]]) -> str:
    cells = [tuple(map(shown, values)) for values in cells]
    widths = [max(len(line[i]) for line in (head, *cells)) for i in range(len(head))]

    def line(values: tuple[str, ...]) -> str:
        return "  ".join(v.ljust(w) for v, w in zip(values, widths, strict=True)).rstrip()

    lines = [line(head)]
    for values, row in zip(cells, rows, strict=True):
        lines.append(line(values))
        if row["reason"]:
            lines.append(f"    {shown(row['reason'])}")
        lines.extend(f"    note: {shown(note)}" for note in row["notes"])
    return "\n".join(lines)


def shown(text: str) -> str:
    """Return what a plugin's metadata says as this terminal can show it: on one line, without codes that it obeys."""
    if not text.isprintable():
        import re

        from rlkit_core.plugins.guard import safe_text

        text = re.sub(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)", "", text)
        text = " ".join(safe_text(text).split())
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text if text.isascii() else text.encode(encoding, "backslashreplace").decode(encoding, "replace")
